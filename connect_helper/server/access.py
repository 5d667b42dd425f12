"""What one session may do. Pure: no disk, no clock, no network.

A session acts for an account, with or without a token. Without one, each direction must be `allow` for the
account. With one, the session sees the token's paths and the way to them, can move bytes in the token's
direction only, and everything else does not exist; the account's own limits hold in addition (Aspera server
configuration reference, section 1.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from connect_helper.server.accounts import Account
from connect_helper.server.token_contents import TokenClaims
from connect_helper.spec.names import PARTIAL_SUFFIX, partial_name
from connect_helper.storage.docpath import DocPath

UNFINISHED: Final = (PARTIAL_SUFFIX, b".filepart", b".part")  # how clients name what is not whole yet


class Operation(Enum):
    """What can be done with one path."""

    READ = "read"  # the content of a file
    WRITE = "write"  # the content or properties of what exists
    CREATE = "create"
    DELETE = "delete"
    LIST = "list"
    STAT = "stat"
    RENAME_FROM = "rename from"
    RENAME_TO = "rename to"
    MKDIR = "mkdir"
    LINK = "link"  # make a symbolic link


_LOOKING: Final = frozenset({Operation.STAT, Operation.LIST})
_REMOVING: Final = frozenset({Operation.DELETE, Operation.RENAME_FROM})
_NAMING: Final = frozenset({Operation.MKDIR, Operation.LINK, Operation.RENAME_TO, *_REMOVING})


@dataclass(frozen=True, slots=True)
class Access:
    """What a session of `account` may do; `token` is None where the account itself opened it."""

    account: Account
    token: TokenClaims | None = None

    @property
    def follow_links(self) -> bool:
        """Tell whether links inside the docroot may be followed: a link would lead past a token's paths."""
        return self.token is None and self.account.follow_links

    @property
    def may_send(self) -> bool:
        """Tell whether the session may bring files at all."""
        if self.token is not None:
            return self.token.direction == "send" and self.account.upload != "deny"
        return self.account.upload == "allow"

    @property
    def may_receive(self) -> bool:
        """Tell whether the session may fetch files at all."""
        if self.token is not None:
            return self.token.direction == "receive" and self.account.download != "deny"
        return self.account.download == "allow"

    @property
    def may_overwrite(self) -> bool:
        """Tell whether a file that is there under its final name may be replaced or written to."""
        return self.account.overwrite == "allow"

    def visible(self, path: DocPath) -> bool:
        """Tell whether `path` exists for this session: where not, the answer is "no such file"."""
        return self.token is None or self._covered(path) or self.token.leads_to(path)

    def allows(self, operation: Operation, path: DocPath) -> bool:
        """Tell whether the session may do `operation` with `path`.

        Whether a file exists is not known here. Replacing one asks `may_overwrite` too. Removing and renaming
        is never a token's right; what a session made itself, or left unfinished, it may remove and rename all
        the same: who keeps track of that need not ask here.
        """
        if operation in _LOOKING:
            return self._may_look(operation, path)
        if not self._covered(path):
            return False
        if operation is Operation.READ:
            return self.may_receive
        if self.token is None and operation in _NAMING:
            # Folders and names are the account's to keep in order, also where bytes move by token only.
            if operation is Operation.LINK and not self.account.make_links:
                return False
            return self.account.may_write and (operation not in _REMOVING or self.account.may_delete)
        if operation in _REMOVING:
            return False
        return self.may_send and operation is not Operation.LINK

    def _may_look(self, operation: Operation, path: DocPath) -> bool:
        if not self.visible(path) or not (self.may_send or self.may_receive or self.account.may_browse):
            return False
        if operation is Operation.STAT:
            return True
        # A download token for a folder is worth nothing without its list. An upload token is for bringing:
        # what others brought before is shown to those who may browse.
        if self.token is not None and self.token.direction == "receive":
            return self.may_receive
        if self.token is not None and self.token.leads_to(path):
            return True
        return self.account.may_browse

    def _covered(self, path: DocPath) -> bool:
        if self.token is None or self.token.covers(path):
            return True
        if self.token.direction != "send" or not path or not path[-1].endswith(PARTIAL_SUFFIX):
            return False
        # The unfinished file of an exact destination lies beside it.
        return any(
            granted and path[:-1] == granted[:-1] and path[-1] == partial_name(granted[-1])
            for granted in self.token.granted
        )
