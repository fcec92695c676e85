"""The samples of a probe stream, a bounded piece at a time: two threads read ahead of whoever adds them up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np

from perfharness.analysis.columns import CHUNK_ROWS, RECORD_DTYPE, Columns, concatenated, from_records
from perfharness.analysis.samples import Log, Samples, match, samples_in_turn, schedule
from perfharness.analysis.statistics import Ints
from perfharness.analysis.turns import ALL, Turn
from perfharness.recording import Recording

READERS = 2
AHEAD = 4
"""Pieces that wait to be added up, at most: 20 MB each."""

T = TypeVar("T")
_EMPTY = from_records(np.empty(0, RECORD_DTYPE))


@dataclass(frozen=True)
class Pieces:
    """A sender's file and, where there is one, the reflector's log of the same stream."""

    sender: Recording
    log: Recording | None
    told: Log
    result: Mapping[str, Any]
    """``data`` of the sender's result."""
    turn: Turn = ALL
    """Whose packets. Arrivals count in these packets alone."""

    @property
    def packets(self) -> int:
        """Of the schedule."""
        return self.turn.count(sum(chunk.rows for chunk in self.sender.index))

    @cached_property
    def log_starts(self) -> list[int]:
        """The number of the first row of each chunk of the log."""
        chunks = () if self.log is None else self.log.index
        return list(accumulate((chunk.rows for chunk in chunks), initial=0))

    @cached_property
    def log_least(self) -> list[int]:
        """The least sequence number in each chunk of the log or a later one."""
        chunks = () if self.log is None else self.log.index
        return list(accumulate((chunk.least_seq for chunk in reversed(chunks)), min))[::-1]

    def each(self, work: Callable[[Samples], T]) -> Iterator[T]:
        """``work`` on each piece, in the order of sending. Raises EvidenceBroken."""
        sizes = [chunk.rows for chunk in self.sender.index]
        due = schedule(self.result, sizes)

        def one(number: int, due_ns: Ints | None) -> T:
            return work(self._piece(number, due_ns))

        if len(sizes) < 2:
            yield from (one(number, None if due is None else next(due)) for number in range(len(sizes)))
            return
        with ThreadPoolExecutor(READERS, thread_name_prefix="samples") as pool:
            waiting: deque[Future[T]] = deque()
            try:
                for number in range(len(sizes)):
                    waiting.append(pool.submit(one, number, None if due is None else next(due)))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def whole(self) -> Samples:
        """All in one, for runs that fit into memory."""
        parts = list(self.each(lambda samples: samples))
        if len(parts) == 1:
            return parts[0]
        same = {"duplicates", "clock", "schedule_ns"}
        joined: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Samples)
            if field.name not in same
        }
        due = [part.schedule_ns for part in parts if part.schedule_ns is not None]
        clock = np.array(self.result["clock"], np.int64).reshape(-1, 2)
        return replace(parts[0], **joined, clock=clock, schedule_ns=np.concatenate(due) if due else None)

    def _piece(self, number: int, due_ns: Ints | None) -> Samples:
        mine = self.sender.chunk(number)
        first, after = number * CHUNK_ROWS, (number + 1) * CHUNK_ROWS
        own, entries, rows = _EMPTY, _EMPTY, np.empty(0, np.int64)
        if self.log is not None and number < len(self.log.index):
            own = self.log.chunk(number, mine)
            later = list(self._later(self.log, number, after))
            entries = concatenated([own, *(each for _, each in later)]) if later else own
            parts = [(number, own), *later]
            rows = np.concatenate([self.log_starts[other] + np.arange(len(each)) for other, each in parts])
        samples = match(mine, first, entries, self.told, self.result, due_ns, rows)
        return samples_in_turn(replace(samples, arrivals=own.seq.astype(np.int64)), self.turn)

    def _later(self, log: Recording, number: int, after: int) -> Iterator[tuple[int, Columns]]:
        """Chunks of the log, with their numbers, in which packets of this piece arrived after some of a later one."""
        other = number + 1
        while other < len(log.index) and self.log_least[other] < after:
            if log.index[other].least_seq < after:
                yield other, log.chunk(other, self.sender.chunk(other) if other < len(self.sender.index) else None)
            other += 1


def open_pieces(
    sender: Recording, log: Recording | None, result: Mapping[str, Any], reflector_complete: bool
) -> Pieces:
    """``reflector_complete``: the reflector ended tidily. Else, or when its log ends within a record, the log says
    nothing of packets after the last one in it. Raises EvidenceBroken."""
    told = Log()
    if log is not None:
        filled = [number for number, chunk in enumerate(log.index) if chunk.rows]
        last = -1
        if filled:
            mine = sender.chunk(filled[-1]) if filled[-1] < len(sender.index) else None
            last = int(log.chunk(filled[-1], mine).seq.max())
        told = Log(last, log.whole and reflector_complete)
    clock = np.array(result.get("clock") or np.empty((0, 2)), np.int64)
    return Pieces(sender, log, told, {**result, "clock": clock})
