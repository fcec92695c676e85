"""The file that is sent to the hosts."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from perfharness.fleet import bundle


def test_the_same_sources_give_the_same_bytes() -> None:
    """The hash names the agent, so building it again gives it again, in whatever order files are found."""
    files = bundle.sources()
    assert bundle.pack(dict(reversed(files.items()))) == bundle.pack(files) == bundle.build().content


def test_it_is_small_and_carries_its_licences(tmp_path: Path) -> None:
    """At most 1.5 MB, with the licence texts of what is inside."""
    content = bundle.build().content
    assert len(content) < 1_500_000
    (tmp_path / "agent.pyz").write_bytes(content)
    names = zipfile.ZipFile(tmp_path / "agent.pyz").namelist()
    assert "licenses/scapy/LICENSE" in names
    assert any(name.startswith("licenses/pyroute2/") for name in names)
    assert not any(name.startswith("perfharness") for name in names)


def test_scapy_and_pyroute2_work_from_what_is_sent(tmp_path: Path) -> None:
    """What methods import is inside, loads without this installation, and writes nothing into the home."""
    zipfile.ZipFile(io.BytesIO(bundle.build().content)).extractall(tmp_path / "agent")
    script = """
import sys; sys.path.insert(0, "agent")
from scapy.layers.l2 import ARP, Ether
from scapy.layers.inet import IP, ICMP, UDP
from scapy.layers.inet6 import IPv6
from scapy.sendrecv import srp
import scapy
from pyroute2 import IPRoute, DiagSocket
with IPRoute() as ip:
    ip.route("get", dst="127.0.0.1"); ip.get_links()
with DiagSocket() as diag:
    diag.bind(); diag.get_sock_stats()
assert "/agent/scapy/" in scapy.__file__, scapy.__file__
print(len(bytes(Ether() / ARP())))
"""
    home = {name: str(tmp_path / "scapy") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    interpreter = str(Path(sys.executable).resolve())
    environment = {**home, "SCAPY_VERSION": version("scapy"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([interpreter, "-IS", "-c", script], cwd=tmp_path, env=environment, capture_output=True)
    assert (done.stdout, done.stderr) == (b"42\n", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent", "scapy"]


def test_the_bootstrap_can_be_read_by_old_pythons() -> None:
    """It is ASCII without NUL, and without syntax that Python 2 lacks, so that an old one can say its version."""
    script = bundle.bootstrap()
    assert script.endswith(b"\0")
    assert b"\0" not in script[:-1]
    text = script[:-1].decode("ascii")
    for new in (' f"', "print(", ":=", "->", "nonlocal", "import annotations", "except* "):
        assert new not in text
