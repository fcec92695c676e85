"""Which packets of a session came, came twice, or came late. Pure."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 1 << 17
"""So many packets back a copy is still known for one: more than a second of most loads."""


class Seen:
    """Numbers from 0 on, in the order of their arrival."""

    def __init__(self) -> None:
        self.highest = 0
        """Number of the furthest packet + 1."""
        self._came = bytearray(WINDOW)

    def add(self, numbers: Sequence[int]) -> tuple[int, int]:
        """(duplicates, reordered) among these: a packet that comes after one with a higher number is reordered."""
        if numbers[0] >= self.highest and sorted(set(numbers)) == numbers:
            self._advance(numbers[-1] + 1)
            came = self._came
            for number in numbers:
                came[number % WINDOW] = 1
            return 0, 0
        duplicates = reordered = 0
        for number in numbers:
            if number >= self.highest:
                self._advance(number + 1)
            elif number < self.highest - WINDOW:
                reordered += 1  # whether it is a copy nobody can tell any more
                continue
            elif self._came[number % WINDOW]:
                duplicates += 1
                continue
            else:
                reordered += 1
            self._came[number % WINDOW] = 1
        return duplicates, reordered

    def _advance(self, highest: int) -> None:
        """Forget what lay a window back."""
        fresh = highest - self.highest
        if fresh >= WINDOW:
            self._came = bytearray(WINDOW)
        else:
            first, last = self.highest % WINDOW, highest % WINDOW
            if first < last:
                self._came[first:last] = bytes(fresh)
            elif fresh:
                self._came[first:] = bytes(WINDOW - first)
                self._came[:last] = bytes(last)
        self.highest = highest
