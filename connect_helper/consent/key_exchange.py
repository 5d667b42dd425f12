"""How a browser extension and the helper come to share a secret, and the code that shows it is theirs alone.

Both make a P-256 key for this one pairing. The extension commits to its public key first, the helper answers
with its own, then the extension reveals its key. Whoever stands between them has to choose keys of its own
before it knows both of theirs, so the two codes it brings about agree by a throw of dice only (one in
2**30), and it cannot throw again without the user seeing it. The code covers both keys, the extension's
origin and the helper's port.

The helper shows the code in its own window. The extension does not show it, but has the user type it: a
program that merely holds a port of the range has no window to show one in, and is not paired with. Assumed is
that the user takes the code from the helper's window, and says yes there only after the extension took it.

It is the numeric comparison of Bluetooth, with the commitment of ZRTP (RFC 6189, section 4.4.1.1), the
comparison left to the extension. The keys are made by the caller.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import InvalidRequest

_COMMITMENT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PUBLIC_KEY: Final = re.compile(r"04[0-9a-f]{128}", re.ASCII)  # not compressed: SEC 1, section 2.3.3
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # 32 that are not taken for one another
_CODE_LENGTH: Final = 6  # letters of 5 bits


def check_commitment(commitment: str) -> str:
    """Return `commitment`. Raises InvalidRequest when it is no SHA-256 in hex."""
    if not _COMMITMENT.fullmatch(commitment):
        raise InvalidRequest("commitment must be a SHA-256 in hex.", field="commitment")
    return commitment


def check_revealed(public_key: str, commitment: str) -> str:
    """Return `public_key`, the one that was committed to.

    Raises InvalidRequest for any other, and for what is no point in hex; whether the point lies on the curve
    is for who computes with it.
    """
    if not _PUBLIC_KEY.fullmatch(public_key):
        raise InvalidRequest(
            "public_key must be a point of P-256, not compressed, in hex.", field="public_key"
        )
    if not hmac.compare_digest(commitment_to(public_key), commitment):
        raise InvalidRequest("public_key is not the one that was committed to.", field="public_key")
    return public_key


def commitment_to(public_key: str) -> str:
    """Hides the key, which is random, until it is revealed; no second key fits it."""
    return hashlib.sha256(f"connect-helper commitment\n{public_key}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Transcript:
    """What one side took part in; both sides have the same unless somebody stands between them."""

    extension_key: str  # public, in hex
    helper_key: str
    origin: str  # of the extension, as the browser sends it
    port: int  # the one the extension talked to

    def code(self) -> str:
        """What the helper shows and the user types: "4F7-K92"."""
        letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in self._digest("code")[:_CODE_LENGTH])
        return f"{letters[:3]}-{letters[3:]}"

    def secret(self, shared: bytes) -> str:
        """The secret of the pairing, 32 bytes in hex: HKDF-SHA256 (RFC 5869) of what ECDH gave."""
        key = hmac.digest(self._digest("secret"), shared, "sha256")
        return hmac.digest(key, b"connect-helper secret\x01", "sha256").hex()

    def _digest(self, purpose: str) -> bytes:
        text = (
            f"connect-helper {purpose}\n{self.extension_key}\n{self.helper_key}\n{self.origin}\n{self.port}"
        )
        return hashlib.sha256(text.encode()).digest()
