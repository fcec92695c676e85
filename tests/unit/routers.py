"""The outputs of routers that the tests have, and what is made of them."""

from __future__ import annotations

from pathlib import Path

from perfharness import routers
from perfharness.routers import RouterState

GOLDEN = Path(__file__).parent.parent / "golden" / "routers"


def outputs(case: str) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in (GOLDEN / case).glob("*.txt")}


def state(case: str, platform: str = "", **changed: str) -> RouterState:
    """As the outputs of this case tell it, with some of them changed; ``bgp_summary`` is ``bgp-summary``."""
    told = outputs(case) | {name.replace("_", "-"): text for name, text in changed.items()}
    return routers.parse(platform or case, told)
