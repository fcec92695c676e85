"""An open SSH connection to a host: programs run over it, and none of its waits lasts for ever."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence

import paramiko

from perfharness.errors import HostLost, HostUnusable

CONNECT_S = 10.0
"""For each step of connecting: TCP, banner, key exchange, authentication."""

IO_S = 15.0
"""How long a blocked read or write waits before somebody looks why."""

FEED_S = 60.0
"""For sending the agent, less than a megabyte."""

NO_COMMANDS = "Use an account whose shell and sshd settings (ForceCommand, command=) allow commands."

BROKEN = (paramiko.SSHException, OSError, EOFError)
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
        except BROKEN as error:
            if not channel.get_transport().is_active():
                raise HostLost(self._name, f"it does not run a command within {CONNECT_S:.0f} s.") from error
            raise HostUnusable(self._name, "it lets us in but refuses to run a command.", NO_COMMANDS) from error
        # When it does not take all, it has ended early: what it printed says why, and is read next.
        with contextlib.suppress(*BROKEN), self._deadline(FEED_S):
            channel.sendall(feed)
        return channel

    def shell(self, term: str, width: int, height: int) -> paramiko.Channel:
        """An interactive shell, for what has no programs to run. Raises HostLost, HostUnusable."""
        channel = self._session()
        try:
            with self._deadline(CONNECT_S):
                channel.get_pty(term, width, height)
                channel.invoke_shell()
        except BROKEN as error:
            raise HostUnusable(self._name, "it lets us in but refuses a shell.", NO_COMMANDS) from error
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
        except BROKEN as error:
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
