"""What runs said of faults, held against the truth, and the tables that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfharness.lab.blame import contradicts
from perfharness.lab.expected import AMBIENT, FAILS, HEALTHY, KINDS, Case, Expected
from perfharness.model import Verdict

NAMED_SHARE = 0.95
"""Of the single faults: how many must be named at least."""
NAMING = ("proven", "likely")
THOUGHT_OF = (*NAMING, "possible")
"""Enough for a part of a pair, which the other part may hide, and for what follows."""
ONLY_THOUGHT_OF = {
    "policer-small-burst --bucket 45000B": "TCP is near its bound there, and what limited it stays undecided at times",
}
"""Single faults of which a cause that is possible is a name, and why."""
HEALTHY_SHARE = 0.9
"""Of healthy labs: how many must pass at least."""
OPEN_SHARE = 0.1
"""Of runs of which only FAIL is true: how many may say INCONCLUSIVE at most."""
ENOUGH = 10
"""Runs from which on such a share says something."""
NO_RUN = "no run"
GOT = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, NO_RUN)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of one case."""

    case: Case
    verdict: str
    """Of the run; ``no run`` where it ended without one."""
    causes: tuple[tuple[str, str], ...] = ()
    """(cause, certainty) as the run said them."""
    unnamed: tuple[str, ...] = ()
    """Faults that did harm and that no cause told of."""
    wrong: tuple[str, ...] = ()
    """Causes that were stated as proven and are not true."""
    blamed: tuple[str, ...] = ()
    """Of causes that are true and proven: who or what was blamed that it is not."""
    folder: str = ""
    """Of the run."""
    error: str = ""
    """Why there is no verdict."""
    tcp_warns: bool = False
    """TCP fell short of what is recommended: something did harm, though nothing that was ordered is missing."""

    @property
    def false(self) -> bool:
        """A PASS or a FAIL that is not true."""
        return self.verdict in (Verdict.PASS, Verdict.FAIL) and self.verdict not in self.case.verdicts

    @property
    def asks(self) -> bool:
        """A cause should have been named."""
        return any(_asks(part, self.verdict, self.tcp_warns) for part in self.case.parts)

    @property
    def misses(self) -> tuple[str, ...]:
        """In words, what is not as it must be; a pair names one of its faults at least, the other may be hidden."""
        said = [f"false {self.verdict}"] if self.false else []
        said += [f"{cause} is called proven and is not true" for cause in self.wrong]
        said += [f"{each} is called proven and is not to blame" for each in self.blamed]
        if self.verdict == NO_RUN:
            said.append(self.error or NO_RUN)
        hidden = len(self.unnamed) < sum(_asks(part, self.verdict, self.tcp_warns) for part in self.case.parts)
        return (*said, *(f"{name} is not named" for name in self.unnamed if not hidden))

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case.name,
            "kind": self.case.kind,
            "expected": sorted(self.case.verdicts),
            "verdict": self.verdict,
            "causes": [list(each) for each in self.causes],
            "unnamed": list(self.unnamed),
            "wrong": list(self.wrong),
            "blamed": list(self.blamed),
            "misses": list(self.misses),
            "run": self.folder,
        }


def compare(case: Case, findings: Mapping[str, Any], folder: str = "") -> Outcome:
    """``findings``: a run's findings.json."""
    told = [(row["cause"], row["certainty"], set(row["checklist"])) for row in findings["diagnosis"]]
    verdict = findings["verdict"]
    warns = any(
        row["metric"] == "throughput.tcp" and row["verdict"] == Verdict.WARN for row in findings.get("findings", ())
    )

    def named(part: Expected) -> bool:
        enough = NAMING if case.alone and part.name not in ONLY_THOUGHT_OF else THOUGHT_OF
        return any(
            cause in part.causes and certainty in enough and (not part.rows or rows & set(part.rows))
            for cause, certainty, rows in told
        )

    return Outcome(
        case,
        verdict,
        tuple((cause, certainty) for cause, certainty, _ in told),
        tuple(part.name for part in case.parts if _asks(part, verdict, warns) and not named(part)),
        tuple(cause for cause, certainty, _ in told if certainty == "proven" and cause not in case.true_causes),
        tuple(_blamed(case, findings["diagnosis"])),
        folder,
        tcp_warns=warns,
    )


def _blamed(case: Case, diagnosis: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where two faults explain a cause either may be meant."""
    for row in diagnosis:
        parts = [part for part in case.parts if row["cause"] in part.causes]
        wrong = parts and all(contradicts(part.wish, row["owner"], row["segment"]) for part in parts)
        if row["certainty"] == "proven" and wrong and row["cause"] not in AMBIENT:
            yield f"{row['cause']} of {row['owner']} at {row['segment']}"


def _asks(part: Expected, verdict: str, tcp_warns: bool) -> bool:
    return bool(part.causes) and not (part.mild and verdict == Verdict.PASS and not tcp_warns)


def missed(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """The bounds that these do not keep, in words; empty when all is well."""
    said = [
        f"{outcome.case.name}: {miss}."
        for outcome in outcomes
        for miss in outcome.misses
        if outcome.case.kind != "singles" or "is not named" not in miss
    ]
    named, asked = share_named(outcomes)
    if asked and named < NAMED_SHARE * asked:
        said.append(f"The cause is named of {named} of {asked} single faults; {NAMED_SHARE:.0%} is the bound.")
    healthy = [outcome for outcome in outcomes if outcome.case.name == HEALTHY]
    passed = sum(outcome.verdict == Verdict.PASS for outcome in healthy)
    if len(healthy) >= ENOUGH and passed < HEALTHY_SHARE * len(healthy):
        said.append(f"{passed} of {len(healthy)} healthy labs passed; {HEALTHY_SHARE:.0%} is the bound.")
    failing = [outcome for outcome in outcomes if outcome.case.verdicts == set(FAILS)]
    undecided = sum(outcome.verdict == Verdict.INCONCLUSIVE for outcome in failing)
    if len(failing) >= ENOUGH and undecided > OPEN_SHARE * len(failing):
        said.append(f"{undecided} of {len(failing)} circuits that fail were left open; {OPEN_SHARE:.0%} is the bound.")
    return tuple(said)


def share_named(outcomes: Iterable[Outcome]) -> tuple[int, int]:
    """(named, asked for) of the faults that were played alone."""
    asked = [outcome for outcome in outcomes if outcome.case.kind == "singles" and outcome.asks]
    return sum(not outcome.unnamed for outcome in asked), len(asked)


def tables(outcomes: Sequence[Outcome], about: str) -> str:
    """Markdown: the verdicts, told against true ones; then each run with what it named."""
    return "\n".join(("# What the verdicts are worth", "", about, "", *_matrix(outcomes), "", *_rows(outcomes))) + "\n"


def _matrix(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| truth | runs | " + " | ".join(GOT) + " | false | cause named | wrongly proven |"
    yield "|---|" + "---|" * (len(GOT) + 4)
    for kind in KINDS:
        some = [outcome for outcome in outcomes if outcome.case.kind == kind]
        for truth in dict.fromkeys(_truth(outcome.case) for outcome in some):
            these = [outcome for outcome in some if _truth(outcome.case) == truth]
            counts = [str(sum(outcome.verdict == verdict for outcome in these)) for verdict in GOT]
            asked = [outcome for outcome in these if outcome.asks]
            named = f"{sum(not _all_unnamed(each) for each in asked)} of {len(asked)}" if asked else "none asked for"
            false, wrong = sum(outcome.false for outcome in these), sum(len(outcome.wrong) for outcome in these)
            yield f"| {kind}: {truth} | {len(these)} | {' | '.join(counts)} | {false} | {named} | {wrong} |"


def _all_unnamed(outcome: Outcome) -> bool:
    return any("is not named" in miss for miss in outcome.misses)


def _truth(case: Case) -> str:
    return " or ".join(verdict for verdict in GOT if verdict in case.verdicts)


def _rows(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| fault | true | said | causes | missed |"
    yield "|---|---|---|---|---|"
    for outcome in outcomes:
        causes = ", ".join(f"{cause} ({certainty})" for cause, certainty in outcome.causes)
        cells = (outcome.case.name, _truth(outcome.case), outcome.verdict, causes, "; ".join(outcome.misses))
        yield f"| {' | '.join(cells)} |"


def counted(outcomes: Sequence[Outcome]) -> str:
    """One line for a person."""
    named, asked = share_named(outcomes)
    false = sum(outcome.false for outcome in outcomes)
    wrong = sum(len(outcome.wrong) for outcome in outcomes)
    healthy = [outcome for outcome in outcomes if outcome.case.name == HEALTHY]
    passed = sum(outcome.verdict == Verdict.PASS for outcome in healthy)
    said = f"{len(outcomes)} runs: {false} false verdicts, {wrong} causes wrongly called proven"
    said += f", the cause named of {named} of {asked} single faults" if asked else ""
    return said + (f", {passed} of {len(healthy)} healthy labs passed." if healthy else ".")
