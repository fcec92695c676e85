"""Variation, percentiles over time and distributions from plain arrays of delays."""

from __future__ import annotations

import numpy as np

from perfharness.analysis import delay, loss

INF, NAN = np.inf, np.nan


def test_pdv_is_above_the_smallest_of_its_window():
    """A reroute between windows is a step in delay, not variation; lost stays lost, unmeasured unmeasured."""
    values = np.array([10.0, 12.0, INF, NAN, 50.0, 53.0, INF])
    window = np.array([0, 0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(delay.pdv(values, window), [0.0, 2.0, INF, NAN, 0.0, 3.0, INF])
    assert len(delay.pdv(np.empty(0), np.empty(0, int))) == 0


def test_the_ccdf_counts_the_lost_as_later_than_everything():
    """y is the share later than x or lost; it never reaches 0 where packets were lost."""
    x, y = delay.ccdf(np.array([1.0, 2.0, 3.0, INF]))
    assert dict(zip(x.tolist(), y.tolist(), strict=True)) == {1.0: 0.75, 2.0: 0.5, 3.0: 0.25}
    assert len(delay.ccdf(np.array([NAN]))[0]) == 0


def test_a_long_ccdf_keeps_its_tail():
    """Of a million delays some hundred points are left, the rarest among them."""
    values = np.arange(1_000_000, dtype=float)
    x, y = delay.ccdf(values)
    assert len(x) <= 401 and np.all(np.diff(x) > 0) and np.all(np.diff(y) < 0)
    assert (x[-1], y[-1], y[-2]) == (999_999.0, 0.0, 1e-6)


def test_loss_periods_and_their_distances():
    """Runs of losses, and from the last loss of one to the first of the next (RFC 3357)."""
    lost = np.array([1, 1, 0, 1, 0, 0, 0, 1, 1, 1], bool)
    lengths, distances = loss.periods(lost)
    assert (lengths.tolist(), distances.tolist()) == ([2, 1, 3], [2, 4])
    none = loss.periods(np.zeros(5, bool))
    assert (none[0].tolist(), none[1].tolist()) == ([], [])


def test_reordering_as_in_rfc_4737():
    """Type-P-Reordered: every packet numbered below an earlier arrival; duplicates are not reordered packets."""
    arrivals = np.array([1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11, 11, 3])
    assert loss.reordered(arrivals).sum() == 3
    assert loss.reordered(np.array([5, 5, 5])).tolist() == [False]
    assert len(loss.reordered(np.empty(0, int))) == 0
