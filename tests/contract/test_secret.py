"""A secret reaches the job that it is for, on its standard input, and nothing else on the host or at home."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

import pytest

from perfagent.wire import MAX_SECRET, Code
from perfharness.errors import AgentError
from perfharness.fleet.session import Session
from tests.contract.leaks import leaks
from tests.contract.local_link import LocalLink, a_job

pytestmark = pytest.mark.usefixtures("links")


@pytest.mark.parametrize("size", [32, MAX_SECRET])
def test_a_secret_is_read_by_its_job_alone(session: Session, sandbox: Any, size: int, tmp_path: Path) -> None:
    """The job has every byte of it; no file of the agent, no command line, no environment and no result has it."""
    secret = secrets.token_bytes(size)
    session.start(a_job("confide"), secret)
    said = session.wait_ready("confide", 10)
    assert said == {"bytes": size, "sha256": hashlib.sha256(secret).hexdigest()}
    assert len(sandbox.folders()) == 1
    assert leaks(secret, sandbox.tmp) == []
    session.stop("confide")
    session.wait_done("confide", 10)
    session.fetch({"confide": tmp_path / "raw"})
    assert leaks(secret, sandbox.tmp, tmp_path / "raw") == []


def test_a_job_that_was_told_nothing_reads_the_end(session: Session) -> None:
    """Also right after one that was told something: a secret is handed to one process."""
    session.start(a_job("echo", text="x", seconds=60), b"not for the next one")
    session.start(a_job("confide"))
    assert session.wait_ready("confide", 10)["bytes"] == 0


def test_a_job_that_never_reads_holds_nobody_up(session: Session, links: list[LocalLink], tmp_path: Path) -> None:
    """The agent answers on, over a new connection too, and the job can be stopped and fetched."""
    session.start(a_job("echo", text="x", seconds=60), bytes(MAX_SECRET))
    session.wait_ready("echo", 10)
    links[-1].close()
    session.reattach(10)
    session.stop("echo")
    assert session.wait_done("echo", 10)["state"] == "completed"
    session.fetch({"echo": tmp_path})


def test_a_job_stopped_before_it_reads_takes_its_secret_along(session: Session, sandbox: Any) -> None:
    """Asked to stop in its first moment it ends, and its process and pipe with it."""
    session.start(a_job("confide"), bytes(MAX_SECRET))
    session.stop("confide")
    assert session.wait_done("confide", 15)["state"] in ("completed", "failed")
    assert sandbox.running("job") == []


def test_more_than_a_pipe_holds_is_refused(session: Session) -> None:
    """Before a process starts, with the limit and without the secret in the sentence."""
    with pytest.raises(AgentError, match="limit of 4096") as refused:
        session.start(a_job("confide"), b"k" * (MAX_SECRET + 1))
    assert refused.value.code == Code.BAD_ARGUMENT
    assert b"kk".hex() not in str(refused.value)
