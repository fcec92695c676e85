"""Ctrl-C, and whoever ends us from outside: an interrupt that is neither lost nor does harm where it comes.

Python raises it between any two instructions. In the midst of an import it leaves half a module, or a library takes
what it looked for as missing and goes on; in what the garbage collector calls it is printed with a traceback and
forgotten. There it waits for a moment and comes again. Where something of ours would be left on a host it waits longer.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 0.01
IMPORTING = "<frozen importlib."
"""How the files begin that Python's import is said to be in."""


_says = ""
"""While interrupts wait: what is said to the first."""
_waiting = False


class Interrupted(KeyboardInterrupt):
    """A kind of its own: where a plain one passes through ``exec``, Python ends by SIGINT in spite of who caught it."""


def heed() -> None:
    """From now on who ends us, or closes the terminal, means what Ctrl-C means: leave the hosts, keep what was
    measured. What we were started to ignore (SIGHUP under nohup) stays ignored."""
    for number in ENDINGS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)
    sys.unraisablehook = _lost


def ignore() -> None:
    """From now on nothing interrupts: all is said, and the exit code stands."""
    for number in (*ENDINGS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held(says: str) -> Iterator[None]:
    """An interrupt waits until the block is over, and this sentence is said; a second one does not wait."""
    global _says, _waiting
    if _says:  # the block around this one
        yield
        return
    _says = says
    try:
        yield
    finally:
        waited, _waiting, _says = _waiting, False, ""
        if waited:
            raise Interrupted


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _waiting
    if number == signal.SIGHUP:
        for descriptor in (1, 2):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # the terminal that is gone: writing to it would fail
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORTING):
            _again()
            return
        frame = frame.f_back
    if _says and not _waiting:
        _waiting = True
        os.write(2, f"{_says} Interrupt again to go at once.\n".encode())
        return
    raise Interrupted


def _lost(error: sys.UnraisableHookArgs) -> None:
    if issubclass(error.exc_type, Interrupted):
        _again()
    else:
        sys.__unraisablehook__(error)


def _again() -> None:
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
