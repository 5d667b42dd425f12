"""Who gets a token for what: from an account's settings and a wish to the contents of a token.

Used by the commands and by the Node API, so that both follow one rule: a direction that is denied gets no
token, no token outlives the account's setting unless it is asked to, and an account's rate cap is a ceiling.
Source: Aspera server configuration reference, sections 1 and 2.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from connect_helper.errors import ConnectHelperError, InvalidRequest
from connect_helper.server.accounts import Account
from connect_helper.server.token_contents import Direction, TokenClaims
from connect_helper.server.tokens import RevocationCheck, TokenAuthority, TokenKeyring, new_token_id
from connect_helper.storage.docpath import DocPath, checked

LONGEST_LIFE_S: Final = 366 * 86_400
MAX_COOKIE: Final = 1024  # characters


class NoTokenFor(ConnectHelperError):
    """The account gets no token: it has no key, or the direction is denied."""

    code: ClassVar[str] = "no_token"
    http_status: ClassVar[int] = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a token may hold beside its paths. None: as the account's settings say."""

    life_s: int | None = None
    rate_cap_kbps: int | None = None
    cookie: str | None = None


def upload_claims(
    account: Account, root: DocPath, destinations: Sequence[DocPath], *, now: int, extras: Extras
) -> TokenClaims:
    """A token to bring files below `root`; with `destinations`, relative to it, to exactly those.

    Raises NoTokenFor, InvalidRequest, UnsafePath.
    """
    _check(account, "send", extras)
    return TokenClaims(
        id=new_token_id(),
        user=account.name,
        direction="send",
        destination_root=root,
        destinations=_once(checked((*root, *path)) for path in destinations),
        issued_at=now,
        expires_at=now + _life(account, extras),
        rate_cap_kbps=_lower(account.upload_cap_kbps, extras.rate_cap_kbps),
        cookie=extras.cookie,
        user_value=account.user_value,
    )


def download_claims(account: Account, sources: Sequence[DocPath], *, now: int, extras: Extras) -> TokenClaims:
    """A token to fetch `sources`, folders with all that is in them. Raises NoTokenFor, InvalidRequest."""
    _check(account, "receive", extras)
    if not sources:
        raise InvalidRequest("A download token needs at least one source.", field="paths")
    return TokenClaims(
        id=new_token_id(),
        user=account.name,
        direction="receive",
        sources=_once(sources),
        issued_at=now,
        expires_at=now + _life(account, extras),
        rate_cap_kbps=_lower(account.download_cap_kbps, extras.rate_cap_kbps),
        cookie=extras.cookie,
        user_value=account.user_value,
    )


def keyring_of(accounts: Iterable[Account], revocations: RevocationCheck) -> TokenKeyring:
    """The keys of all accounts that have one. Raises WeakKey."""
    made: dict[str, TokenAuthority] = {}  # deriving takes its time, and most accounts share one key
    keys: dict[str, TokenAuthority] = {}
    for account in accounts:
        if account.token_key is not None:
            text = account.token_key.get_secret_value()
            keys[account.name] = made.get(text) or made.setdefault(text, TokenAuthority(text))
    return TokenKeyring(keys, revocations)


def new_cookie() -> str:
    """A cookie for a transfer that was given none: names it in logs, opens nothing."""
    return secrets.token_urlsafe(12)


def _check(account: Account, direction: Direction, extras: Extras) -> None:
    word = "uploads" if direction == "send" else "downloads"
    if account.token_key is None:
        raise NoTokenFor("This server has no token key for that user, so it gives no tokens.")
    if account.right(direction) == "deny":
        raise NoTokenFor(f"The server does not allow {word} for that user.")
    if extras.cookie is not None and len(extras.cookie) > MAX_COOKIE:
        raise InvalidRequest(f"The cookie is longer than {MAX_COOKIE} characters.", field="cookie")


def _life(account: Account, extras: Extras) -> int:
    wanted = account.token_life_s if extras.life_s is None else extras.life_s
    if wanted < 1:
        raise InvalidRequest("A token lives for one second at least.", field="token_life_seconds")
    return min(wanted, LONGEST_LIFE_S)


def _lower(cap: int | None, wanted: int | None) -> int | None:
    return min((rate for rate in (cap, wanted) if rate is not None), default=None)


def _once(paths: Iterable[DocPath]) -> tuple[DocPath, ...]:
    return tuple(dict.fromkeys(paths))
