"""Getting the agent onto a host: one command carries the bootstrap, the agent and then the conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from perfagent import wire
from perfharness.errors import HostLost, HostUnusable
from perfharness.fleet import bundle, ssh_config
from perfharness.fleet.link import NO_COMMANDS, Link, exit_status

_RECEIVE = r'import os;exec(b"".join(iter(lambda:os.read(0,1)or b"\0",b"\0")))'
"""Reads the bootstrap up to its NUL and becomes it. No newline and no exclamation mark: csh would trip over them."""

_NOISE_LIMIT = 1 << 16
"""Bytes that login scripts may print before the agent speaks."""


@runtime_checkable
class Endpoint(Protocol):
    """What is needed of ``perfharness.order.circuit.Endpoint``."""

    @property
    def name(self) -> str: ...
    @property
    def ssh(self) -> ssh_config.Target: ...
    @property
    def python(self) -> str: ...


class Stream:
    """What a channel delivers, as a file to read from; what was read too early comes first."""

    def __init__(self, host: str, channel: Any, buffered: bytes) -> None:
        self._host = host
        self._channel = channel
        self._buffered = buffered

    def buffered(self) -> bytes:
        return self._buffered

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, b"" when the program has ended. Raises HostLost."""
        if self._buffered:
            data, self._buffered = self._buffered[:size], self._buffered[size:]
            return data
        broke = HostLost(self._host, "the connection broke in the middle of a transfer.")
        try:
            data = bytes(self._channel.recv(size))
        except OSError as error:
            raise broke from error
        if not data and exit_status(self._channel) == -1:
            raise broke  # a cut looks like an end, but an end has an exit code
        return data

    def line(self, limit: int) -> bytes:
        """A line without its newline, or what came of it until the end or the limit. Raises HostLost."""
        data = b""
        while b"\n" not in data and len(data) < limit and (block := self.read(1 << 16)):
            data += block
        line, _, rest = data.partition(b"\n")
        self._buffered = rest + self._buffered
        return line


def launch(link: Link, endpoint: Endpoint, agent: bundle.Bundle, words: Sequence[str]) -> Any:
    """Send the agent and have it do ``words``; returns the channel. Raises HostUnusable."""
    size = str(len(agent.content))
    command = [endpoint.python, "-E", "-c", _RECEIVE, size, agent.sha256, *words]
    return link.execute(command, bundle.bootstrap() + agent.content)


def after_preamble(channel: Any, endpoint: Endpoint) -> Stream:
    """Skip what login scripts print. Raises HostUnusable with the reason when the agent never speaks."""
    data = b""
    while True:
        _, found, rest = data.partition(wire.PREAMBLE)
        if found:
            return Stream(endpoint.name, channel, rest)
        try:
            block = channel.recv(1 << 16)
        except OSError as error:
            raise HostLost(endpoint.name, "it lets us in, but its Python does not answer.") from error
        if not block:
            raise _explained(channel, endpoint, data)
        data += block
        if len(data) > _NOISE_LIMIT and wire.PREAMBLE not in data:
            raise HostUnusable(endpoint.name, "it prints without end instead of running our command.", NO_COMMANDS)


def _explained(channel: Any, endpoint: Endpoint, printed: bytes) -> HostUnusable:
    """Why the agent did not start, from its exit code and its last words."""
    code = exit_status(channel)
    if code == -1:
        return HostLost(endpoint.name, "the connection ended before the agent could answer.")
    said = channel.recv_stderr(4096) or printed
    words = (said.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1][:200]
    name, python = endpoint.name, endpoint.python
    name_it = f"Name a Python 3.9 or later by `python:` of endpoint {name}."
    if code == 9:
        return HostUnusable(name, f"{python} there is {words}, too old for the agent.", name_it)
    if code in (126, 127):
        return HostUnusable(name, f"there is no usable {python}: {words}.", name_it)
    if code == 8:
        return HostUnusable(
            name, f"there is no room for the agent ({words}).", "It needs some MB in $TMPDIR, /tmp or /var/tmp."
        )
    if code == 7:
        return HostUnusable(name, f"{words}.", "Try again.")
    return HostUnusable(name, f"its agent did not start (exit code {code}): {words}.", NO_COMMANDS)
