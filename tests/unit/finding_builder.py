"""Findings made up for the report's tests: a row of every kind, at the ordered rate or a share of it."""

from __future__ import annotations

from typing import Any

from perfharness.model import Direction, Finding, Interval, Layer, Scope, Verdict
from tests.unit.measurement_builder import A_Z, CIRCUIT_ID, Z_A, scope, sender


def file(task: str, job: str, name: str = "result.json") -> str:
    return f"raw/{task}/{job}/{name}"


def findings(share: float) -> tuple[Finding, ...]:
    return (*_declared(), *_rates(share), *_delays(), *_losses(share), *_open())


def _one(
    metric: str, statistic: str, direction: Direction | None, unit: str, value: Any, row: str, **more: Any
) -> Finding:
    load = more.pop("load", "idle")
    name = f"{metric}.{statistic}.{direction.value if direction else 'none'}.{load}".replace(" ", "-")
    verdict, reason = more.pop("verdict", Verdict.PASS), more.pop("reason", "")
    if "operator" not in more and verdict is Verdict.PASS:
        verdict, reason = Verdict.NOT_APPLICABLE, "Reported; nothing was required of it."
    return Finding(
        id=name,
        metric=metric,
        statistic=statistic,
        scope=scope(direction, load),
        unit=unit,
        value=value,
        verdict=verdict,
        reason=reason,
        checklist=(row,),
        **more,
    )


def _declared() -> tuple[Finding, ...]:
    exact = Interval(1500, 1500, 1.0, "exact", "search with DF")
    return (
        _declaration("EC-003", Verdict.PASS, "LAN, VPC, link and 100.64.0.0/10 do not overlap."),
        _declaration("EC-005", Verdict.PASS, "Each link has two usable addresses of one subnet, /24 to /30."),
        _declaration(
            "EC-050",
            Verdict.WAIVED,
            "The order names no second circuit. WARN, waived by Head of Networks until "
            "2027-09-30: the second circuit is ordered for the third quarter.",
        ),
        _declaration("EC-060", Verdict.WARN, "The tag CostCenter is missing."),
        *(
            _one(
                "path",
                "reachable",
                way,
                "1",
                1.0,
                "EC-024",
                n=100,
                operator=">=",
                threshold=0.95,
                mandatory=True,
                origin="scenario smoke",
                interval=Interval(0.9705, 1.0, 0.95, "one", "Clopper–Pearson", 100),
                evidence=(file(f"path-{way}", f"{sender(way)}.ping"),),
            )
            for way in (A_Z, Z_A)
        ),
        *(
            _one(
                "pmtu",
                "largest",
                way,
                "B",
                1500,
                "EC-029",
                n=72,
                operator=">=",
                threshold=1500,
                mandatory=True,
                origin="order: objective PMTU",
                interval=exact,
                evidence=(file(f"pmtu-{way}", f"{sender(way)}.search"),),
            )
            for way in (A_Z, Z_A)
        ),
    )


def _declaration(row: str, verdict: Verdict, reason: str) -> Finding:
    """As the judge words what the circuit file itself answers."""
    return Finding(
        id=f"declared-{row}",
        metric="portspec",
        statistic="declared",
        scope=Scope(CIRCUIT_ID),
        unit="",
        value=None,
        verdict=verdict,
        reason=reason,
        checklist=(row,),
        origin="circuit file",
        mandatory=verdict is Verdict.FAIL,
        evidence=("order/circuit.yaml",),
    )


def _rates(share: float) -> tuple[Finding, ...]:
    udp = {A_Z: 0.9973e9 * share, Z_A: 0.9969e9 * share}
    tcp = {A_Z: udp[A_Z] * 0.958, Z_A: udp[Z_A] * 0.941}
    return tuple(
        row for way in (A_Z, Z_A) for row in (_udp_rate(way, udp[way], share < 0.99), _tcp_rate(way, tcp[way]))
    )


def _udp_rate(way: Direction, rate: float, failed: bool) -> Finding:
    return _one(
        "throughput.udp",
        "mean",
        way,
        "bit/s",
        rate,
        "EC-033",
        n=10,
        load="udp",
        layer=Layer.L2,
        operator=">=",
        threshold=0.995e9,
        origin="99.5 % of order: bandwidth of vbr-bp1example",
        mandatory=True,
        interval=Interval(rate * 0.9992, rate * 1.0006, 0.95, "one", "Student's t, autocorrelation", 10),
        verdict=Verdict.FAIL if failed else Verdict.PASS,
        reason=f"{rate / 1e6:.1f} Mbit/s arrive; the sender's interface transmitted the ordered rate and neither host "
        "dropped anything."
        if failed
        else "",
        evidence=(
            file(f"udp-{way}", "onprem.iperf3", "iperf3.json"),
            file(f"udp-{way}", "ecs.iperf3", "iperf3.json"),
            file(f"udp-{way}", "ecs.counters", "counters.jsonl"),
        ),
    )


def _tcp_rate(way: Direction, rate: float) -> Finding:
    suffices = rate * 0.998 > 0.95e9
    return _one(
        "throughput.tcp",
        "mean",
        way,
        "bit/s",
        rate,
        "EC-033",
        n=10,
        load="tcp",
        layer=Layer.L2,
        operator=">=",
        threshold=0.95e9,
        origin="scenario: 95 % of order",
        mandatory=False,
        interval=Interval(rate * 0.998, rate * 1.002, 0.95, "one", "Student's t, autocorrelation", 10),
        verdict=Verdict.PASS if suffices else Verdict.WARN,
        reason=""
        if suffices
        else "TCP stays below the recommendation: 8 streams with cubic, window limited by wmem_max to 4 MiB.",
        evidence=(
            file(f"tcp-{way}", "onprem.iperf3", "iperf3.json"),
            file(f"tcp-{way}", "ecs.iperf3", "iperf3.json"),
        ),
    )


def _delays() -> tuple[Finding, ...]:
    files = (file("latency", "onprem.probe", "sender.rec"), file("latency", "ecs.reflector", "reflector.rec"))
    trip = Direction.ROUND_TRIP

    def one(metric: str, statistic: str, value: float, row: str, **more: Any) -> Finding:
        interval = Interval(value * 0.98, value * 1.03, 0.95, "one", "inverted share interval", 9_120)
        return _one(
            metric,
            statistic,
            trip,
            "ns",
            value,
            row,
            n=30_000,
            interval=interval,
            evidence=files,
            task="latency",
            **more,
        )

    limit: dict[str, Any] = {"operator": "<=", "mandatory": True}
    return (
        one("delay.rtt", "p50", 4.062e6, "EC-039"),
        one("delay.rtt", "p99", 4.214e6, "EC-039", threshold=5e6, origin="order: objective RTT", **limit),
        one("variation.pdv", "p99", 0.162e6, "EC-041", threshold=2e6, origin="order: objective PDV", **limit),
        _one(
            "delay.loaded",
            "p99",
            trip,
            "ns",
            float("inf"),
            "EC-040",
            n=10_000,
            load="udp",
            evidence=files,
            task="udp-a-z",
            interval=Interval(6.1e6, float("inf"), 0.95, "one", "inverted share interval", 800),
            operator="<=",
            threshold=8e6,
            origin="scenario default",
            verdict=Verdict.WARN,
            reason="More than 1 % of the probes were late or lost beside the load.",
        ),
    )


def _losses(share: float) -> tuple[Finding, ...]:
    files = (file("latency", "onprem.probe", "sender.rec"), file("latency", "ecs.reflector", "reflector.rec"))
    proven = Interval(0.0, 9.985e-5, 0.95, "one", "Clopper–Pearson on n/deff", 30_000)
    rows = [
        _one(
            "loss",
            "ratio",
            way,
            "1",
            0.0,
            "EC-042",
            n=30_000,
            interval=proven,
            operator="<=",
            threshold=1e-4,
            origin="order: objective loss",
            mandatory=True,
            evidence=files,
        )
        for way in (A_Z, Z_A)
    ]
    if share < 0.99:
        rows += [
            _one(
                "loss",
                "ratio",
                A_Z,
                "1",
                0.5012,
                "EC-035",
                n=850_000,
                load="udp",
                evidence=files,
                interval=Interval(0.498, 0.504, 0.95, "one", "Clopper–Pearson on n/deff", 3_200),
            )
        ]
    return (*rows, _one("reordering", "ratio", A_Z, "1", 2 / 30_000, "EC-044", n=30_000, evidence=files))


def _open() -> tuple[Finding, ...]:
    return (
        _one(
            "delay.oneway",
            "p99",
            A_Z,
            "ns",
            None,
            "EC-039",
            verdict=Verdict.NOT_RUN,
            operator="<=",
            threshold=3e6,
            origin="scenario smoke",
            mandatory=False,
            reason="The hosts' clocks have no error bound, so one-way delay cannot be told.",
        ),
        _one(
            "availability",
            "ratio",
            None,
            "1",
            None,
            "EC-047",
            verdict=Verdict.NOT_APPLICABLE,
            reason="Minutes of test cannot speak about availability over a month.",
        ),
    )
