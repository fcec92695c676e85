"""What signs the packets of a stream. The key comes on standard input, so that it is in no argument list, no
specification and no result."""

from __future__ import annotations

import sys

from perfagent.stamp.packet import OPEN, Form, digest
from perfagent.wire import MAX_SECRET, Code, Fault

UNSIGNED, AUTHENTICATED, EXTENSIONS = "unsigned", "authenticated", "extensions"
"""What a key signs: nothing, the base packets and their extensions, or the extensions of open base packets."""


def form_of(signed: str) -> tuple[Form, bytes | None]:
    """The form of the base packets, and a key for extensions alone. Reads the key. Raises Fault(BAD_ARGUMENT)."""
    if signed == UNSIGNED:
        return OPEN, None
    if signed not in (AUTHENTICATED, EXTENSIONS):
        raise Fault(Code.BAD_ARGUMENT, f"a key signs nothing that is called {signed!r:.40}")
    key = read_key()
    digest(key, b"")  # what it needs is loaded now, and not while the first packet waits
    return (Form(key), None) if signed == AUTHENTICATED else (OPEN, key)


def read_key() -> bytes:
    """The key of this job, once. Raises Fault(BAD_ARGUMENT) for none, or one that is too long."""
    key = sys.stdin.buffer.read(MAX_SECRET + 1)
    if not 1 <= len(key) <= MAX_SECRET:
        raise Fault(Code.BAD_ARGUMENT, f"a key has 1 to {MAX_SECRET} bytes; it comes on standard input")
    return key
