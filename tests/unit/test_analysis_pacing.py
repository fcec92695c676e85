"""What left a host above its rate."""

from __future__ import annotations

from perfharness.analysis.pacing import excess_packets


def test_excess_is_what_left_above_the_rate() -> None:
    """Quiet periods do not make up for bursts; too few rows tell nothing."""
    rows = [{"t_ns": i * 100_000_000, "nic": {"tx_bytes": sent}} for i, sent in enumerate((0, 1000, 1000, 4000))]
    assert excess_packets(rows, rate_bps=80_000, packet_bytes=100) == 20
    assert excess_packets(rows[:1], rate_bps=80_000, packet_bytes=100) is None
    gap = [rows[0], {"t_ns": 100_000_000, "nic": {"tx_bytes": 1000}}, {"t_ns": 200_000_000, "nic": {"tx_bytes": 2000}}]
    gap.append({"t_ns": 1_000_000_000, "nic": {"tx_bytes": 10_000}})
    assert excess_packets(gap, rate_bps=80_000, packet_bytes=100) == 80, "what left in a gap may have left at once"
    wrapped = [*rows, {"t_ns": 400_000_000, "nic": {"tx_bytes": 7}}]
    assert excess_packets(wrapped, rate_bps=80_000, packet_bytes=100) is None, "a counter that fell tells nothing"
    stepped = [{**row, "t_ns": 0 if i == 2 else row["t_ns"], "mono_ns": row["t_ns"]} for i, row in enumerate(rows)]
    assert excess_packets(stepped, rate_bps=80_000, packet_bytes=100) == 20, "a clock that was set does not matter"
