"""The agent of perfharness: runs on the measured hosts from one file, and leaves nothing behind."""

__version__ = "0.1.0"
