"""Failed logins: the address waits, the account's owner does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from connect_helper.errors import TooManyRequests
from connect_helper.server.login_limiter import FORGET_S, LONGEST_WAIT_S, LoginLimiter
from tests.support.server_parts import Clock


def fail_times(limiter: LoginLimiter, account: str, address: str, times: int) -> None:
    for _ in range(times):
        limiter.failed(account, address)


def test_five_failures_are_free_then_the_wait_doubles() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock=clock)
    fail_times(limiter, "ann", "192.0.2.1", 5)
    limiter.check("ann", "192.0.2.1")
    waits = []
    for _ in range(4):
        limiter.failed("ann", "192.0.2.1")
        with pytest.raises(TooManyRequests) as caught:
            limiter.check("ann", "192.0.2.1")
        waits.append(caught.value.retry_after)
        clock.now += caught.value.retry_after
        limiter.check("ann", "192.0.2.1")
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]


def test_no_wait_is_longer_than_five_minutes_and_an_hour_of_peace_forgets() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock=clock)
    fail_times(limiter, "ann", "192.0.2.1", 500)
    with pytest.raises(TooManyRequests) as caught:
        limiter.check("ann", "192.0.2.1")
    assert caught.value.retry_after <= LONGEST_WAIT_S + 1
    clock.now += FORGET_S
    limiter.failed("ann", "192.0.2.1")
    limiter.check("ann", "192.0.2.1")


def test_a_stranger_does_not_shut_the_owner_out() -> None:
    limiter = LoginLimiter(clock=Clock())
    limiter.succeeded("ann", "192.0.2.1")
    for number in range(200):
        limiter.failed("ann", f"198.51.100.{number}")
    limiter.check("ann", "192.0.2.1")
    with pytest.raises(TooManyRequests) as caught:
        limiter.check("ann", "203.0.113.9")  # a new address waits, but seconds only
    assert caught.value.retry_after <= 6


def test_one_address_that_tries_many_accounts_waits() -> None:
    limiter = LoginLimiter(clock=Clock())
    for number in range(21):
        limiter.failed(f"user{number}", "192.0.2.1")
    with pytest.raises(TooManyRequests):
        limiter.check("somebody-else", "192.0.2.1")
    limiter.check("somebody-else", "192.0.2.2")


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_addresses_of_one_owner_count_as_one(one: str, same: str) -> None:
    limiter = LoginLimiter(clock=Clock())
    fail_times(limiter, "ann", one, 6)
    with pytest.raises(TooManyRequests):
        limiter.check("ann", same)


def test_a_success_forgets_the_failures_of_that_address_only() -> None:
    limiter = LoginLimiter(clock=Clock())
    for address in ("192.0.2.1", "192.0.2.2"):
        fail_times(limiter, "ann", address, 6)
    limiter.succeeded("ann", "192.0.2.1")
    limiter.check("ann", "192.0.2.1")
    with pytest.raises(TooManyRequests):
        limiter.check("ann", "192.0.2.2")


def test_failures_are_kept_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    first = LoginLimiter(tmp_path / "logins.json", clock=clock)
    fail_times(first, "ann", "192.0.2.1", 9)
    first.save()
    assert (tmp_path / "logins.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(TooManyRequests):
        LoginLimiter(tmp_path / "logins.json", clock=clock).check("ann", "192.0.2.1")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "failures": {"a": 1}}'])
def test_a_damaged_file_begins_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "logins.json").write_text(text)
    LoginLimiter(tmp_path / "logins.json").check("ann", "192.0.2.1")


def test_a_clock_set_back_locks_nobody_out() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock=clock)
    fail_times(limiter, "ann", "192.0.2.1", 50)
    clock.now -= 10 * 365 * 86_400
    with pytest.raises(TooManyRequests) as caught:
        limiter.check("ann", "192.0.2.1")
    assert caught.value.retry_after <= LONGEST_WAIT_S + 1
    clock.now += caught.value.retry_after
    limiter.check("ann", "192.0.2.1")
