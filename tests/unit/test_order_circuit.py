"""Circuits as typed values: the shipped files, how they are read, and what they say for a pair."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from perfharness.errors import BadInput
from perfharness.model import Layer, Verdict
from perfharness.order.circuit import Circuit, load_circuit, load_companion
from perfharness.order.document import Document, parse
from perfharness.order.schema import json_schema
from perfharness.order.sense import checks, must_make_sense, problems_beside
from perfharness.order.validation import validate_mapping

CIRCUITS = Path(__file__).resolve().parents[2] / "scenarios" / "circuits"
LAB = CIRCUITS / "lab.yaml"
TODAY = date(2027, 1, 1)
PAIR = ("onprem-a", "ecs-a")


def read(text: str) -> Circuit:
    source = parse(text.encode(), "lab.yaml")
    circuit, problems = validate_mapping(Circuit, source.data, source)
    assert circuit is not None, problems
    return circuit


@pytest.mark.parametrize("path", sorted(CIRCUITS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_circuits_make_sense_without_a_warning(path: Path) -> None:
    """What users copy is an example of an order without any complaint."""
    assert must_make_sense(load_circuit(path), TODAY) == []


def test_the_lab_has_the_values_of_the_tutorial() -> None:
    """The lab's circuit is the one of the Express Connect tutorial, at its ordered 1 Gbit/s."""
    lab = load_circuit(LAB)
    (vbr,) = lab.vbrs
    assert [str(net) for net in (*lab.prefixes.onprem, *lab.prefixes.cloud)] == ["10.10.0.0/16", "192.168.0.0/16"]
    assert (str(vbr.link.customer), str(vbr.link.cloud), vbr.vlan) == ("172.16.100.2/30", "172.16.100.1/30", 100)
    assert vbr.bgp is not None
    assert (vbr.bgp.customer_as, vbr.bgp.cloud_as) == (65010, 45104)
    assert (lab.port.speed_bps, vbr.bandwidth_bps, vbr.mtu, lab.rate_layer) == (10**9, 10**9, 1500, Layer.L2)
    assert lab.objectives.loss == 1e-4
    assert lab.pairs == (PAIR,)
    assert str(lab.endpoint("ecs-a").address) == "192.168.10.10"
    assert list(lab.endpoint("onprem-a").ports) == [862, *range(5201, 5217)]
    assert lab.endpoint("onprem-a").ssh.config == Path("/run/perfharness-lab/ssh_config")


def test_what_the_order_says_comes_with_its_origin() -> None:
    """A threshold's value, unit and line of the order; None where the order is silent."""
    lab = load_circuit(LAB)
    assert lab.ordered("objectives.rtt", PAIR) == (5_000_000, "ns", "order: objective rtt")
    assert lab.ordered("order.mtu", PAIR) == (1500, "B", "order: MTU of vbr-lab-a")
    assert lab.ordered("order.bandwidth", PAIR) == (10**9, "bit/s", "order: objective rate")
    silent = read(LAB.read_text().replace("  rate: 1Gbps\n", "").replace("  rtt: 5ms\n", ""))
    assert silent.ordered("objectives.rtt", PAIR) is None
    assert silent.ordered("order.bandwidth", PAIR) == (10**9, "bit/s", "order: bandwidth of vbr-lab-a")


def test_a_pair_is_measured_against_its_own_vbr() -> None:
    """Of several VBRs the one that either host names has the rate."""
    second = """\
  - id: vbr-lab-b
    vlan: 101
    bandwidth: 50Mbps
    link: {customer: 172.16.101.2/30, cloud: 172.16.101.1/30}
"""
    text = LAB.read_text().replace("  rate: 1Gbps\n", "").replace("prefixes:\n", second + "prefixes:\n")
    circuit = read(text.replace("    site: cloud\n", "    site: cloud\n    vbr: vbr-lab-b\n"))
    assert circuit.vbr_of(PAIR).id == "vbr-lab-b"
    assert circuit.committed_bps(PAIR) == 50_000_000


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SSH configuration beside the circuit's file is found from anywhere; ~ is the user's home."""
    monkeypatch.setenv("HOME", "/home/someone")
    text = LAB.read_text().replace("config: /run/perfharness-lab/ssh_config", "config: ssh/config", 1)
    text = text.replace("config: /run/perfharness-lab/ssh_config", "config: ~/lab/config", 1)
    (tmp_path / "circuit.yaml").write_text(text)
    circuit = load_circuit(tmp_path / "circuit.yaml")
    assert circuit.endpoint("onprem-a").ssh.config == tmp_path / "ssh" / "config"
    assert circuit.endpoint("ecs-a").ssh.config == Path("/home/someone/lab/config")


def test_a_secret_written_in_the_wrong_place_is_not_repeated() -> None:
    """Someone who writes the BGP key where true or false belongs does not find it in a message."""
    text = LAB.read_text().replace("      cloud_as: 45104\n", "      md5: {key: s3cret}\n      password: s3cret\n")
    source = parse(text.encode(), "lab.yaml")
    _, problems = validate_mapping(Circuit, source.data, source)
    assert len(problems) == 2
    assert "s3cret" not in "".join(map(str, problems))


def test_form_and_sense_are_complained_of_together(tmp_path: Path) -> None:
    """A malformed value does not hide a contradiction elsewhere in the file."""
    text = (
        LAB.read_text().replace("rtt: 5ms", "rtt: slow").replace("[192.168.0.0/16]", "[192.168.0.0/16, 10.10.1.0/24]")
    )
    (tmp_path / "circuit.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        load_circuit(tmp_path / "circuit.yaml")
    assert [problem.row for problem in caught.value.problems] == ["EC-003", ""]


def test_every_declared_row_gets_a_verdict() -> None:
    """A row without complaint is a PASS, one that is not asked of this environment is NOT_APPLICABLE."""
    verdicts = {check.row: check.verdict for check in checks(load_circuit(LAB), TODAY)}
    assert {verdicts.pop("EC-002"), verdicts.pop("EC-050")} == {Verdict.NOT_APPLICABLE}
    assert set(verdicts) == {"EC-001", "EC-003", "EC-004", "EC-005", "EC-006", "EC-059", "EC-060", "EC-061"}
    assert set(verdicts.values()) == {Verdict.PASS}


def test_a_production_pair_shares_nothing() -> None:
    """With its companion's file a production circuit passes EC-050; without having read it nothing is claimed."""
    circuit = load_circuit(CIRCUITS / "example-10g-production.yaml")
    assert _verdict(circuit, load_companion(circuit)) is Verdict.PASS
    assert _verdict(circuit, None) is Verdict.NOT_RUN
    assert _verdict(circuit, circuit) is Verdict.FAIL


def _verdict(circuit: Circuit, companion: Circuit | None) -> Verdict:
    return next(check.verdict for check in checks(circuit, TODAY, companion) if check.row == "EC-050")


def test_a_waiver_holds_until_its_last_day() -> None:
    """Who, why and until when stand in the message; the day after, the row fails again and the waiver is named."""
    waiver = "waivers: [{row: EC-050, who: CTO, why: ordered., until: 2027-01-01}]\n"
    text = LAB.read_text().replace("environment: lab", "environment: production") + waiver
    circuit = read(text)
    waived = next(check for check in checks(circuit, date(2027, 1, 1)) if check.row == "EC-050")
    assert waived.verdict is Verdict.WAIVED
    assert waived.message.endswith("Waived by CTO until 2027-01-01: ordered.")
    after = {(check.row, check.verdict) for check in checks(circuit, date(2027, 1, 2))}
    assert {("EC-050", Verdict.FAIL), ("EC-001", Verdict.WARN)} <= after


def test_an_order_that_contradicts_itself_cannot_be_waived() -> None:
    """EC-001 is not a matter of opinion: with such an order nothing can be judged."""
    waiver = "waivers: [{row: EC-001, who: CTO, why: hurry, until: 2099-01-01}]\n"
    circuit = read(LAB.read_text().replace("address: 10.10.0.10", "address: 10.99.0.10") + waiver)
    assert any(check.verdict is Verdict.FAIL for check in checks(circuit, TODAY))


def test_the_schema_describes_the_file_as_it_is_written() -> None:
    """Keys as in YAML, unknown ones refused, hosts by name, and a sentence for each key."""
    schema = json_schema("circuit")
    assert schema["additionalProperties"] is False
    assert schema["properties"]["endpoints"]["type"] == "object"
    assert set(schema["$defs"]["Endpoint"]["required"]) == {"site", "ssh", "interface", "address", "ports"}
    vbr = schema["$defs"]["Vbr"]["properties"]
    assert vbr["bandwidth"] == {
        "description": "Contracted rate.",
        "examples": ["1Gbps"],
        "title": "Bandwidth",
        "type": "string",
    }
    definitions = [schema, *schema["$defs"].values()]
    fields = [field for one in definitions for field in one.get("properties", {}).values()]
    assert all(field.get("description") for field in fields)
    assert json.loads(json.dumps(schema)) == schema


# --- anything in any place --------------------------------------------------------------------------

LAB_DATA: dict[str, Any] = YAML(typ="base", pure=True).load(LAB.read_text())
VALUES = (
    st.sampled_from(["", "0", "-1", "fast", "1Gbps", "10.10.0.0/16", "2027-01-01", "true", "EC-001", "a:b", "~x/y"])
    | st.none()
    | st.text(max_size=8)
    | st.lists(st.none() | st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=4), st.none() | st.text(max_size=3), max_size=2)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


@given(st.lists(st.tuples(st.sampled_from(places(LAB_DATA)[1:]), VALUES), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_place_is_accepted_or_explained(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Whatever stands where, there is a circuit whose sense can be checked, or problems in plain sentences."""
    data = deepcopy(LAB_DATA)
    for (*around, key), value in changes:
        place: Any = data
        with suppress(LookupError, TypeError):  # an earlier change took the place away
            for part in around:
                place = place[part]
            place[key] = value
    source = Document("circuit.yaml", data, {(): 1})
    circuit, problems = validate_mapping(Circuit, data, source)
    if circuit is not None:
        assert checks(circuit, TODAY)
        return
    assert problems
    for problem in [*problems, *problems_beside(source)]:
        assert "pydantic" not in str(problem).lower()
        assert problem.message


def test_a_ce_is_a_name_or_a_router_that_can_be_read() -> None:
    """Its name alone stays allowed; with SSH and both interfaces it is a host, found by its name."""
    named = read(LAB.read_text())
    assert (named.ce_name, named.ce_host) == ("ph-ce-a", None)
    form = "ce: {name: ce-1, ssh: {host: ce-1}, lan: eth0, wan: eth1}\n"
    readable = read(LAB.read_text().replace("ce: ph-ce-a\n", form))
    router = readable.ce_host
    assert router is not None and readable.ce_name == "ce-1"
    assert (router.lan, router.wan, router.python, router.ssh.host) == ("eth0", "eth1", "python3", "ce-1")
    assert readable.host("ce-1") is router and readable.host("ecs-a") is readable.endpoint("ecs-a")
    assert "ce-1" not in {name for pair in readable.pairs for name in pair}
