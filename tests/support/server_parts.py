"""Parts of the transfer server, made by hand for tests of one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.tokens import Direction, TokenClaims
from connect_helper.storage.docpath import parse

PASSWORD = "swordfish in the morning"


class Clock:
    """A clock that is turned by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def account(name: str = "ann", **more: Any) -> Account:
    return Account(name=name, docroot=Path("/nowhere"), **more)


def claims(user: str = "ann", direction: Direction = "receive", *, now: float, **more: Any) -> TokenClaims:
    """A token's contents, good for an hour, for the folder `inbox`."""
    folder = (parse("inbox"),)
    places: dict[str, Any] = (
        {"sources": folder} if direction == "receive" else {"destination_root": folder[0]}
    )
    made = {"id": "1" * 32, "issued_at": int(now), "expires_at": int(now) + 3600, **places, **more}
    return TokenClaims(user=user, direction=direction, **made)


def access(of: Account | None = None, token: TokenClaims | None = None) -> Access:
    return Access(of or account(), token)
