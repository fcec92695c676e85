"""A router's password comes from a file that nobody else may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfharness.errors import BadInput, HostUnusable
from perfharness.fleet import passwords
from perfharness.order.circuit import Appliance
from tests.unit.edge_files import order

CE = """\
ce:
  name: ce-hz-1
  platform: cisco_ios
  ssh: {host: ce-hz-1, %s}
  wan: GigabitEthernet0/0/1
"""


def written(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "password"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_one_line_is_the_password(tmp_path: Path) -> None:
    """With its spaces, and without the end of its line."""
    assert passwords.read("ce", written(tmp_path, b" two words \n")) == " two words "


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The sentence says how to mend it, and that the password is no secret any more."""
    with pytest.raises(HostUnusable, match=r"others may read its password file .* Run chmod 600"):
        passwords.read("ce", written(tmp_path, b"x\n", mode))


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", b"\xff\xfe\n", b"x" * 2000])
def test_what_is_not_one_line_is_refused_and_not_quoted(tmp_path: Path, data: bytes) -> None:
    """Nothing of the file is in the sentence."""
    with pytest.raises(HostUnusable, match=r"is not one line of text. Write the password and nothing else"):
        passwords.read("ce", written(tmp_path, data))


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    """It names the key of the order to correct."""
    with pytest.raises(HostUnusable, match=r"cannot be read: No such file or directory. Correct `password_file:`"):
        passwords.read("ce", tmp_path / "none")


def test_the_order_names_the_file_and_never_the_password(tmp_path: Path) -> None:
    """The file is relative to the order; a password in the order itself is refused, and not repeated."""
    circuit = order(tmp_path, CE % "password_file: ce.password")
    assert isinstance(circuit.ce, Appliance) and circuit.ce.ssh.password_file == tmp_path / "ce.password"
    with pytest.raises(BadInput, match=r"circuit.yaml:9: A password does not belong into the order\.") as caught:
        order(tmp_path, CE % "password: hunter2")
    assert "hunter2" not in str(caught.value)
    for name in ("x | redirect y", "Gi0/0/1; reload", "a b"):
        with pytest.raises(BadInput, match="is not the name of a router's port"):
            order(tmp_path, (CE % "user: looker").replace("GigabitEthernet0/0/1", f"'{name}'"))
