"""Who does something to the circuit in a scenario: a command where perfharness runs, or a person at its terminal."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from perfharness.model import Act
from perfharness.order.units import Duration
from perfharness.order.validation import Strict
from perfharness.order.values import Text
from perfharness.order.wrong import wrong

COMMAND_S, PERSON_S = 60.0, 300.0
"""How long a hook may take unless it says otherwise."""


class Hook(Strict):
    """Who does something to the circuit."""

    command: tuple[Text, ...] = Field(default=(), examples=["[./cut-circuit-a.sh]"])
    """A program and its arguments, run here, without a shell."""
    ask: Text | None = Field(default=None, examples=["Pull the fibre of circuit A, then press Enter."])
    """What a person at the terminal is asked to do."""
    within_ns: Duration | None = Field(default=None, alias="within", gt=0)
    """How long that may take; a minute for a command, five for a person."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.command) == bool(self.ask):
            raise wrong("A hook is a command or asks a person.", "Write `command: [program, argument]` or `ask:`.")
        return self

    @property
    def within_s(self) -> float:
        usual = COMMAND_S if self.command else PERSON_S
        return usual if self.within_ns is None else self.within_ns / 1e9

    def act(self, name: str, after_ns: int, **more: Any) -> Act:
        """As a task has it done."""
        return Act(name, after_ns / 1e9, tuple(self.command), self.ask or "", self.within_s, **more)


class Without(Strict):
    """A circuit that is taken away before a step, and given back after it: what the other one carries alone."""

    cut: Hook
    """What takes the circuit away."""
    restore: Hook
    """What gives it back; done also when the run fails or is interrupted."""
    settle_ns: Duration = Field(default=10_000_000_000, alias="settle", le=600_000_000_000)
    """How long all traffic may need to find the other way."""

    @property
    def acts(self) -> tuple[Act, Act]:
        """Around each task of the step."""
        return (
            self.cut.act("cut", self.settle_ns, around=True),
            self.restore.act("restore", 0, around=True, undoes=True),
        )
