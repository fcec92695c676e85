"""The page."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from perfharness.measurements import REGISTRY
from perfharness.model import Run, Verdict
from perfharness.order.circuit import load_circuit
from perfharness.report import blocks, dossier, html
from perfharness.report.checklist import CHECKLIST
from perfharness.report.sections import SECTIONS
from perfharness.report.sections.methods import METHODS
from tests.unit import run_builder

RUNS = {
    "pass": run_builder.passing,
    "fail": run_builder.half_rate,
    "inconclusive": run_builder.host_loss,
    "empty": run_builder.empty,
}


def _render(run: Run, **order: object) -> str:
    return html.render(run, run_builder.circuit(**order), run_builder.scenario())


@cache
def _rendered(name: str) -> str:
    """Rendered once for all tests that only read it."""
    return _render(RUNS[name]())


class _Page(HTMLParser):
    """The tags, their attributes and the text of a page; fails on tags that do not nest."""

    VOID = frozenset({"meta", "br", "col", "path", "use", "circle", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words)).replace("\u00a0", " ")


@pytest.mark.parametrize("name", RUNS)
def test_the_page_is_complete_in_itself(name: str) -> None:
    """Nothing is loaded: no script, no style sheet, no picture, no font, no address."""
    page = _rendered(name)
    tags = _Page(page).tags
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in tags}
    assert not [attributes for _, attributes in tags if "src" in attributes]
    assert "url(" not in page
    assert "@import" not in page
    targets = [value or "" for _, attributes in tags for key, value in attributes.items() if key.endswith("href")]
    assert not [target for target in targets if ":" in target or target.startswith("//")]


@pytest.mark.parametrize("name", RUNS)
def test_ids_are_unique_and_every_link_within_the_page_arrives(name: str) -> None:
    """A link to the index, to a section or to a marker in a picture has exactly one target."""
    tags = _Page(_rendered(name)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [value or "" for _, attributes in tags for key, value in attributes.items() if key.endswith("href")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


@pytest.mark.parametrize("name", ["pass", "fail", "inconclusive"])
def test_every_finding_leads_to_its_evidence(name: str) -> None:
    """A row of the tables links to the index entry of each of its files, and the entry names file and hash."""
    run = RUNS[name]()
    page = _render(run)
    number = {entry.path: place for place, entry in enumerate(run.evidence, 1)}
    for row in run.findings:
        for path in row.evidence:
            assert f'href="#e-{number[path]}" title="{path}"' in page
    for entry in run.evidence:
        assert entry.sha256 in page
        assert f'href="{entry.path}"' in page


def test_evidence_that_is_not_in_the_index_says_so() -> None:
    """A number whose file was never entered in the manifest does not look traceable."""
    run = run_builder.passing()
    assert "order/circuit.yaml (not in the index)" in _Page(_render(replace(run, evidence=()))).text


def test_text_from_outside_stays_text() -> None:
    """Names, reasons, notes and paths cannot become markup or a link with a scheme."""
    bad = "<script>alert('x')</script>"
    run = run_builder.passing(notes=(bad,), version=bad)
    run = replace(
        run,
        findings=tuple(replace(row, reason=bad, verdict=Verdict.WARN, origin=bad) for row in run.findings),
        evidence=(replace(run.evidence[0], path="javascript:alert(1)", host=bad), *run.evidence[1:]),
    )
    page = _render(run, carrier={"name": bad, "circuit": bad}, access_point=bad)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert 'href="javascript%3Aalert%281%29"' in page


def test_the_same_run_gives_the_same_page() -> None:
    """No clock, no chance, no order of a set shows in the page."""
    assert _render(run_builder.half_rate()) == _render(run_builder.half_rate())


@pytest.mark.parametrize(
    ("name", "word", "why"),
    [
        ("pass", "✓Pass", "All 10 mandatory rows passed."),
        ("fail", "✕Fail", "2 mandatory rows (EC-033) failed. UDP throughput at the committed rate, on-prem → cloud: "
         "498.6 Mbit/s (L2), where ≥ 995 Mbit/s (L2) was required."),
        ("inconclusive", "?Inconclusive", "No mandatory row failed, but 1 mandatory row could not be decided."),
        ("empty", "?Inconclusive", "The run was cut short."),
    ],
)  # fmt: skip
def test_the_verdict_is_a_word_a_symbol_and_a_sentence(name: str, word: str, why: str) -> None:
    """The head says what was decided and why, readable without colour."""
    page = _Page(_rendered(name)).text
    assert word in page
    assert why in page


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pass", "Accepted for what this run measured"),
        ("fail", "Not accepted. Ask the carrier and the cloud for the rate set on the port and on the VBR."),
        ("inconclusive", "Not accepted yet: neither proven good nor proven bad. Give the receiver more buffer or CPU"),
        ("empty", "Not accepted yet: neither proven good nor proven bad. Measure again what is open."),
    ],
)
def test_the_head_says_whether_the_circuit_is_accepted_and_what_comes_next(name: str, told: str) -> None:
    """A reader who never saw the tool can act on the first lines; the next step is that of the first diagnosis."""
    page = _Page(_rendered(name)).text
    assert told in page[: page.index("Contents")]


def test_the_next_step_is_never_that_of_another_row() -> None:
    """A diagnosis of rows that did not decide the verdict says nothing about what comes next."""
    run = run_builder.half_rate()
    other = replace(run, diagnosis=tuple(replace(row, checklist=("EC-040",)) for row in run.diagnosis))
    page = _Page(_render(other)).text
    assert "Not accepted. See “What needs attention”" in page[: page.index("Contents")]


def test_what_needs_attention_names_what_was_not_measured_and_what_was_waived() -> None:
    """Rows that stayed open for one reason are one point, and neither they nor waivers are left to the last pages."""
    run = run_builder.passing()
    open_rows = [
        replace(row, verdict=Verdict.NOT_RUN, value=None, interval=None, reason="The run was cut short.")
        for row in run.findings
        if row.metric == "loss"
    ]
    waived = [
        replace(row, verdict=Verdict.WAIVED, reason="Accepted so.") for row in run.findings if row.metric == "pmtu"
    ]
    page = _Page(_render(replace(run, findings=(*open_rows, *waived)))).text
    attention = page[page.index("What needs attention") : page.index("2The path of the circuit")]
    assert attention.count("The run was cut short.") == 1
    assert "Packet loss, on-prem → cloud (EC-042); Packet loss, cloud → on-prem (EC-042)" in attention
    assert "◇ Waived" in attention


def test_half_the_rate_is_said_in_its_row_with_its_cause() -> None:
    """A reader of the failing row sees required, measured, margin and reason, and finds the cause further down."""
    page = _Page(_rendered("fail")).text
    row = page[page.index("✕ 498.6 Mbit/s (L2)") :]
    assert "≥ 995 Mbit/s (L2)" in row
    assert "−49.9 %" in row
    assert "Shaped below the ordered rate" in row
    assert "carrier" in row


def test_loss_in_a_host_is_booked_to_the_host() -> None:
    """The ledger names the host and the count, and the head does not say that the circuit failed."""
    page = _Page(_rendered("inconclusive")).text
    assert "34,858" in page
    assert "cloud host" in page
    assert "✕ not fit" in page
    assert "✕Fail" not in page


def test_the_reader_sees_how_a_udp_load_was_sent_and_received() -> None:
    """Pacing, burst, packet numbers, the buffer asked for and got, and what was lost after the last arrival."""
    page = _Page(_rendered("pass")).text
    assert "957 Mbit/s 8 packets 64 bits 4.00 MiB of 16.0 MiB asked 3" in page.replace("  ", " ")


def test_the_reader_sees_who_took_the_stamps() -> None:
    """The share of each source among the round trips, and whether the hosts' cards stamp."""
    page = _Page(_rendered("inconclusive")).text
    assert "hardware/kernel: 29,970 of 30,000, unlike sources: 30 of 30,000" in page
    assert "none: the card has no clock that stamps packets" in page


@pytest.mark.parametrize("name", RUNS)
def test_every_section_is_there_even_without_data(name: str) -> None:
    """A section without data says so in a line and is never silently absent."""
    tags = _Page(_rendered(name)).tags
    assert sum(tag == "section" for tag, _ in tags) == len(SECTIONS)


def test_the_reader_is_told_how_each_measurement_is_made() -> None:
    """None that can be asked for lacks its description."""
    assert set(METHODS) == set(REGISTRY)


def test_a_page_in_a_folder_of_its_own_finds_the_evidence() -> None:
    """A run judged again links up to the folder that holds the files."""
    page = html.render(run_builder.passing(), run_builder.circuit(), run_builder.scenario(), root="../")
    assert 'href="../order/circuit.yaml"' in page


def test_an_empty_run_says_what_it_lacks() -> None:
    """Nothing measured is said for each section, and nothing reads as good."""
    page = _Page(_rendered("empty")).text
    for line in (
        "The run left no findings",
        "No rate over time was measured",
        "No delay was measured",
        "No losses were booked",
        "The run left no evidence",
        "Nothing was measured.",
        "there is nothing to diagnose",
    ):
        assert line in page
    assert "0 of" not in page
    assert "Everything that the scenario asked for" not in page
    assert "Nothing calls for a diagnosis" not in page


def test_what_was_only_declared_is_not_confirmed() -> None:
    """Port type and VLAN of the order are shown as declared, with what would see them."""
    page = _Page(_rendered("pass")).text
    assert re.search(r"Port 1000Base-LX \(pc-bp1example\) ?○ declared, not measured ?needs the edge router", page)
    assert re.search(r"VLAN ?100 ?○ declared, not measured", page)
    assert re.search(r"MTU ?1,500 B ?measured, see EC-029", page)


def test_the_path_names_each_hop_and_each_port_that_is_not_open() -> None:
    """A silent hop says that it did not answer, and a blocked port is named."""
    page = _Page(_rendered("pass")).text
    assert re.search(r"10\.10\.0\.1 \(0\.058 ms\) ?192\.168\.10\.1 \(0\.058 ms\) ?2 ?no answer ?no answer", page)
    assert "3 open; silent: tcp/862" in page


@pytest.mark.parametrize("name", RUNS)
def test_every_row_of_the_checklist_appears_once(name: str) -> None:
    """Whatever was measured: a row that is left out would read as fine."""
    tags = _Page(_rendered(name)).tags
    rows = [attrs["id"] for _, attrs in tags if (attrs.get("id") or "").startswith("row-")]
    assert sorted(map(str, rows)) == [f"row-{item.id}" for item in CHECKLIST]


@pytest.mark.parametrize("name", RUNS)
def test_links_within_the_page_lead_somewhere(name: str) -> None:
    """From a row of the checklist to its figures, from the contents to the sections, from a figure to its evidence."""
    tags = _Page(_rendered(name)).tags
    targets = {attrs["id"] for _, attrs in tags if attrs.get("id")}
    links = {str(attrs["href"])[1:] for tag, attrs in tags if tag == "a" and str(attrs.get("href")).startswith("#")}
    assert links <= targets


def test_the_checklist_has_its_66_rows_in_order() -> None:
    """The report's words for the rows are complete."""
    assert [item.id for item in CHECKLIST] == [f"EC-{number:03}" for number in range(1, 67)]


def test_waivers_say_who_why_and_until_when() -> None:
    """A waived row is neither hidden nor a pass."""
    page = _Page(_rendered("pass")).text
    assert "Head of Networks" in page
    assert "2027-09-30" in page


def test_the_shipped_lab_order_can_be_reported() -> None:
    """The report takes the order as its reader makes it."""
    order = load_circuit("scenarios/circuits/lab.yaml")
    page = html.render(run_builder.passing(circuit=order.id), order, run_builder.scenario())
    assert order.id in page


def test_the_headline_of_each_class_is_its_own() -> None:
    """Where one class passes and another fails the headlines show both, by name."""
    run = run_builder.passing()
    loss = next(row for row in run.findings if row.metric == "loss" and row.operator)
    rows = [
        replace(loss, scope=replace(loss.scope, service=name), verdict=verdict, task=name)
        for name, verdict in (("EF", Verdict.PASS), ("BE", Verdict.FAIL))
    ]
    summary = SECTIONS[0](
        dossier.Dossier(replace(run, findings=tuple(rows)), run_builder.circuit(), run_builder.scenario())
    )
    (table,) = (block for block in summary.blocks if isinstance(block, blocks.Table))
    seen = [(row.cells[0].sub, next(cell.text[0] for cell in row.cells[1:] if cell.text)) for row in table.rows]
    assert seen == [("class EF", "✓"), ("class BE", "✕")]
