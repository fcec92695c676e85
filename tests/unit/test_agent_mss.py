"""perfagent.mss and perfagent.hole: the MSS of a SYN, and how far packets of one size get."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfagent import hole, mss
from perfagent.jobs import Job

IPV4 = bytes.fromhex("45000000000000004006000000000000ffffffff")
IPV6 = bytes.fromhex("6000000000140640") + bytes(32)


def syn(ip: bytes, options: bytes) -> bytes:
    words = 5 + len(options) // 4
    return ip + bytes(12) + bytes([words << 4, 2]) + bytes(6) + options


@pytest.mark.parametrize("ip", [IPV4, IPV6, b"\x46" + IPV4[1:] + b"\x01\x01\x01\x01"])
def test_the_mss_is_read_among_other_options(ip: bytes) -> None:
    """Wherever it stands, with padding before it, behind IPv4 with options too."""
    assert mss.of_syn(syn(ip, bytes.fromhex("0402 0101 0204 0550 0103 0307".replace(" ", "")))) == 1360


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        IPV4,
        syn(IPV4, b""),
        syn(IPV4, b"\x01\x01\x01\x00"),
        syn(IPV4, b"\x08\x00\x02\x04"),
        syn(IPV4, b"\x01\x01\x02\x04"),
        b"\x45" + IPV4[1:9] + b"\x11" + syn(IPV4, b"\x02\x04\x05\xb4")[10:],
    ],
)
def test_a_syn_without_an_mss_says_none(packet: bytes) -> None:
    """Nothing, no options, one cut off, a broken length, another protocol: never a made-up number."""
    assert mss.of_syn(packet) is None


class Path3:
    """Routers of an imaginary path, each with the largest packet that gets to it; None answers nothing."""

    control_bytes = 44

    def __init__(self, *hops: tuple[str | None, int]) -> None:
        self._hops = hops

    def ask_hop(self, ttl: int, size: int) -> str | None:
        name, most = self._hops[min(ttl, len(self._hops)) - 1]
        return name if size <= most else None


def walked(tmp_path: Path, *hops: tuple[str | None, int]) -> dict[str, object]:
    job = Job(tmp_path, 1 << 62, lambda *_: None)
    return hole.walk(job, Path3(*hops), 1401, "z")


@pytest.mark.parametrize(
    ("hops", "last", "after", "adjacent"),
    [
        ((("r1", 1500), ("r2", 1400), ("z", 1400)), "r1", "r2", True),
        ((("r1", 1400), ("z", 1400)), None, "r1", True),
        ((("r1", 1500), ("r2", 1500), ("z", 1400)), "r2", "z", True),
        ((("r1", 1500), (None, 1400), ("r3", 1400), ("z", 1400)), "r1", "r3", False),
        (((None, 0),), None, None, False),
        ((("r1", 1500), (None, 0)), "r1", None, False),
    ],
)
def test_the_hop_before_the_narrow_link_is_found(
    tmp_path: Path, hops: tuple[tuple[str | None, int], ...], last: str | None, after: str | None, adjacent: bool
) -> None:
    """The last that has a large packet, the next that has small ones only, and whether silent ones lie between."""
    found = walked(tmp_path, *hops)
    assert (found["last"], found["next"], found["adjacent"]) == (last, after, adjacent)
