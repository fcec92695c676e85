"""A socket that hears nobody but one peer, by a classic BPF program on it (socket(7)).

Packets of others are dropped before TCP or UDP sees them, so that a scanner finds silence, and cannot take the
only test that a one-shot iperf3 server serves. Connections inherit the program from their listener. Newer kernels
let only CAP_NET_ADMIN do so to a TCP socket: callers look at who connected as well.
"""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_NETWORK_HEADER = 0xFFF00000
"""SKF_NET_OFF: offsets count from the IP header, wherever the socket sees the packet."""
_SOURCE_OFFSET = {4: 12, 16: 8}
"""Of the source address in the IP header, by the address's length."""

_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_INSTRUCTION = struct.Struct("=HBBI")


def program(peer: str) -> bytes:
    """Accept what comes from this address, 4 or 16 bytes compared word by word; drop the rest."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    packed = socket.inet_pton(family, peer)
    words = struct.unpack(f"!{len(packed) // 4}I", packed)
    code = b""
    for number, word in enumerate(words):
        to_drop = 2 * (len(words) - number) - 1  # over the other words' instructions and the accept
        code += _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_OFFSET[len(packed)] + 4 * number)
        code += _INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, to_drop, word)
    return code + _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFFFFFF) + _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def only(sock: socket.socket, peer: str) -> bool:
    """From now on ``sock`` hears only ``peer``; False where this user may not have that. Raises OSError."""
    try:
        attach(sock, program(peer))
    except PermissionError:
        return False
    return True


def attach(sock: socket.socket, code: bytes) -> None:
    """Let ``sock`` hear only what this program accepts. Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
