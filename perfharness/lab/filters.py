"""What the kernel's packet filter (nftables) does to packets in a router or a host, and how many it did it to.

One table for each fault in a namespace, so that it ends whole and touches nobody else's. Each counter has a name: what
it counted is the truth of its fault. Rules see packets of IP; of ARP only what a table of its own family is told.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from perfharness.errors import LabFault
from perfharness.lab.hosts import tool_path

MILLION = 1_000_000
FIRST, LAST = -300, 300
"""Priorities: before and after everybody else's rules."""


@dataclass(frozen=True, slots=True)
class Chain:
    hook: str
    rules: tuple[str, ...]
    """In nft's words."""
    priority: int = FIRST


@dataclass(frozen=True, slots=True)
class Filter:
    """A table in a namespace."""

    namespace: str
    name: str
    chains: tuple[Chain, ...]
    counters: tuple[str, ...] = ()
    family: str = "ip"

    def text(self) -> str:
        """What nft is told."""
        counters = "".join(f" counter {name} {{}}\n" for name in self.counters)
        chains = "".join(
            f" chain {chain.hook} {{\n  type filter hook {chain.hook} priority {chain.priority}; policy accept;\n"
            + "".join(f"  {rule}\n" for rule in chain.rules)
            + " }\n"
            for chain in self.chains
        )
        return f"table {self.family} {self.name} {{\n{counters}{chains}}}\n"

    def begin(self) -> None:
        """Raises LabFault."""
        self.undo()
        _nft(self.namespace, ["-f", "-"], self.text())

    def undo(self) -> None:
        """Harmless when there is none. Raises LabFault."""
        _nft(
            self.namespace,
            ["-f", "-"],
            f"add table {self.family} {self.name}\ndelete table {self.family} {self.name}\n",
        )

    def counted(self) -> dict[str, int]:
        """Packets by counter, since it began; nothing when it is not there."""
        try:
            told = json.loads(_nft(self.namespace, ["-j", "list", "counters", "table", self.family, self.name]))
        except LabFault:
            return {}
        counters = (item["counter"] for item in told["nftables"] if "counter" in item)
        return {counter["name"]: counter["packets"] for counter in counters}


def some_of(share: float) -> str:
    """The condition that holds for this share of the packets, at random; to a millionth."""
    return "" if share >= 1 else f"numgen random mod {MILLION} < {round(share * MILLION)} "


def counted(filters: Iterable[Filter]) -> dict[str, int]:
    """Packets by counter, of several filters together."""
    total: dict[str, int] = {}
    for table in filters:
        for name, packets in table.counted().items():
            total[name] = total.get(name, 0) + packets
    return total


def _nft(namespace: str, words: list[str], text: str | None = None) -> str:
    nft = shutil.which("nft", path=tool_path())
    if nft is None:
        raise LabFault("nft is not installed, which this fault needs.", "Install it: apt install nftables.")
    command = ["ip", "netns", "exec", namespace, nft, *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=10)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise LabFault(f"nft in {namespace}: {said[0] if said else 'failed'}.")
    return done.stdout
