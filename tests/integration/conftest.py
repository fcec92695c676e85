"""A path of three namespaces for the tests of the agent's jobs; the lab for those of whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perfharness.lab import control
from tests.integration import runs
from tests.integration.namespaces import Path3


@pytest.fixture(scope="module")
def whole_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path3]:
    """One for all tests of a file."""
    with Path3(tmp_path_factory.mktemp("spool")) as path:
        yield path


@pytest.fixture
def path(whole_path: Path3, tmp_path: Path) -> Iterator[Path3]:
    """The same, with a spool of the test's own, and healthy again after it."""
    whole_path.spool = tmp_path
    yield whole_path
    whole_path.reset()


@pytest.fixture
def own_path(tmp_path: Path) -> Iterator[Path3]:
    """One of the test's own, for what ``reset`` does not put back."""
    with Path3(tmp_path, "own") as path:
        yield path


@pytest.fixture(scope="module")
def untouched() -> Iterator[dict[str, str]]:
    """The lab is up; the hosts' settings as they were before anybody measured."""
    control.up(runs.SPEC)
    yield runs.settings()
    control.down()


@pytest.fixture
def nothing_left(untouched: dict[str, str]) -> Iterator[None]:
    """Every test leaves the hosts as they were."""
    yield
    runs.eventually(lambda: not runs.footprint(), f"nothing of ours on the hosts, but: {runs.footprint()}")
    after = runs.settings()
    assert {name: text for name, text in after.items() if text != untouched[name]} == {}
