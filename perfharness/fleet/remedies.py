"""What a person can do about an error that an agent numbered."""

from __future__ import annotations

from collections.abc import Mapping

from perfagent.wire import Code

_REMEDIES: Mapping[int, str] = {
    Code.TOOL_MISSING: "Install iperf3 there, or name it as `iperf3:` of the endpoint in the circuit file.",
    Code.TOOL_TOO_OLD: "Install a newer iperf3 there, or name one as `iperf3:` of the endpoint in the circuit file.",
    Code.TOOL_FAILED: "What it wrote is with the task's raw files; measure the step again by `--only`.",
    Code.PORT_IN_USE: "See who holds the port there (`ss -lntup`), or list others as `ports:` of the endpoint.",
}


def remedy(code: int) -> str:
    """One sentence; empty where the error says all that is known."""
    return _REMEDIES.get(code, "")


def with_remedy(words: str, code: int) -> str:
    """The same words, which end without a full stop, and what to do."""
    return f"{words}. {remedy(code)}" if remedy(code) else words
