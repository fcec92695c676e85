"""What the tests of the lab share: packets through it, its truth once that is settled, and faults made by hand."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from perfharness.lab import control, namespaces, topology
from perfharness.lab.linespec import LineSpec
from perfharness.lab.spec import LabSpec
from perfharness.lab.state import FOLDER
from perfharness.model import Direction

ECS = LabSpec().ecs.address
PORT = 9000


@contextmanager
def gone() -> Iterator[None]:
    """Neither before the block nor after it is there a lab, or anything of one."""
    control.down()
    yield
    control.down()
    assert not FOLDER.exists()
    names = (*topology.NAMES, topology.ONPREM_B, topology.ECS_B)
    assert not [name for name in names if namespaces.exists(name)]


def ssh(host: str, command: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-F", str(FOLDER / "ssh_config"), "-o", "BatchMode=yes", host, command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20)


def ping(count: int = 1) -> bool:
    argv = ["ip", "netns", "exec", topology.ONPREM, "ping", "-q", "-c", str(count), "-W", "1", ECS]
    return subprocess.run(argv, capture_output=True, timeout=20).returncode == 0


def bound(namespace: str, address: str) -> socket.socket:
    with namespaces.entered(namespace):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, PORT))
    return udp


def send(count: int) -> list[int]:
    """Numbered datagrams from on-prem to cloud, gently paced; the numbers that arrived, in their order."""
    assert ping(), "no neighbour entries: the first datagrams would wait for ARP"
    arrived: list[int] = []
    with bound(topology.ECS, ECS) as receiver, bound(topology.ONPREM, LabSpec().onprem.address) as sender:
        for number in range(count):
            sender.sendto(number.to_bytes(4, "big") * 50, (ECS, PORT))
            receive(receiver, arrived, patience_s=0.0002)
        receive(receiver, arrived, patience_s=0.5)
    return arrived


def train(count: int, payload: bytes) -> float:
    """Datagrams from on-prem to cloud, one after the other; how long that took, in seconds."""
    with bound(topology.ONPREM, LabSpec().onprem.address) as sender:
        begun_s = time.monotonic()
        for _ in range(count):
            sender.sendto(payload, (ECS, PORT))
        return time.monotonic() - begun_s


def transfer(count: int) -> int:
    """So many bytes by TCP from on-prem to cloud; how many arrived."""
    with namespaces.entered(topology.ECS):
        server = socket.create_server((ECS, PORT))
    with namespaces.entered(topology.ONPREM):
        client = socket.socket()
    with server, client:
        client.connect((ECS, PORT))
        receiver, _ = server.accept()
        with receiver:
            client.sendall(bytes(count))  # well below what both buffers hold
            client.shutdown(socket.SHUT_WR)
            return sum(len(piece) for piece in iter(lambda: receiver.recv(65_536), b""))


def receive(receiver: socket.socket, arrived: list[int], patience_s: float) -> None:
    """Until nothing comes for so long."""
    receiver.settimeout(patience_s)
    with suppress(TimeoutError):
        while True:
            arrived.append(int.from_bytes(receiver.recv(2048)[:4], "big"))


def settled() -> dict[str, Any]:
    """The directions of the truth, once the wire has written what it did before this call."""
    asked_ns = time.time_ns()
    while True:
        truth = control.truth()
        if truth["mode"] == "veth" or truth["written_ns"] > asked_ns:
            directions: dict[str, Any] = truth["directions"]
            return directions
        time.sleep(0.05)


def shape_by_hand(words: str) -> None:
    command = ["tc", "-n", topology.CE, "qdisc", "change", "dev", "wan", "root", "tbf", *words.split()]
    subprocess.run(command, check=True)


def impaired(there: Callable[[LineSpec], LineSpec]) -> dict[Direction, LineSpec]:
    """The ordered circuit with a fault on the way from on-prem to cloud."""
    lines = LabSpec().lines()
    return {**lines, Direction.A_Z: there(lines[Direction.A_Z])}


def send_once_reachable(count: int) -> list[int]:
    """A lossy circuit may swallow the ping that comes first."""
    assert any(ping() for _ in range(5))
    return send(count)
