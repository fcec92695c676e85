"""What a run must say of each fault of the lab: the truth that `lab prove` holds verdicts and causes against.

A literal table. What surprises in it has a comment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from perfharness.lab.faults import Wish, option
from perfharness.model import Direction, Verdict

PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
FAILS = (FAIL,)
PASSES = (PASS,)
OF_A_HOST = (PASS, OPEN)
"""What a host does wrong leaves rows open, or does no harm at this rate; it never fails a circuit."""
AMBIENT = ("host-receive-buffer", "host-cpu", "clock-unsynchronised")
"""True of the machine that the lab runs on whenever its own counters say so, whatever fault is played."""
LOST = ("circuit-loss-random", "circuit-loss-burst", "loss-one-way", "unattributed-loss")
"""What may be said of lost packets beside the cause that says more."""
LOST_BOTH_WAYS = tuple(cause for cause in LOST if cause != "loss-one-way")
"""The same, where each direction loses as much as the other."""


MS = 1_000_000


class Expected(NamedTuple):
    """One fault with its parameters, and what is true of a run while it is on."""

    wish: Wish
    verdicts: tuple[Verdict, ...]
    """Any other of PASS and FAIL is false. INCONCLUSIVE never is: it leaves open what is true."""
    causes: tuple[str, ...] = ()
    """Any of them names the fault; none: nothing that was ordered is harmed, so nothing has to be named."""
    rows: tuple[str, ...] = ()
    """Of the checklist; the diagnosis that names the fault must lead to one of them."""
    also: tuple[str, ...] = ()
    """True as well: what it brings with it."""
    mild: bool = False
    """It need not do any harm at this rate: where the run is PASS, no cause is asked for."""
    bgp: bool = False
    """It needs a lab whose routers speak BGP."""

    @property
    def name(self) -> str:
        """The fault, and its parameters as they are typed: ``port-blocked --answer reset``."""
        asked = self.wish.to_json()
        return " ".join([asked.pop("name"), *(f"{option(key)} {_typed(key, value)}" for key, value in asked.items())])


def _typed(field: str, value: Any) -> str:
    if field.endswith("_ns"):
        return f"{value / MS:g}ms"
    return f"{value}B" if field.endswith("_bytes") else str(value)


class Case(NamedTuple):
    """Faults that are on together: one, two, or none."""

    parts: tuple[Expected, ...]
    also: tuple[str, ...] = ()
    """What is true of the two together and of neither alone."""

    @property
    def name(self) -> str:
        return " + ".join(part.name for part in self.parts) or HEALTHY

    @property
    def kind(self) -> str:
        return KINDS[len(self.parts)]

    @property
    def alone(self) -> tuple[Expected, ...]:
        """The fault, if it is the only one."""
        return self.parts if len(self.parts) == 1 else ()

    @property
    def bgp(self) -> bool:
        return any(part.bgp for part in self.parts)

    @property
    def verdicts(self) -> set[Verdict]:
        """A fault that fails a circuit fails it beside another one too, unless a host leaves its row open."""
        if not self.parts:
            return {PASS}
        told = {verdict for part in self.parts for verdict in part.verdicts}
        return told if all(PASS in part.verdicts for part in self.parts) else told - {PASS}

    @property
    def true_causes(self) -> set[str]:
        return {cause for part in self.parts for cause in (*part.causes, *part.also)} | {*self.also, *AMBIENT}


HEALTHY = "healthy"
KINDS = (HEALTHY, "singles", "pairs")
Z_A = Direction.Z_A

# --- every fault alone ------------------------------------------------------------------------

SINGLES: tuple[Expected, ...] = (
    # hosts
    Expected(Wish("host-slow-nic"), OF_A_HOST, ("host-nic-limit", "ecs-instance-limit"), mild=True),
    Expected(Wish("host-slow-nic", at="onprem-a"), OF_A_HOST, ("host-nic-limit",), mild=True),
    Expected(Wish("host-cpu"), OF_A_HOST, ("host-cpu",), mild=True),
    # 208 KiB hold 17 ms at this rate: a host that runs in time reads them out before that.
    Expected(Wish("host-small-buffers"), OF_A_HOST, ("host-receive-buffer", "tcp-window-too-small"), mild=True),
    # The path carries what was ordered; that the site sends more is a warning.
    Expected(Wish("host-nic-mtu"), PASSES, ("host-nic-mtu",), ("EC-032",)),
    Expected(Wish("host-nic-mtu", mtu=1300), OF_A_HOST, ("host-nic-mtu",), ("EC-032",)),
    # An agreed port that is not open fails, wherever the filter stands: nobody could use it.
    Expected(Wish("port-blocked"), FAILS, ("port-blocked",), ("EC-025",)),
    Expected(Wish("port-blocked", answer="reset"), FAILS, ("port-blocked",), ("EC-025",)),
    Expected(Wish("port-blocked", at="vbr-a", answer="prohibited"), FAILS, ("port-blocked",), ("EC-025",)),
    Expected(
        Wish("port-blocked", port=862, protocol="udp"),
        FAILS,
        ("port-blocked", "probes-filtered"),
        ("EC-025",),
        also=("port-blocked", "probes-filtered"),
    ),
    # No ping was ordered. What else a host or router does works.
    Expected(Wish("icmp-dropped"), OF_A_HOST),
    Expected(Wish("icmp-dropped", at="core"), OF_A_HOST),
    # the meter
    Expected(Wish("policed-below-order"), FAILS, ("policed-below-order",), ("EC-033",)),
    Expected(Wish("shaped-below-order"), FAILS, ("shaped-below-order",), ("EC-033",)),
    # UDP at the ordered rate passes, which is the contract; TCP's bursts do not. That is a warning.
    Expected(
        Wish("policer-small-burst", bucket_bytes=45_000),
        OF_A_HOST,
        ("policer-burst-too-small",),
        ("EC-033",),
        mild=True,
    ),
    # packets
    Expected(Wish("loss-random"), FAILS, ("circuit-loss-random",), ("EC-042",), also=LOST_BOTH_WAYS),
    Expected(Wish("loss-one-way"), FAILS, ("loss-one-way",), ("EC-042",), also=LOST),
    Expected(Wish("loss-one-way", direction=Z_A), FAILS, ("loss-one-way",), ("EC-042",), also=LOST),
    Expected(Wish("loss-burst"), FAILS, ("circuit-loss-burst",), ("EC-042",), also=LOST_BOTH_WAYS),
    Expected(Wish("delay"), FAILS, ("delay-above-objective",), ("EC-039",)),
    # Up to 10 ms more in a round trip is above the objective of the delay as well.
    Expected(Wish("jitter"), FAILS, ("jitter-above-objective",), ("EC-041",), also=("delay-above-objective",)),
    # Not ordered of any circuit, so a warning. What waits 1.5 ms is overtaken by the next packet of a beat of 1 ms.
    Expected(Wish("reordering", delay_ns=1_500_000), PASSES, ("reordering",), ("EC-044",)),
    Expected(Wish("duplication"), PASSES, ("duplication",), ("EC-044",)),
    Expected(Wish("corruption"), FAILS, ("corruption",), ("EC-042",), also=LOST_BOTH_WAYS),
    # The flow of the probes may be one of the bad member's.
    Expected(Wish("lag-member-bad"), FAILS, ("lag-member-bad",), ("EC-046",), also=LOST),
    Expected(Wish("mtu-low"), FAILS, ("mtu-below-plan",), ("EC-029",)),
    Expected(Wish("mtu-low", mtu=1439), FAILS, ("mtu-below-plan",), ("EC-029",)),
    Expected(Wish("mtu-black-hole"), FAILS, ("mtu-black-hole",), ("EC-030",)),
    Expected(Wish("mtu-black-hole", mtu=1387, direction=Z_A), FAILS, ("mtu-black-hole",), ("EC-030",)),
    Expected(Wish("dscp-rewrite"), PASSES, ("dscp-remarked",), ("EC-045",)),
    # the link
    Expected(Wish("vlan-mismatch"), FAILS, ("vlan-mismatch",), ("EC-013",), also=("far-host-unreachable",)),
    Expected(Wish("vlan-mismatch", vlan=2047), FAILS, ("vlan-mismatch",), ("EC-013",), also=("far-host-unreachable",)),
    Expected(Wish("link-down"), FAILS, ("link-down",), ("EC-011",), also=("far-host-unreachable",)),
    Expected(
        Wish("link-flap"),
        FAILS,
        ("link-flap",),
        ("EC-017",),
        also=("link-down", "far-host-unreachable", "missing-forward-route", *LOST),
    ),
    # Nothing tells a circuit that is cut behind a carrier's switch from a host that is gone, but that nobody answers.
    Expected(Wish("cut"), FAILS, ("far-host-unreachable",), ("EC-024",)),
    Expected(Wish("one-way-cut"), FAILS, ("far-host-unreachable", "loss-one-way"), also=("far-host-unreachable",)),
    # routes
    Expected(
        Wish("missing-forward-route"), FAILS, ("missing-forward-route",), ("EC-016",), also=("far-host-unreachable",)
    ),
    Expected(
        Wish("missing-forward-route", at="core"),
        FAILS,
        ("missing-forward-route",),
        ("EC-016",),
        also=("far-host-unreachable",),
    ),
    Expected(
        Wish("missing-forward-route", at="onprem-a"),
        FAILS,
        ("missing-forward-route",),
        ("EC-016",),
        also=("far-host-unreachable",),
    ),
    Expected(
        Wish("missing-return-route"), FAILS, ("missing-return-route",), ("EC-015",), also=("far-host-unreachable",)
    ),
    Expected(
        Wish("missing-return-route", at="vbr-a"),
        FAILS,
        ("missing-return-route",),
        ("EC-015",),
        also=("far-host-unreachable",),
    ),
    Expected(
        Wish("missing-return-route", at="ecs-a"),
        FAILS,
        ("missing-return-route",),
        ("EC-015",),
        also=("far-host-unreachable",),
    ),
    # the customer's own routers
    Expected(Wish("mss-clamp"), PASSES, ("mss-clamped",), ("EC-031",)),
    # What is lost before the circuit or behind it is none of the circuit's.
    Expected(Wish("lan-loss"), OF_A_HOST, ("lan-loss",)),
    Expected(Wish("ce-drop"), OF_A_HOST, ("ce-drop",), ("EC-048",)),
    # BGP
    Expected(
        Wish("bgp-as-mismatch"), FAILS, ("bgp-as-mismatch",), ("EC-018",), also=("far-host-unreachable",), bgp=True
    ),
    Expected(
        Wish("bgp-as-mismatch", at="ce-a"),
        FAILS,
        ("bgp-as-mismatch",),
        ("EC-018",),
        also=("far-host-unreachable",),
        bgp=True,
    ),
    Expected(
        Wish("bgp-port-blocked"), FAILS, ("bgp-port-blocked",), ("EC-019",), also=("far-host-unreachable",), bgp=True
    ),
    Expected(
        Wish("bgp-port-blocked", answer="reset"),
        FAILS,
        ("bgp-port-blocked",),
        ("EC-019",),
        also=("far-host-unreachable",),
        bgp=True,
    ),
    Expected(
        Wish("bgp-prefix-missing"),
        FAILS,
        ("bgp-prefix-missing",),
        ("EC-020",),
        also=("far-host-unreachable", "missing-forward-route"),
        bgp=True,
    ),
    Expected(
        Wish("bgp-prefix-missing", at="ce-a"),
        FAILS,
        ("bgp-prefix-missing",),
        ("EC-020",),
        also=("far-host-unreachable", "missing-return-route"),
        bgp=True,
    ),
    # One prefix too many harms nobody yet: a warning. A default route is another matter.
    Expected(Wish("bgp-prefix-leak"), PASSES, ("bgp-prefix-leak",), ("EC-020",), bgp=True),
    Expected(Wish("bgp-prefix-leak", prefix="0.0.0.0/0"), FAILS, ("bgp-prefix-leak",), ("EC-021",), bgp=True),
)

# --- two at a time ----------------------------------------------------------------------------

_OF = {each.name: each for each in SINGLES}


def _pair(one: str, other: str, *also: str) -> Case:
    return Case((_OF[one], _OF[other]), also)


PAIRS: tuple[Case, ...] = (
    _pair("vlan-mismatch", "loss-random"),
    _pair("link-down", "missing-return-route"),
    _pair("cut", "policed-below-order"),
    _pair("missing-forward-route", "missing-return-route"),
    _pair("missing-return-route", "mtu-black-hole"),
    _pair("port-blocked --answer reset", "missing-return-route --at ecs-a"),
    _pair("mtu-black-hole", "loss-random"),
    # The clamp is just what keeps TCP out of trouble there.
    _pair("mtu-low", "mss-clamp"),
    # The CE says nothing of what is too big for the circuit: that makes a low MTU a black hole.
    Case((_OF["mtu-low"], Expected(Wish("icmp-dropped", at="ce-a"), OF_A_HOST)), ("mtu-black-hole",)),
    _pair("policed-below-order", "loss-random"),
    _pair("policed-below-order", "delay"),
    _pair("policed-below-order", "host-small-buffers"),
    _pair("loss-burst", "jitter"),
    _pair("lag-member-bad", "loss-one-way"),
    _pair("host-cpu", "loss-random"),
    _pair("ce-drop", "loss-random"),
    _pair("lan-loss", "delay"),
    _pair("host-nic-mtu", "dscp-rewrite"),
    _pair("link-flap", "loss-random"),
    _pair("bgp-port-blocked", "loss-random"),
    _pair("bgp-prefix-missing", "mtu-low"),
)
"""Where one may hide the other, or be mistaken for it."""

CASES: tuple[Case, ...] = (*(Case((each,)) for each in SINGLES), *PAIRS, Case(()))


def by_name(asked: Iterable[str]) -> tuple[Case, ...]:
    """The cases of these names; that of a fault is the name of all its variants. KeyError names what is none."""
    found: list[Case] = []
    for name in asked:
        some = [case for case in CASES if name == case.name or name in [each.wish.name for each in case.alone]]
        if not some:
            raise KeyError(name)
        found += [case for case in some if case not in found]
    return tuple(found)
