"""A router that takes no agent, as one of the fleet: it has one job, to be asked, and its answers are fetched as files.

It speaks as a ``Session`` does, so that whoever runs tasks need not know the difference.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from perfagent.wire import Code
from perfharness.errors import AgentError, HostLost
from perfharness.fleet import passwords, ssh, ssh_config, terminal
from perfharness.fleet.spool import SpoolFile
from perfharness.model import Job
from perfharness.routers import PLATFORMS

METHOD = "router.show"
FORMAT_VERSION = 1


class Appliance(Protocol):
    """What is needed of ``perfharness.order.circuit.Appliance``."""

    @property
    def name(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def ssh(self) -> ssh_config.PasswordTarget: ...


class RouterSession:
    """A connection to one router for one run. Raises HostUnusable."""

    def __init__(self, router: Appliance) -> None:
        self.host = self.name = router.name
        self.hello: dict[str, Any] = {"platform": router.platform, "dir": "", "room_bytes": 0}
        self._platform = router.platform
        file = router.ssh.password_file
        self._link = ssh.connect(router.name, router.ssh, passwords.read(router.name, file) if file else None)
        self._jobs: dict[str, dict[str, bytes]] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._ended: dict[str, threading.Event] = {}

    def start(self, job: Job, secret: bytes = b"", task: str = "", window_s: float | None = None) -> None:
        """Begin to ask. Raises AgentError for what is no question."""
        if job.method != METHOD:
            raise AgentError(self.host, Code.UNKNOWN_METHOD, f"a router takes no agent, so {job.method} is not for it")
        self._ended[job.id] = threading.Event()
        threading.Thread(target=self._ask, args=(job,), name=f"ask {self.host}", daemon=True).start()

    def wait_ready(self, job_id: str, deadline_s: float) -> dict[str, Any]:
        """A question is never ready before it is answered."""
        return dict(self.wait_done(job_id, deadline_s)["data"])

    def wait_done(self, job_id: str, deadline_s: float) -> dict[str, Any]:
        """As a session's. Raises AgentError(DEADLINE)."""
        if not self._ended[job_id].wait(deadline_s):
            raise AgentError(self.host, Code.DEADLINE, f"the job {job_id} goes on after {deadline_s:g} s")
        return self._states[job_id]

    def stop(self, job_id: str) -> None:
        """Each answer has a deadline: nothing goes on for long."""

    def fetch(self, targets: Mapping[str, Path]) -> list[SpoolFile]:
        """Write the answers into the folders by job."""
        files = []
        for job, folder in targets.items():
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in sorted(self._jobs.pop(job, {}).items()):
                (folder / name).write_bytes(data)
                files.append(SpoolFile(job, name, len(data), hashlib.sha256(data).hexdigest()))
        return files

    def reattach(self, deadline_s: float) -> None:
        """Nothing of ours lives on there: raises HostLost."""
        raise HostLost(self.host, "the SSH connection is gone.")

    def bye(self) -> None:
        self.close()

    def bye_after_loss(self, deadline_s: float) -> None:
        self.close()

    def close(self) -> None:
        self._link.close()

    def _ask(self, job: Job) -> None:
        started_ns = time.time_ns()
        commands = {
            key: command.format(peer=job.args["peer"], wan=job.args["wan"])
            for key, command in PLATFORMS[self._platform].commands.items()
        }
        answers: dict[str, tuple[str, bool]] = {}
        fault = None
        try:
            answers = terminal.ask(self._link, self.name, self._platform, commands)
        except Exception as error:  # whatever it is, whoever waits must hear of it
            known = isinstance(error, terminal.TerminalTrouble)
            said = str(error) if known else f"asking it broke: {type(error).__name__}: {error}"
            fault = {"code": int(Code.TOOL_FAILED if known else Code.INTERNAL), "message": said}
        outputs = {
            key: {"command": commands[key], "exit_code": 0 if taken else 1, "cut": False}
            for key, (_, taken) in answers.items()
        }
        state = "failed" if fault else "completed"
        result = {
            "format_version": FORMAT_VERSION,
            "job": job.id,
            "method": job.method,
            "args": dict(job.args),
            "started_ns": started_ns,
            "ended_ns": time.time_ns(),
            "status": state,
            "error": fault,
            "data": {"t_ns": started_ns, "outputs": outputs, "port": None},
        }
        files = {f"{key}.txt": text.encode() for key, (text, _) in answers.items()}
        self._jobs[job.id] = {**files, "result.json": json.dumps(result).encode()}
        self._states[job.id] = {"state": state, "data": {}, "error": fault}
        self._ended[job.id].set()
