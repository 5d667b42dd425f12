"""Which files take part by their time, and which stamps a target gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest
from connect_helper.spec.times import (
    Moment,
    Stamps,
    TimeLimits,
    check_moments,
    parse_moment,
    parse_stamps,
    same_moment,
    time_limits,
)

NOW = 1_800_000_000.0
FIELD = "exclude_newer_than"


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (1_700_000_000, 1_700_000_000.0),
        ("1700000000", 1_700_000_000.0),
        (" 1700000000.5 ", 1_700_000_000.5),
        (0, 0.0),
        ("0", 0.0),
        (-86_400, NOW - 86_400),
        ("-86400", NOW - 86_400),
        (-0.5, NOW - 0.5),
        ("1970-01-02", 86_400.0),
        ("1970-01-01T00:00", 0.0),
        ("1970-01-01 00:00:01", 1.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01t00:00:01z", 1.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-01T01:00:00+0100", 0.0),
        ("1970-01-01T00:00:00-01", 3_600.0),
        ("1970-01-01T00:00:01.25Z", 1.25),
        ("1970-01-01T00:00:01,25Z", 1.25),
        ("19700101T000001Z", 1.0),  # the short form; without a time it is a number of seconds
        ("19700102T0100+0100", 86_400.0),
        ("1969-12-31T23:59:59Z", -1.0),  # before 1970, not "a second ago"
        ("20260301", 20_260_301.0),  # a number, not a date
    ],
)
def test_times_come_in_several_forms(value: Any, at: float) -> None:
    moment = parse_moment({FIELD: value}, FIELD)
    assert moment is not None
    assert moment.at(NOW) == at


@pytest.mark.parametrize("value", [None, ""])
def test_no_time_is_no_limit(value: Any) -> None:
    assert parse_moment({FIELD: value}, FIELD) is None
    assert time_limits(None, None, NOW).keeps(float("inf"))


@pytest.mark.parametrize(
    "value",
    [
        *("yesterday", "1e5", "0x10", "inf", "nan", "12:00", "2026-13-01", "2026-02-30", "2026-3-1", "--5"),
        *("2026-03-01T25:00Z", "0001-01-01T00:00:00+23:00x", "99999999999999", "2026-W10-1", "２０２６"),
        *(True, False, [], {}, float("inf"), float("nan"), 10**15, -(10**15), 10**400, 1e300),
    ],
)
def test_what_is_no_time_is_named(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_moment({FIELD: value}, FIELD)
    assert caught.value.field == FIELD


@given(st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.datetimes().map(str)))
def test_any_value_is_a_finite_time_or_refused(value: Any) -> None:
    try:
        moment = parse_moment({FIELD: value}, FIELD)
    except InvalidRequest:
        return
    assert moment is None or abs(moment.at(0.0)) < 1e12


@pytest.mark.parametrize(
    ("limits", "mtime", "kept"),
    [
        (TimeLimits(), 0.0, True),
        (TimeLimits(newer_than_s=100), 99.9, True),
        (TimeLimits(newer_than_s=100), 100.0, True),
        (TimeLimits(newer_than_s=100), 100.1, False),
        (TimeLimits(older_than_s=100), 99.9, False),
        (TimeLimits(older_than_s=100), 100.0, True),
        (TimeLimits(older_than_s=100), 100.1, True),
        (TimeLimits(newer_than_s=200, older_than_s=100), 150.0, True),
        (TimeLimits(newer_than_s=200, older_than_s=100), 50.0, False),
        (TimeLimits(newer_than_s=200, older_than_s=100), 250.0, False),
        (TimeLimits(newer_than_s=0), 1.0, False),
    ],
)
def test_files_outside_of_the_bounds_are_left_out(limits: TimeLimits, mtime: float, kept: bool) -> None:
    assert limits.keeps(mtime) is kept


def test_a_relative_time_is_settled_once() -> None:
    limits = time_limits(Moment(-60, relative=True), Moment(5), NOW)
    assert limits == TimeLimits(NOW - 60, 5)


@pytest.mark.parametrize(
    ("newer", "older"),
    [(Moment(100), Moment(200)), (Moment(-200, relative=True), Moment(-100, relative=True))],
)
def test_bounds_that_leave_nothing_contradict_each_other(newer: Moment, older: Moment) -> None:
    for refused in (lambda: check_moments(newer, older), lambda: time_limits(newer, older, NOW)):
        with pytest.raises(InvalidRequest) as caught:
            refused()
        assert caught.value.field == "exclude_older_than"
    check_moments(older, newer)
    check_moments(newer, None)


def test_mixed_bounds_are_compared_once_now_is_known() -> None:
    newer, older = Moment(-86_400, relative=True), Moment(NOW)
    check_moments(newer, older)
    with pytest.raises(InvalidRequest):
        time_limits(newer, older, NOW)
    assert time_limits(newer, older, NOW + 100_000).keeps(NOW + 1)


@pytest.mark.parametrize(
    ("fields", "stamps"),
    [
        ({}, Stamps()),
        ({"preserve_times": True}, Stamps(modification=True, access=True)),
        ({"preserve_times": "yes", "preserve_access_time": False}, Stamps(modification=True, access=True)),
        ({"preserve_modification_time": True}, Stamps(modification=True)),
        ({"preserve_access_time": 1}, Stamps(access=True)),
        ({"preserve_modification_time": 1, "preserve_access_time": 1}, Stamps(True, True)),
        ({"preserve_creation_time": True}, Stamps()),
    ],
)
def test_the_switches_of_times_add_up(fields: dict[str, Any], stamps: Stamps) -> None:
    assert parse_stamps(fields) == stamps


@pytest.mark.parametrize(
    ("stamps", "written"),
    [
        (Stamps(), None),
        (Stamps(modification=True), (99, 20)),
        (Stamps(access=True), (10, 99)),
        (Stamps(modification=True, access=True), (10, 20)),
    ],
)
def test_a_stamp_that_is_not_kept_is_the_time_of_the_transfer(
    stamps: Stamps, written: tuple[int, int] | None
) -> None:
    assert stamps.of(atime_ns=10, mtime_ns=20, now_ns=99) == written


@pytest.mark.parametrize(
    ("one_ns", "other_ns", "same"),
    [
        (5 * 10**9, 5 * 10**9, True),
        (5 * 10**9 + 1, 5 * 10**9, True),
        (5 * 10**9, 5 * 10**9 + 999_999_999, True),
        (5 * 10**9 + 1, 5 * 10**9 + 1, True),
        (5 * 10**9 + 1, 5 * 10**9 + 2, False),
        (5 * 10**9, 6 * 10**9, False),
        (5 * 10**9 + 999_999_999, 6 * 10**9, False),
        (-1, -(10**9), True),
    ],
)
def test_times_are_compared_as_far_as_both_are_known(one_ns: int, other_ns: int, same: bool) -> None:
    assert same_moment(one_ns, other_ns) is same
    assert same_moment(other_ns, one_ns) is same
