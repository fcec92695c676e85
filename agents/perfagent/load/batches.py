"""Many packets by one system call: recvmmsg(2), of each packet its head, its length and the kernel's stamp.

Only the first bytes of a packet are copied (MSG_TRUNC still tells its length), and what is wanted of all of them is
read from the buffers in strides, at the speed of C: a million packets a second cost Python less than the kernel.
"""

from __future__ import annotations

import ctypes
import socket
from array import array
from typing import NamedTuple

from perfagent.load.packet import HALF_LANES, HEADER_BYTES, KIND_AT, LANES, NUMBER_AT, PHASE_AT, STAMP_AT, TOKEN_AT
from perfagent.wire import Code, Fault

MOST = 256
_CONTROL_BYTES = 64
_SO_TIMESTAMPNS = 35
_CMSG_BYTES = 16
"""Before the data, on every 64-bit Linux."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", _Msghdr), ("len", ctypes.c_uint)]


class Batch(NamedTuple):
    """Packets in the order in which they came; lists of the same length."""

    numbers: list[int]
    phases: list[int]
    kinds: list[int]
    sizes: list[int]
    """UDP payload, bytes."""
    places: list[int]
    """In the buffers, for the stamps."""


class Batches:
    """Reads the packets of one session from a socket that has its own stamps switched on by this."""

    def __init__(self, sock: socket.socket, token: int) -> None:
        """Raises Fault(PLATFORM) on a host that is not of 64 bits."""
        if ctypes.sizeof(ctypes.c_void_p) != 8:
            raise Fault(Code.PLATFORM, "this load needs a 64-bit host")
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._fd = sock.fileno()
        self._token = token
        self._heads = bytearray(MOST * HEADER_BYTES)
        self._control = bytearray(MOST * _CONTROL_BYTES)
        self._messages = (_Mmsghdr * MOST)()
        self._vectors = (_Iovec * MOST)()
        heads, control = _address(self._heads), _address(self._control)
        for i, (message, vector) in enumerate(zip(self._messages, self._vectors)):
            vector.base, vector.len = heads + i * HEADER_BYTES, HEADER_BYTES
            message.hdr.iov, message.hdr.iovlen = ctypes.addressof(vector), 1
            message.hdr.control = control + i * _CONTROL_BYTES
        wide, narrow = memoryview(self._heads).cast("Q"), memoryview(self._heads).cast("I")
        self._tokens, self._numbers = wide[TOKEN_AT::LANES], wide[NUMBER_AT::LANES]
        self._sent = memoryview(self._heads).cast("q")[STAMP_AT::LANES]
        self._phases, self._kinds = narrow[PHASE_AT::HALF_LANES], narrow[KIND_AT::HALF_LANES]
        stamps = memoryview(self._control).cast("q")
        self._seconds = stamps[_CMSG_BYTES // 8 :: _CONTROL_BYTES // 8]
        self._ns = stamps[_CMSG_BYTES // 8 + 1 :: _CONTROL_BYTES // 8]
        message_bytes = ctypes.sizeof(_Mmsghdr)
        raw = memoryview(self._messages).cast("B")
        self._sizes = raw.cast("I")[_Mmsghdr.len.offset // 4 :: message_bytes // 4]
        at = _Mmsghdr.hdr.offset + _Msghdr.controllen.offset
        self._room = raw.cast("Q")[at // 8 :: message_bytes // 8]
        self._fresh = memoryview(array("Q", [_CONTROL_BYTES] * MOST)).cast("B").cast("Q")
        self.foreign = 0
        """Packets that were none of this session."""

    def read(self) -> Batch | None:
        """What waits, up to MOST packets, and of these the session's own; None where nothing waits."""
        self._room[:] = self._fresh
        flags = socket.MSG_DONTWAIT | socket.MSG_TRUNC
        count = _libc.recvmmsg(self._fd, self._messages, MOST, flags, None)
        if count <= 0:
            return None
        tokens, sizes = self._tokens[:count].tolist(), self._sizes[:count].tolist()
        batch = Batch(
            self._numbers[:count].tolist(),
            self._phases[:count].tolist(),
            self._kinds[:count].tolist(),
            sizes,
            list(range(count)),
        )
        if tokens.count(self._token) == count and min(sizes) >= HEADER_BYTES:
            return batch
        good = [i for i in range(count) if tokens[i] == self._token and sizes[i] >= HEADER_BYTES]
        self.foreign += count - len(good)
        return Batch(*([column[i] for i in good] for column in batch))

    def stamps(self, place: int) -> tuple[int, int]:
        """(when the packet came by the kernel's clock, what its sender wrote), ns, Unix; of the last batch."""
        return self._seconds[place] * 1_000_000_000 + self._ns[place], self._sent[place]


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
