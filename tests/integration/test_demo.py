"""`perfharness demo`: the lab's own order at its full 1 Gbit/s, as whoever tries the tool first sees it. Needs root."""

from __future__ import annotations

import pytest

from perfharness.lab import control, namespaces, topology
from perfharness.lab.state import FOLDER
from tests.integration.runs import Result, perfharness

LOADS = {"10-udp-a-z": "a-z", "11-udp-z-a": "z-a"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, int, str]:
    """The demo from nothing to nothing."""
    control.down()
    folder = tmp_path_factory.mktemp("demo")
    code, said = perfharness(folder, "demo", "--results", str(folder / "results"))
    return Result(folder), code, said


def test_the_demo_never_blames_a_healthy_circuit(demo: tuple[Result, int, str]) -> None:
    """It passes, with both reports; where this machine cannot carry 1 Gbit/s beside its other work it is INCONCLUSIVE,
    and each open row says why."""
    result, code, said = demo
    document = result.json()
    assert (code, document["verdict"]) in ((0, "PASS"), (3, "INCONCLUSIVE")), said
    assert [row for row in document["findings"] if row["verdict"] in ("FAIL", "WARN")] == []
    # What only the customer's router could tell is not measured where the order does not say how to ask it.
    assert [row for row in document["findings"] if row["verdict"] == "NOT_RUN" and row["mandatory"]] == []
    unclear = [row for row in document["findings"] if row["verdict"] == "INCONCLUSIVE"]
    assert all(row["reason"] for row in unclear) and (code == 0 or unclear), said
    assert (result.path / "report.html").read_bytes().startswith(b"<!")
    assert (result.path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_the_demo_fills_its_gigabit_with_two_processes_each_way(demo: tuple[Result, int, str]) -> None:
    """One process of iperf3 cannot pace 83,000 packets/s; together they carry more than half even here."""
    for task, direction in LOADS.items():
        assert len(list((demo[0].path / "raw" / task).glob(f"*.client-{direction}-*"))) == 2
        assert demo[0].finding("throughput.udp", "mean", direction)["value"] > 0.5e9


def test_the_demo_takes_its_lab_down(demo: tuple[Result, int, str]) -> None:
    """No namespace and no folder of the lab is left."""
    assert not FOLDER.exists()
    assert [name for name in topology.NAMES if namespaces.exists(name)] == []
