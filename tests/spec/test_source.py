"""YAML text -> plain data and lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import StudyError
from ablate.spec.source import parse_value, read_document, to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+7", 7),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("0x", "0x"),
        ("1e", "1e"),
        (".", "."),
        ("-", None),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("+channel", "+channel"),
        ("<<", "<<"),
        ("[1, a, {b: null}]", [1, "a", {"b": None}]),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    if text == "-":  # a list of one empty value
        value = [None]
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "9" * 5000, "1e400", "-.inf", ".NaN", "!!int x", "!!set {a}"]
)
def test_what_no_setting_can_be_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="command line"):
        parse_value(text)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), max_size=20)
    | st.sampled_from(
        ["on", "1e-3", "010", "1_0", "null", "true", "2026-01-31", "<<", "=", ".5", "0x1", ": ", "- a"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("ab1.+ -", min_size=1, max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_what_is_written_is_read_back_unchanged(data: Any) -> None:
    found = parse_value(to_yaml(data))
    assert found == data
    assert repr(found) == repr(data), "types too: 1 is not 1.0 or true"


def test_lines_of_keys_items_merges_and_aliases(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "base: &base\n"  # 1
        "  x: 1\n"
        "  y: 2\n"  # 3
        "top:\n"
        "  <<: *base\n"  # 5
        "  y: 3\n"
        "items:\n"  # 7
        "  - a\n"
        "  - {b: 1,\n"  # 9
        "     c: 2}\n"
        "again: *base\n"  # 11
    )
    document = read_document(path)
    assert document.data == {
        "base": {"x": 1, "y": 2},
        "top": {"x": 1, "y": 3},
        "items": ["a", {"b": 1, "c": 2}],
        "again": {"x": 1, "y": 2},
    }
    lines = {
        (): 1,
        ("base",): 1,
        ("top",): 4,
        ("top", "y"): 6,
        ("top", "x"): 2,
        ("items", 0): 8,
        ("items", 1, "c"): 10,
        ("again",): 11,
        ("again", "y"): 3,
        ("items", 1, "no such key", "at all"): 9,
    }
    for place, line in lines.items():
        assert document.where(*place) == f"{path}:{line}", place


def test_merges_of_several_mappings_prefer_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n")
    assert read_document(path).data["c"] == {"x": 1, "y": 2, "z": 3}


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = read_document(path)
    assert document.data == {"a": 1, "b": 2}
    assert document.where("b") == f"{path}:2"


def test_the_line_of_a_byte_that_is_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("é: 1\nb: ".encode() + b"\xff\n")
    with pytest.raises(StudyError) as caught:
        read_document(path)
    assert caught.value.problems[0].where == f"{path}:2"
    assert caught.value.problems[0].message == "is not UTF-8: byte 0xff at offset 9"


def test_floats_survive_exactly() -> None:
    for value in (1e-3, 5e-324, 1.7976931348623157e308, 0.1, math.pi):
        assert parse_value(to_yaml({"x": value}))["x"] == value


def test_faults_that_leave_the_rest_readable_come_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: .inf\na: 2\nc: 3\n")
    document = read_document(path)
    assert document.data == {"a": 1, "b": 0.0, "c": 3}
    assert [problem.where for problem in document.problems] == [f"{path}:3", f"{path}:2"]
    assert document.stand_ins == {f"{path}:2"}
