"""What is held against BGP's sessions before and after: nothing that touched one goes unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit, load_companion
from tests.integration.bgp_sessions import MESSAGES, Seen, slow_bfd, touched

ORDERS = Path(__file__).parents[2] / "scenarios" / "circuits"
UP = {"bgpState": "Established", "connectionsDropped": 0, "bgpTimerUpMsec": 1000, "lastResetDueTo": ""}
BEFORE = Seen({"ce-a 172.16.100.1": {**UP, **dict.fromkeys(MESSAGES, 1)}}, {"ce-a": "router bgp 65010\n"})


def later(**changes: Any) -> Seen:
    (name,) = BEFORE.sessions
    return replace(BEFORE, sessions={name: {**BEFORE.sessions[name], "bgpTimerUpMsec": 60_000, **changes}})


def test_sessions_that_stood_are_not_named() -> None:
    """Up for longer, and all else as it was: nothing is to be said."""
    assert touched(BEFORE, later()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"bgpState": "Idle", "bgpTimerUpMsec": 0},
        {"connectionsDropped": 1},
        {"bgpTimerUpMsec": 900},
        {"lastResetDueTo": "BFD down received"},
        *({name: 2} for name in MESSAGES),
    ],
    ids=str,
)
def test_each_sign_of_a_touch_is_named(changes: dict[str, Any]) -> None:
    """A session that fell, came back, or was talked to in another way than by keepalives is named."""
    (said,) = touched(BEFORE, later(**changes))
    assert said.startswith("ce-a 172.16.100.1: ")


def test_a_session_that_never_was_up_is_no_proof() -> None:
    """Down before and after alike, it would show nothing."""
    down = {**next(iter(BEFORE.sessions.values())), "bgpState": "Active"}
    before = replace(BEFORE, sessions={"ce-a 172.16.100.1": down})
    after = replace(BEFORE, sessions={"ce-a 172.16.100.1": {**down, "bgpTimerUpMsec": 60_000}})
    assert touched(before, after) == ["ce-a 172.16.100.1: was never up"]


def test_a_session_or_a_line_of_configuration_that_came_or_went_is_named() -> None:
    """No session may be missing, none new, and no router set."""
    assert touched(BEFORE, replace(BEFORE, sessions={})) == ["ce-a 172.16.100.1: seen once only"]
    assert touched(replace(BEFORE, sessions={}), later()) == ["ce-a 172.16.100.1: seen once only"]
    set_anew = replace(later(), configurations={"ce-a": "router bgp 65011\n"})
    assert touched(BEFORE, set_anew) == ["ce-a: another configuration"]


@pytest.mark.parametrize("name", ["lab-production", "lab-pairs", "lab-prove-bgp"])
def test_orders_get_timers_that_outlast_a_busy_machine(name: str, tmp_path: Path) -> None:
    """Both circuits of a pair, and one that orders no BFD: ten seconds each, and nothing else is changed."""
    order = load_circuit(slow_bfd(ORDERS / f"{name}.yaml", tmp_path))
    spec = LabSpec.from_circuit(order, load_companion(order), bgp=True)
    for circuit in spec.circuits.values():
        assert circuit.bgp is not None
        assert (circuit.bgp.tx_ns, circuit.bgp.multiplier) == (1_000_000_000, 10)
    assert [path.name for path in tmp_path.glob("*-b.yaml")] == (["lab-production-b.yaml"] if spec.second else [])
