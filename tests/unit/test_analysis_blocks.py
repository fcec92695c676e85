"""The seconds of a stream."""

from __future__ import annotations

import numpy as np
import pytest

from perfharness.analysis.blocks import Spans
from perfharness.analysis.statistics import block_starts


def test_a_second_begins_with_its_first_packet() -> None:
    """Borders are found by search where a look at every packet would find them; a silent second is none."""
    since_ns = np.sort(np.random.default_rng(1).integers(3_000_000_000, 40_000_000_000, 500))
    since_ns = np.sort(np.append(since_ns[since_ns // 1_000_000_000 != 17], [5_000_000_000, 5_999_999_999]))
    block, found = since_ns // 1_000_000_000, Spans.of(since_ns)
    starts = block_starts(block)
    assert found.starts.tolist() == starts.tolist()
    assert found.block.tolist() == block[starts].tolist() and 17 not in found.block
    assert found.of_each.tolist() == block.tolist()
    assert found.counts(np.arange(len(block))).tolist() == found.sizes.tolist()
    assert found.counts(np.array([0, len(block) - 1]))[[0, -1]].tolist() == [1, 1]


def test_a_time_that_goes_back_is_refused() -> None:
    """Nothing that is counted per second would be true of it."""
    with pytest.raises(ValueError, match="must not decrease"):
        Spans.of(np.array([2, 1]))
    assert not len(Spans.of(np.empty(0, np.int64)).block)
