"""Who may use the helper's own window: one-time codes, and the tokens they are changed for.

A code goes into the fragment of an address that the program itself opens, works once and for a minute.
The page changes it for a token that it sends in a header. Neither is ever written to disk or log, and
only digests are kept, so that looking one up takes the same time for any guess.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from connect_helper.errors import RequestError

CODE_LIFETIME_S = 60.0
CODES_KEPT = 64
WINDOWS_KEPT = 256
_SECRET_BYTES = 32


class SignedOut(RequestError):
    """The window has no valid token, or its code was used before or is too old."""

    code = "signed_out"
    http_status = 401


class WindowSessions:
    """Codes and tokens of this run of the program; both lists are bounded, the oldest go first."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._codes: OrderedDict[bytes, float] = OrderedDict()  # digest -> end of life on the clock
        self._windows: OrderedDict[bytes, None] = OrderedDict()  # digests, the least recently used first

    def issue_code(self) -> str:
        """Make a code (URL-safe text) for one window about to be opened."""
        code = secrets.token_urlsafe(_SECRET_BYTES)
        self._codes[_digest(code)] = self._clock() + CODE_LIFETIME_S
        _shorten(self._codes, CODES_KEPT)
        return code

    def redeem(self, code: str) -> str:
        """Change a code for the token of one window.

        Raises SignedOut when the code is unknown, was used before, or is older than a minute.
        """
        ends_at = self._codes.pop(_digest(code), None)
        if ends_at is None or self._clock() >= ends_at:
            raise SignedOut(
                "This address was used before or is too old. Open a new window: connect-helper open."
            )
        token = secrets.token_urlsafe(_SECRET_BYTES)
        self._windows[_digest(token)] = None
        _shorten(self._windows, WINDOWS_KEPT)
        return token

    def require(self, token: str) -> None:
        """Raise SignedOut unless `token` belongs to a window of this run."""
        digest = _digest(token)
        if digest not in self._windows:
            raise SignedOut("This window is not signed in. Open a new one: connect-helper open.")
        self._windows.move_to_end(digest)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _shorten(kept: OrderedDict[bytes, float] | OrderedDict[bytes, None], limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)
