"""Circuits with a meter, as orders and as labs: the cases in which capacity and policing are held against the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from perfharness.lab import control, topology
from perfharness.lab.spec import LabSpec
from perfharness.order.circuit import load_circuit

ROOT = Path(__file__).parents[2]
ORDER = ROOT / "scenarios" / "circuits" / "lab.yaml"
FACTORS: dict[str, tuple[Any, ...]] = {
    "mbps": (50, 200, 500, 1000),
    "policer": (True, False),
    "tagged": (True, False),
    "mtu": (1500, 8500),
    "rtt_ms": (1, 10, 50),
}
BUCKET_BYTES, SMALL_BUCKET_BYTES = 1_500_000, 150_000
QUEUE_NS = 50_000_000
FAST_MBPS = 1000
FRAME_BYTES, TAG_BYTES = 42, 4
TOO_MANY_PACKETS = 500 / 1500
"""Mbit/s a byte of MTU."""
BATCH_NS = 3_000_000
"""What a wake-up is late beyond this is lost to the rate."""
HYSTERESIS = Path("/sys/module/sch_htb/parameters/htb_hysteresis")
"""Of the whole kernel: whether a class of htb may use up its burst before it waits."""


@dataclass(frozen=True, slots=True)
class Case:
    """A circuit that is what was ordered: this is the truth."""

    mbps: int
    policer: bool
    tagged: bool
    mtu: int
    rtt_ms: int

    @property
    def bucket_bytes(self) -> int:
        """Small ones at low rates, where a large one would last for a quarter of a second."""
        return SMALL_BUCKET_BYTES if self.mbps <= 50 else BUCKET_BYTES

    @property
    def name(self) -> str:
        kind, tag = "policer" if self.policer else "shaper", "tagged" if self.tagged else "untagged"
        return f"{self.mbps} Mbit/s {kind}, {tag}, MTU {self.mtu}, RTT {self.rtt_ms} ms"

    @property
    def busy(self) -> bool:
        """Whether its packets are too many for two cores to send them and to play their path one by one."""
        return self.mbps / self.mtu >= TOO_MANY_PACKETS

    @property
    def played(self) -> int:
        """Of the round trip, what this machine can delay, ms: none where the wire in user space is too slow."""
        return 0 if self.busy else self.rtt_ms

    def order(self, folder: Path) -> Path:
        """The circuit file."""
        text = ORDER.read_text(encoding="utf-8")
        for old, new in {
            "type: 1000Base-LX": "type: 10GBase-LR",
            "speed: 1Gbps": "speed: 10Gbps",
            "bandwidth: 1Gbps": f"bandwidth: {self.mbps}Mbps",
            "rate: 1Gbps": f"rate: {self.mbps}Mbps",
            "mtu: 1500": f"mtu: {self.mtu}",
            "rtt: 5ms": f"rtt: {self.rtt_ms + 5}ms",
            **({} if self.tagged else {"vlan: 100": "vlan: 0", "vlan100": "vlan0"}),
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        path = folder / "order.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def scenario(self, folder: Path) -> Path:
        """The scenario file: packets are as large as the circuit takes, so that fewer of them fill it."""
        path = folder / "meters.yaml"
        text = Path(__file__).with_name("meters.yaml").read_text(encoding="utf-8")
        path.write_text(text.replace("PAYLOAD", str(_payload(self.mtu))), encoding="utf-8")
        return path

    def up(self, order: Path) -> None:
        """The lab that plays it."""
        spec = replace(LabSpec.from_circuit(load_circuit(order)), rtt_ns=self.played * 1_000_000)
        if not self.policer:
            control.up(replace(spec, queue_ns=QUEUE_NS))
            if self.busy:
                self._shape_in_batches(spec)
        elif self.mbps < FAST_MBPS:
            control.up(replace(spec, policer_bytes=self.bucket_bytes))
        else:
            control.up(replace(spec, rate_bps=None))
            self._police_packets(spec)

    def _shape_in_batches(self, spec: LabSpec) -> None:
        """By htb with hysteresis, which lets a burst out at an interrupt, where tbf asks for one a packet."""
        burst, tag = self.mbps * BATCH_NS // 8_000, TAG_BYTES if self.tagged else 0
        queue = self.mbps * QUEUE_NS // 8_000
        rate = f"{self.mbps}mbit"
        for end in topology.plan(spec).circuit:
            for words in (
                "qdisc replace dev wan root handle 1: htb default 1",
                f"class replace dev wan parent 1: classid 1:1 htb rate {rate} ceil {rate}"
                f" burst {burst} cburst {burst} overhead {tag}",
                f"qdisc replace dev wan parent 1:1 bfifo limit {queue}",
            ):
                subprocess.run(["tc", "-n", end.namespace, *words.split()], check=True, timeout=10)

    def _police_packets(self, spec: LabSpec) -> None:
        """By nftables and packets, all of one size: a token bucket of tc's asks for an interrupt at each packet that it
        lets wait, and so many take the CPU that the sender needs."""
        frame = _payload(self.mtu) + FRAME_BYTES + (TAG_BYTES if self.tagged else 0)
        rate, burst = round(self.mbps * 1e6 / 8 / frame), round(self.bucket_bytes / frame)
        rule = f"oifname {topology.WAN_RULE} limit rate over {rate}/second burst {burst} packets drop"
        hook = "type filter hook forward priority 0; policy accept"
        table = f"table inet policer {{\nchain forward {{\n{hook}\n{rule}\n}}\n}}\n"
        for end in topology.plan(spec).circuit:
            command = ["ip", "netns", "exec", end.namespace, "nft", "-f", "-"]
            subprocess.run(command, input=table, text=True, check=True, timeout=10)


def _payload(mtu: int) -> int:
    """Of the packets that the harness sends."""
    return 1400 if mtu == 1500 else 8400


@contextmanager
def hysteresis() -> Iterator[None]:
    """htb lets its packets out in batches; afterwards as before."""
    before = HYSTERESIS.read_text()
    HYSTERESIS.write_text("1")
    try:
        yield
    finally:
        HYSTERESIS.write_text(before)


def cases() -> list[Case]:
    """Pairwise: every value of a factor meets every value of every other one. Always the same ones."""
    names = list(FACTORS)
    missing = {
        (one, a, other, b) for one, other in combinations(names, 2) for a in FACTORS[one] for b in FACTORS[other]
    }
    every = [dict(zip(names, values, strict=True)) for values in product(*FACTORS.values())]
    chosen = []
    while missing:
        best = max(every, key=lambda row: len(missing & _pairs(row)))
        missing -= _pairs(best)
        chosen.append(Case(**best))
    return chosen


def _pairs(row: Mapping[str, Any]) -> set[tuple[str, Any, str, Any]]:
    return {(one, row[one], other, row[other]) for one, other in combinations(FACTORS, 2)}


def run(scenario: Path, order: Path, results: Path) -> dict[str, Any]:
    """``findings.json`` of a run. Raises AssertionError where the harness gave none."""
    command = [sys.executable, "-m", "perfharness", "run", str(scenario), "--circuit", str(order)]
    done = subprocess.run(
        [*command, "--results", str(results), "--json", "--no-pdf"], capture_output=True, text=True, timeout=300
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def values(findings: Mapping[str, Any], direction: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(metric, finding) of one direction."""
    for finding in findings["findings"]:
        if finding["direction"] == direction:
            yield finding["metric"], finding
