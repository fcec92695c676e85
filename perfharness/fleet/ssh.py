"""The way to one host over SSH. Fabric and paramiko stay in this package; what they leave to their user is done here:

- Host keys are checked, at every jump host too, against the known hosts that ``ssh`` itself would read. There is
  no switch to turn that off, ``StrictHostKeyChecking no`` in a configuration included.
- Sockets are our own (``ssh_sockets``), and so is the choice of keys (``identities``).
- Everything has a deadline; nothing forwards an agent; every failure is one sentence with a remedy (``ssh_trouble``).
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import fabric
import paramiko

from perfharness.errors import HostUnusable
from perfharness.fleet import identities, known_hosts, link, ssh_config, ssh_sockets
from perfharness.fleet.ssh_config import Target
from perfharness.fleet.ssh_trouble import Trouble

KEEPALIVE_S = 5
_MAX_HOPS = 16

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its complaints become our sentences


def connect(name: str, target: Target, password: str | None = None) -> link.Link:
    """Open a connection to the endpoint ``name``. Raises HostUnusable.

    ``password`` is said to that host alone and in place of keys; jump hosts on the way are shown keys.
    """
    held = contextlib.ExitStack()

    def open_one() -> paramiko.Transport:
        return _Journey(name, target, held, password).to(target.host, target.user, target.port)

    try:
        return link.Link(name, open_one, held)
    except BaseException:
        held.close()
        raise


class _Journey:
    """The way to one endpoint, over jump hosts if need be; what it opens is closed by ``held``."""

    def __init__(self, name: str, target: Target, held: contextlib.ExitStack, password: str | None) -> None:
        self._name = name
        self._password = password
        self._target = target
        self._held = held
        self._proxy: ssh_sockets.Proxy | None = None
        self._hops = 0
        try:
            self._config = fabric.Config(ssh_config=ssh_config.read(target.config), lazy=True)
        except (OSError, paramiko.SSHException) as error:
            remedy = f"Name a readable file as `config:` under `ssh:` of endpoint {name}."
            raise HostUnusable(name, f"the SSH configuration cannot be read: {error}.", remedy) from error

    def to(self, host: str, user: str | None, port: int | None, jumps: str | None = None) -> paramiko.Transport:
        """Connect to a host, itself or through ``jumps`` (``user@host:port,…``; None = as configured)."""
        last = self._hops == 0  # the way is walked from its end
        hop, files = self._hop(host, user, port)
        facts = hop.ssh_config
        if jumps is None:
            jumps = facts.get("proxyjump", "")
        if jumps.split("@")[-1] in ("none", hop.host, hop.original_host):  # itself: `Host *` with a ProxyJump
            jumps = ""
        proxy = "" if jumps else facts.get("proxycommand", "none")
        try:
            hop.connect_kwargs = self._credentials(hop, last)
            hop.connect_kwargs["sock"] = self._socket(hop, jumps, "" if proxy == "none" else proxy)
            known = known_hosts.read(files, known_hosts.name_of(facts, hop.host, hop.port))
            hop.client.set_missing_host_key_policy(known_hosts.OnlyKnown(known))
            hop.connect_kwargs["transport_factory"] = partial(_transport, known)
            self._held.callback(hop.close)
            hop.open()
        except (known_hosts.UnknownKey, *link.BROKEN, ValueError) as error:  # a key file may be none: ValueError
            said = self._proxy.last_words() if self._proxy else ""
            direct = not jumps and proxy == "none"
            with_password = last and self._password is not None
            trouble = Trouble(self._name, self._target, hop, direct, files[0], said, with_password)
            raise trouble.explained(error) from error
        hop.transport.set_keepalive(KEEPALIVE_S)
        return hop.transport

    def _hop(self, host: str, user: str | None, port: int | None) -> tuple[fabric.Connection, list[Path]]:
        """Not connected yet, with what the SSH configuration says of it; and the files of known hosts."""
        self._hops += 1
        try:
            if self._hops > _MAX_HOPS:
                raise ValueError(f"its ProxyJump leads over more than {_MAX_HOPS} hosts, perhaps in a circle")
            hop = fabric.Connection(
                host,
                user=user,
                port=port,
                config=self._config,
                gateway=False,
                forward_agent=False,
                connect_timeout=link.CONNECT_S,
            )
            if not 0 < hop.port < 65536:
                raise ValueError(f"{hop.port} is no TCP port")
            given = self._target.known_hosts
            return hop, known_hosts.files(hop.ssh_config) if given is None else [Path(given)]
        except (ValueError, paramiko.SSHException) as error:  # a port that is no number, a name that is not canonical
            message = f"the SSH configuration for {host} cannot be used: {error}."
            file = [] if self._target.config is None else ["-F", str(self._target.config)]
            remedy = f"Correct it; this shows what it says: {shlex.join(['ssh', *file, '-G', self._target.host])}"
            raise HostUnusable(self._name, message, remedy) from error

    def _credentials(self, hop: fabric.Connection, last: bool) -> dict[str, Any]:
        times = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), link.CONNECT_S)
        if last and self._password is not None:  # alone: it opens no key of ours, and a router counts what is tried
            keys = {"key_filename": [], "allow_agent": False, "look_for_keys": False}
            return {**hop.connect_kwargs, **keys, "password": self._password, **times}
        named = hop.connect_kwargs.get("key_filename", [])
        only = hop.ssh_config.get("identitiesonly", "no") == "yes"
        return {**hop.connect_kwargs, **identities.choose(hop.client, named, only), **times}

    def _socket(self, hop: fabric.Connection, jumps: str, proxy: str) -> Any:
        if jumps:
            earlier, _, last = jumps.rpartition(",")
            transport = self.to(last, None, None, earlier or None)
            return transport.open_channel("direct-tcpip", (hop.host, hop.port), ("", 0), timeout=link.CONNECT_S)
        if proxy:
            self._proxy = ssh_sockets.Proxy(proxy)
            self._held.callback(self._proxy.close)
            return self._proxy.socket
        return self._held.enter_context(contextlib.closing(ssh_sockets.tcp(hop.host, hop.port, link.CONNECT_S)))


def _transport(known: known_hosts.Known, sock: Any, **settings: Any) -> paramiko.Transport:
    """paramiko's, that asks for a key that we know."""
    transport = paramiko.Transport(sock, **settings)
    options = transport.get_security_options()
    options.key_types = known.first(options.key_types)
    return transport
