"""YAML as plain data with lines; nothing in a file can do harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfharness.errors import BadInput
from perfharness.order.document import MOST_BYTES, MOST_VALUES, load, parse


def refusal(raw: bytes) -> str:
    with pytest.raises(BadInput) as caught:
        parse(raw, "f.yaml")
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_every_value_knows_its_line() -> None:
    """Keys and list items are found by their path; what is not there by what is around it."""
    document = parse(b"# note\na:\n  b: 1\n  c:\n    - x\n    - y: z\n", "f.yaml")
    assert document.data == {"a": {"b": "1", "c": ["x", {"y": "z"}]}}
    assert document.line_of(("a", "b")) == 3
    assert document.line_of(("a", "c", 1, "y")) == 6
    assert document.line_of(("a", "missing", 7)) == 2
    assert document.line_of(("missing",)) == 1
    assert document.at(("a", "c", 1, "y")) == "z"
    assert document.at(("a", "b", "c")) is None


def test_scalars_stay_what_was_written() -> None:
    """The field decides what a value means: zeros, country codes and versions are not lost to a guess."""
    document = parse(b'a: 0012\nb: NO\nc: 1.10\nd: 2027-01-01\ne: true\nf:\ng: null\nh: ""\ni: "null"\n', "f")
    assert document.data == {
        "a": "0012",
        "b": "NO",
        "c": "1.10",
        "d": "2027-01-01",
        "e": "true",
        "f": None,
        "g": None,
        "h": "",
        "i": "null",
    }


def test_all_duplicate_keys_are_named_at_once() -> None:
    """Each key that is written twice is named with both of its lines."""
    said = refusal(b"a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert "f.yaml:2: The key 'c' is written twice, first in line 2." in said
    assert "f.yaml:3: The key 'a' is written twice, first in line 1." in said


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "f.yaml: The file is empty."),
        (b"# only a comment\n", "f.yaml: The file is empty."),
        (b"- a\n- b\n", "f.yaml:1: The file must be a mapping"),
        (b"just words", "f.yaml:1: The file must be a mapping"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "f.yaml:3: This is not YAML: "),
        (b"a: 1\n\tb: 2\n", "f.yaml:2: This is not YAML: "),
        (b"a: 1\nb: \xff\n", "f.yaml:2: This is not UTF-8 text."),
        (b"a: 1\nb: \x00\n", "f.yaml:2: The character '\\x00' cannot stand in YAML."),
        (b'a: "\\U99999999"\n', "This is not YAML: "),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2: A second document"),
        (b"a: 1\n[b]: 2\n", "f.yaml:2: A key must be a word"),
    ],
)
def test_broken_files_are_refused_with_a_line(raw: bytes, said: str) -> None:
    """A file that is empty, broken or no mapping gives one sentence that says where."""
    assert refusal(raw).startswith(said) or said in refusal(raw)


BOMB = b"a: &a [x, x, x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 120))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (BOMB, "f.yaml:1: Anchors and aliases"),
        (b"a: 1\nb: *x\n", "f.yaml:2: Anchors and aliases"),
        (b"a: !!python/object/apply:os.system [id]\n", "f.yaml:1: Tags"),
        (b"a: !x 1\n", "f.yaml:1: Tags"),
        (b"a: " + b"[" * 100_000, "f.yaml:1: More than"),
        (b"a: [" + b"x," * (MOST_VALUES + 1) + b"]", f"f.yaml:1: The file holds more than {MOST_VALUES} values."),
        (b"a" * (MOST_BYTES + 1), "f.yaml: The file is larger than 256 KiB."),
    ],
    ids=["bomb", "alias", "python-tag", "tag", "deep", "many", "huge"],
)
def test_hostile_files_are_harmless(raw: bytes, said: str) -> None:
    """Alias bombs, tags that make objects, deep nesting and huge files are refused before they cost anything."""
    assert refusal(raw).startswith(said)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe and an impossible name are each refused in a sentence."""
    os.mkfifo(tmp_path / "pipe")
    unusable: list[tuple[Path | str, str]] = [
        (tmp_path / "none", "There is no such file."),
        (tmp_path, "This is not a regular file."),
        (tmp_path / "pipe", "This is not a regular file."),
        ("a" * 5000, "The file cannot be read"),
        ("a\0b", "no such file|cannot be read"),
    ]
    for path, said in unusable:
        with pytest.raises(BadInput, match=said):
            load(path)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_but_bad_input(raw: bytes) -> None:
    """Whatever the bytes, there is a document or a refusal."""
    try:
        parse(raw, "f.yaml")
    except BadInput as error:
        assert error.problems


@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`?,\\ \n\t0~", max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_punctuation_raises_anything_but_bad_input(text: str) -> None:
    """Whatever the punctuation of YAML in whatever order, there is a document or a refusal."""
    try:
        parse(text.encode(), "f.yaml")
    except BadInput as error:
        assert error.problems
