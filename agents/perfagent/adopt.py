"""The sockets of a child process, held by duplicates: pidfd_getfd(2), Linux 5.6.

iperf3 tells neither how big its receive buffers became nor what was dropped there, and both are gone when it
exits. A duplicate is the same socket: through it the buffer of UDP sockets is set, beyond ``rmem_max`` where
CAP_NET_ADMIN allows it and without touching any setting of the host, and the drops stay readable for as long
as the duplicate is held. A parent may do this to its child under the same user, also where ptrace is restricted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from pathlib import Path
from typing import Any

from perfagent import peerfilter, sockets, tcpinfo

_SYS_PIDFD_GETFD = 438
"""The same number on every architecture."""
_SO_RCVBUFFORCE = 33
_SO_ACCEPTCONN = 30

_PREFIX = "socket:["
_FAST_S, _USUAL_S, _SETTLED_S = 0.001, 0.005, 0.2
_SETTLING_S = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


class Adopted:
    """One data socket of the child."""

    def __init__(self, sock: socket.socket, inode: int) -> None:
        self.sock = sock
        self.inode = inode
        self.kind = "udp" if sock.type == socket.SOCK_DGRAM else "tcp"
        self.forced = False
        self._ends: dict[str, Any] = {}

    def ends(self) -> dict[str, Any]:
        """Addresses and ports, the peer's once there is one; remembered, since a closed connection has none."""
        if "peer" not in self._ends:
            local = self.sock.getsockname()
            self._ends.update(local=local[0], local_port=local[1])
            try:
                peer = self.sock.getpeername()
                self._ends.update(peer=peer[0], peer_port=peer[1])
            except OSError:
                pass  # not connected yet
        return self._ends

    def set_receive_buffer(self, size: int) -> str:
        """Ask for ``size`` bytes; the reason why it did not become as much, or empty.

        As for any program the kernel books twice that, for its own overhead, and that is what it reports.
        """
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        if self.receive_buffer() >= 2 * size:
            return ""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            return "above net.core.rmem_max, and only CAP_NET_ADMIN may exceed it"
        self.forced = True
        return ""

    def receive_buffer(self) -> int:
        """Bytes as the kernel books them."""
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def account(self) -> dict[str, Any]:
        """The row of this socket in the result."""
        row: dict[str, Any] = {"kind": self.kind, "inode": self.inode, **self.ends()}
        row["rcvbuf_bytes"] = self.receive_buffer()
        row["forced"] = self.forced
        if self.kind == "tcp":
            row["tcp"] = tcpinfo.read(self.sock)
        else:
            drops = sockets.receive_drops(self.sock)
            if drops is not None:
                row["drops"] = drops
        return row

    def state(self) -> dict[str, int | None]:
        """What a UDP socket dropped so far and what waits in it, for a row of ``sockets.jsonl``."""
        queued, drops = sockets.receive_queue_bytes(self.sock), sockets.receive_drops(self.sock)
        return {"inode": self.inode, "drops": drops, "queued_bytes": queued}


class Sockets:
    """Adopts the data sockets of one child as they appear; ``look`` again after ``pause_s``.

    Left out: a socket that listens, and the first TCP connection, which is iperf3's control connection
    (a duplicate of that one would keep the other end from seeing it close).
    """

    def __init__(self, pid: int, receive_buffer_bytes: int | None = None, only_peer: str | None = None) -> None:
        """``receive_buffer_bytes`` is for the UDP sockets; a TCP socket sizes its buffer itself.

        With ``only_peer`` the child's listener, and so its connections, hear nobody else, as far as this user may.
        """
        self._adopted: list[Adopted] = []
        self.control_peer: str | None = None
        self.clamps: list[dict[str, Any]] = []
        self.trouble = ""
        """Why no socket can be adopted here; empty as long as it works."""
        self._folder = Path(f"/proc/{pid}/fd")
        self._wanted = receive_buffer_bytes
        self._only_peer = only_peer
        self._known: set[str] = set()
        self._last_new_s = time.monotonic()
        try:
            self.pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError) as error:
            self.pidfd = -1
            self.trouble = f"pidfd_open: {error}"

    @property
    def data(self) -> list[Adopted]:
        """Those that have a peer: a UDP server of iperf3 also opens one for a stream that never comes."""
        return [each for each in self._adopted if "peer" in each.ends()]

    def close(self) -> None:
        for each in self._adopted:
            each.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)

    @property
    def pause_s(self) -> float:
        """A test sets up its sockets within milliseconds, then keeps them."""
        if self.trouble:
            return _SETTLED_S
        if self.control_peer is not None and time.monotonic() - self._last_new_s < _SETTLING_S:
            return _FAST_S
        return _SETTLED_S if self._adopted else _USUAL_S

    def look(self) -> None:
        """Adopt what is new."""
        if self.trouble:
            return
        for entry in sorted(self._entries(), key=int):
            link = _link(self._folder / entry)
            if link.startswith(_PREFIX) and link not in self._known:
                self._adopt(int(entry), link)

    def inodes(self) -> set[int]:
        """Of every socket that the child holds now."""
        links = (_link(self._folder / entry) for entry in self._entries())
        return {int(link[len(_PREFIX) : -1]) for link in links if link.startswith(_PREFIX)}

    def _entries(self) -> list[str]:
        try:
            return os.listdir(self._folder)  # noqa: PTH208 - several hundred times a second
        except OSError:
            return []  # it has exited

    def _adopt(self, number: int, link: str) -> None:
        copy = _libc.syscall(_SYS_PIDFD_GETFD, self.pidfd, number, 0)
        if copy < 0:
            self._refused(ctypes.get_errno())
            return
        sock = socket.socket(fileno=copy)
        inode = os.fstat(copy).st_ino
        role = self._role(sock)
        if role == "unknown" or link != f"socket:[{inode}]":
            sock.close()  # still connecting, or closed and opened again since the link was read: look again
            return
        self._known.add(link)
        if role != "other":
            self._last_new_s = time.monotonic()
        if role != "data":
            sock.close()
            return
        adopted = Adopted(sock, inode)
        self._adopted.append(adopted)
        if self._wanted is not None and adopted.kind == "udp":
            self._set_receive_buffer(adopted, self._wanted)

    def _role(self, sock: socket.socket) -> str:
        """``data``, ``control`` (remembers its peer), ``other`` or, before it is connected, ``unknown``."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return "other"
        if sock.type == socket.SOCK_DGRAM:
            return "data"
        if sock.getsockopt(socket.SOL_SOCKET, _SO_ACCEPTCONN):
            if self._only_peer is not None:
                peerfilter.only(sock, self._only_peer)
            return "other"
        if self.control_peer is not None:
            return "data"
        try:
            self.control_peer = sock.getpeername()[0]
        except OSError:
            return "unknown"
        return "control"

    def _set_receive_buffer(self, adopted: Adopted, size: int) -> None:
        why = adopted.set_receive_buffer(size)
        if why:
            got = adopted.receive_buffer() // 2
            self.clamps.append({"what": "receive_buffer_bytes", "asked": size, "got": got, "why": why})

    def _refused(self, code: int) -> None:
        """EBADF: closed meanwhile. ESRCH: exited. Anything else will not change any more."""
        if code not in (errno.EBADF, errno.ESRCH):
            self.trouble = f"pidfd_getfd: {os.strerror(code)}"


def _link(path: Path) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - several hundred times a second
    except OSError:
        return ""
