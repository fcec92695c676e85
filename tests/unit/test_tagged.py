"""ARP on a VLAN: the frames that ask, and what is read from those that come back."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.l2 import ARP, Dot1Q, Ether

from perfagent.tagged import answer, question

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
SOURCE, ADDRESS = "10.0.0.1", "10.0.0.2"


@pytest.mark.parametrize("vlan", [0, 100, 2999])
def test_a_question_is_the_frame_that_scapy_makes(vlan: int) -> None:
    """To everybody, with the tag of that VLAN or, for 0, without one."""
    ethernet = Ether(src=OURS, dst="ff:ff:ff:ff:ff:ff")
    ask = ARP(op="who-has", hwsrc=OURS, psrc=SOURCE, pdst=ADDRESS)
    expected = bytes(ethernet / Dot1Q(vlan=vlan) / ask if vlan else ethernet / ask)
    mac = bytes.fromhex(OURS.replace(":", ""))
    assert question(mac, socket.inet_aton(SOURCE), socket.inet_aton(ADDRESS), vlan) == expected


@pytest.mark.parametrize(("kept", "stripped", "vlan"), [(0, None, 0), (0, 100, 100), (200, None, 200)])
def test_an_answer_tells_its_vlan_and_mac(kept: int, stripped: int | None, vlan: int) -> None:
    """Whether the kernel took the tag off or not; a question, and another address, are no answer."""

    def told(**fields: str) -> tuple[int, str] | None:
        reply = ARP(**{"op": "is-at", "hwsrc": THEIRS, "psrc": ADDRESS, "hwdst": OURS, "pdst": SOURCE, **fields})
        ethernet = Ether(src=THEIRS, dst=OURS)
        frame = bytes(ethernet / Dot1Q(vlan=kept) / reply if kept else ethernet / reply)
        return answer(frame, stripped, socket.inet_aton(ADDRESS))

    assert told() == (vlan, THEIRS)
    assert told(op="who-has") is None
    assert told(psrc="10.0.0.3") is None
