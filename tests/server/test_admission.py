"""The one door: passwords, keys and tokens."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from connect_helper.errors import TooManyRequests
from connect_helper.server import open_tokens, passwords, tokens
from connect_helper.server.accounts import Accounts
from connect_helper.server.admission import Admission, LoginRefused
from connect_helper.server.login_limiter import LoginLimiter
from connect_helper.server.metrics import Metrics
from connect_helper.server.open_tokens import OpenTokens
from connect_helper.server.refusal_log import LINES
from connect_helper.server.revocations import Revocations
from connect_helper.server.token_contents import TokenClaims, decode
from connect_helper.server.tokens import TokenAuthority, TokenRefused
from tests.support.far_server import HASH
from tests.support.server_parts import PASSWORD, Clock, account, claims

KEY = SecretStr("k" * 40)
HERE = "192.0.2.1"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown users are compared with a hash as cheap as those of the tests."""
    monkeypatch.setattr(passwords, "_nobodys_hash", lambda: HASH)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(
        [
            account("ann", password_hash=SecretStr(HASH), token_key=KEY, authorized_keys=(b"ann's key",)),
            account("tom", token_key=KEY, upload="token", download="token", authorized_keys=(b"shared",)),
            account("sid", password_hash=SecretStr(HASH), token_key=KEY, upload="deny", download="token"),
        ]
    )


@pytest.fixture
async def door(accounts: Accounts, clock: Clock, tmp_path: Path) -> AsyncIterator[Admission]:
    limiter = LoginLimiter(clock=clock)
    admission = Admission(accounts, Revocations(tmp_path / "revoked"), limiter, Metrics(), clock=clock)
    yield admission
    admission.close()


def token(user: str, clock: Clock, **more: object) -> str:
    key = KEY.get_secret_value()
    return TokenAuthority(key).issue(claims(user, now=clock.now, **more))  # type: ignore[arg-type]


async def test_a_right_password_opens_the_account(door: Admission) -> None:
    got = await door.admit("ann", PASSWORD, HERE, "ssh")
    assert (got.account.name, got.token) == ("ann", None)


@pytest.mark.parametrize(
    ("user", "secret"),
    [
        ("ann", "wrong"),
        ("nobody", PASSWORD),
        ("tom", PASSWORD),  # has no password at all
        ("ann", ""),
        ("ann", "x" * 20_000),
        ("ann", "\ud800"),
        ("ann", "x" * 1025),
    ],
)
async def test_every_wrong_login_reads_the_same(door: Admission, user: str, secret: str) -> None:
    with pytest.raises(LoginRefused) as caught:
        await door.admit(user, secret, HERE, "ssh")
    assert caught.value.user_message == "Login failed. Check the user name and the password or token."
    assert caught.value.http_status == 401


async def test_an_unknown_user_costs_a_hash_like_a_known_one(door: Admission) -> None:
    """The time a refusal takes must not tell which names there are (SEC-32)."""
    with patch.object(passwords, "_HASHER", wraps=passwords._HASHER) as hasher:
        for user in ("nobody", "tom"):
            with pytest.raises(LoginRefused):
                await door.admit(user, "guess", HERE, "basic")
    assert hasher.verify.call_count == 2


async def test_a_password_is_hashed_once_in_five_minutes(
    door: Admission, accounts: Accounts, clock: Clock
) -> None:
    with patch.object(passwords, "_HASHER", wraps=passwords._HASHER) as hasher:
        for _ in range(3):
            await door.admit("ann", PASSWORD, HERE, "basic")
        assert hasher.verify.call_count == 1
        clock.now += 301
        await door.admit("ann", PASSWORD, HERE, "basic")
        assert hasher.verify.call_count == 2
        door.accounts_changed()
        await door.admit("ann", PASSWORD, HERE, "basic")
        assert hasher.verify.call_count == 3


async def test_a_removed_account_is_out_at_once(door: Admission, accounts: Accounts, clock: Clock) -> None:
    await door.admit("ann", PASSWORD, HERE, "basic")
    text = token("ann", clock)
    await door.admit("ann", text, HERE, "ssh")
    accounts.replace([])
    door.accounts_changed()
    with pytest.raises(LoginRefused):
        await door.admit("ann", PASSWORD, HERE, "basic")
    with pytest.raises(TokenRefused):
        await door.admit("ann", text, HERE, "ssh")


async def test_too_many_failures_are_refused_before_the_hash(door: Admission) -> None:
    for _ in range(6):
        with pytest.raises(LoginRefused):
            await door.admit("ann", "guess", HERE, "basic")
    with patch.object(passwords, "_HASHER") as hasher, pytest.raises(TooManyRequests):
        await door.admit("ann", PASSWORD, HERE, "basic")
    hasher.verify.assert_not_called()
    await door.admit("ann", PASSWORD, "192.0.2.2", "basic")


async def test_a_crowd_of_logins_is_turned_away_beyond_what_can_be_hashed(door: Admission) -> None:
    """Each from an address of its own, so that the queue and not the limiter decides."""
    tries = [door.admit("nobody", "guess", f"198.51.{n // 250}.{n % 250}", "basic") for n in range(150)]
    ended = await asyncio.gather(*tries, return_exceptions=True)
    kinds = [type(one) for one in ended]
    assert set(kinds) == {LoginRefused, TooManyRequests}
    assert kinds.count(TooManyRequests) >= 150 - 68


async def test_a_token_opens_its_account_by_password_and_by_bearer(door: Admission, clock: Clock) -> None:
    text = token("tom", clock)
    for user in ("tom", None):
        got = await door.admit(user, text, HERE, "bearer" if user is None else "ssh")
        assert got.account.name == "tom"
        assert got.token is not None
        assert got.token.direction == "receive"


async def test_a_token_is_for_its_user_and_its_direction(door: Admission, clock: Clock) -> None:
    with pytest.raises(TokenRefused):
        await door.admit("ann", token("tom", clock), HERE, "ssh")
    with pytest.raises(LoginRefused):
        await door.admit(None, token("sid", clock, direction="send"), HERE, "bearer")
    await door.admit(None, token("sid", clock), HERE, "bearer")
    clock.now += 3700
    with pytest.raises(TokenRefused):
        await door.admit(None, token("sid", Clock(clock.now - 3700)), HERE, "bearer")


async def test_a_long_token_is_opened_once_and_never_on_the_loop(
    door: Admission, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_in: list[threading.Thread] = []

    def noted(data: bytes) -> TokenClaims:
        opened_in.append(threading.current_thread())
        return decode(data)

    monkeypatch.setattr(tokens, "decode", noted)
    text = token("tom", clock, sources=tuple((b"folder", b"%05d.mov" % number) for number in range(10_000)))
    got = await asyncio.gather(*(door.admit(None, text, HERE, "bearer") for _ in range(5)))
    got.append(await door.admit("tom", text, HERE, "ssh"))
    assert all(one.token is not None and len(one.token.sources) == 10_000 for one in got)
    assert len(opened_in) == 1
    assert opened_in[0] is not threading.main_thread()


async def test_a_token_that_was_opened_before_is_checked_all_the_same(
    door: Admission, clock: Clock, accounts: Accounts, tmp_path: Path
) -> None:
    text = token("tom", clock)
    await door.admit(None, text, HERE, "bearer")
    with pytest.raises(TokenRefused):
        await door.admit("ann", text, HERE, "ssh")
    accounts.replace(replace(one, token_key=SecretStr("n" * 40)) for one in tuple(accounts))
    door.accounts_changed()
    with pytest.raises(TokenRefused):
        await door.admit(None, text, HERE, "bearer")
    accounts.replace(replace(one, token_key=KEY) for one in tuple(accounts))
    door.accounts_changed()
    got = await door.admit(None, text, HERE, "bearer")
    clock.now += 3700
    with pytest.raises(TokenRefused):
        await door.admit(None, text, HERE, "bearer")
    clock.now -= 3700
    assert got.token is not None
    Revocations(tmp_path / "revoked").revoke(got.token.id, got.token.expires_at)
    with pytest.raises(TokenRefused):
        await door.admit(None, text, HERE, "bearer")


def test_opened_tokens_are_kept_up_to_so_many_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_tokens, "MOST_PATHS", 10)
    kept = OpenTokens()
    three = claims("tom", now=0, sources=((b"a",), (b"b",), (b"c",)))
    for text in ("first", "second", "second", "third"):
        kept.keep(text, three)
    assert kept.get("first") == three
    kept.keep("fourth", three)  # the first was used since
    assert [kept.get(text) is not None for text in ("first", "second", "third", "fourth")] == [
        True, False, True, True,
    ]  # fmt: skip
    kept.keep("large", claims("tom", now=0, sources=tuple((b"%d" % number,) for number in range(11))))
    assert [kept.get(text) for text in ("first", "large")] == [None, None]


async def test_junk_tokens_lock_nobody_out_and_leave_no_line(
    door: Admission, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(200):
        with pytest.raises(TokenRefused):
            await door.admit(None, f"CHT1_{number:060d}", HERE, "bearer")
    assert not caplog.records
    await door.admit("tom", token("tom", clock), HERE, "ssh")
    await door.admit("ann", PASSWORD, HERE, "ssh")


async def test_a_flood_of_bad_logins_is_counted_and_leaves_few_lines(
    door: Admission, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(200):
        with pytest.raises(LoginRefused):
            await door.admit(None, f"junk {number}", HERE, "bearer")
    assert len(caplog.records) == LINES
    with pytest.raises(LoginRefused):  # of another kind: the flood does not hide it
        await door.admit("ann", "guess", HERE, "basic")
    assert "user='ann'" in caplog.messages[-1]
    clock.now += 61
    with pytest.raises(LoginRefused):
        await door.admit(None, "junk", HERE, "bearer")
    assert f"{200 - LINES} more" in caplog.messages[-2]
    samples = door._metrics._logins.labels("bearer", "login_refused").collect()[0].samples
    assert samples[0].value == 201
    assert "junk" not in caplog.text


async def test_a_password_is_no_bearer_token(door: Admission) -> None:
    for user in (None, "ann"):
        with pytest.raises(LoginRefused):
            await door.admit(user, PASSWORD, HERE, "bearer")


async def test_over_ssh_a_password_alone_opens_nothing_where_tokens_are_needed(door: Admission) -> None:
    with pytest.raises(LoginRefused):
        await door.admit("sid", PASSWORD, HERE, "ssh")
    got = await door.admit("sid", PASSWORD, HERE, "basic")  # the Node API, which issues tokens
    assert not got.may_receive
    assert not got.may_send


def test_a_key_opens_its_account_only(door: Admission) -> None:
    assert door.admit_key("ann", b"ann's key", HERE).account.name == "ann"
    for user, key in (("ann", b"another"), ("nobody", b"ann's key"), ("tom", b"shared")):
        with pytest.raises(LoginRefused):
            door.admit_key(user, key, HERE)


async def test_no_secret_reaches_the_log(
    door: Admission, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    text = token("tom", clock)
    await door.admit("ann", PASSWORD, HERE, "basic")
    for secret in ("canary-password", text):
        with pytest.raises((LoginRefused, TokenRefused)):
            await door.admit("ann", secret, HERE, "ssh")
    assert "login refused" in caplog.text
    for secret in (PASSWORD, "canary-password", text, HASH):
        assert secret not in caplog.text


async def test_guesses_at_once_gain_nothing_over_one_after_the_other(door: Admission) -> None:
    """Five are free; were all compared before the first has failed, hundreds would be."""
    tries = [door.admit("ann", f"guess {number}", HERE, "basic") for number in range(40)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    compared = [one for one in outcomes if isinstance(one, LoginRefused)]
    assert len(compared) == 6, "the sixth failure is the first to make the address wait"
    assert sum(isinstance(one, TooManyRequests) for one in outcomes) == 34


async def test_many_right_logins_at_once_are_compared_once(door: Admission) -> None:
    with patch.object(door._passwords, "check", wraps=door._passwords.check) as check:
        granted = await asyncio.gather(*(door.admit("ann", PASSWORD, HERE, "ssh") for _ in range(30)))
    assert {one.account.name for one in granted} == {"ann"}
    assert check.call_count == 1
