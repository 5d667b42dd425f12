"""Transfer tokens: sealed with a key of the server, opened again without a database.

A token's text is `CHT1_` and, in URL-safe base64 without padding: 8 bytes that say which key it was sealed
with, 12 random bytes, and the contents under AES-256-GCM with a tag of 16 bytes.

Whoever holds a token can neither read nor change it. The algorithm is fixed here: a token says nothing about
it, so there is nothing to downgrade. Both the key and the sign of the key are derived (HKDF-SHA-256) from the
configured secret *and* the purpose, so that a text sealed for another purpose is as foreign as one of another
server. Random nonces are safe for some 2**32 tokens of one key. Source: security notes, SEC-30.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import ClassVar, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connect_helper.errors import ConnectHelperError
from connect_helper.server.token_contents import Direction, TokenClaims, decode, encode

__all__ = [
    "Direction",
    "Refusal",
    "TokenAuthority",
    "TokenClaims",
    "TokenKeyring",
    "TokenRefused",
    "TokenTooLong",
    "WeakKey",
    "is_token_id",
    "looks_like_token",
    "new_token_id",
]

PREFIX: Final = "CHT1_"
MAX_CHARACTERS: Final = (
    65_000  # two thousand random names, ten thousand of a kind; it goes into a header line
)
MIN_KEY_CHARACTERS: Final = 20  # clients hold sealed texts and may guess at the key for as long as they like
LEEWAY_S: Final = 60  # clocks of several servers differ
UNDER_WAY_S: Final = 24 * 3600  # how long a session of HTTP requests may outlive its token
TRANSFER: Final = "transfer"
_SIGN: Final = 8
_NONCE: Final = 12
_TAG: Final = 16
_ID: Final = re.compile(r"[0-9a-f]{32}")
_ALPHABET: Final = frozenset(string.ascii_letters + string.digits + "-_")


class Refusal(Enum):
    """Why a token is refused; for the log and for `token verify`. Clients learn `user_message` only."""

    MALFORMED = "this is no token of this kind of server"
    UNKNOWN_KEY = "it was sealed by another server, with another key, or for another purpose"
    FORGED = "it was changed after it was issued"
    EXPIRED = "it has expired"
    EARLY = "it was issued in the future"
    FOREIGN_USER = "it belongs to another user"
    FOREIGN_DIRECTION = "it is for the other direction"
    FOREIGN_PATH = "it does not open that path"
    REVOKED = "it was revoked"


class TokenRefused(ConnectHelperError):
    """The token opens nothing. Only expiry, which its honest holder can act on, is told from the rest."""

    code: ClassVar[str] = "token_refused"
    http_status: ClassVar[int] = 401
    error_code: ClassVar[int] = 19

    def __init__(self, reason: Refusal) -> None:
        expired = reason is Refusal.EXPIRED
        super().__init__(
            "The token has expired. Ask for a new one where you got it." if expired
            else "The token is not valid here. Ask for a new one where you got it.",
            internal_message=f"token refused: {reason.value}",
        )  # fmt: skip
        self.reason = reason


class TokenTooLong(ConnectHelperError):
    """So many paths that the token would not fit a request header."""

    code: ClassVar[str] = "token_too_long"
    http_status: ClassVar[int] = 413


class WeakKey(ConnectHelperError):
    """The configured token key can be guessed."""

    code: ClassVar[str] = "weak_token_key"


class RevocationCheck(Protocol):
    """Knows the tokens withdrawn before their time."""

    def revoked(self, token_id: str) -> bool: ...


def looks_like_token(text: str) -> bool:
    """Tell a token of ours from a password, by its beginning."""
    return text.startswith(PREFIX)


def new_token_id() -> str:
    """A name for a token: 128 random bits, in hex."""
    return secrets.token_hex(16)


def is_token_id(text: str) -> bool:
    """Tell a name that `new_token_id` made from a slip of the pen."""
    return _ID.fullmatch(text) is not None


class TokenAuthority:
    """Seals and opens the tokens of one key."""

    def __init__(self, key: str, *, purpose: str = TRANSFER) -> None:
        """`key` is the configured secret, 20 characters or more; raises WeakKey if it is shorter."""
        if len(key) < MIN_KEY_CHARACTERS:
            raise WeakKey(f"A token key needs at least {MIN_KEY_CHARACTERS} random characters.")
        derived = HKDF(
            SHA256(), length=32 + _SIGN, salt=None, info=b"connect-helper token: " + purpose.encode()
        ).derive(key.encode())
        self._cipher = AESGCM(derived[:32])
        self.sign = derived[32:]

    def issue(self, claims: TokenClaims) -> str:
        """The token's text. Raises TokenTooLong."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._cipher.encrypt(nonce, encode(claims), _bound(self.sign))
        text = PREFIX + base64.urlsafe_b64encode(self.sign + nonce + sealed).rstrip(b"=").decode()
        if len(text) > MAX_CHARACTERS:
            raise TokenTooLong("Too many paths for one token. Ask for their folder, or in parts.")
        return text

    def verify(self, text: str, now: float) -> TokenClaims:
        """The contents of `text`, if this key sealed it and its time is now (seconds since the epoch).

        Raises TokenRefused.
        """
        claims = self.open(text)
        check_time(claims, now)
        return claims

    def open(self, text: str) -> TokenClaims:
        """The contents of `text` whatever its time. Raises TokenRefused."""
        sign, sealed = _unwrap(text)
        if sign != self.sign:
            raise TokenRefused(Refusal.UNKNOWN_KEY)
        try:
            return decode(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(sign)))
        except InvalidTag as error:
            raise TokenRefused(Refusal.FORGED) from error
        except ValueError as error:  # sealed with our key, but in a form we never wrote
            raise TokenRefused(Refusal.MALFORMED) from error


class TokenKeyring:
    """The keys of a server: one per user. Opens any token of them, and knows what was withdrawn.

    Several users may share a key. A token is good only if it was sealed with the key of the user it names.
    """

    def __init__(self, keys: Mapping[str, TokenAuthority], revocations: RevocationCheck) -> None:
        self._keys = dict(keys)
        self._revocations = revocations
        self._by_sign = _by_sign(self._keys.values())

    def __contains__(self, user: str) -> bool:
        return user in self._keys

    def issue(self, claims: TokenClaims) -> str:
        """The token's text, sealed with the key of its user. KeyError if that user has none."""
        return self._keys[claims.user].issue(claims)

    def sealed_by(self, text: str) -> TokenAuthority:
        """The key that a token says it was sealed with; cheap. Raises TokenRefused for one of nobody here."""
        authority = self._by_sign.get(_unwrap(text)[0])
        if authority is None:
            raise TokenRefused(Refusal.UNKNOWN_KEY)
        return authority

    def open(self, text: str) -> TokenClaims:
        """The contents of a token that one of these keys sealed for its own user, whatever its time."""
        authority = self.sealed_by(text)
        claims = authority.open(text)
        own = self._keys.get(claims.user)
        if own is None or own.sign != authority.sign:
            raise TokenRefused(Refusal.FOREIGN_USER)
        return claims

    def verify(self, text: str, now: float, *, user: str | None = None, grace_s: float = 0.0) -> TokenClaims:
        """The contents of a token that is good now, for `user` if one is named. Raises TokenRefused.

        `grace_s` is how long after its end it is taken all the same: for a session that is under way. Reads
        the list of revocations, so call it from a thread.
        """
        claims = self.open(text)
        self.check(claims, now, user=user, grace_s=grace_s)
        return claims

    def check(
        self, claims: TokenClaims, now: float, *, user: str | None = None, grace_s: float = 0.0
    ) -> None:
        """As `verify`, for the contents of a token that was opened with these keys."""
        if user is not None and claims.user != user:
            raise TokenRefused(Refusal.FOREIGN_USER)
        check_time(claims, min(now, max(claims.issued_at, now - grace_s)))
        if self._revocations.revoked(claims.id):
            raise TokenRefused(Refusal.REVOKED)


def check_time(claims: TokenClaims, now: float) -> None:
    """Raise TokenRefused when `now` lies outside the token's life, a minute of leeway on either side."""
    if now > claims.expires_at + LEEWAY_S:
        raise TokenRefused(Refusal.EXPIRED)
    if now < claims.issued_at - LEEWAY_S:
        raise TokenRefused(Refusal.EARLY)


def _by_sign(authorities: Iterable[TokenAuthority]) -> dict[bytes, TokenAuthority]:
    return {authority.sign: authority for authority in authorities}


def _bound(sign: bytes) -> bytes:
    return PREFIX.encode() + sign


def _unwrap(text: str) -> tuple[bytes, bytes]:
    """The sign of the key, and nonce with sealed contents. Cheap: junk costs no cryptography."""
    body = text.removeprefix(PREFIX)
    if len(body) == len(text) or len(text) > MAX_CHARACTERS or not _ALPHABET.issuperset(body):
        raise TokenRefused(Refusal.MALFORMED)
    try:
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error as error:
        raise TokenRefused(Refusal.MALFORMED) from error
    # The last character may hold bits that decoding drops: one token has one text.
    if len(data) < _SIGN + _NONCE + _TAG or base64.urlsafe_b64encode(data).rstrip(b"=").decode() != body:
        raise TokenRefused(Refusal.MALFORMED)
    return data[:_SIGN], data[_SIGN:]
