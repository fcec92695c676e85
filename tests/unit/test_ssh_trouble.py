"""What went wrong on the way to a host, where no server can be made to do it at will."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from perfharness.fleet.ssh_trouble import Trouble


def test_a_host_that_hangs_up_is_a_sentence_and_no_name_of_ours() -> None:
    """A connection that ends in the midst of the handshake has no words of its own: EOFError is none for a person."""
    hop: Any = SimpleNamespace(host="192.0.2.1", port=22, original_host="host-a", user="root")
    target: Any = SimpleNamespace(host="host-a", config=None, user=None, port=None, known_hosts=None)
    said = str(Trouble("host-a", target, hop, True, Path("known_hosts")).explained(EOFError()))
    assert said == "host-a: 192.0.2.1 port 22 takes the connection and hangs up. Try by hand: ssh host-a"
