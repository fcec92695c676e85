"""A path of three namespaces for the tests of the agent's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
