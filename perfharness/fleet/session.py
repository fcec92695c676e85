"""One measured host: its agent is sent, started and asked over a single SSH channel.

The channel may break; the agent goes on under its lease, and ``reattach`` finds it again. A thread keeps the
lease alive and notices a silent cut, which SSH itself may not for minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from perfagent import wire
from perfharness.errors import AgentError, HostLost, HostUnusable, PerfharnessError, Refused, printable
from perfharness.fleet import bundle, spool, ssh
from perfharness.fleet.launch import Endpoint, after_preamble, launch
from perfharness.fleet.link import IO_S, exit_status
from perfharness.fleet.rpc import Client
from perfharness.model import Job

HEARTBEAT_S = 10.0
"""At most between two signs of life; a third of the lease if that is shorter."""

REATTACH_PAUSE_S = 1.0
HASHING_S = 120.0
"""The agent hashes the files before it answers: a gigabyte takes it seconds."""

BYE_S = 30.0
"""Leaving includes removing the spool, which may be large."""

_STILL_THERE = 3
"""An exit code that Python has no other use for."""

ENDED = ("completed", "failed", "aborted")
_STATES = ("running", "ready", *ENDED)
"""In the order in which a job goes through them."""

_log = logging.getLogger(__name__)


EventHandler = Callable[[str, Mapping[str, Any]], None]
"""``handler(endpoint name, {"event", "job", "data"})``; called in a thread of the session, and must not block."""


class Session:
    """The agent on one host, for one run.

    ``host`` is the endpoint's name; ``hello`` is what the agent said of itself.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        run_id: str,
        lease_s: float,
        on_event: EventHandler = lambda host, event: None,
        agent: bundle.Bundle | None = None,
    ) -> None:
        """Send and start the agent. Raises HostUnusable, or Refused when another run holds the host."""
        self.host = self.name = endpoint.name
        self._endpoint = endpoint
        self._lease_s = lease_s
        self._on_event = on_event
        self._states: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._left = threading.Event()
        self._link = ssh.connect(endpoint.name, endpoint.ssh)
        try:
            words = ("attach", run_id, f"{lease_s:g}")
            channel = launch(self._link, endpoint, agent or bundle.build(), words)
            self._client = self._converse(channel)
            self.hello = _introduction(self.host, self._client.call("hello", {"version": wire.VERSION}))
        except AgentError as error:
            self._link.close()
            raise _at_start(error) from error
        except BaseException:
            self._link.close()
            raise
        threading.Thread(target=self._live, name=f"lease {self.host}", daemon=True).start()

    # --- jobs ---

    def start(self, job: Job, secret: bytes = b"", task: str = "", window_s: float | None = None) -> None:
        """Start a job of a task, with ``secret`` on its standard input and nowhere else; after ``window_s`` a change
        window is over, and the agent ends it whether or not we are still there.

        Raises AgentError (for an argument it refuses, too) or HostLost.
        """
        if job.id in self._states:
            raise AgentError(self.host, wire.Code.JOB_EXISTS, f"there is a job {job.id} already")
        self._set(job.id, {"state": "running", "data": {}, "error": None})  # before its first event can come
        try:
            args = {"job": job.id, "method": job.method, "args": dict(job.args), "deadline_s": job.deadline_s}
            about = {"task": task, "load": job.load, "guards": "guard" in job.args, "window_s": window_s}
            self._client.call("start", args | about | {"writes_bytes": job.writes_bytes, "secret": secret.hex()})
        except AgentError:
            with self._changed:
                del self._states[job.id]
            raise

    def wait_ready(self, job_id: str, deadline_s: float) -> dict[str, Any]:
        """What a serving job said when it listened. Raises AgentError when it ended or the deadline passed
        before that, HostLost when the connection went."""
        try:
            state = self._wait(job_id, deadline_s, ("ready", *ENDED))
        except AgentError as late:
            if late.code != wire.Code.DEADLINE:
                raise
            words = f"{job_id} was started and is not ready after {deadline_s:g} s"
            raise AgentError(self.host, late.code, words) from None
        if state["state"] in ENDED:
            error = state["error"] or {"code": wire.Code.INTERNAL, "message": "it ended before it was ready"}
            raise AgentError(self.host, error["code"], error["message"])
        return dict(state["data"])

    def wait_done(self, job_id: str, deadline_s: float) -> dict[str, Any]:
        """``{"state": "completed" | "failed" | "aborted", "data": …, "error": {"code", "message"} | None}``.

        Raises AgentError(DEADLINE) when the job goes on, HostLost when the connection went: the job runs on,
        and after ``reattach`` it can be waited for again.
        """
        return self._wait(job_id, deadline_s, ENDED)

    def stop(self, job_id: str) -> None:
        """Ask a job to end tidily; it is killed if it does not within 5 s."""
        self._client.call("stop", {"job": job_id})

    def fetch(self, targets: Mapping[str, Path]) -> list[spool.SpoolFile]:
        """Bring the files of ended jobs into the folders by their ids, checked by hash, and free them on the host.

        The ids may be used again afterwards. Raises HostLost, AgentError, EvidenceBroken.
        """
        for job in targets:
            if self._state(job)["state"] not in ENDED:
                raise AgentError(self.host, wire.Code.BAD_ARGUMENT, f"the job {job} has not ended")
        channel = self._agent("fetch", *targets, patience_s=HASHING_S)
        try:
            stream = after_preamble(channel, self._endpoint)
            files = spool.expected(self.host, stream.line(wire.MAX_LINE), targets)
            spool.receive(self.host, stream, files, targets)
        finally:
            with suppress(OSError, EOFError):
                channel.close()
        with suppress(HostLost):  # the files are here; whoever asks for something next learns of the cut
            for job in targets:
                self._client.call("forget", {"job": job})
        with self._changed:
            for job in targets:
                self._states.pop(job, None)
        return files

    # --- the connection ---

    def reattach(self, deadline_s: float) -> None:
        """Find the agent again over a new connection; all job states are then up to date.

        Tries until the deadline. Raises HostLost with the last reason, at once when the agent has gone.
        """
        end = time.monotonic() + deadline_s
        while True:
            try:
                self._connect_again()
                return
            except AgentError as error:
                words = f"its agent has gone: its lease of {self._lease_s:g} s may have ended."
                raise HostLost(self.host, words) from error
            except HostUnusable as error:
                if time.monotonic() + REATTACH_PAUSE_S > end:
                    raise HostLost(self.host, f"it could not be reached again: {error}") from error
                time.sleep(REATTACH_PAUSE_S)

    def bye(self) -> None:
        """Have the agent leave, and see that its folder is gone. Raises HostLost or AgentError."""
        self._left.set()
        try:
            self._client.call("bye", deadline_s=BYE_S)
            self._see_it_gone()
        finally:
            self.close()

    def bye_after_loss(self, deadline_s: float) -> None:
        """Come back to say ``bye``, or to see that only its answer was lost. Raises HostLost or AgentError."""
        try:
            self.reattach(deadline_s)
        except HostLost as lost:
            try:
                self._see_it_gone()
            except HostLost:
                raise lost from None
            finally:
                self.close()
        else:
            self.bye()

    def close(self) -> None:
        """Drop the connection and leave the agent to its lease."""
        self._left.set()
        self._client.close()
        self._link.close()

    # --- inside ---

    def _converse(self, channel: Any) -> Client:
        rest = after_preamble(channel, self._endpoint)
        return Client(self.host, channel, self._heard, self._notify, rest.buffered())

    def _agent(self, verb: str, *words: str, patience_s: float = IO_S) -> Any:
        """Run the agent that is on the host already."""
        folder = self.hello["dir"]
        command = [self._endpoint.python, "-IS", f"{folder}/agent", verb, folder, *words]
        return self._link.execute(command, patience_s=patience_s)

    def _see_it_gone(self) -> None:
        question = f"import os,sys;sys.exit({_STILL_THERE} * os.path.lexists(sys.argv[1]))"
        channel = self._link.execute([self._endpoint.python, "-IS", "-c", question, self.hello["dir"]])
        code = exit_status(channel)
        if code == _STILL_THERE:
            raise AgentError(self.host, wire.Code.INTERNAL, f"its agent left {self.hello['dir']} behind")
        if code != 0:
            raise HostLost(self.host, f"it did not say whether {self.hello['dir']} is gone.")

    def _connect_again(self) -> None:
        self._client.close()
        self._link.close()
        self._link = ssh.connect(self.host, self._endpoint.ssh)
        try:
            client = self._converse(self._agent("attach"))
            told = _jobs(client.call("status"))
        except HostLost:
            raise
        except wire.Fault as fault:
            raise HostLost(self.host, f"its agent cannot be understood: {fault.message}.") from fault
        except HostUnusable as error:  # the host is there, the program is not
            raise AgentError(self.host, wire.Code.INTERNAL, "there is no agent any more") from error
        with self._changed:
            self._client = client
            for job, known in self._states.items():  # an event may have overtaken us
                if job in told and _STATES.index(known["state"]) > _STATES.index(told[job]["state"]):
                    told[job] = known
            self._states = told
            self._changed.notify_all()

    def _live(self) -> None:
        """Keep the lease; a cut is noticed by the missing answer."""
        while not self._left.wait(min(HEARTBEAT_S, self._lease_s / 3)):
            with suppress(PerfharnessError):  # whoever waits has been told; after a reattach this goes on
                self._client.call("renew", {"lease_s": self._lease_s})

    def _heard(self, event: wire.Event) -> None:
        state = self._states.get(event.job)
        if state is not None and event.kind == "ready":
            self._set(event.job, {"state": "ready", "data": event.data, "error": None})
        elif state is not None and event.kind == "done":
            self._set(event.job, _checked({**event.data, "data": state["data"]}))
        try:
            self._on_event(self.host, {"event": event.kind, "job": event.job, "data": event.data})
        except Exception:
            _log.exception("an event of %s was not handled", self.host)

    def _set(self, job_id: str, state: dict[str, Any]) -> None:
        with self._changed:
            self._states[job_id] = state
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, job_id: str, deadline_s: float, states: Sequence[str]) -> dict[str, Any]:
        with self._changed:
            client = self._client
            self._changed.wait_for(lambda: client.lost or self._state(job_id)["state"] in states, deadline_s)
            state = self._states.get(job_id)
        if state is not None and state["state"] in states:
            return state
        if client.lost is not None:
            raise client.lost
        raise AgentError(self.host, wire.Code.DEADLINE, f"the job {job_id} goes on after {deadline_s:g} s")

    def _state(self, job_id: str) -> dict[str, Any]:
        if job_id not in self._states:
            raise AgentError(self.host, wire.Code.NO_SUCH_JOB, f"there is no job {job_id}")
        return self._states[job_id]


# --- what an agent says is checked before it is used -------------------------------------------


def _introduction(host: str, said: Any) -> dict[str, Any]:
    if (
        not isinstance(said, dict)
        or not isinstance(said.get("dir"), str)
        or not isinstance(said.get("room_bytes"), int)
    ):
        raise HostUnusable(host, "its agent does not say who it is.")
    return said


def _jobs(said: Any) -> dict[str, dict[str, Any]]:
    """The answer to ``status``. Raises Fault."""
    if not isinstance(said, dict) or not isinstance(said.get("jobs"), dict):
        raise wire.Fault(wire.Code.BAD_MESSAGE, "a status without jobs")
    return {job: _checked(state) for job, state in said["jobs"].items()}


def _checked(said: Any) -> dict[str, Any]:
    """A job's state. Raises Fault."""
    try:
        state, data, error = said["state"], dict(said["data"]), said["error"]
        if error is not None:
            error = {"code": int(error["code"]), "message": printable(str(error["message"]))}
        _STATES.index(state)
    except (LookupError, TypeError, ValueError) as wrong:
        raise wire.Fault(wire.Code.BAD_MESSAGE, "a job in no known state") from wrong
    return {"state": state, "data": data, "error": error}


def _at_start(error: AgentError) -> PerfharnessError:
    if error.code == wire.Code.HOST_BUSY:
        return Refused(f"{error.message}.", "Wait for its end, or remove it with `perfharness clean`.")
    return HostUnusable(error.host, f"{error.message}.")
