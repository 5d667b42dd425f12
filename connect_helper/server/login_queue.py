"""How many connections may be logging in at once, altogether and from one address; the others wait. Pure.

A hundred clients behind one address that come in the same moment all get in, a few at a time. Half-open
connections use up their own address's places and time, and nobody else's: when all places are taken, whoever
comes from an address that has none gets that of the oldest login of the address that has most. A login is
over in a moment; what has been under way for longest is the least likely to come to anything. Addresses that
wait take turns. Coming and leaving take the same time however many wait: a crowd that leaves at once must
not stop the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

WAITING: Final = 2000
WAITING_PER_ADDRESS: Final = 500

Place = Literal["begin", "wait", "refused"]


@dataclass(frozen=True, slots=True, eq=False)
class Login:
    """One connection that has not proved who it is.

    `begin` is called when it had to wait and may begin, `end` when it has to make room for another.
    """

    address: str  # or network: what counts as one place of origin
    begin: Callable[[], None]
    end: Callable[[], object]


class LoginQueue:
    """`most` and `most_per_address` logins at once; a login enters once and leaves once."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._under_way: dict[Login, None] = {}  # the oldest first
        self._by_address: Counter[str] = Counter()
        self._waiting: dict[str, dict[Login, None]] = {}  # of each address, the oldest first
        self._number_waiting = 0
        self._next: dict[str, None] = {}  # addresses that have waiting ones and may have more under way

    def enter(self, login: Login) -> Place:
        """Tell whether the login begins now, waits, or cannot even wait."""
        if self._may_begin(login):
            self._begin(login)
            return "begin"
        if not self._by_address[login.address] and (other := self._least_promising()) is not None:
            self._no_longer_under_way(other)
            self._begin(login)
            other.end()
            return "begin"
        mine = self._waiting.get(login.address, {})
        if self._number_waiting >= WAITING or len(mine) >= WAITING_PER_ADDRESS:
            return "refused"
        self._waiting.setdefault(login.address, {})[login] = None
        self._number_waiting += 1
        self._see_whether_next(login.address)
        return "wait"

    def leave(self, login: Login) -> None:
        """The login succeeded, failed or was given up; one that may begin now does."""
        if login in self._under_way:
            self._no_longer_under_way(login)
        elif login in self._waiting.get(login.address, {}):
            self._no_longer_waiting(login)
        while self._next and len(self._under_way) < self._most:
            address = next(iter(self._next))
            del self._next[address]  # the others have their turn before it comes again
            other = next(iter(self._waiting[address]))
            self._no_longer_waiting(other)
            self._begin(other)
            other.begin()

    def _may_begin(self, login: Login) -> bool:
        few = self._by_address[login.address] < self._most_per_address
        return few and len(self._under_way) < self._most

    def _begin(self, login: Login) -> None:
        self._under_way[login] = None
        self._by_address[login.address] += 1
        self._see_whether_next(login.address)

    def _least_promising(self) -> Login | None:
        """The oldest login of the address that has most under way."""
        if not self._by_address:
            return None
        most = max(self._by_address.values())
        return next((one for one in self._under_way if self._by_address[one.address] == most), None)

    def _no_longer_under_way(self, login: Login) -> None:
        del self._under_way[login]
        self._by_address[login.address] -= 1
        if not self._by_address[login.address]:
            del self._by_address[login.address]
        self._see_whether_next(login.address)

    def _no_longer_waiting(self, login: Login) -> None:
        mine = self._waiting[login.address]
        del mine[login]
        self._number_waiting -= 1
        if not mine:
            del self._waiting[login.address]
        self._see_whether_next(login.address)

    def _see_whether_next(self, address: str) -> None:
        if address in self._waiting and self._by_address[address] < self._most_per_address:
            self._next.setdefault(address)
        else:
            self._next.pop(address, None)
