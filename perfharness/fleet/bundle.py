"""The agent as one file: a zipapp of ``perfagent`` with the parts of scapy and pyroute2 that it uses.

The same sources give the same bytes, so its SHA-256 names it in the evidence: entries are sorted, dates fixed.
The packages come from this installation and keep their licence files; the result is distributed under
GPL-2.0-only because of scapy.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)

_SCAPY = (
    "VERSION",
    "*.py",
    "arch/*.py",
    "arch/linux/*.py",
    "layers/__init__.py",
    "layers/dns.py",
    "layers/inet.py",
    "layers/inet6.py",
    "layers/l2.py",
    "libs/*.py",
)
_PYROUTE2_LEFT_OUT = {"bsd", "decoder", "dhcp", "fixtures", "inotify"}

_NO_VENDORS = b"""# perfharness left scapy's table of hardware vendors (0.7 MB) out of its agent.
DATA = ""
"""

_MAIN = """import os
import sys

os.environ["SCAPY_VERSION"] = "{scapy}"  # scapy cannot find its own version from inside a zip
from perfagent.__main__ import main

sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The agent as it is sent."""

    content: bytes
    sha256: str


@cache
def build() -> Bundle:
    """The agent of this installation; takes 0.2 s, so nothing is kept between runs."""
    return seal(pack(sources()))


def seal(content: bytes) -> Bundle:
    return Bundle(content, sha256(content).hexdigest())


def sources() -> dict[str, bytes]:
    """Everything that goes in, by its name in the zip."""
    files = {"__main__.py": _MAIN.format(scapy=version("scapy")).encode()}
    for package, wanted in (("perfagent", _agent_part), ("scapy", _scapy_part), ("pyroute2", _pyroute2_part)):
        for name, path in _package(package, wanted):
            files[name] = path.read_bytes()
    files["scapy/libs/manuf.py"] = _NO_VENDORS
    for package in ("scapy", "pyroute2"):
        for file in distribution(package).files or ():
            if "licenses" in file.parts:
                files[f"licenses/{package}/{file.name}"] = file.read_binary()
    return files


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zipapp of these files, always the same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _FIXED_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on whatever it is built
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return out.getvalue()


@cache
def bootstrap() -> bytes:
    """The script that receives the agent; sent in front of it, ended by a NUL byte."""
    return (_root("perfagent") / "bootstrap.py").read_bytes() + b"\0"


# --- which files ------------------------------------------------------------------------------


def _package(name: str, wanted: Callable[[Path], bool]) -> Iterator[tuple[str, Path]]:
    root = _root(name)
    for path in root.rglob("*"):
        if path.is_file() and wanted(path.relative_to(root)):
            yield f"{name}/{path.relative_to(root).as_posix()}", path


def _agent_part(path: Path) -> bool:
    return path.suffix == ".py" and path.name != "bootstrap.py"


def _scapy_part(path: Path) -> bool:
    return any(path.parent == Path(pattern).parent and path.match(pattern) for pattern in _SCAPY)


def _pyroute2_part(path: Path) -> bool:
    return path.suffix == ".py" and path.parts[0] not in _PYROUTE2_LEFT_OUT


def _root(package: str) -> Path:
    """Where a package is installed, without importing it: scapy's import alone costs a third of a second."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the package {package} is not installed here")
    return Path(spec.origin).parent
