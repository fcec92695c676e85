"""SSH to one host. Fabric and paramiko live here and nowhere else; what they leave to their user is done here:

- Host keys are checked, at every jump host too, against the known hosts that ``ssh`` itself would read. There is
  no switch to turn that off, ``StrictHostKeyChecking no`` in a configuration included.
- Sockets are our own, so that ProxyCommand gets a real one and the segments of our TCP connection are clamped:
  a path that loses large packets must not take the control channel with it.
- Everything has a deadline; nothing forwards an agent; every failure is one sentence with a remedy.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import fabric
import paramiko
from paramiko.ssh_exception import PasswordRequiredException

from perfharness.errors import HostLost, HostUnusable
from perfharness.fleet import known_hosts, ssh_config

CONNECT_S = 10.0
"""For each step of connecting: TCP, banner, key exchange, authentication."""

IO_S = 15.0
"""How long a blocked read or write waits before somebody looks why."""

FEED_S = 60.0
"""For sending the agent, less than a megabyte."""

KEEPALIVE_S = 5
USER_TIMEOUT_MS = 15_000
"""Unacknowledged keepalives for this long are a cut; without it TCP would go on trying for a quarter of an hour."""

SEGMENT_BYTES = 1200
"""With IPv6 and TCP headers below 1280 bytes, the least that any IPv6 path must carry (RFC 8200, section 5)."""

_MAX_HOPS = 16

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its complaints become our sentences


class Target(Protocol):
    """How to reach a host: what is ``None`` comes from the SSH configuration."""

    @property
    def host(self) -> str: ...
    @property
    def config(self) -> str | Path | None: ...
    @property
    def user(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def known_hosts(self) -> str | Path | None: ...


_BROKEN = (paramiko.SSHException, OSError, EOFError)
"""What paramiko raises when a connection is gone, or just about to be."""


class Link:
    """An open connection to a host, and as many more as its sshd wants for several programs at once (MaxSessions)."""

    def __init__(self, name: str, connect: Callable[[], paramiko.Transport], held: contextlib.ExitStack) -> None:
        """``connect`` opens a connection that ``held`` closes. Raises HostUnusable."""
        self._name = name
        self._connect = connect
        self._held = held
        self._transports = [connect()]

    def execute(self, words: Sequence[str], feed: bytes = b"", patience_s: float = IO_S) -> paramiko.Channel:
        """Run a program without a terminal and give it ``feed`` to read; reads and writes wait ``patience_s``.

        Raises HostLost, or HostUnusable when commands are not allowed.
        """
        channel = self._session()
        channel.settimeout(patience_s)
        try:
            with self._deadline(CONNECT_S):
                channel.exec_command(shlex.join(words))
        except _BROKEN as error:
            if not channel.get_transport().is_active():
                raise HostLost(self._name, f"it does not run a command within {CONNECT_S:.0f} s.") from error
            raise HostUnusable(self._name, "it lets us in but refuses to run a command.", NO_COMMANDS) from error
        # When it does not take all, it has ended early: what it printed says why, and is read next.
        with contextlib.suppress(*_BROKEN), self._deadline(FEED_S):
            channel.sendall(feed)
        return channel

    def close(self) -> None:
        self._held.close()

    def _session(self) -> paramiko.Channel:
        try:
            for transport in tuple(self._transports):
                with contextlib.suppress(paramiko.ChannelException):  # it has as many as it takes
                    return transport.open_session(timeout=CONNECT_S)
            transport = self._connect()
            self._transports.append(transport)
            return transport.open_session(timeout=CONNECT_S)
        except paramiko.ChannelException as error:
            raise HostUnusable(self._name, "it lets us in but refuses to open a session.", NO_COMMANDS) from error
        except _BROKEN as error:
            raise HostLost(self._name, "the SSH connection is gone.") from error

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Close the connection when this takes longer: paramiko waits for some answers, and for room, for ever."""
        timer = threading.Timer(seconds, self.close)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def exit_status(channel: paramiko.Channel) -> int:
    """Of a program that has ended or is about to; -1 when the host does not tell in time."""
    return int(channel.recv_exit_status()) if channel.status_event.wait(IO_S) else -1


NO_COMMANDS = "Use an account whose shell and sshd settings (ForceCommand, command=) allow commands."


def connect(name: str, target: Target) -> Link:
    """Open a connection to the endpoint ``name``. Raises HostUnusable."""
    held = contextlib.ExitStack()
    try:
        return Link(name, lambda: _Journey(name, target, held).to(target.host, target.user, target.port), held)
    except BaseException:
        held.close()
        raise


class _UnknownKeyError(Exception):
    def __init__(self, key: paramiko.PKey, revoked: bool) -> None:
        super().__init__()
        self.key = key
        self.revoked = revoked


class _OnlyKnown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # untyped base
    """paramiko is told of no keys, so that every host is checked here."""

    def __init__(self, known: known_hosts.Known) -> None:
        self._known = known

    def missing_host_key(self, _client: Any, name: str, key: paramiko.PKey) -> None:
        if key in self._known.revoked:
            raise _UnknownKeyError(key, revoked=True)
        if key in self._known.keys:
            return
        if self._known.keys:
            raise paramiko.BadHostKeyException(name, key, self._known.keys[0])
        raise _UnknownKeyError(key, revoked=False)


class _Journey:
    """The way to one endpoint, over jump hosts if need be; what it opens is closed by ``held``."""

    def __init__(self, name: str, target: Target, held: contextlib.ExitStack) -> None:
        self._name = name
        self._target = target
        self._held = held
        self._complaints: IO[bytes] | None = None
        self._hops = 0
        try:
            self._config = fabric.Config(ssh_config=ssh_config.read(target.config), lazy=True)
        except (OSError, paramiko.SSHException) as error:
            remedy = f"Name a readable file as `config:` under `ssh:` of endpoint {name}."
            raise HostUnusable(name, f"the SSH configuration cannot be read: {error}.", remedy) from error

    def to(self, host: str, user: str | None, port: int | None, jumps: str | None = None) -> paramiko.Transport:
        """Connect to a host, itself or through ``jumps`` (``user@host:port,…``; None = as configured)."""
        hop = self._hop(host, user, port)
        facts = hop.ssh_config
        if jumps is None:
            jumps = facts.get("proxyjump", "")
        if jumps.split("@")[-1] in ("none", hop.host, hop.original_host):  # itself: `Host *` with a ProxyJump
            jumps = ""
        proxy = "" if jumps else facts.get("proxycommand", "none")
        try:
            hop.connect_kwargs = self._credentials(hop)
            hop.connect_kwargs["sock"] = self._socket(hop, jumps, "" if proxy == "none" else proxy)
            known = known_hosts.read(self._known_hosts(facts), _known_as(hop))
            hop.client.set_missing_host_key_policy(_OnlyKnown(known))
            hop.connect_kwargs["transport_factory"] = partial(_transport, known)
            self._held.callback(hop.close)
            hop.open()
        except (_UnknownKeyError, *_BROKEN, ValueError) as error:  # ValueError: a name or a key file that is none
            raise self._explained(error, hop, direct=not jumps and proxy == "none") from error
        hop.transport.set_keepalive(KEEPALIVE_S)
        return hop.transport

    def _hop(self, host: str, user: str | None, port: int | None) -> fabric.Connection:
        """Not connected yet, with what the SSH configuration says of it."""
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
                connect_timeout=CONNECT_S,
            )
            if not 0 < hop.port < 65536:
                raise ValueError(f"{hop.port} is no TCP port")
            return hop
        except (ValueError, paramiko.SSHException) as error:  # a port that is no number, a name that is not canonical
            message = f"the SSH configuration for {host} cannot be used: {error}."
            file = [] if self._target.config is None else ["-F", str(self._target.config)]
            remedy = f"Correct it; this shows what it says: {shlex.join(['ssh', *file, '-G', self._target.host])}"
            raise HostUnusable(self._name, message, remedy) from error

    def _credentials(self, hop: fabric.Connection) -> dict[str, Any]:
        anything = hop.ssh_config.get("identitiesonly", "no") != "yes"
        named = hop.connect_kwargs.get("key_filename", [])
        there = [file for file in named if Path(file).exists()]  # ssh passes over the others, too
        return {
            **hop.connect_kwargs,
            "key_filename": there if there or anything else named,
            "allow_agent": anything,
            "look_for_keys": anything,
            "banner_timeout": CONNECT_S,
            "auth_timeout": CONNECT_S,
            "channel_timeout": CONNECT_S,
        }

    def _known_hosts(self, facts: dict[str, str]) -> list[Path]:
        if self._target.known_hosts is not None:
            return [Path(self._target.known_hosts)]
        files = shlex.split(facts.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"))
        files += shlex.split(facts.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts"))
        return [Path(file).expanduser() for file in files]

    # --- sockets ---

    def _socket(self, hop: fabric.Connection, jumps: str, proxy: str) -> Any:
        if jumps:
            earlier, _, last = jumps.rpartition(",")
            transport = self.to(last, None, None, earlier or None)
            return transport.open_channel("direct-tcpip", (hop.host, hop.port), ("", 0), timeout=CONNECT_S)
        return self._proxy(proxy) if proxy else self._tcp(hop.host, hop.port)

    def _tcp(self, host: str, port: int) -> socket.socket:
        failure: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES
            )  # before connect: it goes into the SYN
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            sock.settimeout(CONNECT_S)
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                self._held.callback(sock.close)
                return sock
        raise failure or OSError("it has no address")

    def _proxy(self, command: str) -> socket.socket:
        """Run the user's ProxyCommand through a shell, as ssh does, on a socket pair, as ssh does."""
        ours, theirs = socket.socketpair()
        self._held.callback(ours.close)
        self._complaints = complaints = self._held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by _held
        with theirs:
            end = theirs.fileno()
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=end,
                stdout=end,
                stderr=complaints,
                process_group=0,  # Ctrl-C must not cut the way by which we leave the host
            )
        self._held.callback(_end, process)
        return ours

    # --- sentences ---

    def _explained(self, error: Exception, hop: fabric.Connection, direct: bool) -> HostUnusable:
        where = f"{hop.host} port {hop.port}"
        if hop.original_host != self._target.host:
            where = f"its jump host {where}"
        message, remedy = self._sentence(error, hop, where, direct)
        if self._complaints is not None:
            self._complaints.seek(0)
            said = self._complaints.read(4096).decode("utf-8", "replace").strip().splitlines()
            message += f" Its ProxyCommand said: {said[-1].rstrip('.')}." if said else ""
        return HostUnusable(self._name, message, remedy)

    def _sentence(self, error: Exception, hop: fabric.Connection, where: str, direct: bool) -> tuple[str, str]:
        by_hand = f"Try by hand: {shlex.join(self._ssh_command(hop))}"
        match error:
            case _UnknownKeyError():
                return self._unknown_key(error.key, error.revoked, hop, where, direct)
            case paramiko.BadHostKeyException():
                shown = _fingerprint(error.key)
                name = _known_as(hop)
                file = self._known_hosts(hop.ssh_config)[0]
                forget = shlex.join(["ssh-keygen", "-R", name, "-f", str(file)])
                return (
                    f"{where} shows another host key than the known one: {shown}.",
                    f"If the host was installed anew: {forget}; if not, somebody stands in between.",
                )
            case PasswordRequiredException():
                return f"the key for {where} has a passphrase.", "Load it into an agent first: ssh-add."
            case paramiko.BadAuthenticationType() if "publickey" not in error.allowed_types:
                words = f"{where} takes no keys, only {', '.join(sorted(error.allowed_types))}."
                return words, "Nobody is there to type a password: have it accept a key (PubkeyAuthentication)."
            case paramiko.AuthenticationException():
                return f"{where} does not let {hop.user} in with any of our keys.", by_hand
            case socket.gaierror():
                remedy = "Correct `host:`, or HostName in the SSH configuration."
                return f"the name {hop.host} cannot be resolved.", remedy
            case ConnectionRefusedError():
                return f"{where} refuses the connection.", "Is sshd running there, on this port?"
            case TimeoutError():
                return f"{where} does not answer within {CONNECT_S:.0f} s.", by_hand
            case FileNotFoundError():
                return f"a key file is missing: {error}.", "Correct IdentityFile in the SSH configuration."
            case _:
                return f"no SSH session with {where}: {str(error) or type(error).__name__}.", by_hand

    def _unknown_key(
        self, key: paramiko.PKey, revoked: bool, hop: fabric.Connection, where: str, direct: bool
    ) -> tuple[str, str]:
        file = self._known_hosts(hop.ssh_config)[0]
        if revoked:
            return f"the host key of {where} is marked @revoked: {_fingerprint(key)}.", "Do not trust this host."
        if direct:
            kind = key.get_name().removeprefix("ssh-")
            kind = "ecdsa" if kind.startswith("ecdsa") else kind
            command = f"ssh-keyscan -t {kind} -p {hop.port} {shlex.quote(hop.host)} >> {shlex.quote(str(file))}"
        else:
            options = ["-o", f"UserKnownHostsFile={file}", "-o", "StrictHostKeyChecking=ask"]
            command = shlex.join([*self._ssh_command(hop, options), "true"])
        return (
            f"the host key of {where} is not known: {_fingerprint(key)}.",
            f"Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub there), then: {command}",
        )

    def _ssh_command(self, hop: fabric.Connection, options: Sequence[str] = ()) -> list[str]:
        words = ["ssh", *options]
        if self._target.config is not None:
            words += ["-F", str(self._target.config)]
        if self._target.known_hosts is not None and not options:
            words += ["-o", f"UserKnownHostsFile={self._target.known_hosts}"]
        if hop.original_host == self._target.host and self._target.port is not None:
            words += ["-p", str(self._target.port)]
        if hop.original_host == self._target.host and self._target.user is not None:
            words += ["-l", self._target.user]
        return [*words, hop.original_host]


def _known_as(hop: fabric.Connection) -> str:
    return hop.ssh_config.get("hostkeyalias") or known_hosts.name_of(hop.host, hop.port)


def _transport(known: known_hosts.Known, sock: Any, **settings: Any) -> paramiko.Transport:
    """paramiko's, that asks for a key that we know."""
    transport = paramiko.Transport(sock, **settings)
    options = transport.get_security_options()
    options.key_types = known.first(options.key_types)
    return transport


def _fingerprint(key: paramiko.PKey) -> str:
    """As OpenSSH prints it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)  # a pipeline is more than one process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
            return
