"""How many connections serve a transfer, and which files they share."""

from __future__ import annotations

from typing import Any

import pytest

from connect_helper.errors import InvalidRequest
from connect_helper.spec.sessions import Sessions, divides, parse_count_first, parse_sessions

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("fields", "sessions"),
    [
        ({}, Sessions()),
        ({"multi_session": 0}, Sessions()),
        ({"multi_session": None}, Sessions()),
        ({"multi_session": 1}, Sessions(number=1)),
        ({"multi_session": "128"}, Sessions(number=128)),
        ({"multi_session_threshold": 0}, Sessions(threshold=0)),
        ({"multi_session": 4, "multi_session_threshold": "1000000"}, Sessions(4, 1_000_000)),
    ],
)
def test_the_fields_are_read(fields: dict[str, Any], sessions: Sessions) -> None:
    assert parse_sessions(fields) == sessions


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("multi_session", value) for value in (10_000, 129, -1, "many", 1.5, True)),
        *(("multi_session_threshold", value) for value in (-1, "big", 2**63)),
    ],
)
def test_absurd_numbers_are_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_sessions({field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("threshold", "size", "divided"),
    [
        (None, 4 * MIB, True),  # the engine's own rule
        (None, 4 * MIB - 1, False),
        (0, 10**12, False),
        (64 * MIB, 64 * MIB, True),
        (64 * MIB, 64 * MIB - 1, False),
        (1, 4 * MIB, True),
        (1, 4 * MIB - 1, False),  # it would not help
    ],
)
def test_when_a_file_is_divided(threshold: int | None, size: int, divided: bool) -> None:
    assert divides(size, threshold, own_threshold=4 * MIB) is divided


@pytest.mark.parametrize(("value", "first"), [(None, None), ("", None), (False, False), ("yes", True)])
def test_when_everything_is_counted_first(value: Any, first: bool | None) -> None:
    assert parse_count_first({"precalculate_job_size": value}) is first
