"""The words that fields of a transfer spec may hold, with their older spellings, and how they are read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, as_int, as_text, is_unset
from connect_helper.spec.overwrite import Overwrite, Resume

Direction = Literal["send", "receive"]
Authentication = Literal["password", "token"]
RatePolicy = Literal["fixed", "high", "fair", "low"]
Links = Literal["follow", "copy", "copy+force", "skip"]
Checksum = Literal["none", "md5", "sha1", "sha-256", "sha-384", "sha-512"]

Word = TypeVar("Word")
RATE_LIMIT: Final = 1_000_000_000  # kbit/s, that is 1 Tbit/s; above it is a mistake

DIRECTIONS: Final[Mapping[str, Direction]] = {"send": "send", "receive": "receive"}
AUTHENTICATION: Final[Mapping[str, Authentication]] = {"password": "password", "token": "token"}
RATE_POLICIES: Final[Mapping[str, RatePolicy]] = {
    "fixed": "fixed",
    "high": "high",
    "fair": "fair",
    "low": "low",
}
LINKS: Final[Mapping[str, Links]] = {
    "follow": "follow",
    "copy": "copy",
    "copy+force": "copy+force",
    "skip": "skip",
}
OVERWRITE: Final[Mapping[str, Overwrite]] = {
    "always": "always",
    "none": "none",
    "never": "none",
    "diff": "diff",
    "older": "older",
    "diff+older": "diff+older",
}
RESUME: Final[Mapping[str, Resume]] = {
    "none": "none",
    "attributes": "attributes",
    "attrs": "attributes",
    "sparse_checksum": "sparse_checksum",
    "sparse_csum": "sparse_checksum",
    "full_checksum": "full_checksum",
    "full_csum": "full_checksum",
    "0": "none",
    "1": "attributes",
    "2": "sparse_checksum",
    "3": "full_checksum",
}
CHECKSUMS: Final[Mapping[str, Checksum]] = {
    "none": "none",
    "md5": "md5",
    "sha1": "sha1",
    "sha-1": "sha1",
    "sha-256": "sha-256",
    "sha256": "sha-256",
    "sha-384": "sha-384",
    "sha384": "sha-384",
    "sha-512": "sha-512",
    "sha512": "sha-512",
}
_CIPHER: Final = re.compile(r"none|aes-?(?:128|192|256)(?:-?(?:cfb|gcm))?")


def pick(raw: Mapping[str, Any], *names: str) -> tuple[str, Any]:
    """Return the first of `names` (newest spelling first) that is set, and its value; or the first, None."""
    return next(((name, raw[name]) for name in names if not is_unset(raw.get(name))), (names[0], None))


def word(raw: Mapping[str, Any], words: Mapping[str, Word], *names: str) -> Word | None:
    """Read one of `words` under the newest spelling that is set; None when none is.

    Raises InvalidRequest listing the words.
    """
    name, value = pick(raw, *names)
    text = as_text(value, name)
    if text is None:
        return None
    if text not in words:
        raise InvalidRequest(f'"{name}" must be one of: {", ".join(words)}.', field=name)
    return words[text]


def flag(raw: Mapping[str, Any], *names: str) -> bool:
    """Read a switch under the newest spelling that is set; off when none is."""
    name, value = pick(raw, *names)
    return as_bool(value, name) is True


def rate(raw: Mapping[str, Any], name: str) -> int | None:
    """Read a rate in kbit/s; None means no limit, which is also what 0 says."""
    return rate_number(raw.get(name), name) or None


def rate_number(value: Any, name: str) -> int | None:
    """Read a rate as `as_int` does, rounding what pages compute: 0.3 * 1000 is 300.00000000000006 to them."""
    if isinstance(value, float) and math.isfinite(value):
        value = max(1, round(value)) if value > 0 else value
    return as_int(value, name, maximum=RATE_LIMIT)


def check_locks(raw: Mapping[str, Any]) -> None:
    """Raise InvalidRequest when a lock of the user's controls is neither on nor off."""
    for name in ("rate_policy", "policy", "target_rate", "target_rate_kbps", "min_rate", "min_rate_kbps"):
        as_bool(raw.get(f"lock_{name}"), f"lock_{name}")


def check_cipher(raw: Mapping[str, Any]) -> None:
    """Raise InvalidRequest when `cipher` or `cipher_allowed` is none that any client knows."""
    for name in ("cipher", "cipher_allowed"):
        text = as_text(raw.get(name), name)
        if text is not None and not _CIPHER.fullmatch(text.lower()):
            raise InvalidRequest(
                f'"{name}" must be "none" or "aes-128", "aes-192", "aes-256", each also with "-cfb", "-gcm".',
                field=name,
            )
