"""Requests to one agent over one channel: a thread reads, callers wait for their own answer with a deadline."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Protocol

from perfagent import wire
from perfharness.errors import AgentError, HostLost, PerfharnessError

ANSWER_S = 15.0
"""Within this an agent answers, or it is lost to us: it does nothing in its loop that takes longer."""


class Channel(Protocol):
    """A stream of bytes both ways. ``recv`` returns b"" at the end and may raise TimeoutError meanwhile.

    All raise OSError when it is broken; paramiko's also EOFError, when it was broken a moment ago.
    """

    def recv(self, size: int) -> bytes: ...
    def sendall(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Client:
    """One conversation. When it has ended it stays ended: ``lost`` says why."""

    def __init__(
        self,
        host: str,
        channel: Channel,
        on_event: Callable[[wire.Event], None],
        on_lost: Callable[[], None] = lambda: None,
        received: bytes = b"",
    ) -> None:
        """``on_event`` and ``on_lost`` are called in the reading thread; ``received`` was read already."""
        self._host = host
        self._channel = channel
        self._on_event = on_event
        self._on_lost = on_lost
        self._ids = itertools.count(1)
        self._sending = threading.Lock()
        self._losing = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self.lost: PerfharnessError | None = None
        self._thread = threading.Thread(target=self._read, args=(received,), name=f"agent {host}", daemon=True)
        self._thread.start()

    def call(self, method: str, args: Mapping[str, Any] | None = None, deadline_s: float = ANSWER_S) -> Any:
        """Ask and wait. Raises AgentError with the agent's code, or HostLost."""
        future: Future[Any] = Future()
        number = next(self._ids)
        self._pending[number] = future
        try:
            if self.lost is not None:
                raise self.lost
            with self._sending:
                self._channel.sendall(wire.encode(wire.Request(number, method, dict(args or {}))))
            return future.result(deadline_s)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            silent = f"its agent did not answer `{method}` within {deadline_s:.0f} s."
            broke = "the connection to its agent broke."
            self._lose(HostLost(self._host, silent if isinstance(error, TimeoutError) else broke))
            raise self.lost or error from error
        finally:
            del self._pending[number]

    def close(self) -> None:
        self._lose(HostLost(self._host, "we have closed the connection."))

    def _read(self, data: bytes) -> None:
        lines = wire.Lines()
        try:
            while True:
                for line in lines.feed(data):
                    self._take(wire.decode_answer(line))
                try:
                    data = self._channel.recv(1 << 16)
                except TimeoutError:
                    data = b""
                    continue
                if not data:
                    self._lose(HostLost(self._host, "the connection to its agent has ended."))
                    return
        except wire.Fault as fault:
            self._lose(HostLost(self._host, f"its agent cannot be understood: {fault.message}."))
        except (OSError, EOFError) as error:
            self._lose(HostLost(self._host, f"the connection to its agent broke: {error}."))

    def _take(self, answer: wire.Answer) -> None:
        if isinstance(answer, wire.Event):
            self._on_event(answer)
        elif answer.id == 0 and isinstance(answer, wire.Failure):
            self._lose(AgentError(self._host, answer.code, answer.message))
        else:
            future = self._pending.get(answer.id)
            if future is None:
                return  # its caller has given up
            with suppress(InvalidStateError):
                if isinstance(answer, wire.Failure):
                    future.set_exception(AgentError(self._host, answer.code, answer.message))
                else:
                    future.set_result(answer.result)

    def _lose(self, why: PerfharnessError) -> None:
        """The first reason counts; everybody who waits is told."""
        with self._losing:
            if self.lost is not None:
                return
            self.lost = why
        for future in list(self._pending.values()):
            with suppress(InvalidStateError):  # it has its answer
                future.set_exception(why)
        self._on_lost()
        with suppress(OSError, EOFError):
            self._channel.close()
