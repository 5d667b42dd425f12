"""How many connections serve a transfer."""

from __future__ import annotations

from typing import Any

import pytest

from connect_helper.errors import InvalidRequest
from connect_helper.spec.overwrite import Resume
from connect_helper.spec.sessions import (
    Connections,
    Sessions,
    connections_wanted,
    parse_count_first,
    parse_sessions,
)

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
    ("number", "pieces", "wanted"),
    [
        (None, None, Connections(1, 8)),
        (None, 3, Connections(1, 3)),
        (None, 0, Connections(1, 1)),
        (None, 1_000, Connections(1, 8)),
        (1, None, Connections(1, 1)),
        (1, 1_000, Connections(1, 1)),
        (16, None, Connections(16, 16)),  # also above what the program would do by itself
        (16, 1_000, Connections(16, 16)),
        (16, 5, Connections(5, 5)),
        (16, 0, Connections(1, 1)),
    ],
)
def test_a_number_is_kept_and_without_one_it_may_grow(
    number: int | None, pieces: int | None, wanted: Connections
) -> None:
    assert connections_wanted(Sessions(number), pieces=pieces, own_most=8) == wanted


@pytest.mark.parametrize(
    ("threshold", "resume", "size", "splits"),
    [
        (None, "sparse_checksum", 64 * MIB, True),  # the engine's own rule
        (None, "none", 64 * MIB, True),
        (None, "none", 64 * MIB - 1, False),
        (0, "none", 10**12, False),
        (MIB, "none", MIB, True),
        (MIB, "none", MIB - 1, False),
        (MIB, "attributes", MIB, False),
        (MIB, "sparse_checksum", 10**12, False),
    ],
)
def test_when_a_file_is_split(threshold: int | None, resume: Resume, size: int, splits: bool) -> None:
    sessions = Sessions(4, threshold)
    assert sessions.splits(size, resume, own_threshold=64 * MIB) is splits


@pytest.mark.parametrize(("value", "first"), [(None, None), ("", None), (False, False), ("yes", True)])
def test_when_everything_is_counted_first(value: Any, first: bool | None) -> None:
    assert parse_count_first({"precalculate_job_size": value}) is first
