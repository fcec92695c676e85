"""The path MTU search beside tracepath and ``scamper -c 'trace -M'``: is the answer right, and how soon is it there?

host - router ═ wire: 10 ms each way, 1 % loss ═ router - host. Either the routers know how narrow the wire is, and say
Packet Too Big, or they do not and it swallows what is larger (a black hole). Ours searches both directions at once, the
others one. Exit code 1 when ours is wrong, or takes longer than a second at the median. Needs root, iproute2, tracepath
and scamper.

    python tests/bench/bench_pmtu.py [--rounds 5] [--sizes 1387 1439 …] [--patience 60] [--loss 0.01]
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfharness.lab.linespec import LineSpec, Loss  # noqa: E402 - found only by the path above
from perfharness.model import Direction  # noqa: E402 - likewise
from tests.integration.namespaces import Running  # noqa: E402 - likewise
from tests.integration.wires import Wired  # noqa: E402 - likewise

SIZES = (1387, 1439, 1400, 1500, 8500)
NIC_BYTES = {False: 1500, True: 9000}
"""Of the hosts' interfaces, by whether the wire carries jumbo packets."""
DELAY_NS = 10_000_000
PACE_BPS = 20_000_000
"""That of a circuit of 400 Mbit/s and more."""
PORT = 8621
OTHER = {"a": "z", "z": "a"}
HOSTS = {"a": "10.10.0.10", "z": "192.168.10.10"}
GATEWAYS = {"a": "10.10.0.1", "z": "192.168.10.1"}
LINKS = {"a": "10.9.0.1", "z": "10.9.0.2"}
TARGET_S = 1.0


class Answer(NamedTuple):
    """What one tool said of one path: the sizes, empty if it gave none in time."""

    sizes: tuple[int, ...]
    seconds: float
    located_s: float | None = None


@contextmanager
def path(loss: float) -> Iterator[tuple[Wired, dict[str, str]]]:
    """The wire between its two routers, and the names of the hosts behind them."""
    line = LineSpec(delay_ns=DELAY_NS, loss=Loss(good=loss))
    with Wired(dict.fromkeys((Direction.A_Z, Direction.Z_A), line), tag="pmtu") as wired:
        hosts = {end: f"{wired.names[end]}-host" for end in "az"}
        try:
            for end in "az":
                host, router = hosts[end], wired.names[end]
                ip("netns", "add", host)
                ip("link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", "lan", "netns", router)
                ip("-n", host, "addr", "add", f"{HOSTS[end]}/24", "dev", "eth0")
                ip("-n", router, "addr", "add", f"{GATEWAYS[end]}/24", "dev", "lan")
                for namespace, device in ((host, "lo"), (host, "eth0"), (router, "lan")):
                    ip("-n", namespace, "link", "set", device, "up")
                ip("-n", host, "route", "add", "default", "via", GATEWAYS[end])
                ip("-n", router, "route", "add", f"{HOSTS[OTHER[end]]}/32", "via", LINKS[OTHER[end]])
                inside(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            inside(hosts["a"], "ping", "-q", "-c", "1", "-i", "0.2", "-w", "20", HOSTS["z"])
            yield wired, hosts
        finally:
            for host in hosts.values():
                subprocess.run(["ip", "netns", "del", host], capture_output=True, check=False)


def narrow(wired: Wired, hosts: dict[str, str], size: int, hole: bool, loss: float) -> None:
    """Make the wire this narrow; its routers know of it unless it is a ``hole``."""
    nic = NIC_BYTES[size > NIC_BYTES[False]]
    line = LineSpec(delay_ns=DELAY_NS, loss=Loss(good=loss), mtu=size if hole else None)
    wired.tune(dict.fromkeys((Direction.A_Z, Direction.Z_A), line))
    for end in "az":
        ip("-n", wired.names[end], "link", "set", "wan", "mtu", str(nic if hole else size))
        ip("-n", wired.names[end], "link", "set", "lan", "mtu", str(nic))
        ip("-n", hosts[end], "link", "set", "eth0", "mtu", str(nic))
        ip("-n", hosts[end], "route", "flush", "cache")


def ours(hosts: dict[str, str], patience_s: float) -> Answer:
    """Both directions at once; the time of the slower one."""
    with tempfile.TemporaryDirectory(prefix="phx-pmtu-") as spool:
        jobs = Path(spool) / "jobs"
        echoes, searches = [], []
        for end in "az":
            args = {"address": HOSTS[OTHER[end]], "peer": HOSTS[end], "port": PORT, "syn": True}
            echoes.append(Running(hosts[OTHER[end]], jobs / f"echo-{end}", "pmtu.echo", args))
        for echo in echoes:
            echo.wait_ready()
        for end in "az":
            args = {"peer": HOSTS[OTHER[end]], "source": HOSTS[end], "port": PORT, "syn": True}
            bounds = {"floor": 576, "ceiling": 9216, "pace_bps": PACE_BPS}
            searches.append(Running(hosts[end], jobs / f"search-{end}", "pmtu.search", {**args, **bounds}))
        found = [search.result() for search in searches]
        for echo in echoes:
            echo.stop()
    data = [each["data"] for each in found if each["status"] == "completed"]
    if len(data) < 2:
        return Answer((), patience_s)
    whole_s = max((each["ended_ns"] - each["started_ns"]) / 1e9 for each in found)
    located = whole_s if any("stops" in each for each in data) else None
    return Answer(tuple(each["pmtu"] for each in data), max(each["elapsed_ns"] for each in data) / 1e9, located)


def tracepath(hosts: dict[str, str], patience_s: float) -> Answer:
    text, seconds = timed(hosts["a"], patience_s, "tracepath", "-n", HOSTS["z"])
    found = re.search(r"Resume: pmtu (\d+)", text)
    return Answer((int(found[1]),) if found else (), seconds)


def scamper(hosts: dict[str, str], patience_s: float) -> Answer:
    """Hops come with the MTU of the way to them; the last is the answer if it is the peer."""
    text, seconds = timed(hosts["a"], patience_s, "scamper", "-O", "text", "-c", "trace -M", "-i", HOSTS["z"])
    known = re.findall(rf" {re.escape(HOSTS['z'])} .*\[mtu: (\d+)\]", text)
    return Answer(tuple(map(int, known[-1:])), seconds)


TOOLS: dict[str, Callable[[dict[str, str], float], Answer]] = {
    "perfharness": ours,
    "tracepath": tracepath,
    "scamper": scamper,
}


def timed(namespace: str, patience_s: float, *command: str) -> tuple[str, float]:
    """What it printed within that time, and how long it took; nothing if it was not done."""
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", namespace, *command],
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", patience_s
    return done.stdout, time.monotonic() - began_s


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], capture_output=True, check=True)


def inside(namespace: str, *argv: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, *argv], capture_output=True, check=True)


def measure(options: argparse.Namespace) -> dict[tuple[int, bool, str], list[Answer]]:
    """By size, whether it is a black hole, and tool. What nobody needs again is not run again: the other tools wait
    long in a black hole, and do so once."""
    found: dict[tuple[int, bool, str], list[Answer]] = {}
    with path(options.loss) as (wired, hosts):
        for size in options.sizes:
            for hole in (False, True):
                narrow(wired, hosts, size, hole, options.loss)
                for turn in range(options.rounds):
                    for tool in options.tools:
                        if tool == "perfharness" or turn == 0 or not hole:
                            answer = TOOLS[tool](hosts, options.patience)
                            found.setdefault((size, hole, tool), []).append(answer)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for the other tools")
    parser.add_argument("--loss", type=float, default=0.01)
    options = parser.parse_args()
    good = True
    print(f"{'path MTU':>8}  {'':11} {'tool':12} {'right':>7} {'median s':>9} {'most s':>7}  said")
    for (size, hole, tool), answers in measure(options).items():
        right = sum(bool(each.sizes) and set(each.sizes) == {size} for each in answers)
        seconds = [each.seconds for each in answers]
        said = sorted({size for each in answers for size in each.sizes})
        located = [each.located_s for each in answers if each.located_s is not None]
        told = ", ".join(map(str, said)) or "no answer"
        told += f"; with the hop named {statistics.median(located):.2f} s" if located else ""
        print(
            f"{size:>8}  {'black hole' if hole else 'told':11} {tool:12} {right:>3}/{len(answers):<3} "
            f"{statistics.median(seconds):>9.2f} {max(seconds):>7.2f}  {told}",
            flush=True,
        )
        if tool == "perfharness":
            good &= right == len(answers) and statistics.median(seconds) <= TARGET_S
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
