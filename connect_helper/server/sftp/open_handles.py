"""How many files and folders may be open: in a connection, by token and address, and in the whole server.

Each takes a descriptor of the process, a folder two. Without any left, the server could neither take
connections nor write its log. Belongs to the event loop's thread.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from connect_helper.server.access import Access
from connect_helper.server.shares import Holder, Shares, by_address, by_token

MOST: Final = 1000  # of one connection, on all its channels
FEW: Final = 100  # of one connection, once half of all there are is taken


@dataclass(slots=True)
class AllHandles:
    """Those of the whole server."""

    most: int
    taken: int = 0
    shares: Shares = field(default_factory=lambda: Shares(FEW))

    @classmethod
    def for_descriptors(cls, count: int) -> AllHandles:
        """Of a process that may have `count` descriptors open.

        If all were folders, a third would still be left for connections, docroots, uploads by HTTP and logs.
        """
        return cls(count // 3)


class OpenHandles:
    """Those of one connection, which belong to `holders` too."""

    def __init__(self, everybody: AllHandles, holders: Sequence[Holder]) -> None:
        self._everybody = everybody
        self._holders = holders
        self._taken = 0

    @classmethod
    def of(cls, everybody: AllHandles, access: Access, peer: str) -> OpenHandles:
        """Those of a connection from `peer`: its address has a share of them all, and its token."""
        holders = [by_address(peer)]
        if access.token is not None:
            holders.append(by_token(access.account.name, access.token.id))
        return cls(everybody, holders)

    def take(self) -> None:
        """Count one in. Raises OSError EMFILE or ENFILE, with a sentence for the client."""
        everybody = self._everybody
        if self._taken >= MOST:
            raise OSError(errno.EMFILE, "too many files are open in this connection: close some first")
        if everybody.taken >= everybody.most or self._has_its_share():
            raise OSError(errno.ENFILE, "the server has too many files open: try again in a while")
        self._taken += 1
        everybody.taken += 1
        everybody.shares.take(self._holders)

    def _has_its_share(self) -> bool:
        everybody = self._everybody
        taken, most = everybody.taken, everybody.most
        if taken >= most // 2 and self._taken >= FEW:
            return True
        return any(everybody.shares.is_used_up(holder, taken, most) for holder in self._holders)

    def give_back(self) -> None:
        """Count one out."""
        self._taken -= 1
        self._everybody.taken -= 1
        self._everybody.shares.give_back(self._holders)
