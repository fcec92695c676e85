"""RFC 6349's figures against values worked out by hand, and TCP_INFO as a kernel told it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfharness.analysis import rfc6349, tcpinfo
from perfharness.analysis.capacity import convert, headers_bytes
from perfharness.model import Interval, Layer

GOLDEN = Path(__file__).parent.parent / "golden" / "tcpinfo" / "6.18-four-streams.jsonl"
GBIT = 1_000_000_000


@pytest.mark.parametrize(
    ("mtu", "tagged", "v4", "v6", "udp4", "udp6"),
    [
        (1500, False, 941.48, 928.48, 957.09, 944.08),
        (1500, True, 939.04, 926.07, 954.60, 941.63),
        (8500, False, 989.46, 987.12, 992.27, 989.93),
        (8500, True, 989.00, 986.65, 991.81, 989.46),
        (9000, False, 990.04, 987.83, 992.70, 990.48),
        (9000, True, 989.60, 987.39, 992.26, 990.05),
    ],
)
def test_what_a_gigabit_line_leaves_for_payload(
    mtu: int, tagged: bool, v4: float, v6: float, udp4: float, udp6: float
) -> None:
    """Full packets with timestamps, preamble, header, tag, FCS and gap around them; UDP beside it."""
    ideal = {
        family: rfc6349.ideal_goodput_bps(GBIT, Layer.L1, mtu, rfc6349.live_mss(mtu, family), tagged=tagged) / 1e6
        for family in ("ipv4", "ipv6")
    }
    udp = {
        family: convert(GBIT, Layer.L1, Layer.L4, mtu, tagged=tagged, family=family) / 1e6
        for family in ("ipv4", "ipv6")
    }
    assert (round(ideal["ipv4"], 2), round(ideal["ipv6"], 2)) == (v4, v6)
    assert (round(udp["ipv4"], 2), round(udp["ipv6"], 2)) == (udp4, udp6)
    assert headers_bytes("ipv6", "tcp") == 72


@pytest.mark.parametrize(
    ("layer", "mbit"), [(Layer.L1, 93.90), (Layer.L2_FCS, 95.14), (Layer.L2, 95.39), (Layer.L3, 96.53)]
)
def test_the_layer_of_the_order_decides_what_tcp_may_have(layer: Layer, mbit: float) -> None:
    """100 Mbit/s, tagged, MTU 1500: what is counted is worth almost three percent."""
    assert round(rfc6349.ideal_goodput_bps(1e8, layer, 1500, 1448, tagged=True) / 1e6, 2) == mbit


def test_a_rate_of_payload_is_ideal_by_itself() -> None:
    """L4 counts nothing else."""
    assert rfc6349.ideal_goodput_bps(1e8, Layer.L4, 1500, 1448, tagged=True) == 1e8


def test_bandwidth_times_delay() -> None:
    """RFC 6349, section 3.3.1: 44.21 Mbit/s (T3) at 25 ms hold 138 kB; 1 Gbit/s at 1 ms holds 125 kB."""
    assert rfc6349.bdp_bytes(44.21e6, 25e6) == pytest.approx(138_156, rel=1e-4)
    assert rfc6349.bdp_bytes(1e9, 1e6) == 125_000


def test_the_transfer_time_ratio_is_ideal_by_actual_goodput() -> None:
    """At half of the ideal a transfer takes twice as long; the interval holds it and widens with the bandwidth's."""
    rates = np.array([50e6 + wiggle for wiggle in (-1e6, 1e6) * 20])
    value, interval = rfc6349.transfer_time_ratio(rates, 100e6, None)
    assert value == pytest.approx(2.0)
    assert interval.lo < 2.0 < interval.hi < 2.05
    wide = rfc6349.transfer_time_ratio(rates, 100e6, Interval(0.9, 1.1, 0.975, "one", ""))[1]
    assert (wide.lo, wide.hi) == (pytest.approx(0.9 * interval.lo), pytest.approx(1.1 * interval.hi))


def test_nothing_transferred_takes_for_ever() -> None:
    """No division by zero, and no claim."""
    value, interval = rfc6349.transfer_time_ratio(np.zeros(5), 100e6, None)
    assert (value, interval.lo, interval.hi) == (math.inf, 0.0, math.inf)


def test_one_interval_bounds_no_ratio() -> None:
    """A single rate tells no spread."""
    value, interval = rfc6349.transfer_time_ratio(np.array([50e6]), 100e6, None)
    assert (value, interval.lo, interval.hi) == (2.0, 0.0, math.inf)


def test_efficiency_counts_what_was_sent_again_as_sent() -> None:
    """RFC 6349, section 4.2: of 100,000 bytes of which 2,000 were sent again 98 % were of use."""
    value, interval = rfc6349.efficiency(100_000, 2_000, np.array([50] * 10), np.array([1] * 10))
    assert value == pytest.approx(0.98)
    assert interval.lo < 0.98 < interval.hi


def test_an_efficiency_without_loss_has_an_upper_bound_of_loss() -> None:
    """30,000 segments without a loss prove 99.99 %."""
    value, interval = rfc6349.efficiency(1, 0, np.full(10, 3_000), np.zeros(10, np.int64))
    assert value == 1 == interval.hi
    assert interval.lo > 0.9999


def test_nothing_sent_has_no_efficiency() -> None:
    """Absent is not all well."""
    with pytest.raises(ValueError, match="nothing was sent"):
        rfc6349.efficiency(0, 0, np.zeros(3, np.int64), np.zeros(3, np.int64))


def test_buffer_delay_is_the_rise_of_the_mean_in_baselines() -> None:
    """RFC 6349, section 4.3: from 25 ms to 32 ms are 28 %; what was lost has no round trip."""
    loaded = np.array([31e6, 33e6] * 100 + [math.inf])
    value, interval = rfc6349.buffer_delay(loaded, np.arange(201) // 20, 25e6)
    assert value == pytest.approx(0.28)
    assert interval is not None and interval.lo <= 0.28 <= interval.hi


@pytest.mark.parametrize(("loaded", "baseline"), [([math.inf], 1e6), ([math.nan], 1e6), ([1e6], 0.0)])
def test_without_round_trips_there_is_no_buffer_delay(loaded: list[float], baseline: float) -> None:
    """All lost, or no baseline."""
    with pytest.raises(ValueError, match="no round trip"):
        rfc6349.buffer_delay(np.array(loaded), np.zeros(1, np.int64), baseline)


@pytest.mark.parametrize(
    ("shares", "index"), [([5, 5, 5, 5], 1.0), ([4, 0, 0, 0], 0.25), ([3, 1], 0.8), ([1], None), ([0, 0], None)]
)
def test_fairness_is_jains_index(shares: list[float], index: float | None) -> None:
    """1 where all have the same, 1/n where one has all; a single stream is fair to nobody."""
    found = rfc6349.fairness(shares)
    assert found == (None if index is None else pytest.approx(index))


# --- TCP_INFO -------------------------------------------------------------------------------------


def row(second: float, **more: Any) -> dict[str, Any]:
    """A connection that sends 1,000 segments of 1,000 B a second, one of a hundred again."""
    told = {
        "inode": 7,
        "mono_ns": round(second * 1e9),
        "snd_mss": 1000,
        "snd_cwnd": 50,
        "rtt_ns": 20_000_000,
        "data_segs_out": round(1000 * second),
        "total_retrans": round(10 * second),
        "bytes_sent": round(1_000_000 * second),
        "bytes_retrans": round(10_000 * second),
        "bytes_acked": round(990_000 * second),
        "busy_time_ns": round(second * 1e9),
        "rwnd_limited_ns": round(second * 4e8),
    }
    return {**told, **more}


def test_the_warm_up_is_in_no_figure() -> None:
    """Of ten seconds the first two are left out, and so is what came after the end."""
    rows = [row(second) for second in range(1, 15)]
    told = tcpinfo.connections([rows], 2.0, 8.0)
    assert told is not None
    assert (len(told.sent), int(told.sent.sum()), int(told.resent.sum())) == (8, 8_000, 80)
    assert (told.sent_bytes, told.resent_bytes, told.acked_bytes) == (8_000_000, 80_000, (7_920_000,))
    assert told.share("rwnd_limited_ns") == pytest.approx(0.4)
    assert told.share("sndbuf_limited_ns") is None


def test_an_older_kernel_counts_segments_only() -> None:
    """Before Linux 4.19 there are no bytes: segments and their size stand for them."""
    old = [{key: value for key, value in row(second).items() if "bytes" not in key} for second in range(1, 6)]
    told = tcpinfo.connections([old], 0.0, 4.0)
    assert told is not None
    assert (told.sent_bytes, told.resent_bytes, told.acked_bytes) == (4_000_000, 40_000, ())


def test_the_streams_of_all_processes_add_up() -> None:
    """Two processes may use the same number for different sockets."""
    told = tcpinfo.connections([[row(1), row(2)], [row(1), row(2), row(3)]], 0.0, 5.0)
    assert told is not None
    assert (told.count, told.sent.tolist(), told.cwnd_bytes) == (2, [2000, 1000], 100_000)


@pytest.mark.parametrize("files", [[], [[]], [[row(1)]], [[{"t_ns": 1}]]])
def test_too_little_says_nothing(files: list[list[dict[str, Any]]]) -> None:
    """One row has no rise."""
    assert tcpinfo.connections(files, 0.0, 5.0) is None


def test_the_rows_of_a_real_kernel_are_read() -> None:
    """Four streams in 64 KiB windows over 200 Mbit/s of a shaper for 5 s after 1 s: full, fair, a queue of 15 ms."""
    rows = [json.loads(line) for line in GOLDEN.read_text().splitlines()[1:]]
    told = tcpinfo.connections([rows], 1.0, 5.0)
    assert told is not None
    assert (told.count, told.mss) == (4, 1448)
    assert sum(told.acked_bytes) * 8 / told.seconds == pytest.approx(191e6, rel=0.02)
    assert rfc6349.efficiency(told.sent_bytes, told.resent_bytes, told.sent, told.resent)[0] > 0.999
    assert told.rtt_ns == pytest.approx(15e6, rel=0.2)
    share = told.share("rwnd_limited_ns")
    assert share is not None and 0 <= share <= 1
    fair = rfc6349.fairness(told.acked_bytes)
    assert fair is not None and fair > 0.9
