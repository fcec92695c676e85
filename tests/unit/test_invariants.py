"""What ARCHITECTURE.md promises of the code itself, as far as the import contracts do not hold it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.errors import Exit, PerfharnessError
from perfharness.measurements import REGISTRY
from perfharness.order.circuit import Circuit, Endpoint, Objectives, Port
from perfharness.order.scenario import Scenario
from perfharness.order.validation import Strict

ROOT = Path(__file__).parents[2]
PURE = ("model", "analysis", "judge")
BEFORE_JUDGEMENT = ("analysis", "measurements", "collect.py", "evidence.py", "fleet")
UNITS = ("_ns", "_bps", "_bytes", "_ms", "_s")


def sources(*places: str) -> Iterator[Path]:
    for place in places:
        path = ROOT / "perfharness" / place
        yield from path.rglob("*.py") if path.is_dir() else (path,)


@pytest.mark.parametrize("path", list(sources(*PURE)), ids=lambda path: path.name)
def test_the_pure_stages_open_nothing_and_draw_nothing(path: Path) -> None:
    """model, analysis and judge call no open(), no print() and no global random numbers."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("open", "print", "input"), f"line {node.lineno}"
            assert not called.startswith(("np.random.", "random.")), f"line {node.lineno}"


@pytest.mark.parametrize("path", list(sources(*BEFORE_JUDGEMENT)), ids=lambda path: path.name)
def test_no_verdict_is_made_before_the_judge(path: Path) -> None:
    """What measures and collects knows no verdict: judge/ alone makes one."""
    assert "Verdict" not in path.read_text()


@pytest.mark.parametrize(
    "model", [Circuit, Endpoint, Objectives, Port, Scenario, *(kind.parameters for kind in REGISTRY.values())]
)
def test_a_name_ends_in_its_unit(model: type[Strict]) -> None:
    """A key that people write with a unit is an attribute that names the unit."""
    for name, field in model.model_fields.items():
        if field.alias is not None:
            assert name.startswith(field.alias)
            assert name.endswith(UNITS), name


def test_every_error_has_its_exit_code() -> None:
    """Each exception of ours says how the program ends, and never as PASS or FAIL."""
    kinds = [PerfharnessError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.exit_code in (Exit.BAD_INPUT, Exit.HARNESS, Exit.HOST, Exit.INCONCLUSIVE)


def test_every_file_that_architecture_names_is_there() -> None:
    """The map of the house names no file or folder that does not exist."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:perfharness|agents|tests|scenarios)/[\w./]+)`", text))
    named |= {f"perfharness/{name}" for name in re.findall(r"`((?:[a-z]+/)?[a-z_]+\.py|[a-z]+/)`", text)}
    missing = sorted(name for name in named if not (ROOT / name).exists() and not (ROOT / "agents" / name).exists())
    assert [name for name in missing if "tests/" not in name and "agents" not in name] == []


def test_what_only_reads_files_loads_nothing_for_more() -> None:
    """`validate` and `plan` answer at once: no SSH, no figures, no pictures are loaded."""
    heavy = "{'fabric', 'paramiko', 'scipy', 'matplotlib', 'scapy', 'weasyprint'}"
    words = "list(dryrun.validate(find_shipped('circuits/lab'), 'acceptance'))"
    script = (
        f"import sys\nfrom perfharness import cli, dryrun\nfrom perfharness.order.scenario import find_shipped\n{words}"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nprint({heavy} & set(sys.modules))"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'agents'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_every_verb_is_documented() -> None:
    """README names each verb of the command line."""
    from perfharness.cli import app

    readme = (ROOT / "README.md").read_text()
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert [verb for verb in verbs if f"`{verb}" not in readme] == []
