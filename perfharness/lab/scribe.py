"""A file written beside a loop that must not wait: a busy disk may hold a write up for seconds."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from perfharness.lab.state import write_text


class Scribe:
    """Writes one text after the other, each over the one before.

    The thread has the priority of the loop, for while it holds the interpreter the loop stands still.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._failed: OSError | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Raises OSError if an earlier text could not be written."""
        if self._failed:
            raise self._failed
        self._texts.put(text)

    def close(self) -> None:
        """Returns when the last text is in the file."""
        self._texts.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (text := self._texts.get()) is not None:
                write_text(self._path, text)
        except OSError as error:
            self._failed = error
