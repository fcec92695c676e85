"""What runs said of faults, held against the truth, and the tables that tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfharness.lab.expected import HEALTHY, KINDS, Case, Expected
from perfharness.model import Verdict

NAMED_SHARE = 0.95
"""Of the single faults: how many must be named at least."""
NAMING = ("proven", "likely", "possible")
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
        return any(
            cause in part.causes and certainty in NAMING and (not part.rows or rows & set(part.rows))
            for cause, certainty, rows in told
        )

    return Outcome(
        case,
        verdict,
        tuple((cause, certainty) for cause, certainty, _ in told),
        tuple(part.name for part in case.parts if _asks(part, verdict, warns) and not named(part)),
        tuple(cause for cause, certainty, _ in told if certainty == "proven" and cause not in case.true_causes),
        folder,
        tcp_warns=warns,
    )


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
