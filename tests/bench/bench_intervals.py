"""Do intervals hold what they claim, and are they as narrow as can be? Simulated processes whose truth is known.

``bench_intervals.py [runs]``. Each bound must cover 95 % on independent packets and 91 % on dependent ones, and the
interval be at most 1.3 times as wide, in the median, as an oracle's: the same interval made with the true design effect
(``tests/unit/interval_truth.py``). ``open``: shares of the runs without an upper bound, ours and the oracle's. The last
settings are beyond what a test of their length can see: they are shown, and not judged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from tests.unit import interval_truth as it  # noqa: E402 - found only by the path above

RUNS = 1000


def settings() -> Iterator[it.Setting]:
    quantiles = (0.5, 0.95, 0.99, 0.999)
    for phi in (0.0, 0.9, 0.97, 0.99):
        yield from (it.delay(named(phi, "1 kHz, 30 s"), 30_000, 1000, q, phi) for q in quantiles)
    for phi in (0.0, 0.9, 0.99):
        yield from (it.delay(named(phi, "500/s, 10 s"), 5_000, 500, q, phi) for q in (0.5, 0.99))
    yield from (it.delay(named(0.99, "1 kHz, 300 s"), 300_000, 1000, q, 0.99) for q in (0.99, 0.999))
    yield from (it.delay(named(0.99, "100/s, 100 s"), 10_000, 100, q, 0.99) for q in (0.5, 0.99))
    yield from (it.delay(named(0.99, "10/s, 300 s"), 3_000, 10, q, 0.99) for q in (0.5, 0.99))
    yield from (it.delay(named(0.9, "1/s, 1000 s"), 1_000, 1, q, 0.9) for q in (0.5, 0.99))
    for phi in (0.0, 0.99):
        yield from (it.variation(f"IPDV of {named(phi, '30 s')}", 30_000, 1000, q, phi) for q in (0.01, 0.5, 0.99))
    for share in (1e-4, 1e-3, 1e-2):
        yield it.scattered(f"independent loss {share:g}, 30 s", 30_000, 1000, share)
    for enter, leave, loss in (
        (1e-2, 0.3, 1.0), (1e-3, 0.1, 0.5), (1e-3, 0.01, 0.5), (3e-4, 0.1, 0.5), (3e-4, 0.003, 0.5), (2e-4, 0.01, 0.5),
        (1e-4, 0.1, 1.0), (1e-4, 0.01, 0.5),
    ):  # fmt: skip
        yield it.bursts(f"Gilbert-Elliott {enter:g} {leave:g} {loss:g}", 30_000, 1000, enter, leave, loss)
    for phi, sizes in ((0.0, (10, 15, 40, 200)), (0.5, (15, 40)), (0.8, (15, 40)), (0.9, (40, 200)), (0.95, (60, 200))):
        yield from (it.rates(named(phi, "rates"), n, phi) for n in sizes)
    yield it.rates(named(0.99, "rates"), 200, 0.99)


def beyond() -> Iterator[it.Setting]:
    """A memory of half the test and more."""
    yield it.rates(named(0.9, "rates"), 15, 0.9)
    yield from (it.rates(named(0.99, "rates"), n, 0.99) for n in (40, 100))


def named(phi: float, what: str) -> str:
    return f"AR(1) {phi:g}, {what}" if phi else f"independent, {what}"


def line(setting: it.Setting, found: it.Score, word: str) -> str:
    return (
        f"{setting.process:34s}{setting.figure:>6s}{setting.n:8d}{found.runs:6d}{found.covers[0]:8.1%}"
        f"{found.covers[1]:8.1%}{found.width:7.2f}{found.open[0]:6.0%}{found.open[1]:6.0%}  {word}"
    )


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    print(f"{'process':34s}figure       n  runs      lo      hi  width  open oracle")
    bad = 0
    for number, setting in enumerate(settings()):
        found = it.score(setting, runs, number)
        bad += not found.holds(setting.least)
        print(line(setting, found, "" if found.holds(setting.least) else "FAILS"), flush=True)
    for setting in beyond():
        print(line(setting, it.score(setting, runs, 1), "beyond"), flush=True)
    print(f"{bad} settings fail" if bad else "all hold")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
