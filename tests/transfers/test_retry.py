"""When a loss is worth another try, with time and dice in hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.transfers.retry import RetryRules, Tries, after_loss, backoff_s, is_loss

RULES = RetryRules(enabled=True, tries=10)


@pytest.mark.parametrize(
    ("fruitless", "ceiling"), [(0, 2), (1, 4), (2, 8), (3, 16), (4, 32), (5, 60), (6, 60), (99, 60)]
)
def test_waits_grow_from_1_to_60_seconds(fruitless: int, ceiling: float) -> None:
    assert backoff_s(fruitless, 0.0) == 1.0
    assert backoff_s(fruitless, 0.999999) == pytest.approx(ceiling, abs=0.001)


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_shorter_than_1_or_longer_than_60_seconds(fruitless: int, fraction: float) -> None:
    assert 1.0 <= backoff_s(fruitless, fraction) <= 60.0


def schedule(rules: RetryRules, progress: list[bool]) -> list[float | None]:
    """The waits after a row of losses, each session having taken no time."""
    tries, now, waits = Tries(), 0.0, list[float | None]()
    for progressed in progress:
        verdict = after_loss(rules, tries, progressed=progressed, now=now, fraction=0.5)
        tries = verdict.tries
        waits.append(verdict.delay_s)
        if verdict.delay_s is None:
            break
        now += verdict.delay_s
    return waits


def test_after_ten_vain_tries_it_gives_up() -> None:
    waits = schedule(RULES, [False] * 20)
    assert len(waits) == 10
    assert waits[-1] is None
    assert waits[:5] == [2.5, 4.5, 8.5, 16.5, 30.5]


def test_progress_starts_the_count_and_the_waits_anew() -> None:
    waits = schedule(RULES, [False] * 9 + [True] + [False] * 9)
    assert None not in waits
    assert waits[9] == 1.5


def test_one_try_means_that_only_a_loss_after_progress_is_tried_again() -> None:
    rules = RetryRules(enabled=True, tries=1)
    assert schedule(rules, [True, False]) == [1.5, None]


def test_the_total_time_counts_from_the_last_progress() -> None:
    rules = RetryRules(enabled=True, tries=100, total_s=20.0)
    assert schedule(rules, [False] * 9) == [2.5, 4.5, 8.5, None]
    waits = schedule(rules, [True] * 50)
    assert None not in waits


def test_a_server_that_wants_to_be_left_alone_is() -> None:
    def delay_s(
        fruitless: int, at_least_s: float, fraction: float, rules: RetryRules = RULES
    ) -> float | None:
        tries = Tries(fruitless, since=0.0)
        return after_loss(
            rules, tries, progressed=False, now=0.0, fraction=fraction, at_least_s=at_least_s
        ).delay_s

    assert delay_s(0, 120.0, 0.0) == 120.0
    assert delay_s(0, 120.0, 0.5) == 120.5  # not all at once
    assert delay_s(8, 2.0, 0.9) == backoff_s(9, 0.9)
    assert delay_s(0, 120.0, 0.0, RetryRules(enabled=True, tries=10, total_s=60.0)) is None


def test_a_user_who_wants_no_retry_gets_none() -> None:
    assert schedule(RetryRules(enabled=False, tries=10), [True]) == [None]


@pytest.mark.parametrize(
    ("code", "retryable", "was_connected", "worth_it"),
    [
        ("connect_refused", False, True, True),  # the server restarts
        ("connect_refused", False, False, False),  # nobody ever was there: a wrong port
        ("host_not_found", False, True, True),
        ("host_not_found", False, False, False),
        ("connection_lost", True, False, True),
        ("auth_failed", False, True, False),
        ("disk_full", False, True, False),
    ],
)
def test_a_server_that_was_there_may_be_gone_for_a_while(
    code: str, retryable: bool, was_connected: bool, worth_it: bool
) -> None:
    assert is_loss(code, retryable=retryable, was_connected=was_connected) is worth_it
