"""JSON from outside is taken strictly (SEC-10)."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.strict_json import DEPTH_LIMIT, parse_json


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,\n "b": }', "line 2, column 7"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": {"b": 1, "b": 1}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "out of range"),
        (b"[" + b"9" * 5000 + b"]", "too long"),
        (b"\xff\xfe", "UTF-8"),
        (nested(DEPTH_LIMIT + 2), "deeper"),
        (nested(100_000), "deeper"),
        (b'{"a":' * 100_000, "deeper"),
    ],
)
def test_sec_10_what_is_no_strict_json_is_refused_with_its_place(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse_json(body)


def test_the_deepest_allowed_nesting_is_taken() -> None:
    assert parse_json(nested(DEPTH_LIMIT)) is not None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_what_json_can_say_is_read_back(value: object) -> None:
    assert parse_json(json.dumps({"value": value}).encode()) == {"value": value}


@given(st.binary(max_size=300))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    with suppress(InvalidRequest):
        parse_json(body)
