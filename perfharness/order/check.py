"""What a rule says about an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from perfharness.model import Verdict
from perfharness.order.circuit import Circuit
from perfharness.order.document import KeyPath

FAIL, WARN = Verdict.FAIL, Verdict.WARN


@dataclass(frozen=True, slots=True)
class Check:
    """What a row of the checklist says about the order as it was declared."""

    row: str
    verdict: Verdict
    message: str
    remedy: str = ""
    path: KeyPath = ()
    """Where in the circuit's file."""
    mandatory: bool = False
    """Without an answer the run cannot pass, though it is no slip of the order."""


Rule: TypeAlias = Callable[[Circuit], Iterator[Check]]
"""Yields what it has to complain about."""
