"""The agent's subcommands. ``attach`` and ``clean`` come from outside, the others the agent starts itself.

attach DIR [RUN LEASE_S]   pass bytes between standard input/output and the worker; start it for RUN
fetch DIR JOB ...          the jobs' files on standard output: see ``perfagent.spool.send``
clean DIR                  remove what runs of this user have left here, DIR (our own) included
worker DIR RUN LEASE_S     the daemon
warden DIR                 the daemon's cleaner
job DIR ID                 one job
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    """Each verb imports only what it needs: a job must not carry the worker's memory."""
    if len(argv) < 2:
        sys.stderr.write(__doc__ or "")
        return 2
    verb, folder, words = argv[0], Path(argv[1]), argv[2:]
    if verb == "attach":
        from perfagent.attach import attach

        return attach(folder, words[0], float(words[1])) if words else attach(folder)
    if verb == "worker":
        from perfagent.worker import serve

        return serve(folder, words[0], float(words[1]))
    if verb == "warden":
        from perfagent.warden import watch

        return watch(folder)
    if verb == "job":
        from perfagent.jobs import run as run_job

        return run_job(folder / "jobs" / words[0])
    return _answer_once(verb, folder, words)


def _answer_once(verb: str, folder: Path, words: list[str]) -> int:
    if verb == "fetch":
        from perfagent.attach import open_channel
        from perfagent.spool import send

        with os.fdopen(open_channel(), "wb") as out:
            send(folder / "jobs", words, out)
        return 0
    if verb == "clean":
        from perfagent.clean import answer

        return answer(folder)
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
