"""Every exception of the coordinator: one exit code and one remedy each.

A user sees ``message`` and ``remedy``, never a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every verb."""

    PASS = 0
    FAIL = 1
    BAD_INPUT = 2
    INCONCLUSIVE = 3
    HARNESS = 4
    HOST = 5


def printable(text: str) -> str:
    """Without what moves a terminal's cursor or worse: part of our sentences is said by hosts."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


class PerfharnessError(Exception):
    """Base of all; ``message`` is one sentence, ``remedy`` says what to do."""

    exit_code = Exit.HARNESS

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = printable(message)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file of the user; ``line`` counts from 1, 0 = the whole file."""

    file: str
    line: int
    message: str
    remedy: str = ""
    row: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        row = f" [{self.row}]" if self.row else ""
        return f"{where}: {self.message}{row} {self.remedy}".rstrip()


class BadInput(PerfharnessError):
    """A file or an argument of the user cannot be used; carries all problems at once."""

    exit_code = Exit.BAD_INPUT

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Refused(PerfharnessError):
    """We will not do this: it could harm a circuit in service, or two runs would share a host."""

    exit_code = Exit.BAD_INPUT


class HostUnusable(PerfharnessError):
    """A host could not be reached, or lacks what a task needs."""

    exit_code = Exit.HOST

    def __init__(self, host: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{host}: {message}", remedy)
        self.host = host


def together(errors: Sequence[PerfharnessError]) -> PerfharnessError:
    """One error that names every host in trouble, a line each; the exit code is the first's."""
    first = errors[0]
    if len(errors) > 1:
        first.message, first.remedy = "\n".join(str(error) for error in errors), ""
    return first


class HostLost(HostUnusable):
    """The connection to a host ended in mid-run; its agent goes on under its lease."""


class AgentError(PerfharnessError):
    """The agent answered a request with a numbered error (``perfagent.wire.Code``)."""

    def __init__(self, host: str, code: int, message: str) -> None:
        super().__init__(f"{host}: {message}")
        self.host = host
        self.code = code


class EvidenceBroken(PerfharnessError):
    """A stored file is missing, altered, or of a format version that we do not know."""

    exit_code = Exit.BAD_INPUT


class ToolFailed(PerfharnessError):
    """A measuring program left output that cannot be used."""


class LabFault(PerfharnessError):
    """The lab could not be built, asked or taken down."""
