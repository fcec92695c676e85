"""A path over a link group: ``a`` — ``r`` = four links = ``s`` — ``z``, where each router picks the link by 5-tuple.

Needs root, iproute2, ping and nftables; removes all it made when left.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.integration.namespaces import Running

LINKS = 4
A, Z = "10.10.0.10", "192.168.10.10"
"""As the hosts of the shipped lab circuit have them."""
_TABLE = """
table inet test {{
  counter dropped {{ }}
  set seen {{ type inet_service; flags dynamic; size 65535; }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{link}" {flow} add @seen {{ {port} }}
    iifname "{link}" {flow} numgen random mod 1000 < {per_mille} counter name dropped drop
  }}
}}
"""


class LinkGroup:
    """Context manager; the agent's jobs are run in its namespaces with ``run``."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self._names = {end: f"phx-sweep-{os.getpid()}-{end}" for end in "arsz"}
        self._jobs: list[Running] = []

    def __enter__(self) -> LinkGroup:
        try:
            for name in self._names.values():
                _run("ip", "netns", "add", name)
            self._connect()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        for job in self._jobs:
            if job.process.poll() is None:
                job.process.kill()
            job.process.communicate()
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _connect(self) -> None:
        self._link("a", "eth0", f"{A}/24", "r", "host", "10.10.0.1/24")
        self._link("z", "eth0", f"{Z}/24", "s", "host", "192.168.10.1/24")
        for i in range(LINKS):
            self._link("r", f"m{i}", f"10.9.{i}.1/30", "s", f"m{i}", f"10.9.{i}.2/30")
        self.ip("a", "route", "add", "default", "via", "10.10.0.1")
        self.ip("z", "route", "add", "default", "via", "192.168.10.1")
        for router, net, end in (("r", "192.168.10.0/24", 2), ("s", "10.10.0.0/24", 1)):
            hops = [word for i in range(LINKS) for word in ("nexthop", "via", f"10.9.{i}.{end}", "dev", f"m{i}")]
            self.ip(router, "route", "add", net, *hops)
            settings = ("net.ipv4.ip_forward=1", "net.ipv4.fib_multipath_hash_policy=1")
            self._inside(router, "sysctl", "-qw", *settings)
        for i in range(LINKS):  # a new link drops packets for up to a second
            self._inside("r", "ping", "-q", "-c", "1", "-i", "0.1", "-w", "10", f"10.9.{i}.2")
        self._inside("a", "ping", "-q", "-c", "1", "-i", "0.1", "-w", "10", Z)

    def _link(self, one: str, name: str, address: str, other: str, peer: str, peer_address: str) -> None:
        names = self._names
        _run("ip", "link", "add", name, "netns", names[one], "type", "veth", "peer", peer, "netns", names[other])
        for end, device, with_address in ((one, name, address), (other, peer, peer_address)):
            self.ip(end, "addr", "add", with_address, "dev", device)
            self.ip(end, "link", "set", device, "up")

    def ip(self, end: str, *argv: str) -> None:
        _run("ip", "-n", self._names[end], *argv)

    def _inside(self, end: str, *argv: str, text: str = "") -> str:
        return _run("ip", "netns", "exec", self._names[end], *argv, text=text)

    # --- faults and truth

    def damage(self, link: int, port: int, *, forward: bool, per_mille: int) -> None:
        """Have the router behind this link drop some of the probes that come over it, and note their ports."""
        end, flow = ("s", f"udp dport {port}") if forward else ("r", f"udp sport {port}")
        own = "udp sport" if forward else "udp dport"
        rules = _TABLE.format(link=f"m{link}", flow=flow, port=own, per_mille=per_mille)
        self._inside(end, "nft", "-f", "-", text=rules)

    def truth(self, *, forward: bool) -> tuple[int, set[int]]:
        """(packets dropped, the sweep's ports that take the damaged link)."""
        end = "s" if forward else "r"
        counter = json.loads(self._inside(end, "nft", "-j", "list", "counter", "inet", "test", "dropped"))
        ports = json.loads(self._inside(end, "nft", "-j", "list", "set", "inet", "test", "seen"))
        return int(counter["nftables"][1]["counter"]["packets"]), set(ports["nftables"][1]["set"].get("elem", ()))

    def start(self, end: str, job: str, method: str, **args: Any) -> Running:
        running = Running(self._names[end], self.spool / "jobs" / job, method, args)
        self._jobs.append(running)
        return running


def _run(*argv: str, text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
