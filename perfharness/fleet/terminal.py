"""A vendor's router asked by show commands over our own SSH: netmiko knows its prompts, and stays in this package.

The connection is the fleet's (host keys, jump hosts and keys as everywhere); netmiko only gets a shell on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perfharness.fleet.link import BROKEN, Link

READ_S = 20.0
"""For one answer."""
_LOOKS_ONLY = re.compile(r"(show|display) [\w ./:-]+( \| display json)?")
_NOT_TAKEN = re.compile(
    r"Invalid input|Incomplete command|Ambiguous command|Unrecognized command|Wrong parameter|Too many parameters"
    r"|^(syntax error|unknown command)",
    re.MULTILINE,
)
"""What IOS, VRP and Junos say of a command that they do not have, or that the user may not give."""


class TerminalTrouble(Exception):
    """The router did not answer as its platform does; says why in a clause."""


def ask(link: Link, name: str, platform: str, commands: Mapping[str, str]) -> dict[str, tuple[str, bool]]:
    """Each command's answer, and whether the router took the command. Raises TerminalTrouble.

    Raises ValueError for a command that does more than to look.
    """
    for command in commands.values():
        if not _LOOKS_ONLY.fullmatch(command):
            raise ValueError(f"{command!r} does not only look")
    from netmiko import ConnectHandler  # half a second: for who has a vendor's router
    from netmiko.exceptions import NetmikoBaseException

    try:
        terminal: Any = ConnectHandler(device_type=platform, host=name, auto_connect=False, fast_cli=False)
        terminal._build_ssh_client = lambda: _OnOurs(link)
        terminal._open()
        try:
            answers = {key: terminal.send_command(command, read_timeout=READ_S) for key, command in commands.items()}
        finally:
            terminal.disconnect()
    except (NetmikoBaseException, *BROKEN, ValueError) as error:
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise TerminalTrouble(f"it does not answer as {platform}: {said.rstrip('.')}") from error
    return {key: (text, not _NOT_TAKEN.search(text)) for key, text in answers.items()}


class _OnOurs:
    """What netmiko takes for its own SSH client: connected already."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def connect(self, **_: Any) -> None:
        """It is."""

    def invoke_shell(self, term: str, width: int, height: int) -> Any:
        return self._link.shell(term, width, height)

    def close(self) -> None:
        """Whoever opened the connection closes it."""
