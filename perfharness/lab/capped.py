"""A session whose sockets keep the receive buffers they begin with: sshd's ForceCommand. Standard library only.

A filter on system calls (seccomp) answers setsockopt itself: SO_RCVBUF with success, as the kernel does for what is
beyond ``rmem_max``, and SO_RCVBUFFORCE with EPERM, as for a user without CAP_NET_ADMIN. Whatever the session starts
inherits it.
"""

import ctypes
import errno
import os
import platform
import pwd
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE, LEVEL, OPTION = 0, 4, 24, 32
"""Where in ``struct seccomp_data`` (linux/seccomp.h), on little-endian machines."""
SOL_SOCKET, SO_RCVBUF, SO_RCVBUFFORCE = 1, 8, 33
SETSOCKOPT = {"x86_64": (0xC000003E, 54), "aarch64": (0xC00000B7, 208)}
"""AUDIT_ARCH and number of the system call."""


def program(architecture: int, setsockopt: int) -> bytes:
    """Classic BPF; a jump says how many instructions to pass over if equal, and if not."""
    instructions = (
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 0, 7, architecture),
        (LOAD, 0, 0, NUMBER),
        (JUMP_EQUAL, 0, 5, setsockopt),
        (LOAD, 0, 0, LEVEL),
        (JUMP_EQUAL, 0, 3, SOL_SOCKET),
        (LOAD, 0, 0, OPTION),
        (JUMP_EQUAL, 2, 0, SO_RCVBUF),
        (JUMP_EQUAL, 2, 0, SO_RCVBUFFORCE),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO),
        (RETURN, 0, 0, ERRNO | errno.EPERM),
    )
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def cap() -> None:
    """From now on, for this process and all that it starts."""
    machine = platform.machine()
    if machine not in SETSOCKOPT:
        sys.exit(f"perfharness lab: small buffers cannot be played on {machine}.")
    code = program(*SETSOCKOPT[machine])
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) != 0:
        sys.exit(f"perfharness lab: no filter on system calls: {os.strerror(ctypes.get_errno())}.")


if __name__ == "__main__":
    cap()
    shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    command = os.environ.get("SSH_ORIGINAL_COMMAND")
    os.execv(shell, [shell, "-c", command] if command else [shell, "-l"])
