"""What is done to the circuit while a task is measured, such as a cut: by a command here, or by a person who is asked.

What was done is put back, however the task ends: at its time, or as soon as it fails, is interrupted or a host is lost;
and where this process itself is killed by another one, which waits for nothing else.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from perfharness import interrupt
from perfharness.errors import Refused, printable
from perfharness.model import Act, Task

MOST_OUTPUT = 4000
"""Characters of what a command says that are kept."""
LOOK_S = 0.1
RESTORING = "What was done to the circuit must be put back first."
KILL_S = 5.0

_LAST_HAND = """
import json, os, signal, subprocess, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if not os.read(0, 1):
    for argv in json.loads(sys.argv[1]):
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
"""
"""A program of its own: puts back when whoever started it is gone without a word."""


def refuse_unasked(tasks: Sequence[Task]) -> None:
    """Raises Refused for tasks that ask a person where nobody can be asked."""
    asking = dict.fromkeys(task.step for task in tasks if any(act.ask for act in task.acts))
    if asking and not sys.stdin.isatty():
        said = f"{', '.join(asking)}: a person is asked to cut the circuit, and there is no terminal to ask at."
        raise Refused(said, "Run it at a terminal, or write `command:` in place of `ask:`.")


class Acting:
    """The acts of one task, one after the other in a thread of their own while the block runs.

    ``rows``: what was done, ``{"id", "command" | "ask", "started_ns", "ended_ns", "done", "exit_code", "output",
    "trouble"}`` by our clock; of a person ``ended_ns`` is when Enter was pressed.
    """

    def __init__(self, task: Task, say: Callable[[str], None]) -> None:
        self._acts, self._settle_s, self._say = task.acts, task.settle_s, say
        self.rows: list[dict[str, Any]] = []
        self.trouble = ""
        """Why something could not be done, or not be put back; a sentence."""
        self._left, self._over = threading.Event(), threading.Event()
        self._done_something = self._put_back = False
        self._thread = threading.Thread(target=self._play, name="acts", daemon=True)
        self._last_hand: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """What is to be done before all else is done, or ``trouble`` says why not."""
        try:
            for act in self._acts:
                if act.around and not act.undoes and self._do(act):
                    self._left.wait(act.after_s)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def begin(self) -> None:
        """The drivers were started."""
        if any(not act.around for act in self._acts):
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        with interrupt.held(RESTORING):
            if self._thread.ident is not None:
                self._thread.join()
            for act in self._acts:
                if act.undoes and self._done_something and not self._put_back:
                    self._do(act)
            self._release()

    def over(self) -> bool:
        """Once: all is done, or something went wrong, and the drivers need not go on."""
        if not self._over.is_set():
            return False
        self._over.clear()
        return True

    def _play(self) -> None:
        for act in self._acts:
            if act.around:
                continue
            if self._left.wait(act.after_s):
                return
            if not self._do(act):
                break
        else:
            self._left.wait(self._settle_s)
        self._over.set()

    def _do(self, act: Act) -> bool:
        """Whether it was done; notes it either way."""
        if not act.undoes:
            self._stand_by()
            self._done_something = True
        started_ns = time.time_ns()
        told = self._ask(act) if act.ask else _run(act)
        row = {"id": act.id, "started_ns": started_ns, "ended_ns": time.time_ns(), **told}
        self.rows.append(row)
        if act.undoes:
            self._put_back = bool(row["done"])
        if not row["done"] and not self.trouble:
            what = f"{act.id} was not done: {row['trouble']}"
            self.trouble = what + (". The circuit may still be cut." if act.undoes else ".")
        return bool(row["done"])

    # --- a person

    def _ask(self, act: Act) -> dict[str, Any]:
        """Until Enter is pressed; when the task is over there is only the request left."""
        self._say(act.ask)
        with suppress(termios.error, OSError, ValueError):  # what was typed before is no answer
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
        until, answered = time.monotonic() + act.deadline_s, None
        while answered is None and not self._left.is_set() and time.monotonic() < until:
            answered = _entered()
        gone = self._left.is_set() and act.undoes
        trouble = "" if answered or gone else f"nobody pressed Enter within {act.deadline_s:g} s"
        return {"ask": act.ask, "done": answered or gone, "answered": bool(answered), "trouble": trouble}

    # --- whoever is left when we are killed

    def _stand_by(self) -> None:
        """A process that puts back when this one is gone without a word."""
        undo = [list(act.command) for act in self._acts if act.undoes and act.command]
        if undo and self._last_hand is None:
            argv = [sys.executable, "-IS", "-c", _LAST_HAND, json.dumps(undo)]
            self._last_hand = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)

    def _release(self) -> None:
        """All is put back, or was tried."""
        hand = self._last_hand
        if hand is not None and hand.stdin is not None:
            with suppress(OSError):
                hand.stdin.write(b".")
                hand.stdin.close()
            hand.wait()


def _entered() -> bool | None:
    """Whether Enter was pressed: False when the terminal has gone, None when nothing came for a moment."""
    try:
        return bool(sys.stdin.readline()) if select.select([sys.stdin], [], [], LOOK_S)[0] else None
    except (OSError, ValueError):
        return False


def _run(act: Act) -> dict[str, Any]:
    """A command in a session of its own, so that Ctrl-C at our terminal does not end it half-way."""
    told: dict[str, Any] = {"command": list(act.command), "done": False, "exit_code": None, "output": ""}
    try:
        process = subprocess.Popen(
            act.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return {**told, "trouble": f"{act.command[0]} cannot be run: {error.strerror}"}
    trouble = ""
    try:
        output, _ = process.communicate(timeout=act.deadline_s)
    except subprocess.TimeoutExpired:
        trouble = f"{act.command[0]} had not ended after {act.deadline_s:g} s"
        output = _killed(process)
    said = printable(output.decode(errors="replace"))[-MOST_OUTPUT:]
    if not trouble and process.returncode:
        last = said.strip().splitlines()[-1:] or ["it says nothing"]
        trouble = f"{act.command[0]} ended with exit code {process.returncode}: {last[0].rstrip('.')}"
    return {**told, "done": not trouble, "exit_code": process.returncode, "output": said, "trouble": trouble}


def _killed(process: subprocess.Popen[bytes]) -> bytes:
    """What it had said until then, with all that it had started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=KILL_S)[0]
    except subprocess.TimeoutExpired:  # somebody else holds its output
        return b""
