"""Codes and tokens of the helper's window."""

from __future__ import annotations

import pytest

from connect_helper.api.ui_session import (
    CODE_LIFETIME_S,
    CODES_KEPT,
    WINDOWS_KEPT,
    SignedOut,
    WindowSessions,
)


class Time:
    """A clock that stands still."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_code_gives_a_token_once() -> None:
    sessions = WindowSessions()
    code = sessions.issue_code()
    sessions.require(sessions.redeem(code))
    with pytest.raises(SignedOut):
        sessions.redeem(code)


def test_a_code_is_no_token() -> None:
    sessions = WindowSessions()
    with pytest.raises(SignedOut):
        sessions.require(sessions.issue_code())


@pytest.mark.parametrize(("age", "works"), [(CODE_LIFETIME_S - 0.1, True), (CODE_LIFETIME_S, False)])
def test_a_code_lives_for_a_minute(age: float, works: bool) -> None:
    clock = Time()
    sessions = WindowSessions(clock=clock)
    code = sessions.issue_code()
    clock.now += age
    if works:
        sessions.require(sessions.redeem(code))
    else:
        with pytest.raises(SignedOut):
            sessions.redeem(code)


@pytest.mark.parametrize("guess", ["", "x", "é", "\udcff", "A" * 43])
def test_guesses_open_nothing(guess: str) -> None:
    sessions = WindowSessions()
    sessions.issue_code()
    with pytest.raises(SignedOut):
        sessions.redeem(guess)
    with pytest.raises(SignedOut):
        sessions.require(guess)


def test_codes_are_bounded_and_the_newest_stay() -> None:
    sessions = WindowSessions()
    codes = [sessions.issue_code() for _ in range(CODES_KEPT + 1)]
    with pytest.raises(SignedOut):
        sessions.redeem(codes[0])
    sessions.redeem(codes[1])


def test_windows_are_bounded_and_those_in_use_stay() -> None:
    sessions = WindowSessions()
    first, second = (sessions.redeem(sessions.issue_code()) for _ in range(2))
    for _ in range(WINDOWS_KEPT - 2):
        sessions.redeem(sessions.issue_code())
    sessions.require(first)  # used: now the second is the one not used for longest
    sessions.redeem(sessions.issue_code())
    sessions.require(first)
    with pytest.raises(SignedOut):
        sessions.require(second)


def test_secrets_are_long_and_differ() -> None:
    sessions = WindowSessions()
    codes = {sessions.issue_code() for _ in range(50)}
    assert len(codes) == 50
    assert min(map(len, codes)) >= 43  # 32 bytes
