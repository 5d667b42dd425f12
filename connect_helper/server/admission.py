"""Who comes in: one door for SSH, HTTP Basic and HTTP Bearer.

A secret that looks like a token of ours is one; anything else is a password. Whatever was wrong, the other
side learns one sentence. Passwords that were right are remembered for five minutes (HTTP Basic brings them
with every request), as an HMAC under a key of this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import ClassVar, Final, Literal

from connect_helper.errors import ConnectHelperError, TooManyRequests
from connect_helper.server.access import Access
from connect_helper.server.accounts import Account, Accounts
from connect_helper.server.issuing import keyring_of
from connect_helper.server.login_limiter import LoginLimiter, network_of
from connect_helper.server.metrics import Metrics
from connect_helper.server.open_tokens import OpenTokens
from connect_helper.server.passwords import PasswordChecker
from connect_helper.server.refusal_log import RefusalLog
from connect_helper.server.revocations import RevocationsUnreadable
from connect_helper.server.tokens import (
    MAX_CHARACTERS,
    UNDER_WAY_S,
    Refusal,
    RevocationCheck,
    TokenClaims,
    TokenKeyring,
    TokenRefused,
    looks_like_token,
)
from connect_helper.server.turns import Turns

Via = Literal["ssh", "basic", "bearer"]
UnderWay = Callable[[TokenClaims], bool]
_JUNK: Final = frozenset({Refusal.MALFORMED, Refusal.UNKNOWN_KEY, Refusal.FORGED})
_REMEMBER_S: Final = 300.0
_MAX_REMEMBERED: Final = 10_000
_SHORT_TOKEN: Final = 2000  # characters; a longer one takes more than a millisecond
_MAX_SECRET: Final = MAX_CHARACTERS  # a token is the longest there is


class LoginRefused(ConnectHelperError):
    """Wrong user, password, key, or no right to be here: never says which."""

    code: ClassVar[str] = "login_refused"
    http_status: ClassVar[int] = 401
    error_code: ClassVar[int] = 19

    def __init__(self, reason: str) -> None:
        super().__init__(
            "Login failed. Check the user name and the password or token.", internal_message=reason
        )


class Admission:
    """Decides about logins. All methods belong to the event loop's thread."""

    def __init__(
        self,
        accounts: Accounts,
        revocations: RevocationCheck,
        limiter: LoginLimiter,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._revocations = revocations
        self._limiter = limiter
        self._metrics = metrics
        self._clock = clock
        self._refusals = RefusalLog(clock)
        self._passwords = PasswordChecker()
        self._turns = Turns()
        self._opening = Turns()
        self._opened = OpenTokens()
        self._process_key = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}
        self.keyring = TokenKeyring({}, revocations)
        self.accounts_changed()

    def accounts_changed(self) -> None:
        """To be called after `Accounts.replace`: new token keys, and no old password is remembered.

        Raises WeakKey.
        """
        self.keyring = keyring_of(self._accounts, self._revocations)
        self._remembered.clear()
        self._opened.clear()

    def close(self) -> None:
        self._passwords.close()
        self._refusals.close()

    async def admit(
        self, user: str | None, secret: str, address: str, via: Via, *, under_way: UnderWay | None = None
    ) -> Access:
        """Return what this login may do.

        `user` is None for Bearer, where the token names its user. `under_way` tells whether a session of a
        token is open: such a one is not cut when the token expires. Raises LoginRefused, TokenRefused,
        RevocationsUnreadable, and TooManyRequests when the address has failed too often.
        """
        try:
            access = await self._decide(user, secret, address, via, under_way)
        except (LoginRefused, TokenRefused, TooManyRequests, RevocationsUnreadable) as error:
            self._metrics.login(via, error.code)
            self._tell_refused(user, address, via, error)
            raise
        self._metrics.login(via, "accepted")
        return access

    def admit_key(self, user: str, public_data: bytes, address: str) -> Access:
        """Return what an SSH login with that proven public key may do. Raises LoginRefused."""
        account = self._accounts.get(user)
        if account is None or not self._accounts.accepts_key(user, public_data):
            self._metrics.login("ssh", LoginRefused.code)
            raise LoginRefused("unknown public key")
        try:
            access = _without_token(account, "ssh")
        except LoginRefused as error:
            self._metrics.login("ssh", error.code)
            self._tell_refused(user, address, "key", error)
            raise
        self._metrics.login("ssh", "accepted")
        return access

    async def _decide(
        self, user: str | None, secret: str, address: str, via: Via, under_way: UnderWay | None
    ) -> Access:
        if len(secret) > _MAX_SECRET:
            raise LoginRefused("a secret longer than any token")
        if looks_like_token(secret):
            return await self._by_token(user, secret, under_way)
        if user is None or via == "bearer":
            raise LoginRefused("no token of this server")
        return await self._by_password(user, secret, address, via)

    async def _by_token(self, user: str | None, text: str, under_way: UnderWay | None) -> Access:
        # First what costs nothing: junk does not get as far as the thread that reads the revocations.
        keyring = self.keyring
        claims = self._opened.get(text) or await self._open(text, keyring)
        grace_s = UNDER_WAY_S if under_way is not None and under_way(claims) else 0.0
        await asyncio.to_thread(keyring.check, claims, self._clock(), user=user, grace_s=grace_s)
        account = self._accounts.get(claims.user)
        if account is None:
            raise LoginRefused("the token's user is gone")
        if account.right(claims.direction) == "deny":
            raise LoginRefused(f"the account may not {claims.direction}")
        return Access(account, claims)

    async def _open(self, text: str, keyring: TokenKeyring) -> TokenClaims:
        """What a token says, opened once for all who bring it at a time; a long one in a thread."""
        keyring.sealed_by(text)
        async with self._opening.of(text):
            claims = self._opened.get(text) if keyring is self.keyring else None
            if claims is None:
                short = len(text) <= _SHORT_TOKEN
                claims = keyring.open(text) if short else await asyncio.to_thread(keyring.open, text)
                if keyring is self.keyring:  # no reload came in between
                    self._opened.keep(text, claims)
            return claims

    async def _by_password(self, user: str, password: str, address: str, via: Via) -> Access:
        seal = hmac.new(self._process_key, f"{user}\0{password}".encode("utf-8", "replace"), hashlib.sha256)
        mark = seal.digest()
        account = self._remembering(user, mark)
        if account is None:
            # One at a time from each network: many at once would all be compared before the first is counted
            # as failed. Whoever waited for the same password finds it remembered.
            async with self._turns.of(network_of(address)):
                account = self._remembering(user, mark) or await self._compared(user, password, address, mark)
        return _without_token(account, via)

    def _remembering(self, user: str, mark: bytes) -> Account | None:
        """The account, if this password was right a while ago."""
        return self._accounts.get(user) if self._remembered.get(mark, 0.0) > self._clock() else None

    async def _compared(self, user: str, password: str, address: str, mark: bytes) -> Account:
        self._limiter.check(user, address)
        account = self._accounts.get(user)
        hashed = account.password_hash if account is not None else None
        known = None if hashed is None else hashed.get_secret_value()
        if not await self._passwords.check(known, password):
            self._limiter.failed(user, address)
            raise LoginRefused("wrong user or password")
        account = self._still_there(user, known)
        self._limiter.succeeded(user, address)
        self._remember(mark)
        return account

    def _still_there(self, user: str, known: str | None) -> Account:
        """The account as it is after the hash was compared: a reload may have come in between."""
        account = self._accounts.get(user)
        if (
            account is None
            or account.password_hash is None
            or account.password_hash.get_secret_value() != known
        ):
            raise LoginRefused("the account changed meanwhile")
        return account

    def _remember(self, mark: bytes) -> None:
        self._remembered[mark] = self._clock() + _REMEMBER_S
        while len(self._remembered) > _MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _tell_refused(self, user: str | None, address: str, via: str, error: ConnectHelperError) -> None:
        if isinstance(error, TokenRefused) and error.reason in _JUNK:
            return  # it comes by the thousand and tells nothing: the metrics count it
        self._refusals.tell(user, address, via, error.code, error.internal_message)


def _without_token(account: Account, via: Via) -> Access:
    """Over SSH a login that may neither send nor receive is refused; the Node API issues tokens to others."""
    if via == "ssh" and "allow" not in (account.upload, account.download):
        raise LoginRefused("the account needs a token in both directions")
    return Access(account, None)
