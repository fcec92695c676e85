"""``python -m perfharness``, and the command ``perfharness``."""

import gc
import os
import sys

from perfharness import interrupt


def main() -> None:
    """Entry point. An interrupt that no verb has answered is one sentence and INCONCLUSIVE."""
    interrupt.heed()  # before anything is loaded that takes its time
    try:
        from perfharness.cli import exit_code

        code = exit_code()
    except KeyboardInterrupt:
        interrupt.ignore()
        from perfharness.errors import Exit

        sys.stderr.write("Interrupted.\n")
        sys.stdout.flush()
        os._exit(Exit.INCONCLUSIVE)  # waits for no thread that may still look for a host, or load what nobody needs
    interrupt.ignore()
    gc.freeze()  # else Python looks through all that a report has left in memory for garbage, 0.7 s, before it ends
    sys.exit(code)


if __name__ == "__main__":
    main()
