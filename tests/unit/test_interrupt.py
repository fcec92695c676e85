"""Ctrl-C, SIGTERM and SIGHUP wherever they come: never lost, never a traceback, and an exit code that is no verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfharness.errors import Exit

ROOT = Path(__file__).parents[2]
HIT = "os.kill(os.getpid(), signal.SIGINT)"
WAIT = "time.sleep(30)"
HEED = "import gc, os, signal, sys, time, weakref\nfrom perfharness import interrupt\ninterrupt.heed()\n"
MAIN = "import os, signal, time\nfrom perfharness import cli\nfrom perfharness.__main__ import main\n"


def python(script: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a script."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'agents'}:{folder}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def caught(block: str, folder: Path) -> tuple[int, str, str]:
    """Of a block that is interrupted: what is said is what was done before."""
    lines = "\n".join(f"    {line}" for line in block.splitlines())
    return python(
        f"{HEED}said = ''\ntry:\n{lines}\nexcept KeyboardInterrupt:\n    print(said)\n    sys.exit(7)\n", folder
    )


def test_an_import_is_not_cut_in_two(tmp_path: Path) -> None:
    """An interrupt in the midst of an import comes when the module is whole, whoever else catches all that goes wrong
    there."""
    (tmp_path / "inner.py").write_text(f"import os, signal\n{HIT}\nwhole = 'whole'\n")
    (tmp_path / "outer.py").write_text("try:\n    import inner\nexcept BaseException:\n    inner = None\n")
    assert caught(f"import outer\nsaid = outer.inner.whole\n{WAIT}", tmp_path) == (7, "whole\n", "")


@pytest.mark.parametrize(
    "block",
    [
        f"thing = type('Thing', (), {{}})()\nref = weakref.ref(thing, lambda _: {HIT})\nsaid = 'gone'\ndel thing",
        f"kind = type('Kind', (), {{'__del__': lambda self: {HIT}}})\nsaid = 'gone'\nkind()",
    ],
    ids=["weak reference", "finalizer"],
)
def test_what_python_would_print_and_forget_comes_again(block: str, tmp_path: Path) -> None:
    """In a callback whose exceptions nobody gets an interrupt is not lost, and nothing is printed."""
    assert caught(f"{block}\n{WAIT}", tmp_path) == (7, "gone\n", "")


def test_an_interrupt_that_was_caught_does_not_end_us_by_its_signal(tmp_path: Path) -> None:
    """Python ends by SIGINT, whatever was returned, once a plain KeyboardInterrupt has passed through exec."""
    assert caught(f"exec({HIT!r})\n{WAIT}", tmp_path) == (7, "\n", "")


@pytest.mark.parametrize(("hits", "done"), [(0, "whole"), (1, "whole"), (2, "half")])
def test_where_something_would_be_left_it_waits_once(hits: int, done: str, tmp_path: Path) -> None:
    """In a held block the first interrupt is answered by a sentence and waits for the end; the second comes at once."""
    block = "said = 'half'\nwith interrupt.held('First this.'), interrupt.held('And that.'):\n"
    block += (
        f"    {'; '.join([HIT] * hits or ['pass'])}\n    said = 'whole'\n{HIT if not hits else 'said += ' + repr('!')}"
    )
    first = "First this. Interrupt again to go at once.\n" if hits else ""
    assert caught(f"{block}\n{WAIT}", tmp_path) == (7, f"{done}\n", first)


def test_all_hosts_are_reached_or_left_before_an_interrupt_goes_on(tmp_path: Path) -> None:
    """Who is half-way into a host is waited for, since nobody would leave it again: that is said, and then it ends."""
    block = "from perfharness.fleet.hosts import Fleet\nfrom types import SimpleNamespace\nends = []\n"
    block += "class Hosts(Fleet):\n    def _deploy(self, agent, host):\n        host.name == 'a' and " + HIT + "\n"
    block += "        time.sleep(0.3)\n        ends.append(host.name)\n"
    block += "    def _leave(self):\n        global said\n        said = ''.join(sorted(ends))\n"
    block += "with Hosts([SimpleNamespace(name=name) for name in 'abc'], 'run', 5.0):\n    said = 'never here'"
    code, said, told = caught(block, tmp_path)
    assert (code, said) == (7, "abc\n")
    assert told.startswith("The hosts must be left first")


def test_who_interrupts_again_waits_for_no_host(tmp_path: Path) -> None:
    """The second interrupt goes at once, as was said, though hosts are still being reached."""
    block = "from perfharness.fleet.hosts import Fleet\nfrom types import SimpleNamespace\nimport threading\n"
    block += "ends, left = [], threading.Event()\n"
    block += "class Hosts(Fleet):\n    def _deploy(self, agent, host):\n"
    block += f"        for _ in range(2 * (host.name == 'a')):\n            {HIT}\n            time.sleep(0.3)\n"
    block += "        left.wait(20)\n        ends.append(host.name)\n"
    block += "    def _leave(self):\n        global said\n        said = ''.join(ends) or '-'\n        left.set()\n"
    block += "with Hosts([SimpleNamespace(name=name) for name in 'abc'], 'run', 5.0):\n    said = 'never here'"
    code, said, told = caught(block, tmp_path)
    assert (code, said) == (7, "-\n")
    assert told.startswith("The hosts must be left first")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(("handler", "code"), [("SIG_DFL", Exit.INCONCLUSIVE), ("SIG_IGN", Exit.PASS)])
def test_an_end_from_outside_is_an_interrupt(name: str, handler: str, code: Exit, tmp_path: Path) -> None:
    """Ctrl-C, a cancelled pipeline and a closed terminal end alike, in a sentence; what we were started to ignore
    changes nothing."""
    script = f"{MAIN}signal.signal(signal.{name}, signal.{handler})\n"
    script += f"cli.app = lambda **_: os.kill(os.getpid(), signal.{name}) or time.sleep(0.2)\nmain()\n"
    assert python(script, tmp_path) == (code, "", "Interrupted.\n" if code else "")


def test_an_interrupt_passes_typer(tmp_path: Path) -> None:
    """typer would end with 130, which no table names."""
    script = f"import sys, typer\n{MAIN}cli.app = typer.Typer()\n"
    script += f"@cli.app.command()\ndef verb() -> None:\n    {HIT}\n    {WAIT}\nsys.argv = ['x']\nmain()\n"
    assert python(script, tmp_path) == (Exit.INCONCLUSIVE, "", "Interrupted.\n")


def test_a_second_interrupt_does_not_come_between_us_and_the_exit_code(tmp_path: Path) -> None:
    """Once all is said the code stands: what still ends is not interrupted any more."""
    script = (
        f"import atexit\n{MAIN}cli.app = lambda **_: 0\natexit.register(lambda: {HIT} or time.sleep(0.1))\nmain()\n"
    )
    assert python(script, tmp_path) == (Exit.PASS, "", "")
