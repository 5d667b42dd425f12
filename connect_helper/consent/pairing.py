"""Browser extensions that the user paired with this helper, and whose word for a page's origin is taken.

An extension makes a key of its own and keeps it; the helper gets to know the key's hash only. Both show a
code made from that hash while the user is asked. Afterwards the helper proves itself to the extension first
(a program that took over its port cannot), then the extension shows its key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from connect_helper.consent.origins import WebOrigin
from connect_helper.errors import CallerNotIdentified, InvalidRequest, WrongState

PAIRED_LIMIT: Final = 32
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # 32 bytes in base64url
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NONCE: Final = re.compile(r"[0-9a-f]{32,128}", re.ASCII)
_EXTENSIONS: Final = frozenset({"chrome-extension", "moz-extension"})
_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # 32 that are not taken for one another
_CODE_LENGTH: Final = 8


@dataclass(frozen=True, slots=True)
class PairedExtension:
    """One browser extension, in one browser."""

    key_hash: str  # SHA-256 of its key, hex
    origin: str  # "chrome-extension://ab...", as the browser sends it
    browser: str  # "Chromium 156 on Linux", in the extension's own words
    since: float  # seconds since the epoch

    @property
    def id(self) -> str:
        """Names it towards the helper's own pages; opens nothing."""
        return hashlib.sha256(f"name {self.key_hash}".encode()).hexdigest()[:24]


def is_extension(origin: str) -> bool:
    """Whether an Origin header is that of a browser extension: no web page can send one."""
    try:
        return WebOrigin.parse(origin).scheme in _EXTENSIONS
    except CallerNotIdentified:
        return False


def check_hash(key_hash: str) -> str:
    """Return `key_hash`. Raises InvalidRequest when it is no SHA-256 in hex."""
    if not _HASH.fullmatch(key_hash):
        raise InvalidRequest("key_hash must be a SHA-256 in hex.", field="key_hash")
    return key_hash


def pairing_code(key_hash: str, origin: str, port: int) -> str:
    """What the helper and the extension both show: "4F7K-92QM".

    It binds the extension's key, its origin and the port it talked to, so that neither another extension
    nor a program in between can have its own key accepted under this code.
    """
    digest = hashlib.sha256(f"connect-helper pairing\n{key_hash}\n{origin}\n{port}".encode()).digest()
    letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:_CODE_LENGTH])
    return f"{letters[:4]}-{letters[4:]}"


def helper_proof(key_hash: str, nonce: str, port: int) -> str:
    """What only the paired helper can answer to a fresh nonce; good for the one port it was asked on.

    Raises InvalidRequest for a nonce that is not 16 to 64 bytes in hex.
    """
    if not _NONCE.fullmatch(nonce):
        raise InvalidRequest("nonce must be 16 to 64 bytes in hex.", field="nonce")
    message = f"connect-helper proof\n{nonce}\n{port}".encode()
    return hmac.new(bytes.fromhex(key_hash), message, hashlib.sha256).hexdigest()


class PairingBook:
    """The extensions paired so far. Keeping them on disk is the caller's work."""

    def __init__(self, paired: Iterable[PairedExtension] = ()) -> None:
        self._paired = {one.key_hash: one for one in paired}

    def add(self, extension: PairedExtension) -> None:
        """Raises WrongState when there are too many already, or the key is another extension's."""
        known = self._paired.get(extension.key_hash)
        if known is None and len(self._paired) >= PAIRED_LIMIT:
            raise WrongState("So many browser extensions are paired that one has to be removed first.")
        if known is not None and known.origin != extension.origin:
            raise WrongState("Another browser extension is paired with this key.")
        self._paired[extension.key_hash] = extension

    def by_key(self, key: str) -> PairedExtension | None:
        """The extension whose key this is."""
        if not _KEY.fullmatch(key):
            return None
        return self._paired.get(hashlib.sha256(key.encode()).hexdigest())

    def by_hash(self, key_hash: str) -> PairedExtension | None:
        return self._paired.get(key_hash)

    def forget(self, extension_id: str) -> PairedExtension | None:
        """Forget one by its `id`; None when there is none."""
        found = next((one for one in self._paired.values() if one.id == extension_id), None)
        return self._paired.pop(found.key_hash) if found else None

    def all(self) -> list[PairedExtension]:
        """The oldest first."""
        return sorted(self._paired.values(), key=lambda one: one.since)

    def to_json(self) -> list[dict[str, Any]]:
        """Return [{"key_hash": "...", "origin": "chrome-extension://...", "browser", "since"}, ...]."""
        return [asdict(one) for one in self.all()]

    @classmethod
    def from_json(cls, data: Any) -> PairingBook:
        """Read what `to_json` wrote. An entry that is not whole is left out: it has to be paired again."""
        entries = data if isinstance(data, list) else []
        return cls(one for one in map(_entry, entries) if one is not None)


def _entry(data: Any) -> PairedExtension | None:
    if not isinstance(data, Mapping):
        return None
    key_hash, origin, browser, since = (data.get(name) for name in ("key_hash", "origin", "browser", "since"))
    if not (isinstance(key_hash, str) and _HASH.fullmatch(key_hash)):
        return None
    if not (isinstance(origin, str) and is_extension(origin) and isinstance(browser, str)):
        return None
    if not isinstance(since, (int, float)) or isinstance(since, bool):
        return None
    return PairedExtension(key_hash, origin, browser, float(since))
