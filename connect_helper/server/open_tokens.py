"""Tokens that were opened a moment ago: one may name ten thousand paths, and comes with every HTTP request.

Only what a token says is kept, by the hash of its text. Whether it is good now (its time, whether it was
withdrawn, whose key it has) is for the caller to ask each time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from connect_helper.server.tokens import TokenClaims

MOST_PATHS: Final = 50_000  # of all kept tokens together; each costs some hundred bytes


class OpenTokens:
    """The tokens used last. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._claims: OrderedDict[bytes, TokenClaims] = OrderedDict()
        self._paths = 0

    def get(self, text: str) -> TokenClaims | None:
        """What the token says, if it is still kept."""
        key = _key(text)
        claims = self._claims.get(key)
        if claims is not None:
            self._claims.move_to_end(key)
        return claims

    def keep(self, text: str, claims: TokenClaims) -> None:
        """Keep what a token says; those that were not used for longest make room."""
        key = _key(text)
        if key not in self._claims:
            self._paths += len(claims.granted)
        self._claims[key] = claims
        while self._paths > MOST_PATHS:
            _, oldest = self._claims.popitem(last=False)
            self._paths -= len(oldest.granted)

    def clear(self) -> None:
        """Forget all: the keys have changed."""
        self._claims.clear()
        self._paths = 0


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
