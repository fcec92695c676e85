"""The reflector's loop over loopback: what it tells of its own replies."""

from __future__ import annotations

import struct
import threading
import time
from typing import Any

from perfagent import records, sockets
from perfagent.records import KERNEL
from perfagent.reflector import Reflector
from perfagent.stamp.packet import OPEN
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.times import UNSYNCHRONISED, encode_time

SSID = 9
FOLLOW_UP = b"\0\x07" + (16).to_bytes(2, "big") + bytes(16)
"""The extension by which a sender asks when the reply before left (RFC 8972, section 4.7)."""


def test_follow_up_tells_the_kernels_stamp_of_each_reply(job: Any) -> None:
    """Who asks when the reply before left is told the kernel's time for each of them, as it stands in the record."""
    told = []
    with sockets.bind_udp("127.0.0.1") as far, sockets.bind_udp("127.0.0.1") as near:
        sockets.set_receive_timeout(near, 20.0)
        reflector = Reflector(job, far, Reflecting(OPEN, UNSYNCHRONISED, ssid=SSID), OPEN.mark(SSID))
        thread = threading.Thread(target=reflector.run)
        thread.start()
        for seq in range(6):
            request = bytearray(44)
            OPEN.write_request(request, seq, time.time_ns(), UNSYNCHRONISED, SSID)
            near.sendto(request + FOLLOW_UP, far.getsockname())
            told.append(struct.unpack_from(">IQ", near.recv(100), 48))
            time.sleep(0.01)  # a program that is asked for the next reply before it has read the stamp cannot know it
        job.stop()
        thread.join()
    kept = list(records.read((job.folder / "reflector.rec").read_bytes()))
    assert all(record.sources34 & 15 == KERNEL for record in kept)
    assert told[1:] == [(seq, encode_time(record.t3)) for seq, record in enumerate(kept[:-1])]


def test_what_is_not_to_be_answered_is_noted_all_the_same(job: Any) -> None:
    """Each packet with the kernel's stamp of its arrival, and nothing sent."""
    with sockets.bind_udp("127.0.0.1") as far, sockets.bind_udp("127.0.0.1") as near:
        reflector = Reflector(job, far, Reflecting(OPEN, UNSYNCHRONISED, ssid=SSID), OPEN.mark(SSID), answer=False)
        thread = threading.Thread(target=reflector.run)
        thread.start()
        for seq in range(6):
            request = bytearray(44)
            OPEN.write_request(request, seq, time.time_ns(), UNSYNCHRONISED, SSID)
            near.sendto(request, far.getsockname())
        deadline = time.monotonic() + 20
        while reflector.received < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        job.stop()
        thread.join()
    kept = list(records.read((job.folder / "reflector.rec").read_bytes()))
    assert [(record.seq, record.sources12 >> 4, record.sources34, record.flags) for record in kept] == [
        (seq, KERNEL, records.ABSENT, 0) for seq in range(6)
    ]
    assert (reflector.figures()["received"], reflector.figures()["sent"]) == (6, 0)
