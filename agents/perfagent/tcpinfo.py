"""What the kernel knows of a TCP connection: TCP_INFO by name and unit. Pure but for ``read``.

Layout: struct tcp_info of linux/tcp.h, which only ever grew at its end; what this kernel does not fill in is
absent. Times are converted to ns, rates to bit/s.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

LISTEN = 10
STATES = (
    "", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait",
    "last-ack", "listen", "closing", "new-syn-received",
)  # fmt: skip

_FIELDS = (
    ("rto_us", "I"), ("ato_us", "I"), ("snd_mss", "I"), ("rcv_mss", "I"), ("unacked", "I"), ("sacked", "I"),
    ("lost", "I"), ("retrans", "I"), ("fackets", "I"), ("last_data_sent_ms", "I"), ("last_ack_sent_ms", "I"),
    ("last_data_recv_ms", "I"), ("last_ack_recv_ms", "I"), ("pmtu", "I"), ("rcv_ssthresh", "I"), ("rtt_us", "I"),
    ("rttvar_us", "I"), ("snd_ssthresh", "I"), ("snd_cwnd", "I"), ("advmss", "I"), ("reordering", "I"),
    ("rcv_rtt_us", "I"), ("rcv_space", "I"), ("total_retrans", "I"), ("pacing_rate", "Q"), ("max_pacing_rate", "Q"),
    ("bytes_acked", "Q"), ("bytes_received", "Q"), ("segs_out", "I"), ("segs_in", "I"), ("notsent_bytes", "I"),
    ("min_rtt_us", "I"), ("data_segs_in", "I"), ("data_segs_out", "I"), ("delivery_rate", "Q"), ("busy_time_us", "Q"),
    ("rwnd_limited_us", "Q"), ("sndbuf_limited_us", "Q"), ("delivered", "I"), ("delivered_ce", "I"),
    ("bytes_sent", "Q"), ("bytes_retrans", "Q"), ("dsack_dups", "I"), ("reord_seen", "I"), ("rcv_ooopack", "I"),
    ("snd_wnd", "I"),
)  # fmt: skip
_HEAD_BYTES = 8
_SIZES = {"I": 4, "Q": 8}
_UNKNOWN = {"min_rtt_us": 0xFFFFFFFF, "max_pacing_rate": 0xFFFFFFFFFFFFFFFF}
"""Values that mean "none": not measured yet, no limit."""
_UNITS = {"us": 1_000, "ms": 1_000_000}


def parse(raw: bytes) -> dict[str, Any]:
    """``{"state", "snd_mss", "rtt_ns", "busy_time_ns", "pacing_rate_bps", …}`` of the bytes of a struct tcp_info."""
    info: dict[str, Any] = {"state": STATES[raw[0]] if raw[0] < len(STATES) else raw[0], "backoff": raw[4]}
    offset = _HEAD_BYTES
    for name, kind in _FIELDS:
        if offset + _SIZES[kind] > len(raw):
            break
        value = struct.unpack_from("=" + kind, raw, offset)[0]
        offset += _SIZES[kind]
        if _UNKNOWN.get(name) == value:
            continue
        stem, _, unit = name.rpartition("_")
        if unit in _UNITS:
            info[f"{stem}_ns"] = value * _UNITS[unit]
        elif unit == "rate":
            info[f"{name}_bps"] = value * 8
        else:
            info[name] = value
    return info


def read(sock: socket.socket) -> dict[str, Any]:
    """Of a TCP socket in any state. Raises OSError."""
    return parse(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
