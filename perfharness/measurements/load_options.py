"""What a step may ask of iperf3 beyond protocol and duration, and how its jobs are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from perfharness.measurements.base import Context
from perfharness.measurements.base import Params as Base
from perfharness.order.dscp import Dscp
from perfharness.order.units import LARGEST, Duration, Rate, duration_text, size, size_text
from perfharness.order.wrong import wrong

SECOND, MOST_NS = 1_000_000_000, 86_370_000_000_000
"""iperf3 takes whole seconds, and a day of them, the warm-up included."""
LEAST_PACING_BPS = 1_000_000
"""All streams share it, and what is left of it must not be nothing: for the kernel that would be without any limit."""
LEAST_WINDOW, MOST_WINDOW = 4 << 10, 512 << 20
LEAST_MSS = 88
"""What Linux takes (TCP_MIN_MSS)."""
TCP_ONLY = ("window", "mss", "congestion", "pacing_bps", "zerocopy")
_TCP_HEADERS = 40


def _window(value: Any) -> Any:
    if value in ("bdp", "auto"):
        return value
    read = size(value) if isinstance(value, str) else value
    if not isinstance(read, int) or isinstance(read, bool):
        raise wrong(f"{value!r} is no window.", "Write bdp, auto, or a size as 4MiB.")
    if not LEAST_WINDOW <= read <= MOST_WINDOW:
        bounds = f"{size_text(LEAST_WINDOW)} to {size_text(MOST_WINDOW)}"
        raise wrong(f"A window of {size_text(read)} is not one that iperf3 can be given.", f"Write {bounds}.")
    return read


def _affinity(value: Any) -> Any:
    text = str(value).replace(" ", "")
    if re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})?", text):
        return text
    raise wrong(f"{value!r} names no CPU.", "Write a CPU's number, or two: `1,2` = on-prem host, cloud host.")


def _algorithm(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_-]{0,15}", value):
        return value
    raise wrong(f"{value!r} is no congestion control algorithm.", "Write one that both hosts have, as cubic or bbr.")


def _whole(ns: int) -> int:
    if ns % SECOND:
        near = dict.fromkeys(duration_text(max(1, ns // SECOND + more) * SECOND) for more in (0, 1))
        raise wrong(f"iperf3 takes whole seconds, and {duration_text(ns)} are none.", f"Write {' or '.join(near)}.")
    return ns


Seconds = Annotated[Duration, AfterValidator(_whole)]
"""How long iperf3 does something."""

Window = Annotated[
    int | Literal["bdp", "auto"],
    BeforeValidator(_window),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["bdp", "auto", "4MiB"]}),
]
"""Bytes of each stream; ``bdp``: that fill the path, by a round trip measured just before; ``auto``: the hosts' own."""


class LoadOptions(Base):
    """Of every iperf3 load."""

    congestion: Annotated[str, BeforeValidator(_algorithm)] | None = None
    """TCP's algorithm, as cubic or bbr; left out, each host's own."""
    mss: int | None = Field(default=None, ge=LEAST_MSS, le=LARGEST)
    """TCP: the largest segment, bytes."""
    dscp: Dscp | None = None
    """Class of service of the load: EF, AF41, 0 to 63."""
    pacing_bps: Rate | None = Field(default=None, alias="pacing", ge=LEAST_PACING_BPS)
    """TCP: have the kernel let out no more than this, evenly, all streams together."""
    zerocopy: bool = False
    """TCP: send without copying (sendfile): spares the sender's CPU."""
    affinity: Annotated[str, BeforeValidator(_affinity)] | None = None
    """CPU that iperf3 is bound to, on the on-prem host or, as `1,2`, on both; for loads of one process."""

    def must_suit(self, context: Context) -> None:
        """Raises ``wrong`` for what this circuit cannot carry."""
        if self.mss is not None and self.mss > context.mtu - _TCP_HEADERS:
            said = f"Segments of {self.mss} B do not fit into packets of {context.mtu} B."
            raise wrong(said, f"Write `mss: {context.mtu - _TCP_HEADERS}` or less.", at=("mss",))

    def arguments(self, processes: int, ways: int = 1) -> dict[str, Any]:
        """For each of so many clients each way. Raises ``wrong`` for what would slow them all down."""
        if self.affinity is not None and processes * ways > 1:
            said = (
                f"`affinity` binds each iperf3 of a host to the same CPU, and this load has {processes * ways} there."
            )
            raise wrong(said, "Leave it out, or have one process in one direction at a time.", at=("affinity",))
        asked: Mapping[str, Any] = {
            "zerocopy": self.zerocopy or None,
            "affinity": self.affinity,
            "pacing_bps": self.pacing_bps and self.pacing_bps // processes,
        }
        usual = {"congestion": self.congestion, "mss": self.mss, "dscp": self.dscp}
        return usual | {name: value for name, value in asked.items() if value is not None}


class OneWindow(LoadOptions):
    """... with the same window throughout."""

    window: Window = "auto"

    @model_validator(mode="after")
    def _of_tcp(self) -> Self:
        for name in TCP_ONLY if getattr(self, "protocol", "tcp") == "udp" else ():
            if name in self.model_fields_set:
                key = "pacing" if name == "pacing_bps" else name
                raise wrong(f"UDP has no `{key}`.", "Leave it out, or write `protocol: tcp`.", at=(key,))
        return self


def window_arguments(window: int | str, rate_bps: int, streams: int) -> dict[str, Any]:
    """``streams``: of all processes of this direction, which share what is under way."""
    if window == "bdp":
        return {"window_bytes": None, "bdp": {"rate_bps": rate_bps, "streams": streams}}
    return {"window_bytes": None if window == "auto" else window}


def of_client(args: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of ``iperf3.drive`` that have no default."""
    return {"bidir": False, "window_bytes": None, "dscp": None, "mss": None, "congestion": None, **args}
