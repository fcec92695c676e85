"""perfagent.tcpinfo: struct tcp_info of any kernel's length."""

from __future__ import annotations

import struct

from perfagent import tcpinfo

HEAD = struct.pack("=8B", 1, 0, 0, 0, 2, 7, 0x77, 0)


def raw(**values: int) -> bytes:
    """A whole struct with the named fields set."""
    fields = tcpinfo._FIELDS
    return HEAD + struct.pack("=" + "".join(kind for _, kind in fields), *(values.get(name, 0) for name, _ in fields))


def test_units_are_ns_and_bits() -> None:
    """The kernel's µs, ms and bytes/s become ns and bit/s; counts stay."""
    info = tcpinfo.parse(raw(rtt_us=54, last_data_recv_ms=3, pacing_rate=125, total_retrans=9))
    assert info["rtt_ns"] == 54_000
    assert info["last_data_recv_ns"] == 3_000_000
    assert info["pacing_rate_bps"] == 1000
    assert info["total_retrans"] == 9
    assert (info["state"], info["backoff"]) == ("established", 2)


def test_the_layout_is_that_of_linux() -> None:
    """Fields stand at the offsets of linux/tcp.h."""
    data = raw(total_retrans=1, pacing_rate=2, min_rtt_us=3, busy_time_us=4, snd_wnd=5)
    assert struct.unpack_from("=IQ", data, 100) == (1, 2)
    assert struct.unpack_from("=I", data, 148) == (3,)
    assert struct.unpack_from("=Q", data, 168) == (4,)
    assert struct.unpack_from("=I", data, 228) == (5,)


def test_an_older_kernels_struct_ends_earlier() -> None:
    """What lies beyond its end is absent, not 0."""
    info = tcpinfo.parse(raw()[:104])
    assert "total_retrans" in info
    assert "pacing_rate_bps" not in info
    assert "busy_time_ns" not in info


def test_a_value_that_means_none_is_absent() -> None:
    """No minimum RTT measured, no pacing limit set."""
    info = tcpinfo.parse(raw(min_rtt_us=0xFFFFFFFF, max_pacing_rate=0xFFFFFFFFFFFFFFFF))
    assert "min_rtt_ns" not in info
    assert "max_pacing_rate_bps" not in info


def test_a_longer_struct_of_a_future_kernel_is_read_as_far_as_known() -> None:
    """The struct only grows at its end."""
    assert tcpinfo.parse(raw(rtt_us=1) + b"\xff" * 64)["rtt_ns"] == 1000
