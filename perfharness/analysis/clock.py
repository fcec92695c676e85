"""Clocks of two hosts: what they claim, when one was set, and whose claim rests on the path that is tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np

from perfharness.analysis.statistics import Bools, Ints

STEP_NS = 100_000
"""Slewing moves both clocks alike; a smaller change of their difference is the jitter of reading them."""
IN_FLIGHT_NS = 2_000_000_000
"""How long before a step a packet may have been sent that it still disturbs; later replies are lost ones."""
PHI = 15e-6
"""How fast an undisciplined clock may drift between two looks at its daemon (RFC 5905 section 7.2)."""


@dataclass(frozen=True, slots=True)
class Step:
    """Somebody set the clock forward by ``size_ns``, between two readings of CLOCK_MONOTONIC."""

    after_ns: int
    before_ns: int
    size_ns: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A host's clock is within ``error_ns`` of UTC, says its daemon; None when nobody says so, and why."""

    error_ns: int | None
    reason: str


def steps(clock: Ints) -> tuple[Step, ...]:
    """Steps in (k, 2) readings of CLOCK_MONOTONIC and Unix time taken together."""
    mono, unix = clock[:, 0], clock[:, 1]
    jumps = np.diff(unix - mono)
    return tuple(
        Step(int(mono[at]), int(mono[at + 1]), int(jumps[at])) for at in np.flatnonzero(np.abs(jumps) > STEP_NS)
    )


def disturbed(due_ns: Ints, clock: Ints) -> Bools:
    """Which packets, due at these CLOCK_MONOTONIC times, may have been under way while the clock stepped."""
    found = steps(clock)
    return segments(due_ns, found) < 0 if found else np.zeros(len(due_ns), np.bool_)


def segments(due_ns: Ints, found: Sequence[Step]) -> Ints:
    """(n,) the stretch between steps that each packet belongs to, from 0; -1 when one may have come meanwhile."""
    index = np.zeros(len(due_ns), np.int64)
    hit = np.zeros(len(due_ns), np.bool_)
    for step in found:
        index += due_ns > step.before_ns
        hit |= (due_ns >= step.after_ns - IN_FLIGHT_NS) & (due_ns <= step.before_ns)
    index[hit] = -1
    return index


def steps_abroad(clock: Ints, t2_ns: Ints, due_ns: Ints) -> tuple[Step, ...]:
    """The reflector's steps in the sender's CLOCK_MONOTONIC.

    ``clock``: readings as for :func:`steps`, from before the first to after the last packet. ``t2_ns`` (n,): when
    packets arrived, by the reflector's clock; ``due_ns`` (n,): when they were due, by the sender's CLOCK_MONOTONIC.
    Between two steps an arrival leads to the reflector's CLOCK_MONOTONIC, and what that is ahead of the sender's
    is the same for all packets but for their delay. A clock that is set back shows some times twice: the wrong
    readings of these are wrong by the step, either way, and the median passes them by. Exact to the delay and, for
    clocks that are set back during most of a stream, the step: hence the margins of :func:`segments`.
    """
    found = steps(clock)
    if not found or not len(t2_ns):
        return found
    starts = [int(clock[0, 0]), *(step.before_ns for step in found)]
    ends = [*(step.after_ns for step in found), int(clock[-1, 0])]
    ahead = []
    for start_ns, end_ns in zip(starts, ends, strict=True):
        first = int(np.searchsorted(clock[:, 0], start_ns))
        mono_ns = t2_ns - int(clock[first, 1] - clock[first, 0])
        ahead.append((mono_ns - due_ns)[(mono_ns >= start_ns) & (mono_ns <= end_ns)])
    readings = np.sort(np.concatenate(ahead))
    if not len(readings):
        return ()
    shift = int(readings[len(readings) // 2])
    return tuple(Step(step.after_ns - shift, step.before_ns - shift, step.size_ns) for step in found)


def claim(states: Sequence[tuple[int, Mapping[str, Any]]], clock: Ints) -> Claim:
    """How far a clock may be off, from what its daemon said: (CLOCK_MONOTONIC ns, state of ``perfagent.clock``).

    The largest root distance, and what the clock may drift while nobody asks. Nothing is claimed unless every state
    has a bound by the same daemon, from before the readings ``clock`` (as for :func:`steps`) to after them, and no
    step in them is larger than two such clocks can differ.
    """
    if not len(clock) or not states or states[0][0] > clock[0, 0] or states[-1][0] < clock[-1, 0]:
        return Claim(None, "its state was not recorded from before the packets to after them")
    for _, state in states:
        if state.get("synchronised") is not True or state.get("root_distance_ns") is None:
            why = f" ({state['reason']})" if state.get("reason") else ""
            return Claim(None, f"it is not synchronised with a known bound{why}")
    if len({state.get("source") for _, state in states}) > 1:
        return Claim(None, "another daemon took it over meanwhile")
    longest_ns = int(np.diff([mono_ns for mono_ns, _ in states]).max(initial=0))
    error_ns = max(int(state["root_distance_ns"]) for _, state in states) + int(PHI * longest_ns)
    largest_ns = max((abs(step.size_ns) for step in steps(clock)), default=0)
    if largest_ns > 2 * error_ns:
        return Claim(None, f"it was set by {largest_ns / 1e6:.3f} ms although it claimed to be nearer than that")
    return Claim(error_ns, f"it is within {error_ns / 1e6:.3f} ms by the root distance of {states[0][1]['source']}")


def through(states: Sequence[Mapping[str, Any]], interface: str, near: Sequence[str], far: Sequence[str]) -> str:
    """Whether a clock follows a reference on the other side of the circuit: "yes", "perhaps", "no", or "unknown".

    ``near`` and ``far``: prefixes on this host's side and on the other one; the longest one that holds the address
    says where it is. "perhaps": in neither, but reached over the tested ``interface``. A card or a receiver of the
    host's own has no address, and is no.
    """
    answers = {_through(state, interface, near, far) for state in states}
    return next((word for word in ("yes", "perhaps", "unknown") if word in answers), "no" if answers else "unknown")


def _through(state: Mapping[str, Any], interface: str, near: Sequence[str], far: Sequence[str]) -> str:
    address = state.get("address")
    if address is None:
        return "unknown" if state.get("source") in ("ptp", "unknown") or not state.get("reference") else "no"
    host = ip_address(address)
    lengths = [max((net.prefixlen for net in map(ip_network, side) if host in net), default=-1) for side in (near, far)]
    if max(lengths) >= 0:
        return "yes" if lengths[1] > lengths[0] else "no"
    route = state.get("route")
    if route is None:
        return "unknown"
    return "perhaps" if route.get("interface") == interface else "no"
