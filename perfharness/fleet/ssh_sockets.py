"""The sockets under SSH: our own, so that a ProxyCommand gets a real one and the segments of our TCP are clamped.

A path that loses large packets must not take the control channel with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile

USER_TIMEOUT_MS = 15_000
"""Unacknowledged keepalives for this long are a cut; without it TCP would go on trying for a quarter of an hour."""

SEGMENT_BYTES = 1200
"""With IPv6 and TCP headers below 1280 bytes, the least that any IPv6 path must carry (RFC 8200, section 5)."""


def tcp(host: str, port: int, patience_s: float) -> socket.socket:
    """Connected, to the first address that answers within ``patience_s``. Raises OSError."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)  # before connect: it goes into the SYN
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        sock.settimeout(patience_s)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure or OSError("it has no address")


class Proxy:
    """The user's ProxyCommand, run through a shell, as ssh does, on a socket pair, as ssh does."""

    def __init__(self, command: str) -> None:
        """``socket`` is our end. Raises OSError."""
        self.socket, theirs = socket.socketpair()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=end,
                stdout=end,
                stderr=self._complaints,
                process_group=0,  # Ctrl-C must not cut the way by which we leave the host
            )

    def last_words(self) -> str:
        """The last line of what it said on standard error."""
        self._complaints.seek(0)
        said = self._complaints.read(4096).decode("utf-8", "replace").strip().splitlines()
        return said[-1].rstrip(".") if said else ""

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)  # a pipeline is more than one process
            try:
                self._process.wait(2.0)
                break
            except subprocess.TimeoutExpired:
                continue
        self._complaints.close()
        self.socket.close()
