# Sent ahead of the agent over the same channel: receives it, checks it, puts it into a new private folder and
# becomes it. Arguments: size, SHA-256, verb, further words of the verb. It is unpacked, since Python keeps what it
# has compiled of a folder and of no zip: each of its many short processes would compile its part again.
# Python 2 and early 3 must be able to read this, to say that they are too old. It holds no NUL byte: that ends it.
# ruff: noqa: E402, PTH118, PTH123, RUF005, UP031, UP036
# mypy: ignore-errors
import sys

sys.path[:] = [place for place in sys.path if place]  # a random.py in somebody's home is not for us

import hashlib
import io
import os
import shutil
import tempfile
import zipfile


def fail(code, words):
    sys.stderr.write(words + "\n")
    sys.exit(code)


def receive(size):
    blocks = []
    while size:
        block = os.read(0, min(size, 65536))
        if not block:
            fail(7, "the agent did not arrive whole")
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def store(agent, sha256):
    problems = []
    for place in (os.environ.get("TMPDIR"), "/tmp", "/var/tmp"):
        folder = None
        try:
            if place:
                folder = tempfile.mkdtemp(prefix="perfharness-", dir=place)
                with open(os.path.join(folder, "perfharness-agent"), "w") as marker:
                    marker.write(sha256)
                with zipfile.ZipFile(io.BytesIO(agent)) as packed:
                    packed.extractall(os.path.join(folder, "agent"))
                return folder
        except Exception as error:  # a Python without zlib cannot unpack
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            problems.append("%s: %s" % (place, error.strerror))
    return fail(8, "; ".join(problems))


if sys.version_info < (3, 9):
    fail(9, "python %d.%d.%d" % sys.version_info[:3])
os.umask(0o077)
agent = receive(int(sys.argv[1]))
if hashlib.sha256(agent).hexdigest() != sys.argv[2]:
    fail(7, "the agent was altered on its way")
folder = store(agent, sys.argv[2])
program = os.path.join(folder, "agent")
os.execv(sys.executable, [sys.executable, "-IS", program, sys.argv[3], folder] + sys.argv[4:])
