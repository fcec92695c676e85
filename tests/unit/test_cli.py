"""The command line as a person meets it: one sentence and the right exit code, whatever goes wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perfharness import cli, evidence, preflight
from perfharness.errors import Exit, HostLost
from perfharness.order.circuit import load_circuit
from perfharness.order.scenario import find_shipped, load_scenario
from perfharness.plan import make_plan, to_json


def typed(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The exit code of these words."""
    monkeypatch.setattr("sys.argv", ["perfharness", *map(str, words)])
    return cli.exit_code()


def lab_with(folder: Path, *changes: tuple[str, str]) -> Path:
    """The lab's circuit file with other words in it."""
    text = find_shipped("circuits/lab").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "circuit.yaml"
    file.write_text(text)
    return file


def test_a_fault_of_ours_is_never_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception that nobody foresaw ends with the harness's own exit code, in one sentence: 1 would say FAIL."""

    def broken(*_: object) -> None:
        raise KeyError("nosuch")

    monkeypatch.setattr(preflight, "check", broken)
    assert typed(monkeypatch, "check", "circuit.yaml") == Exit.HARNESS
    assert capsys.readouterr().err.startswith("perfharness itself failed, at test_cli.py line")


@pytest.mark.parametrize(
    "change",
    [("tags:", "pairs: [[onprem-a, nosuch]]\ntags:"), ("site: cloud", "site: onprem")],
    ids=["pair without its host", "no cloud host"],
)
def test_check_refuses_an_order_without_sense(
    change: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preflight of an order that names no usable pair is bad input, not a success with nothing checked."""
    assert typed(monkeypatch, "check", lab_with(tmp_path, change)) == Exit.BAD_INPUT


def test_what_is_no_run_folder_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`report` on a missing folder, a file or a folder of something else says so in a sentence."""
    (tmp_path / "file").write_text("")
    (tmp_path / "odd" / "run.json").mkdir(parents=True)
    for name in ("nosuch", "file", "odd"):
        assert typed(monkeypatch, "report", tmp_path / name) == Exit.BAD_INPUT
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("port", ["abc", "70000"])
def test_a_port_that_is_none_in_the_ssh_configuration_names_the_endpoint(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken Port in the user's SSH configuration is an unusable host with a remedy."""
    (tmp_path / "config").write_text(f"Host *\n  HostName 127.0.0.1\n  Port {port}\n")
    file = lab_with(tmp_path, ("/run/perfharness-lab/ssh_config", "config"))
    assert typed(monkeypatch, "check", file) == Exit.HOST
    said = capsys.readouterr().err
    assert "onprem-a: the SSH configuration for onprem-a cannot be used:" in said
    assert port in said


def cut_short(results: Path) -> evidence.RunFolder:
    """What a run leaves that was killed before it measured anything."""
    about = {"started": "2027-01-01T00:00:00.000Z", "version": "0"}
    run = evidence.create(results, "circuit", "run", about)
    lab, smoke = find_shipped("circuits/lab"), find_shipped("smoke")
    run.write("order/circuit.yaml", lab.read_bytes())
    run.write("order/scenario.yaml", smoke.read_bytes())
    run.write_json("plan.json", to_json(make_plan(load_circuit(lab), load_scenario(smoke))))
    return run


def test_a_report_without_pdf_leaves_none_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`report --no-pdf` makes findings and page again, and removes a PDF that may say something else."""
    folder = cut_short(tmp_path).path
    (folder / "report.pdf").write_text("of before")
    assert typed(monkeypatch, "report", folder, "--no-pdf") == Exit.INCONCLUSIVE
    assert (folder / "findings.json").exists() and (folder / "report.html").exists()
    assert not (folder / "report.pdf").exists()


def test_a_corrected_order_keeps_the_names_of_its_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The evidence is filed by endpoint: an order that names others cannot be judged by it, and the file is told."""
    run = cut_short(tmp_path)
    other = lab_with(tmp_path, ("  onprem-a:\n", "  onprem-b:\n"))
    assert typed(monkeypatch, "report", run.path, "--circuit", other) == Exit.BAD_INPUT
    assert "The run was measured from onprem-a, which this order does not name." in capsys.readouterr().err


def raising(error: BaseException) -> Callable[..., int]:
    def app(**_: object) -> int:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("a bug"), Exit.HARNESS),
        (OSError(28, "No space left on device", "results/x"), Exit.HARNESS),
        (BrokenPipeError(), Exit.HARNESS),
        (HostLost("host-a", "it went"), Exit.HOST),
    ],
)
def test_no_error_is_a_verdict(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: Exit) -> None:
    """Python's own exit code for an error is 1, and 1 says that the circuit failed."""
    monkeypatch.setattr(cli, "app", raising(error))
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert cli.exit_code() == code


def test_a_host_cannot_speak_to_the_terminal() -> None:
    """What a host said goes into our sentences without its escape sequences."""
    assert str(HostLost("host-a", "it said \x1b]0;owned\x07 and\r\nwent")) == "host-a: it said ?]0;owned? and?\nwent"
