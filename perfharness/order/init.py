"""A circuit and a scenario to fill in, for ``perfharness init``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from perfharness.errors import BadInput, Problem

NAMES = ("circuit.yaml", "scenario.yaml")


def write(folder: str | Path) -> tuple[Path, ...]:
    """Write both files; what is to be filled in is empty, and ``validate`` names each such line.

    Raises BadInput rather than overwrite a file, and when the folder cannot be written.
    """
    paths = tuple(Path(folder) / name for name in NAMES)
    there = [path for path in paths if path.exists()]
    if there:
        raise BadInput([Problem(str(path), 0, "This file is already there.", "Name another folder.") for path in there])
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in paths:
            text = files("perfharness.order").joinpath("templates", path.name).read_text(encoding="utf-8")
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        said = f"The folder cannot be written: {error.strerror}."
        raise BadInput([Problem(str(folder), 0, said, "Name another folder.")]) from None
    return paths
