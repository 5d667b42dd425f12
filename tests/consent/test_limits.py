"""Limits: refusals mute, calls are counted, memory is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.consent.limits import MUTED_S, CallRate, FailureLimit, PromptLimits, Spacing

A, B = "https://a.example", "https://b.example"


def test_three_refusals_mute_one_origin_for_an_hour() -> None:
    limits = PromptLimits()
    assert [limits.refused(A, now) for now in (0.0, 10.0, 20.0)] == [False, False, True]
    assert limits.muted(A, 20.0 + MUTED_S - 1)
    assert not limits.muted(A, 20.0 + MUTED_S)
    assert not limits.muted(B, 20.0)
    assert limits.muted_origins(30.0) == [A]
    assert (limits.muted_s(A, 30.0), limits.muted_s(B, 30.0)) == (MUTED_S - 10.0, 0.0)
    assert limits.muted_origins(30.0 + MUTED_S) == []


def test_after_the_hour_counting_starts_anew() -> None:
    limits = PromptLimits()
    for now in (0.0, 1.0, 2.0):
        limits.refused(A, now)
    assert not limits.refused(A, 2.0 + MUTED_S)


def test_a_yes_forgets_earlier_refusals() -> None:
    limits = PromptLimits()
    limits.refused(A, 0.0)
    limits.refused(A, 1.0)
    limits.accepted(A)
    assert not limits.refused(A, 2.0)


def test_a_burst_is_allowed_and_then_the_steady_rate() -> None:
    rate: CallRate[str] = CallRate(per_second=20, burst=60)
    assert sum(rate.allow(A, 0.0) for _ in range(100)) == 60
    assert rate.wait_s(A, 0.0) == pytest.approx(0.05)
    assert rate.allow(B, 0.0)
    assert sum(rate.allow(A, 1.0) for _ in range(100)) == 20
    assert rate.wait_s(B, 1.0) == 0.0


@given(st.lists(st.floats(0, 0.5), max_size=200))
def test_no_pattern_of_calls_gets_more_than_burst_and_rate(pauses: list[float]) -> None:
    rate: CallRate[str] = CallRate(per_second=20, burst=60)
    now, allowed = 0.0, 0
    for pause in pauses:
        now += pause
        allowed += rate.allow(A, now)
    assert allowed <= 60 + 20 * now + 1e-6


def test_spacing_keeps_calls_apart() -> None:
    spacing: Spacing[str] = Spacing(2.0)
    assert [spacing.allow(A, now) for now in (0.0, 1.9, 2.0, 3.9)] == [True, False, True, False]
    assert spacing.wait_s(A, 3.0) == pytest.approx(1.0)
    assert spacing.allow(B, 0.1)


def test_five_failures_within_an_hour_block_until_the_oldest_is_an_hour_old() -> None:
    limit: FailureLimit[str] = FailureLimit()
    for now in (0.0, 100.0, 200.0, 300.0):
        limit.failed(A, now)
        assert limit.blocked_s(A, now) == 0.0
    assert limit.left(A, 300.0) == 1
    limit.failed(A, 400.0)
    assert limit.left(A, 400.0) == 0
    assert limit.blocked_s(A, 400.0) == 3_200.0
    assert limit.blocked_s(B, 400.0) == 0.0
    assert limit.blocked_s(A, 3_600.0) == 0.0
    assert limit.left(A, 3_600.0) == 1
    limit.failed(A, 3_600.0)
    assert limit.blocked_s(A, 3_600.0) == 100.0


def test_failures_above_the_limit_block_from_the_last_ones() -> None:
    limit: FailureLimit[str] = FailureLimit(limit=2, within_s=100.0)
    for now in (0.0, 10.0, 20.0, 30.0):
        limit.failed(A, now)
    assert limit.left(A, 30.0) == 0
    assert limit.blocked_s(A, 30.0) == 90.0


def test_only_so_many_callers_are_kept_in_mind() -> None:
    spacing: Spacing[int] = Spacing(1_000.0, keys=10)
    for key in range(100):
        spacing.allow(key, 0.0)
    assert [key for key in range(100) if spacing.wait_s(key, 0.0) > 0] == list(range(90, 100))
