"""The search for the largest packet that arrives, as a pure state machine: what to send next, what came of it.

A size is asked for several times and never judged by one lost packet: a try counts as silent only if a small
control packet sent right behind it was answered, so that loss and outages are not read as MTU. All tries of all
sizes of a round go out together, since each wait costs a round trip. The size next above the answer is tried
twice as often as the others, and an answer that comes late still counts: a larger size that arrived overrules
every smaller one that seemed not to.

RFC 8899 describes the search for transports; its timers are longer than ours.
"""

from __future__ import annotations

TRIES = 3
TRIES_AT_THE_EDGE = 2 * TRIES
LEAST_SIZES, MOST_SIZES = 8, 32
ROUND_BYTES = 100_000
"""What the tries of one round may take where that leaves LEAST_SIZES: jumbo packets take long at a gentle pace."""

USUAL = (
    *(576, 1280, 1358, 1380, 1400, 1420, 1428, 1436, 1440, 1450, 1460, 1472),
    *(1476, 1480, 1488, 1492, 1496, 1500, 1504, 2000, 4470, 8500, 9000, 9001),
)
"""Where links, tunnels and clouds put their limits: 1500 less GRE, IPsec, VXLAN, WireGuard, PPPoE, a tag …"""


class Bracket:
    """Sizes are of whole IP packets, in bytes. ``known`` is one that arrives: the control packet's."""

    def __init__(self, known: int, floor: int, ceiling: int) -> None:
        self.arrived = {known}
        self.rounds = 1
        self._silent: dict[int, int] = {}
        self._ceiling = ceiling
        self._round = sorted({floor, *(size for size in USUAL if floor < size < ceiling), ceiling})

    @property
    def largest(self) -> int:
        """The largest size that arrived: the answer, once nothing is wanted any more."""
        return max(self.arrived)

    @property
    def failed(self) -> list[int]:
        """The sizes that were given up."""
        return sorted(size for size, tries in self._silent.items() if tries >= TRIES and size not in self.arrived)

    def wanted(self) -> list[int]:
        """The sizes to send now, one after the other, some several times; none when the answer is exact."""
        tries = self._missing_tries()
        if not tries:
            self._round = self._between()
            tries = self._missing_tries()
            self.rounds += bool(tries)
        return tries

    def answered(self, size: int) -> None:
        self.arrived.add(size)

    def unanswered(self, size: int) -> None:
        """A try of this size brought nothing, although the control packet behind it was answered."""
        self._silent[size] = self._silent.get(size, 0) + 1

    def _missing_tries(self) -> list[int]:
        """All sizes of the round that still matter, then again those that need a second try, and so on."""
        largest, smallest_failed = self.largest, self._smallest_failed
        missing = {
            size: (TRIES_AT_THE_EDGE if size == largest + 1 else TRIES) - self._silent.get(size, 0)
            for size in self._round
            if largest < size <= smallest_failed
        }
        return [size for turn in range(TRIES_AT_THE_EDGE) for size in missing if turn < missing[size]]

    def _between(self) -> list[int]:
        """The sizes of the next round: evenly inside the bracket, at last the one above the answer again."""
        low, high = self.largest, self._smallest_failed
        if high == low + 1:
            return [high] if high <= self._ceiling else []
        affordable = ROUND_BYTES // (TRIES * (low + high) // 2)
        width, sizes = high - low, min(high - low - 1, max(LEAST_SIZES, min(affordable, MOST_SIZES)))
        return [low + width * i // (sizes + 1) for i in range(1, sizes + 1)]

    @property
    def _smallest_failed(self) -> int:
        """Above ``largest``; one more than the ceiling if none failed."""
        return min((size for size in self.failed if size > self.largest), default=self._ceiling + 1)
