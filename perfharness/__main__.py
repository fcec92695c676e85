"""``python -m perfharness``"""

from perfharness.cli import main

main()
