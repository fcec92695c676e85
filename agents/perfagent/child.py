"""A program under watch: started, its sockets adopted, its scheduling accounted for, ended in time.

Its standard output goes to a file of the job's folder as it is. Every second a line for each TCP connection
goes to ``tcpinfo.jsonl``; several times a second one for each UDP socket, with its drops so far and what waits in it,
to ``sockets.jsonl``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from perfagent import procfs, sockets, tcpinfo
from perfagent.adopt import Sockets
from perfagent.jobs import Job, bound_child

FORMAT_VERSION = 1
_SAMPLE_S = 1.0
_SOCKET_SAMPLE_S = 0.1
_POLL_S = 0.05
"""Between looks whether it has exited, where the kernel has no pidfd to tell."""
_TIDY_S = 2.0
"""How long a program that was asked to end may take for its last words; less than a job has."""


class Child:
    """Use as a context: when it is left, the program has ended, whatever happened."""

    def __init__(
        self,
        job: Job,
        argv: Sequence[str],
        output: str,
        *,
        receive_buffer_bytes: int | None = None,
        only_peer: str | None = None,
    ) -> None:
        """Start ``argv`` with its standard output in the file ``output``, errors in ``stderr.txt``.

        For the last two see ``perfagent.adopt.Sockets``.
        """
        self._job = job
        self.argv = list(argv)
        self.ended = "by itself"
        """How it ended, or why it was ended."""
        self.exit_code: int | None = None
        self.lasted_s = 0.0
        self.carried: tuple[int, dict[str, int]] | None = None
        """As sampled last, (when by the monotonic clock, ns; payload bytes that its TCP connections have brought over,
        ``tx`` and ``rx``); None without any."""
        self._rows: dict[str, IO[str]] = {}
        self._run_delays: dict[str, int] = {}
        self._cpu_before_ns = _children_cpu_ns()
        self._next_sample_s = time.monotonic() + _SAMPLE_S
        self._next_socket_sample_s = 0.0
        with (job.folder / output).open("wb") as out, (job.folder / "stderr.txt").open("wb") as err:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=bound_child()
            )
        self.started_ns = time.time_ns()
        self.started_mono_s = time.monotonic()
        self.sockets = Sockets(self._process.pid, receive_buffer_bytes, only_peer)
        self._exit = [self.sockets.pidfd] if self.sockets.pidfd >= 0 else []

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        if self.exit_code is None:
            self.end("the watch over it failed")
        self.sockets.close()
        for file in self._rows.values():
            file.close()

    def running(self) -> bool:
        """Wait a moment, look after the sockets; False once the program has ended. Ends it when the job is stopping."""
        if self.exit_code is not None or self._wait(self.sockets.pause_s, self._job.stop_fd):
            return False
        if self._job.stopping:
            self.end("stopped")
            return False
        self.sockets.look()
        if time.monotonic() >= self._next_socket_sample_s:
            self._next_socket_sample_s = time.monotonic() + _SOCKET_SAMPLE_S
            self._sample_sockets()
        if time.monotonic() >= self._next_sample_s:
            self._next_sample_s += _SAMPLE_S
            self._sample()
        return True

    def end(self, why: str) -> None:
        """Ask the program to end and, if it does not, kill it."""
        self.ended = why
        self._process.send_signal(signal.SIGTERM)
        if not self._wait(_TIDY_S):
            self.ended = f"{why}, and killed"
            self._process.kill()
            self._wait(_TIDY_S)

    def listens(self, address: str, port: int) -> bool:
        """Whether a socket of this very program listens there: seen in /proc, never tried by connecting."""
        inodes: set[int] = set()
        for table in ("tcp", "tcp6"):
            with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                inodes |= procfs.listeners(Path(f"/proc/net/{table}").read_text(), address, port)
        return bool(inodes & self.sockets.inodes())

    def account(self) -> dict[str, Any]:
        """What is known of the run after its end; the sockets as they were at that moment."""
        rows = []
        for each in self.sockets.data:
            row = each.account()
            if each.kind == "udp":
                row["unread"] = sockets.drain(each.sock)
            rows.append(row)
        return {
            "argv": self.argv,
            "exit_code": self.exit_code,
            "ended": self.ended,
            "started_ns": self.started_ns,
            "cpu_ns": _children_cpu_ns() - self._cpu_before_ns,
            "run_delay_ns": sum(self._run_delays.values()) if self._run_delays else None,
            "sockets": rows,
            "sockets_reason": self.sockets.trouble,
        }

    def _wait(self, seconds: float, *wake: int) -> bool:
        """Until the program has exited, but no longer than this or until one of ``wake`` is readable."""
        until_s = time.monotonic() + seconds
        nap_s = seconds if self._exit else min(seconds, _POLL_S)
        while True:
            readable, _, _ = select.select([*self._exit, *wake], [], [], nap_s)
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self._note_run_delays()  # possible as long as it has not been waited for
                self.exit_code = self._process.wait()
                self.lasted_s = time.monotonic() - self.started_mono_s
                return True
            if time.monotonic() >= until_s or any(each in readable for each in wake):
                return False

    def _sample(self) -> None:
        self._note_run_delays()
        carried = {"tx": 0, "rx": 0}
        for each in self.sockets.data:
            if each.kind == "tcp":
                row = {"inode": each.inode, **each.ends(), **tcpinfo.read(each.sock)}
                self._write("tcpinfo.jsonl", row)
                carried["tx"] += row.get("bytes_acked", 0)
                carried["rx"] += row.get("bytes_received", 0)
        if any(carried.values()):
            self.carried = time.monotonic_ns(), carried

    def _sample_sockets(self) -> None:
        for each in self.sockets.data:
            if each.kind == "udp":
                self._write("sockets.jsonl", each.state())

    def _write(self, name: str, row: dict[str, Any]) -> None:
        if name not in self._rows:
            self._rows[name] = (self._job.folder / name).open("w", encoding="utf-8")
            self._rows[name].write(json.dumps({"format_version": FORMAT_VERSION}) + "\n")
        self._rows[name].write(json.dumps({"t_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), **row}) + "\n")
        self._rows[name].flush()

    def _note_run_delays(self) -> None:
        """How long each thread has waited for a CPU so far; an ended one keeps what was seen last."""
        for task in Path(f"/proc/{self._process.pid}/task").glob("*"):
            with contextlib.suppress(OSError, IndexError):  # ended meanwhile, or a kernel without schedstat
                self._run_delays[task.name] = int((task / "schedstat").read_text().split()[1])


def _children_cpu_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)
