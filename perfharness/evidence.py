"""The run folder: what was collected, written once, hashed as it is written.

::

    results/<circuit>/<run id>/
        run.json                     who, when, with what (written first)
        order/circuit.yaml, scenario.yaml    as the user wrote them
        plan.json                    the tasks, with every argument
        hosts/<endpoint>.json        what each agent said of itself
        raw/<task>/<endpoint>.<job>/…        the agents' files, untouched; their samples as columns (``recording``)
        raw/<task>/task.json         how the task went
        raw/<task>.2/ …              the same, where it was measured again
        end.json                     when and how the run ended (absent: it was cut short)
        manifest.jsonl               one line per file above: path, sha256, size, when, task, host
        findings.json report.html report.pdf     derived: can be made again from all the above

Nothing is overwritten. A folder of an unknown format version is refused with a sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from perfharness.errors import EvidenceBroken
from perfharness.model import Evidence
from perfharness.recording import PACKED, RAW, Recording, open_recording, sha256_of

FORMAT_VERSION = 1
MANIFEST = "manifest.jsonl"
RESULT = "result.json"


def utc(moment: datetime | None = None) -> str:
    """ISO 8601 in UTC, whole milliseconds, as every date that we write."""
    moment = moment or datetime.now(UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_folder(task: str, endpoint: str, job: str) -> str:
    """Where the files of one job lie within the run folder."""
    return f"raw/{task}/{endpoint}.{job}"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk. Open one with :func:`create` or :func:`open_run`."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def write(self, relative: str, data: bytes, task: str = "", host: str = "") -> Evidence:
        """Store a new file and enter it in the manifest.

        Raises EvidenceBroken when the file exists: evidence is written once.
        """
        target = self._inside(relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            raise EvidenceBroken(f"{target} exists already.", "Evidence is never overwritten.") from None
        return self.register(relative, task, host)

    def write_json(self, relative: str, value: Any, task: str = "", host: str = "") -> Evidence:
        return self.write(relative, json_bytes(value), task, host)

    def register(self, relative: str, task: str = "", host: str = "") -> Evidence:
        """Enter a file that is already in its place (fetched from an agent) in the manifest."""
        path = self._inside(relative)
        entry = Evidence(relative, sha256_of(path), path.stat().st_size, utc(), task, host)
        with (self.path / MANIFEST).open("ab") as stream:
            stream.write(json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")
        return entry

    def read(self, relative: str) -> bytes | None:
        """The file's bytes, or None when the run has no such file. Raises EvidenceBroken when it cannot be read."""
        try:
            return self._inside(relative).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise EvidenceBroken(f"{self.path / relative} cannot be read: {error.strerror}.") from None

    def read_json(self, relative: str) -> Any:
        """The parsed file, or None when there is none. Raises EvidenceBroken on broken JSON."""
        data = self.read(relative)
        if data is None:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise EvidenceBroken(f"{self.path / relative} is not valid JSON: {error}.") from None

    def manifest(self) -> tuple[Evidence, ...]:
        """All entries, in the order in which they were written. Raises EvidenceBroken."""
        data = self.read(MANIFEST)
        if data is None:
            raise EvidenceBroken(f"{self.path} has no {MANIFEST}.", "Is this a run folder?")
        try:
            # A last line cut off by a crash ends without a newline: that file was not entered.
            return tuple(Evidence(**json.loads(line)) for line in data.split(b"\n")[:-1])
        except (ValueError, TypeError) as error:
            raise EvidenceBroken(f"{self.path / MANIFEST} is damaged: {error}.") from None

    def verify(self) -> list[str]:
        """One sentence for each entry whose file is missing or is no longer what was written. Raises EvidenceBroken for
        what cannot be read."""
        wrong = []
        for entry in self.manifest():
            try:
                changed = sha256_of(self._inside(entry.path)) != entry.sha256
            except (FileNotFoundError, NotADirectoryError):
                wrong.append(f"{entry.path} is missing.")
                continue
            except OSError as error:
                raise EvidenceBroken(f"{self.path / entry.path} cannot be read: {error.strerror}.") from None
            if changed:
                wrong.append(f"{entry.path} was changed after it was written.")
        return wrong

    def files(self, task: str) -> TaskFiles:
        return TaskFiles(self, task)

    def _inside(self, relative: str) -> Path:
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise EvidenceBroken(f"{relative!r} points out of the run folder.")
        return self.path / parts


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """The files of one task, as a measurement reads them."""

    folder: RunFolder
    task: str
    filed: Mapping[str, str] = field(default_factory=dict)
    """Jobs that are filed by another name than that by which they are asked for."""

    def path(self, endpoint: str, job: str, name: str = RESULT) -> str:
        """The evidence path of a file, whether or not it is there."""
        return f"{job_folder(self.task, endpoint, self.filed.get(job, job))}/{name}"

    def bytes(self, endpoint: str, job: str, name: str) -> bytes | None:
        return self.folder.read(self.path(endpoint, job, name))

    def recording(self, endpoint: str, job: str, name: str) -> Recording | None:
        """The sample file of this name without its ending, or None when the job left none. Raises EvidenceBroken."""
        return open_recording(self.folder.path / self.path(endpoint, job, name))

    def sample_path(self, endpoint: str, job: str, name: str) -> str:
        """Its evidence path, whether or not it is there."""
        packed = self.path(endpoint, job, name + PACKED)
        return packed if (self.folder.path / packed).exists() else self.path(endpoint, job, name + RAW)

    def result(self, endpoint: str, job: str) -> Mapping[str, Any] | None:
        """The job's result.json, or None when the job left none. Raises EvidenceBroken for another format."""
        found = self.folder.read_json(self.path(endpoint, job))
        if found is not None and (not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION):
            raise EvidenceBroken(
                f"{self.folder.path / self.path(endpoint, job)} has a format that this version does not read."
            )
        return found

    def rows(self, endpoint: str, job: str, name: str) -> list[dict[str, Any]]:
        """The lines of a JSON-lines file without its head line; a line cut off by a crash is left out. Raises
        EvidenceBroken."""
        return list(self.each_row(endpoint, job, name))

    def each_row(self, endpoint: str, job: str, name: str) -> Iterator[dict[str, Any]]:
        """The same one by one: the counters of a day would fill the memory. Raises EvidenceBroken."""
        path = self.folder.path / self.path(endpoint, job, name)
        try:
            with path.open("rb") as lines:
                next(lines, None)
                for line in lines:
                    row = json.loads(line)
                    if isinstance(row, dict):
                        yield row
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return
        except OSError as error:
            raise EvidenceBroken(f"{path} cannot be read: {error.strerror}.") from None

    def outcome(self) -> Mapping[str, Any] | None:
        """What the orchestrator noted of the task, or None when the run ended before it."""
        found = self.folder.read_json(f"raw/{self.task}/task.json")
        return found if isinstance(found, dict) else None


def create(results: Path, circuit: str, run_id: str, about: Mapping[str, Any]) -> RunFolder:
    """A new run folder with its run.json. Raises EvidenceBroken when it cannot be made."""
    path = results / circuit / run_id
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise EvidenceBroken(
            f"The run folder {path} cannot be made: {error.strerror}.", "Choose another place with --results."
        ) from None
    folder = RunFolder(path)
    folder.write_json("run.json", {"format_version": FORMAT_VERSION, "run_id": run_id, **about})
    return folder


def open_run(path: Path) -> tuple[RunFolder, Mapping[str, Any]]:
    """An existing run folder and its run.json.

    Raises EvidenceBroken when it is none, or one of another format version.
    """
    folder = RunFolder(path)
    about = folder.read_json("run.json")
    if not isinstance(about, dict):
        raise EvidenceBroken(f"{path} is not a run folder: it has no run.json.", "Name results/<circuit>/<run>.")
    version = about.get("format_version")
    if version != FORMAT_VERSION:
        raise EvidenceBroken(
            f"{path} has run format {version!r}; this version reads format {FORMAT_VERSION}.",
            "Use the perfharness version that made it, or a later one.",
        )
    return folder, about


def json_bytes(value: Any) -> bytes:
    """JSON as we store it: readable, sorted, ending in a newline, no NaN or Infinity."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"
