"""The BGP session as the customer's router tells it, as causes: why it is down, and what it exchanges.

A session that is down has one cause of those here; the last notification is evidence, and no proof where it may be of
an earlier trouble.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perfharness.judge.edge_step import ANNOUNCED, RECEIVED, Step
from perfharness.model import Diagnosis, Segment

BLOCKED = ("refused", "rejected", "silent")
WHO_CLOSED = "A filter on the router itself, or a session that is signed at the other end, would look the same."
UNDATED = "The router does not say when that error was: it may be of an earlier trouble."
ONCE = "It is the last that was said: what keeps the session down since may be something else."

SHUT = re.compile(r"\b6/[23]\b|admin\w*\.? ?shut ?down|de-?configured", re.IGNORECASE)
RESET = re.compile(r"\b6/[234]\b|admin\w*\.? ?(shut ?down|reset)|user reset|de-?configured", re.IGNORECASE)
LIMIT = re.compile(r"\b6/1\b|maximum number of prefixes", re.IGNORECASE)
OTHER_AS = re.compile(r"^2/2\b")
OURS = re.compile(r"\bsen[dt]\b|user reset|^admin", re.IGNORECASE)
THEIRS = re.compile(r"receiv", re.IGNORECASE)
"""Who sent a notification, in the words in which routers say why a session fell."""


def _down(step: Step) -> Mapping[str, Any] | None:
    """The ordered session, where the router has it and it does not stand."""
    session: Mapping[str, Any] | None = step.facts.get("bgp", {}).get("session")
    return session if "bgp.established" in step.broken else None


def _said(session: Mapping[str, Any], words: re.Pattern[str]) -> bool:
    return any(words.search(session.get(name) or "") for name in ("notification", "last_reset"))


def reset_by_hand(session: Mapping[str, Any], words: re.Pattern[str] = RESET) -> str | None:
    """Whose hand ended it last, ``own`` or ``cloud``; ``None`` where it was none, or nobody says whose."""
    last = session.get("last_reset") or ""
    if not _said(session, words) or not session.get("dated", True):
        return None
    return "own" if OURS.search(last) else "cloud" if THEIRS.search(last) else None


def bgp_shut_down(step: Step) -> Iterator[Diagnosis]:
    """Somebody switched the session off: here by the state that it has, there by what the VBR said as it left."""
    session = _down(step)
    if session is None:
        return
    off = "admin" in (session["state"] or "").lower()
    if not off and reset_by_hand(session, SHUT) != "cloud":
        return
    owner = "own" if off else "cloud"
    yield Diagnosis(
        cause="bgp-shut-down",
        certainty="proven" if off else "likely",
        segment=Segment.CE if owner == "own" else Segment.CLOUD_EDGE,
        owner=owner,
        because=step.because("bgp.established"),
        against=() if off else (ONCE,),
        checklist=("EC-017",),
        next="Switch the neighbour on at the router."
        if owner == "own"
        else "Ask the cloud to switch the VBR's BGP peer on.",
        findings=step.ids("bgp.established"),
    )


def bgp_neighbour_wrong(step: Step) -> Iterator[Diagnosis]:
    """The router has no such neighbour where it has the link."""
    bgp = step.facts.get("bgp", {})
    if "bgp.established" not in step.broken or bgp.get("session") is not None:
        return
    yield Diagnosis(
        cause="bgp-neighbour-wrong",
        certainty="likely",
        segment=Segment.CE,
        owner="own",
        because=step.because("bgp.established"),
        against=("A neighbour that the router takes only when it calls shows once the session stands.",),
        checklist=("EC-017",),
        next=f"Configure {bgp['peer']} as the neighbour on the router.",
        findings=step.ids("bgp.established"),
    )


def bgp_prefix_limit(step: Step) -> Iterator[Diagnosis]:
    """It ended since more prefixes came than the limit allows: the router's own, or the VBR's."""
    session = _down(step)
    if session is None:
        return
    here = bool(re.search(r"pfxct|ov\w*lmt", session["state"] or "", re.IGNORECASE))
    last = session.get("last_reset") or ""
    there = not here and _said(session, LIMIT) and session.get("dated", True) and bool(THEIRS.search(last))
    if not here and not there:
        return
    yield Diagnosis(
        cause="bgp-prefix-limit",
        certainty="proven" if here else "likely",
        segment=Segment.CLOUD_EDGE if here else Segment.CE,
        owner="unknown" if here else "own",
        because=step.because("bgp.established"),
        against=("The router's limit may be lower than the plan needs.",) if here else (ONCE,),
        checklist=("EC-022", "EC-017"),
        next="Compare what the VBR announces, and the router's limit, with the plan; then reset the session."
        if here
        else "Announce fewer prefixes, as planned, then ask the cloud to reset the session.",
        findings=step.ids("bgp.established"),
    )


def bgp_as_mismatch(step: Step) -> Iterator[Diagnosis]:
    """An AS number is another than ordered, here or at the other end."""
    session, maybe = _down(step), False
    if "bgp.as_agree" not in step.broken:
        maybe = session is not None and not session.get("dated", True) and _said(session, OTHER_AS)
        if not maybe:
            return
    session, ordered = step.facts["bgp"]["session"], step.facts["bgp"]["ordered_as"]
    here = {"local": session["local_as"], "remote": session["remote_as"]}
    own = any(number is not None and number != ordered[end] for end, number in here.items())
    yield Diagnosis(
        cause="bgp-as-mismatch",
        certainty="likely" if maybe else "proven",
        segment=Segment.CE if own else Segment.CLOUD_EDGE,
        owner="own" if own else "cloud",
        because=step.because("bgp.as_agree", "bgp.established"),
        against=(UNDATED,) if maybe else (),
        checklist=("EC-018",),
        next="Set the AS numbers of the order on the router."
        if own
        else f"Ask the cloud which AS the VBR has and which it expects; ordered are {ordered['remote']} and "
        f"{ordered['local']}.",
        findings=step.ids("bgp.as_agree", "bgp.established"),
    )


def bgp_port_blocked(step: Step) -> Iterator[Diagnosis]:
    """The session does not come up, the VBR answers ARP, and TCP/179 of it does not open."""
    port = step.facts.get("bgp", {}).get("port")
    if "bgp.established" not in step.broken or port not in BLOCKED:
        return
    if not step.facts["vlan"]["answered"] or "bgp.as_agree" in step.broken or any(True for _ in bgp_shut_down(step)):
        return
    yield Diagnosis(
        cause="bgp-port-blocked",
        certainty="likely",
        segment=Segment.CLOUD_EDGE if port == "refused" else Segment.BETWEEN,
        owner="cloud",
        because=(*step.because("bgp.established"), f"TCP/179 is {port} while the link itself answers."),
        against=(WHO_CLOSED,),
        checklist=("EC-019", "EC-017"),
        next="Look for a filter of TCP/179 on the router first, then ask the cloud for the VBR's BGP peer and its key.",
        findings=step.ids("bgp.established", "bgp.port_open"),
    )


def bgp_prefixes(step: Step) -> Iterator[Diagnosis]:
    """Prefixes that were ordered and are not exchanged; prefixes that are exchanged and were not ordered."""
    bgp = step.facts.get("bgp", {})
    yield from _prefixes(step, bgp, "bgp-prefix-missing", ("missing",), ("EC-020",))
    yield from _prefixes(step, bgp, "bgp-prefix-leak", ("broad", "extra"), ("EC-021", "EC-020"))


def _prefixes(
    step: Step, bgp: Mapping[str, Any], cause: str, kinds: Sequence[str], rows: tuple[str, ...]
) -> Iterator[Diagnosis]:
    broken = [kind for kind in kinds if f"bgp.{kind}" in step.broken]
    ways = [way for way in (ANNOUNCED, RECEIVED) if any(bgp[kind][way] for kind in broken)]
    filtered = bool(ways) and _filtered_here(bgp, cause)
    for own in dict.fromkeys(way == ANNOUNCED or filtered for way in ways):  # what the cloud does is not ours
        yield _of_prefixes(step, cause, broken, rows, own)


def _of_prefixes(step: Step, cause: str, broken: Sequence[str], rows: tuple[str, ...], own: bool) -> Diagnosis:
    return Diagnosis(
        cause=cause,
        certainty="proven",
        segment=Segment.CE if own else Segment.CLOUD_EDGE,
        owner="own" if own else "cloud",
        because=step.because(*(f"bgp.{kind}" for kind in broken)),
        checklist=rows,
        next="Compare the router's announcements and filters with the plan."
        if own
        else "Ask the cloud what the VBR announces, and why; filter on the router what is not wanted.",
        findings=step.ids(*(f"bgp.{kind}" for kind in broken)),
    )


def _filtered_here(bgp: Mapping[str, Any], cause: str) -> bool:
    """The prefix came, and a filter of the router's own refused it."""
    session = bgp["session"]
    came, missing = session["received"] or (), bgp["missing"][RECEIVED] or ()
    return cause == "bgp-prefix-missing" and bool(missing) and set(missing) <= set(came)


def bgp_key_mismatch(step: Step) -> Iterator[Diagnosis]:
    """Sessions are signed and nothing else says why this one is down: a wrong key is answered by silence (RFC 2385)."""
    session, bgp = _down(step), step.facts.get("bgp", {})
    if session is None or not step.facts["vlan"]["answered"] or session["state"] not in ("Idle", "Connect", "Active"):
        return
    ordered, here = bool(bgp["md5"]), session.get("md5")
    others = (bgp_shut_down, bgp_prefix_limit, bgp_as_mismatch, bgp_port_blocked)
    if not (ordered or here) or any(True for rule in others for _ in rule(step)):
        return
    apart = here is not None and here != ordered
    words = {True: "signs", False: "does not sign", None: "does not tell whether it signs"}
    yield Diagnosis(
        cause="bgp-key-mismatch",
        certainty="likely" if apart else "possible",
        segment=Segment.CE if apart else Segment.BETWEEN,
        owner="own" if apart else "unknown",
        because=(
            *step.because("bgp.established"),
            f"The router {words[here]} the session, and it is ordered {'signed' if ordered else 'unsigned'}.",
        ),
        against=("A filter of TCP/179 would look the same.",),
        checklist=("EC-017",),
        next="Configure the key on both ends anew: nobody can read it to compare.",
        findings=step.ids("bgp.established"),
    )
