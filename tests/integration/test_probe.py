"""stamp.send and stamp.reflect: over a routed path of namespaces, and against peers that misbehave."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from perfagent import records, sockets, timestamps
from perfagent.jobs import Job
from perfagent.records import KERNEL, REMOTE, REPLIED, SENT, Record
from perfagent.reflector import Reflector
from perfagent.sender import Sender
from perfagent.stamp.packet import OPEN
from perfagent.stamp.reflecting import Reflecting
from perfagent.stamp.sending import Stream
from perfagent.stamp.times import UNSYNCHRONISED
from perfagent.wire import Code, Fault
from tests.integration.namespaces import ADDRESSES, Path3, Running

PORT, SSID = 8620, 77
COUNT = 1000


def stream(family: int = 4, **changed: Any) -> dict[str, Any]:
    """Arguments of ``stamp.send`` from a to z."""
    return {
        "peer": ADDRESSES[family]["z"],
        "port": PORT,
        "source": ADDRESSES[family]["a"],
        "ssid": SSID,
        "interval_ns": 1_000_000,
        "count": COUNT,
        "packet_bytes": 172,
        "dscp": 0,
        "wait_ns": 500_000_000,
        "pattern": "periodic",
        "seed": 1,
        **changed,
    }


def reflect(path: Path3, family: int = 4) -> Running:
    a, z = ADDRESSES[family]["a"], ADDRESSES[family]["z"]
    return path.serve("z", "reflect", "stamp.reflect", address=z, port=PORT, peer=a, ssid=SSID)


def read(job: Running, name: str) -> list[Record]:
    return list(records.read((job.folder / name).read_bytes()))


# --- over a path ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("pattern", ["periodic", "poisson"])
def test_every_packet_has_four_kernel_stamps_in_order(path: Path3, family: int, pattern: str) -> None:
    """On a sound path each packet sent comes back with T1 <= T2 <= T3 <= T4, all by the kernel."""
    reflector = reflect(path, family)
    sender = path.start("a", "send", "stamp.send", **stream(family, pattern=pattern))
    sent, reflected = sender.data(), reflector.stop()["data"]

    assert sent["attempted"] == COUNT == sent["sent"] + sent["missed"]
    assert sent["received"] == sent["sent"] == reflected["received"] == reflected["sent"]
    assert (sent["duplicates"], sent["foreign"], sent["late"], reflected["foreign"]) == (0, 0, 0, 0)
    assert (sent["rxq_dropped"], reflected["rxq_dropped"]) == (0, 0)
    assert sent["stamps"]["t4"] == {"kernel": sent["sent"], "user": 0}
    assert sent["tx_stamps"] == sent["sent"]

    t3 = {record.seq: record for record in read(reflector, "reflector.rec")}
    assert len(t3) == sent["sent"]
    for record in read(sender, "sender.rec"):
        if not record.flags & SENT:
            continue
        theirs = t3[record.seq]
        assert record.flags == SENT | REPLIED
        assert (record.sources12, record.sources34) == (KERNEL | REMOTE << 4, REMOTE | KERNEL << 4)
        assert (theirs.sources12, theirs.sources34) == (KERNEL << 4, KERNEL)
        assert record.t1 <= record.t2 == theirs.t2 <= record.t3 <= theirs.t3 <= record.t4
        assert (record.ttl, theirs.ttl) == (254, 254)


def test_loss_is_exact_in_each_direction(path: Path3) -> None:
    """The records say which packets were lost on the way there and which on the way back, to the packet."""
    path.rules(
        "forward",
        f"udp dport {PORT} numgen random mod 100 < 7 counter name there drop",
        f"udp sport {PORT} numgen random mod 100 < 4 counter name back drop",
        counters=("there", "back"),
    )
    reflector = reflect(path)
    sender = path.start("a", "send", "stamp.send", **stream())
    sender.data()
    reflector.stop()

    sent = {record.seq for record in read(sender, "sender.rec") if record.flags & SENT}
    replied = {record.seq for record in read(sender, "sender.rec") if record.flags & REPLIED}
    seen = {record.seq for record in read(reflector, "reflector.rec")}
    assert replied <= seen <= sent
    assert len(sent - seen) == path.counted("there") > 0
    assert len(seen - replied) == path.counted("back") > 0


def test_a_packet_too_large_for_the_path_is_lost_and_not_cut_up(path: Path3) -> None:
    """A router has told the host's kernel, which would now send pieces of another size than was asked for."""
    path.ip("r", "link", "set", "to-z", "mtu", "1400")
    path.run("a", "sh", "-c", f"ping -c 1 -W 1 -M do -s 1472 {ADDRESSES[4]['z']} || true")  # now the kernel knows
    reflector = reflect(path)
    sender = path.start("a", "send", "stamp.send", **stream(count=100, packet_bytes=1472))
    data = sender.data()
    reflector.stop()
    assert (data["sent"], data["received"], data["stamps"]["t1"]["kernel"]) == (100, 0, 100)


def test_what_the_kernel_refuses_is_a_send_error(path: Path3) -> None:
    """Packets that never left are no loss, and the stamps of the others still belong to them."""
    path.rules(
        "output",
        f"udp dport {PORT} numgen random mod 100 < 5 counter name refused drop",
        counters=("refused",),
        end="a",
    )
    reflector = reflect(path)
    sender = path.start("a", "send", "stamp.send", **stream())
    sent = sender.data()
    reflector.stop()

    assert sent["send_errors"] == path.counted("refused", end="a") > 0
    assert sent["send_error_names"] == {"EPERM": sent["send_errors"]}
    assert sent["sent"] + sent["missed"] + sent["send_errors"] == COUNT
    assert sent["received"] == sent["sent"]
    for record in read(sender, "sender.rec"):
        if record.flags & SENT:
            assert record.t1 <= record.t2


def test_the_class_is_kept_both_ways(path: Path3) -> None:
    """A stream marked EF arrives so, and its replies come back so."""
    reflector = reflect(path)
    sent = path.start("a", "send", "stamp.send", **stream(dscp=46, count=50)).data()
    reflected = reflector.stop()["data"]
    assert reflected["tos_seen"] == {str(46 << 2): sent["sent"]}
    assert sent["tos_seen"] == {str(46 << 2): sent["sent"]}


def test_a_sender_asked_to_stop_keeps_what_it_has(path: Path3) -> None:
    """It ends as completed, with what it sent and the replies to it."""
    reflector = reflect(path)
    sender = path.start("a", "send", "stamp.send", **stream(count=1_000_000))
    assert sender.process.stdout is not None
    sender.process.stdout.readline()  # the first live figure: it sends
    result = sender.stop()
    reflector.stop()
    assert result["status"] == "completed"
    assert 0 < result["data"]["attempted"] < 1_000_000
    assert result["data"]["received"] == result["data"]["sent"]


def test_a_killed_sender_loses_nothing(path: Path3) -> None:
    """What it had sent and received stands in its file though it had no time to write one."""
    reflector = reflect(path)
    sender = path.start("a", "send", "stamp.send", **stream(count=1_000_000))
    assert sender.process.stdout is not None
    sender.process.stdout.readline()
    sender.process.kill()
    sender.process.wait()
    reflector.stop()
    seen = {record.seq for record in read(reflector, "reflector.rec")}
    sent = {record.seq for record in read(sender, "sender.rec") if record.flags & SENT}
    assert len(sent) > 0
    assert len(seen - sent) <= 1  # the one between the call and the record


def test_a_silent_peer_is_no_error(path: Path3) -> None:
    """Without a reflector all is sent and nothing received: loss, not failure."""
    sent = path.start("a", "send", "stamp.send", **stream(count=50)).data()
    assert sent["sent"] + sent["missed"] == 50
    assert (sent["received"], sent["foreign"]) == (0, 0)


# --- against peers that misbehave, over loopback ----------------------------------------------

STREAM = Stream(("127.0.0.1", 0), SSID, (172,), 100, 1_000_000, 300_000_000, UNSYNCHRONISED)


def send_to(job: Job, answer: Any, stream: Stream = STREAM) -> Sender:
    """Run a sender against ``answer(peer socket, request, address)``, called for each packet."""
    with sockets.bind_udp("127.0.0.1") as peer, sockets.bind_udp("127.0.0.1") as sock:
        sockets.set_receive_timeout(peer, 0.1)
        sender = Sender(job, [sock], stream._replace(peer=peer.getsockname()))
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    packet, address = peer.recvfrom(2048)
                except BlockingIOError:
                    continue
                answer(peer, bytearray(packet), address)

        thread = threading.Thread(target=serve)
        thread.start()
        start_ns = time.monotonic_ns()
        sender.run((start_ns + i * 1_000_000 for i in range(stream.packets)), patience_ns=stream.interval_ns)
        done.set()
        thread.join()
    return sender


def reply_to(packet: bytearray) -> bytearray:
    OPEN.turn_into_reply(packet, 0, time.time_ns(), time.time_ns(), 64, UNSYNCHRONISED)
    return packet


def test_duplicates_are_kept_apart(job: Any) -> None:
    """The first reply counts; each further one goes to duplicates.rec."""

    def twice(peer: socket.socket, packet: bytearray, address: Any) -> None:
        reply_to(packet)
        peer.sendto(packet, address)
        peer.sendto(packet, address)

    sender = send_to(job, twice)
    assert sender.session.received == sender.sent == sender.session.duplicates
    twins = list(records.read((job.folder / "duplicates.rec").read_bytes()))
    firsts = {record.seq: record for record in records.read((job.folder / "sender.rec").read_bytes())}
    assert len(twins) == sender.session.duplicates
    assert all(twin.t4 >= firsts[twin.seq].t4 for twin in twins)


def test_foreign_packets_are_counted_only(job: Any) -> None:
    """Another session, a short packet, a packet never sent, another address: none becomes a reply."""
    stranger = sockets.bind_udp("127.0.0.2")

    def wrongly(peer: socket.socket, packet: bytearray, address: Any) -> None:
        reply = bytes(reply_to(packet))
        peer.sendto(reply[:43], address)
        peer.sendto(reply[:14] + b"\xff\xff" + reply[16:], address)
        peer.sendto(reply[:24] + (STREAM.packets + 5).to_bytes(4, "big") + reply[28:], address)
        stranger.sendto(reply, address)

    with stranger:
        sender = send_to(job, wrongly)
    assert sender.session.received == sender.session.duplicates == 0
    reasons = ("short", "other session", "never sent", "other peer")
    assert sender.session.refused == dict.fromkeys(reasons, sender.sent)


def test_replies_after_the_waiting_time_are_late(job: Any) -> None:
    """A reply that takes longer than the waiting time is recorded and marked."""
    held: list[Any] = []

    def much_later(peer: socket.socket, packet: bytearray, address: Any) -> None:
        seq = OPEN.read_request(packet).seq
        held.append((reply_to(packet), address))
        if seq >= 80 and held[0]:  # at least 80 ms after the first
            peer.sendto(*held[0])
            held[0] = None

    sender = send_to(job, much_later, STREAM._replace(wait_ns=50_000_000))
    first = next(record for record in records.read((job.folder / "sender.rec").read_bytes()) if record.flags)
    assert (sender.session.received, sender.session.late) == (1, 1)
    assert first.flags == SENT | REPLIED | records.LATE


def test_the_reflector_answers_its_session_only(job: Any) -> None:
    """Other addresses, other sessions and short packets get nothing; a reply is as large as its request."""
    with sockets.bind_udp("127.0.0.1") as sock, sockets.bind_udp("127.0.0.1") as peer:
        rules = Reflecting(OPEN, UNSYNCHRONISED, peer="127.0.0.1", ssid=SSID)
        reflector = Reflector(job, sock, rules, OPEN.mark(SSID))
        thread = threading.Thread(target=reflector.run)
        thread.start()
        request = bytearray(300)
        OPEN.write_request(request, 4, time.time_ns(), UNSYNCHRONISED, SSID)
        with sockets.bind_udp("127.0.0.2") as stranger:
            stranger.sendto(request, sock.getsockname())
        peer.sendto(request[:43], sock.getsockname())
        peer.sendto(request[:14] + b"\xff\xff" + request[16:], sock.getsockname())
        for _ in range(2):
            peer.sendto(request, sock.getsockname())
        answers = [peer.recv(2048) for _ in range(2)]
        job.stop()
        thread.join()
    assert [len(answer) for answer in answers] == [300, 300]
    assert [OPEN.read_reply(answer).seq for answer in answers] == [0, 1]
    assert [OPEN.read_reply(answer).sender_seq for answer in answers] == [4, 4]
    assert (reflector.received, reflector.sent) == (2, 2)
    assert rules.refused == {"other peer": 1, "short": 1, "other session": 1}


def test_stamps_find_their_packets_after_a_failed_send() -> None:
    """Each stamp goes to its own packet, whatever its size and whether or not one before it was refused."""
    mark, mark_at = OPEN.mark(SSID)
    with sockets.bind_udp("127.0.0.1") as sock, sockets.bind_udp("127.0.0.1") as peer:
        timestamps.enable(sock)
        stamps = timestamps.TransmitStamps(sock, mark, mark_at)
        sent_ns = []
        for number in range(20):
            if number == 10:
                with pytest.raises(OSError, match="too long"):
                    sock.sendto(bytes(70_000), peer.getsockname())
            packet = bytearray(44 + 100 * (number % 3))
            sent_ns.append(time.time_ns())
            OPEN.write_request(packet, number, sent_ns[-1], UNSYNCHRONISED, SSID)
            stamps.expect(len(packet))
            sock.sendto(packet, peer.getsockname())
        joined = list(iter(stamps.read, None))
    assert [(number, card_ns) for number, _, card_ns in joined] == [(number, 0) for number in range(20)]
    later_ns = [*sent_ns[1:], time.time_ns()]
    assert all(sent_ns[number] <= stamp_ns <= later_ns[number] for number, stamp_ns, _ in joined)


def test_receive_drops_are_counted() -> None:
    """Packets that found the socket's buffer full are counted exactly, also at the very end."""
    with sockets.bind_udp("127.0.0.1") as sock, sockets.bind_udp("127.0.0.1") as peer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        for _ in range(200):
            peer.sendto(bytes(500), sock.getsockname())
        sock.setblocking(False)
        received = 0
        while True:
            try:
                sock.recv(1)
            except BlockingIOError:
                break
            received += 1
        assert sockets.receive_drops(sock) == 200 - received > 0


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"ssid": 65_536},
        {"packet_bytes": 43},
        {"packet_bytes": 65_508},
        {"dscp": 64},
        {"count": 0},
        {"pattern": "burst"},
        {"port": 0},
    ],
)
def test_arguments_out_of_range_are_refused(job: Any, wrong: dict[str, Any]) -> None:
    """A stream that cannot be sent is refused before anything is."""
    from perfagent.methods.stamp import send

    with pytest.raises(Fault) as fault:
        send(job, **stream(**wrong))
    assert fault.value.code == Code.BAD_ARGUMENT
    assert not (job.folder / "sender.rec").exists()


def test_an_address_of_another_host_is_named() -> None:
    """An address that this host does not hold, or that is none, is an ADDRESS fault with the address in it."""
    for address in ("192.0.2.1", "2001:db8::1", "vpc-host"):
        with pytest.raises(Fault, match=address) as fault:
            sockets.bind_udp(address)
        assert fault.value.code == Code.ADDRESS


def test_a_port_in_use_is_named() -> None:
    """A port that another program has is a PORT_IN_USE fault."""
    with sockets.bind_udp("127.0.0.1") as sock, pytest.raises(Fault) as fault:
        sockets.bind_udp("127.0.0.1", sock.getsockname()[1])
    assert fault.value.code == Code.PORT_IN_USE
