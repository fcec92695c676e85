"""All hosts of a run together: connected in parallel, left in parallel, whatever happens in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol, Self, TypeAlias, TypeVar

from perfharness import interrupt
from perfharness.errors import HostLost, HostUnusable, PerfharnessError, together
from perfharness.fleet import bundle, ssh
from perfharness.fleet.launch import Endpoint, after_preamble, launch
from perfharness.fleet.router import Appliance, RouterSession
from perfharness.fleet.session import EventHandler, Session

MAX_PARALLEL = 16
_REPORT_LIMIT = 1 << 20
"""Bytes of what ``clean`` says."""

LAST_TRY_S = 10.0
"""For a host that was lost and may be back when the run ends."""
LEAVING = "The hosts must be left first, else agents stay there until their lease ends."


Asked: TypeAlias = Session | RouterSession
"""Who does jobs: the agent of a host, or a router that is asked itself."""


class Fleet(Mapping[str, Asked]):
    """``with Fleet(…) as fleet: fleet["onprem-a"].start(…)``.

    Entering raises HostUnusable naming every host that cannot be used, or Refused; the others are left first.
    A ``spare`` host is no reason to stop: ``absent`` says which of them is not there, and why.
    On the way out every agent leaves; ``left_behind`` then says where that could not be seen.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint | Appliance],
        run_id: str,
        lease_s: float,
        on_event: EventHandler = lambda host, event: None,
        spare: Collection[str] = (),
    ) -> None:
        self._endpoints = endpoints
        self._run_id = run_id
        self._lease_s = lease_s
        self._on_event = on_event
        self._spare = spare
        self._sessions: dict[str, Asked] = {}
        self.absent: dict[str, str] = {}
        self.left_behind: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            agent = bundle.build()  # once: else all the threads would at the same time
            failed = _each(self._endpoints, partial(self._deploy, agent))
            self.absent = {name: str(failed.pop(name)) for name in self._spare if name in failed}
            if failed:
                raise together(list(failed.values()))
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __getitem__(self, name: str) -> Asked:
        return self._sessions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    def _deploy(self, agent: bundle.Bundle, endpoint: Endpoint | Appliance) -> None:
        self._sessions[endpoint.name] = (
            Session(endpoint, self._run_id, self._lease_s, self._on_event, agent)
            if isinstance(endpoint, Endpoint)
            else RouterSession(endpoint)
        )

    def _leave(self) -> None:
        failed = _each(list(self._sessions.values()), _leave_host)
        self.left_behind = {name: str(why) for name, why in failed.items()}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What ``clean`` did on a host; ``error`` if it could not be done."""

    host: str
    removed: tuple[Mapping[str, str], ...] = ()
    """``dir`` and ``was``: live or dead."""
    kept: tuple[Mapping[str, str], ...] = ()
    """``dir`` and ``why``: not ours."""
    error: PerfharnessError | None = None


def clean(endpoints: Sequence[Endpoint]) -> list[Cleaned]:
    """Remove whatever any run has left on these hosts, live agents included."""
    done: dict[str, Cleaned] = {}

    def clean_host(endpoint: Endpoint) -> None:
        done[endpoint.name] = _clean_host(endpoint)

    failed = _each(endpoints, clean_host)
    return [done.get(host.name) or Cleaned(host.name, error=failed[host.name]) for host in endpoints]


def _clean_host(endpoint: Endpoint) -> Cleaned:
    with closing(ssh.connect(endpoint.name, endpoint.ssh)) as link:
        stream = after_preamble(launch(link, endpoint, bundle.build(), ["clean"]), endpoint)
        answer = stream.line(_REPORT_LIMIT)
    try:
        report = json.loads(answer)
        return Cleaned(endpoint.name, tuple(report["removed"]), tuple(report["kept"]))
    except (ValueError, LookupError, TypeError) as error:
        raise HostUnusable(endpoint.name, "its agent did not say what it cleaned.") from error


def _leave_host(session: Asked) -> None:
    try:
        session.bye()
    except HostLost:
        session.bye_after_loss(LAST_TRY_S)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Host = TypeVar("_Host", bound=_Named)


def _each(hosts: Sequence[_Host], do: Callable[[_Host], None]) -> dict[str, PerfharnessError]:
    """Do it for all at once; who failed and why."""

    def attempt(host: _Host) -> PerfharnessError | None:
        try:
            do(host)
        except PerfharnessError as error:
            return error
        return None

    # Who is half-way in could not be left, and an interrupt within the pool's own locks would leave them locked.
    with interrupt.held(LEAVING):
        pool = ThreadPoolExecutor(max_workers=MAX_PARALLEL, thread_name_prefix="fleet")
        try:
            outcomes = list(pool.map(attempt, hosts))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # all has ended, or nobody wants to wait for it any more
    return {host.name: error for host, error in zip(hosts, outcomes, strict=True) if error is not None}
