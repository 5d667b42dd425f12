"""Shares of what the server has only so much of, so that there is some left for who comes next.

As long as half of it is free, anybody may take it. Beyond that nobody goes on with more than a quarter.
Belongs to the event loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from connect_helper.server.access import Access
from connect_helper.server.login_limiter import network_of

Holder = tuple[str, ...]  # a kind, and its names


def by_address(peer: str) -> Holder:
    """All that come from there."""
    return ("address", network_of(peer))


def by_token(account: str, token_id: str) -> Holder:
    """All that come with that token."""
    return ("token", account, token_id)


def by_hand(access: Access, peer: str) -> Holder:
    """Those with the same token; without one all of the account that come from one network.

    Many sessions may come from one hand, and many hands may hold tokens of one account.
    """
    who = network_of(peer) if access.token is None else access.token.id
    return access.account.name, who


class Shares:
    """How much each holder has. `least` is everybody's, however little there is for all."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._held: Counter[Holder] = Counter()

    def __len__(self) -> int:
        """How many hold something."""
        return len(self._held)

    def held(self, holder: Holder) -> int:
        return self._held[holder]

    def take(self, holders: Iterable[Holder]) -> None:
        """Count one in for each of them."""
        self._held.update(holders)

    def give_back(self, holders: Iterable[Holder]) -> None:
        """Count one out for each of them."""
        for holder in holders:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]

    def is_used_up(self, holder: Holder, taken: int, most: int) -> bool:
        """Tell whether `holder` gets no more now that `taken` of `most` are."""
        return taken >= most // 2 and self._held[holder] >= max(most // 4, self._least)
