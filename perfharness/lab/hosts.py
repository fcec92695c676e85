"""The hosts and the CE: a real sshd in each, and an ``ssh_config`` that reaches them from anywhere on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from perfharness.errors import LabFault
from perfharness.lab import relay
from perfharness.lab.namespaces import FOLDER as NETNS
from perfharness.lab.processes import Process, launch, start_ticks
from perfharness.lab.spec import Host
from perfharness.lab.state import FOLDER, State

PORT = 22
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Compiled into Debian's sshd; its init script makes it, and none has run on a machine without a server."""
SSH_CONFIG = FOLDER / "ssh_config"
HOME = FOLDER / "home"
"""Of every session: bash reads the user's .bashrc for sshd, and what that starts must not be killed by ``down``."""
TEMPORARY = FOLDER / "tmp"
"""The place for temporary files of each host: otherwise they would share one, as no two real hosts do."""
LISTENING = "Server listening on"
"""In sshd's log, each time that it starts."""
START_S = 5.0
LISTEN = "0A"

SSHD_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host_{alias}
AuthorizedKeysFile {folder}/client.pub
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {pam}
UseDNS no
PrintMotd no
PrintLastLog no
ClientAliveInterval 5
ClientAliveCountMax 3
MaxStartups 100
MaxSessions 100
SetEnv "PATH={path}" "HOME={home}" "TMPDIR={temporary}"
Subsystem sftp internal-sftp
"""

CLIENT_CONFIG = """\
Host {alias}
  HostName {address}
  Port {port}
  User root
  IdentityFile {folder}/client
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ProxyCommand nsenter --net={netns}/{namespace} "{python}" -IS "{relay}" %h %p

"""


def serve(state: State, hosts: Mapping[str, Host], tools: Mapping[str, Path] | None = None) -> None:
    """Start an sshd in each namespace and write the client's files; returns when all of them listen.

    ``tools``: by namespace, a folder whose programs come before the machine's.
    """
    _key("client")
    HOME.mkdir(mode=0o700, exist_ok=True)
    if not PRIVILEGE_SEPARATION.exists():
        state.add_folder(str(PRIVILEGE_SEPARATION))
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    known, config = "", ""
    for namespace, host in hosts.items():
        key = _key(f"host_{host.alias}")
        known += f"{host.alias},{host.address} {key}\n"
        config += CLIENT_CONFIG.format(
            alias=host.alias,
            address=host.address,
            port=PORT,
            folder=FOLDER,
            netns=NETNS,
            namespace=namespace,
            python=sys.executable,
            relay=relay.__file__,
        )
    (FOLDER / "known_hosts").write_text(known, encoding="ascii")
    SSH_CONFIG.write_text(config, encoding="utf-8")
    own = tools or {}
    started = [(_start(state, namespace, host, own.get(namespace)), host) for namespace, host in hosts.items()]
    for process, host in started:
        _await_listening(process, host)


def tool_path() -> str:
    """Where the lab's tools are looked for: a user's PATH may lack the administrator's folders."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def other_sshd_runs() -> bool:
    """An sshd that is not of the lab needs ``PRIVILEGE_SEPARATION`` too, whoever made it."""
    sshd = (comm.parent for comm in Path("/proc").glob("[0-9]*/comm") if _read(comm).startswith("sshd"))
    return any(start_ticks(int(process.name)) is not None for process in sshd)


def _key(name: str) -> str:
    """A new key pair; returns the public half."""
    path = FOLDER / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"perfharness lab {name}", "-f", path],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=10,
    )
    return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def _start(state: State, namespace: str, host: Host, tools: Path | None) -> Process:
    config = FOLDER / f"sshd_{host.alias}.conf"
    temporary = TEMPORARY / host.alias
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.write_text(
        SSHD_CONFIG.format(
            port=PORT,
            address=host.address,
            folder=FOLDER,
            alias=host.alias,
            pam="yes" if _root_is_locked() else "no",
            path=f"{tools}:{_machine_path()}" if tools else _machine_path(),
            home=HOME,
            temporary=temporary,
        ),
        encoding="utf-8",
    )
    # `ip netns exec` and not nsenter: it also shows the namespace's own interfaces in /sys.
    enter = ["ip", "netns", "exec", namespace, "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']
    sshd = [shutil.which("sshd", path=tool_path()) or "sshd", "-D", "-e", "-f", str(config)]
    log = FOLDER / f"sshd_{host.alias}.log"
    return launch(f"sshd {host.alias}", [*enter, host.alias, *sshd], log, state.add_process)


def _await_listening(process: Process, host: Host) -> None:
    wanted = f"{int.from_bytes(bytes(map(int, host.address.split('.'))), sys.byteorder):08X}:{PORT:04X}"
    deadline = time.monotonic() + START_S
    while process.alive and time.monotonic() < deadline:
        # /proc/PID/net is the namespace that the process is in
        rows = [row.split() for row in _read(Path(f"/proc/{process.pid}/net/tcp")).splitlines()]
        if any(row[1] == wanted and row[3] == LISTEN for row in rows):
            return
        time.sleep(0.01)
    log = _read(FOLDER / f"sshd_{host.alias}.log").strip()
    raise LabFault(f"The sshd of {host.alias} does not listen: {log or 'it says nothing'}.")


def _root_is_locked() -> bool:
    """A password field with ``!`` (Ubuntu): sshd refuses the account, even by key, unless PAM decides."""
    for line in _read(Path("/etc/shadow")).splitlines():
        name, password, *_ = line.split(":")
        if name == "root":
            return password.startswith("!")
    return False


def _machine_path() -> str:
    """PATH as the machine has it, without the virtual environment that we may run in."""
    own = Path(sys.prefix, "bin") if sys.prefix != sys.base_prefix else None
    return ":".join(entry for entry in os.environ["PATH"].split(":") if entry and Path(entry) != own)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
