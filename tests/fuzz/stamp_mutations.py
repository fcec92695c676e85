"""Random and mutated packets against both ends of STAMP, as fast as they go: ``make fuzz``.

    python tests/fuzz/stamp_mutations.py [INPUTS] [SEED]

Each input is a packet of a real exchange with bytes changed, cut, joined or made up. It goes to a reflector and to a
sender, open and with a key; what must hold is in ``Ends.reflect`` and ``Ends.receive``. A failure names its seed.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "agents")]

from perfagent import records  # noqa: E402 - found only by the path above
from perfagent.stamp import tlv  # noqa: E402 - likewise
from perfagent.stamp.packet import OPEN, Form  # noqa: E402 - likewise
from perfagent.stamp.reflecting import Reflecting  # noqa: E402 - likewise
from perfagent.stamp.sending import Sending, Stream  # noqa: E402 - likewise
from perfagent.stamp.times import UNSYNCHRONISED  # noqa: E402 - likewise

NOW_NS = 1_795_375_600_123_456_789
PEER = ("192.0.2.1", 862)
KEY = b"fuzz"
PACKETS = 64
_BUFFER = 2048
_CANARY = 0xA5


class Ends:
    """A sender and a reflector of one kind, and packets that they really exchanged."""

    def __init__(self, form: Form, tlv_key: bytes | None, *, stateless: bool = False) -> None:
        size = form.base_bytes + 80
        stream = Stream(
            PEER, 7, (size,), PACKETS, 10**6, 10**9, UNSYNCHRONISED, True, ask_dscp=46, follow_up=True, tlv_key=tlv_key
        )
        self.form = form
        self.key = form.key or tlv_key
        self.stream = stream
        self.reflector = Reflecting(form, UNSYNCHRONISED, ssid=None, stateless=stateless, tlv_key=tlv_key)
        self.answered = 0
        self.received = 0
        self.told: Counter[str] = Counter()
        self.seeds: list[bytes] = []
        for packet in self.renew():
            reply = self.reflect(packet)
            assert reply is not None
            self.seeds += [packet, reply]

    def renew(self) -> list[bytes]:
        """A sender that has no reply yet; the packets that it has sent are always the same."""
        self.map = bytearray(records.HEADER) + bytes(PACKETS * records.RECORD_BYTES)
        self.sender = Sending(self.form, self.stream, self.map)
        packets = []
        for seq in range(0, PACKETS, 2):
            self.sender.write(seq, NOW_NS + seq)
            self.sender.sent(seq, NOW_NS + seq)
            packets.append(bytes(self.sender.packet))
        return packets

    def reflect(self, packet: bytes) -> bytes | None:
        """It is dropped or answered with as many bytes; nothing behind it is touched, and nothing raised."""
        buffer = bytearray(packet).ljust(_BUFFER, bytes([_CANARY]))
        size = len(packet)
        dropped = sum(self.reflector.refused.values())
        session = self.reflector.take(buffer, size, "198.51.100.7", size, packet[0] if packet else 0)
        if session is None:
            assert sum(self.reflector.refused.values()) == dropped + 1
            return None
        seq = self.reflector.reply(buffer, session, NOW_NS, NOW_NS + 1, 64)
        session.transmitted(seq, NOW_NS + 2)
        self.answered += 1
        assert size >= self.form.base_bytes and len(buffer) == _BUFFER
        assert buffer.count(_CANARY, size) == _BUFFER - size
        assert 0 <= session.dscp <= 63 and self.form.genuine(buffer)
        return bytes(buffer[:size])

    def receive(self, packet: bytes) -> None:
        """It is refused, a duplicate, or the first reply to a packet that was sent; records stay whole."""
        sender = self.sender
        before = sum(sender.refused.values()) + sender.received + sender.duplicates
        twin = sender.take(packet, len(packet), PEER, NOW_NS + 10**6, records.KERNEL, 64, 0)
        assert sum(sender.refused.values()) + sender.received + sender.duplicates == before + 1
        assert twin is None or len(twin) == records.RECORD_BYTES
        assert sender.received <= PACKETS // 2 and len(self.map) == records.HEADER_BYTES + PACKETS * 40
        tlv.read(packet, min(len(packet), self.form.base_bytes), len(packet), self.key, UNSYNCHRONISED)
        if sender.received > PACKETS // 4:
            self.whole()
            self.received += sender.received
            self.told += sender.told
            self.renew()

    def whole(self) -> None:
        """Every record is one that was sent, under its own number."""
        for number, record in enumerate(records.read(bytes(self.map))):
            assert record.flags == 0 or (record.seq == number and record.flags & records.SENT)


def mutate(seed: bytes, draw: random.Random) -> bytes:
    packet = bytearray(seed)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 8))):
        _CHANGES[draw.randrange(len(_CHANGES))](packet, draw)
    return bytes(packet[:_BUFFER])


def _set(packet: bytearray, draw: random.Random) -> None:
    if packet:
        packet[draw.randrange(len(packet))] = draw.choice((0, 1, 4, 7, 8, 16, 0x80, 0xFF, draw.randrange(256)))


def _behind(packet: bytearray, draw: random.Random) -> None:
    """A change where the extensions are, by half of them in a header's type or length."""
    if len(packet) > 44:
        at = 44 + draw.randrange(len(packet) - 44)
        packet[at] = draw.choice((0, 1, 4, 7, 8, 16, 20, 0x20, 0x40, 0x80, 0xFF))


def _cut(packet: bytearray, draw: random.Random) -> None:
    del packet[draw.randrange(len(packet) + 1) :]


def _grow(packet: bytearray, draw: random.Random) -> None:
    packet += draw.randbytes(draw.randrange(40))


def _add(packet: bytearray, draw: random.Random) -> None:
    """One more TLV, right or almost."""
    kind, length = draw.choice((0, 1, 4, 7, 8, 99)), draw.choice((0, 4, 16, 16, 5, 300, 65_535))
    packet += bytes((draw.choice((0, 0x80, 0x20)), kind)) + length.to_bytes(2, "big") + bytes(min(length, 16))


def _sign(packet: bytearray, _: random.Random) -> None:
    """Make a changed authenticated packet genuine again, so that the inside of it is reached."""
    if len(packet) >= 112:
        packet[96:112] = tlv.digest(KEY, bytes(packet[:96]))


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (_set, _behind, _behind, _cut, _grow, _add, _sign)


def everyone() -> list[Ends]:
    """All kinds of ends."""
    return [Ends(OPEN, None), Ends(OPEN, None, stateless=True), Ends(OPEN, KEY), Ends(Form(KEY), None)]


def attack(all_ends: list[Ends], inputs: int, draw: random.Random) -> None:
    """``inputs`` packets, each to both ends of one kind."""
    for _ in range(inputs):
        ends = all_ends[draw.randrange(len(all_ends))]
        packet = mutate(draw.choice(ends.seeds), draw)
        try:
            ends.reflect(packet)
            ends.receive(packet)
        except Exception as error:
            raise AssertionError(f"this packet breaks it: {packet.hex()}") from error
    for ends in all_ends:
        ends.whole()


def main() -> int:
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"{inputs:,} packets, seed {seed}\n")
    all_ends = everyone()
    attack(all_ends, inputs, random.Random(seed))
    for ends in all_ends:
        answered, refused = ends.answered, dict(ends.reflector.refused)
        sys.stdout.write(f"reflector: answered {answered:,}, dropped {refused}\n")
        sys.stdout.write(f"sender: received {ends.received:,}, told {dict(ends.told)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
