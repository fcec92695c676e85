"""The CE over a real sshd: what `check` says of it, and that its agent leaves."""

from __future__ import annotations

from typing import Any

import pytest

from perfharness.errors import HostUnusable
from perfharness.fleet.hosts import Fleet
from perfharness.order.circuit import Ce, Ssh
from perfharness.preflight import must_be_readable


def router(wan: str) -> Ce:
    return Ce(name="host-a", ssh=Ssh(host="host-a"), lan="lo", wan=wan)


def test_a_router_whose_counters_can_be_read(known: Any, sandbox: Any) -> None:
    """Both interfaces are read by the agent's own method, and nothing is left."""
    with Fleet([known], "check-1", 30.0) as fleet:
        must_be_readable(fleet["host-a"], router("lo"))
    assert fleet.left_behind == {}
    sandbox.await_nothing_left()


def test_an_interface_that_it_does_not_have_is_named(known: Any, sandbox: Any) -> None:
    """One sentence with the line of the circuit file that is wrong."""
    with Fleet([known], "check-1", 30.0) as fleet, pytest.raises(HostUnusable) as unusable:
        must_be_readable(fleet["host-a"], router("eth9"))
    assert str(unusable.value) == "host-a: there is no interface eth9. Correct `wan:` of the CE."
    sandbox.await_nothing_left()
