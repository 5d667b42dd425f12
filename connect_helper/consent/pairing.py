"""Browser extensions that the user paired with this helper, and whose word for a page's origin is taken.

Each shares a secret with the helper that neither ever sends (`key_exchange` makes it). What goes over the
wire is the pairing's `id`, nonces, and HMACs keyed by the secret: first the helper proves itself, so that
nobody who took over its port hears more than an id and a nonce; then the extension does; and both derive the
session's token.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from connect_helper.consent.origins import WebOrigin
from connect_helper.errors import CallerNotIdentified, InvalidRequest, WrongState

PAIRED_LIMIT: Final = 32
_SECRET: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NONCE: Final = re.compile(r"[0-9a-f]{32,128}", re.ASCII)
_EXTENSIONS: Final = frozenset({"chrome-extension", "moz-extension"})


@dataclass(frozen=True, slots=True)
class PairedExtension:
    """One browser extension, in one browser."""

    secret: str = field(repr=False)  # 32 bytes in hex, shared with the extension
    origin: str  # "chrome-extension://ab...", as the browser sends it
    browser: str  # "Chromium 156 on Linux", in the extension's own words
    since: float  # seconds since the epoch

    @property
    def id(self) -> str:
        """Names the pairing, on the wire and in the helper's own pages; opens nothing."""
        return _mac(self.secret, "connect-helper pairing")[:32]


def is_extension(origin: str) -> bool:
    """Whether an Origin header is that of a browser extension: no web page can send one."""
    try:
        return WebOrigin.parse(origin).scheme in _EXTENSIONS
    except CallerNotIdentified:
        return False


@dataclass(frozen=True, slots=True)
class Greeting:
    """One meeting of extension and helper. What is proved in it is good for nothing in another.

    Raises InvalidRequest for a nonce that is not 16 to 64 bytes in hex.
    """

    nonce: str  # fresh, from the extension
    run: str  # the helper's own, fresh with each run
    port: int  # the one the helper was asked on: nobody on another port can pass the proof on

    def __post_init__(self) -> None:
        if not _NONCE.fullmatch(self.nonce):
            raise InvalidRequest("nonce must be 16 to 64 bytes in hex.", field="nonce")

    def helper_proof(self, secret: str) -> str:
        """What only the paired helper can answer."""
        return self._mac(secret, "helper")

    def extension_proof(self, secret: str) -> str:
        """What only the paired extension can answer to that."""
        return self._mac(secret, "extension")

    def token(self, secret: str) -> str:
        """The bearer of the requests that follow. Both derive it; it is in no answer."""
        return self._mac(secret, "token")

    def _mac(self, secret: str, purpose: str) -> str:
        return _mac(secret, f"connect-helper {purpose}\n{self.nonce}\n{self.run}\n{self.port}")


def _mac(secret: str, message: str) -> str:
    return hmac.digest(bytes.fromhex(secret), message.encode(), "sha256").hex()


class PairingBook:
    """The extensions paired so far. Keeping them on disk is the caller's work."""

    def __init__(self, paired: Iterable[PairedExtension] = ()) -> None:
        self._paired = {one.id: one for one in paired}

    def add(self, extension: PairedExtension) -> None:
        """Raises WrongState when there are too many already."""
        if extension.id not in self._paired and len(self._paired) >= PAIRED_LIMIT:
            raise WrongState("So many browser extensions are paired that one has to be removed first.")
        self._paired[extension.id] = extension

    def by_id(self, extension_id: str) -> PairedExtension | None:
        return self._paired.get(extension_id)

    def forget(self, extension_id: str) -> PairedExtension | None:
        """Forget one by its `id`; None when there is none."""
        return self._paired.pop(extension_id, None)

    def all(self) -> list[PairedExtension]:
        """The oldest first."""
        return sorted(self._paired.values(), key=lambda one: one.since)

    def to_json(self) -> list[dict[str, Any]]:
        """Return [{"secret": "...", "origin": "chrome-extension://...", "browser", "since"}, ...].

        For a private file only.
        """
        return [asdict(one) for one in self.all()]

    @classmethod
    def from_json(cls, data: Any) -> PairingBook:
        """Read what `to_json` wrote. An entry that is not whole is left out: it has to be paired again."""
        entries = data if isinstance(data, list) else []
        return cls(one for one in map(_entry, entries) if one is not None)


def _entry(data: Any) -> PairedExtension | None:
    if not isinstance(data, Mapping):
        return None
    secret, origin, browser, since = (data.get(name) for name in ("secret", "origin", "browser", "since"))
    if not (isinstance(secret, str) and _SECRET.fullmatch(secret)):
        return None
    if not (isinstance(origin, str) and is_extension(origin) and isinstance(browser, str)):
        return None
    if not isinstance(since, (int, float)) or isinstance(since, bool):
        return None
    return PairedExtension(secret, origin, browser, float(since))
