"""Encryption at rest: which files it concerns, with which passphrase, under which names.

Uploads are encrypted and downloads decrypted on this machine, in the open age format with a passphrase
(age-encryption.org/v1, scrypt recipient). An encrypted file has `.age` appended to its name; files of
other programs, `.aspera-env` among them, cannot be opened. Source: transfer spec reference, section 2.14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import SecretStr

from connect_helper.errors import InvalidRequest, UnsafeName
from connect_helper.spec.lenient import as_bool, as_text, is_unset
from connect_helper.spec.names import NAME_LIMIT, display
from connect_helper.spec.words import Direction, flag, pick

SUFFIX: Final = b".age"
FOREIGN_SUFFIX: Final = b".aspera-env"
SALT_BYTES: Final = 16
_PASSPHRASE_LIMIT: Final = 1_024  # characters
_PASSPHRASES: Final = ("content_protection_password", "content_protection_passphrase")
Action = Literal["encrypt", "decrypt"]
_FITTING: Final[Mapping[Direction, Action]] = {"send": "encrypt", "receive": "decrypt"}


@dataclass(frozen=True, slots=True)
class Protection:
    """What is done to every file of a transfer."""

    action: Action | None = None
    passphrase: SecretStr | None = None  # None with an action: ask the user
    strict: bool = False  # fail_bad_filepass: a wrong passphrase ends the transfer, not only the file

    @property
    def needs_passphrase(self) -> bool:
        """Whether the user must be asked."""
        return self.action is not None and self.passphrase is None


def read_action(value: Any, field: str, direction: Direction) -> Action | None:
    """Read `content_protection`: a word, or a switch that means the one that fits the direction.

    The word for the other direction means nothing here and gives None. Raises InvalidRequest.
    """
    fitting = _FITTING[direction]
    if is_unset(value):
        return None
    if value in ("encrypt", "decrypt"):
        return fitting if value == fitting else None
    try:
        return fitting if as_bool(value, field) else None
    except InvalidRequest:
        raise InvalidRequest(f'"{field}" must be "encrypt" or "decrypt".', field=field) from None


def parse_protection(raw: Mapping[str, Any], direction: Direction) -> Protection:
    """Read the fields of content protection.

    Raises InvalidRequest naming the field. A missing passphrase is asked for, and so is one of length 0,
    which is not set (section 0.1) and would protect nothing.
    """
    action = read_action(raw.get("content_protection"), "content_protection", direction)
    strict = flag(raw, "fail_bad_filepass")
    if action is None:
        return Protection(None, None, strict)
    return Protection(action, read_passphrase(raw), strict)


def read_passphrase(raw: Mapping[str, Any]) -> SecretStr | None:
    """Read the passphrase of a spec or a resume request; None: ask for it. Raises InvalidRequest."""
    field, value = pick(raw, *_PASSPHRASES)
    text = as_text(value, field, limit=_PASSPHRASE_LIMIT)
    return SecretStr(text) if text is not None else None


def protected_name(name: bytes) -> bytes:
    """Return the name under which an encrypted file is stored; a name that ends so already gets it twice.

    Raises UnsafeName when it does not fit: a shortened name could not be given back.
    """
    if len(name) + len(SUFFIX) > NAME_LIMIT:
        raise UnsafeName(
            f'The name "{display(name)}" is too long to be encrypted: at most {NAME_LIMIT - len(SUFFIX)} '
            "bytes. Rename it at the source."
        )
    return name + SUFFIX


def opened_name(name: bytes) -> bytes | None:
    """Return the name of the decrypted file; None for a file that is not encrypted and passes unchanged."""
    bare = name.removesuffix(SUFFIX)
    return None if bare == name or bare in (b"", b".", b"..") else bare


def is_foreign(name: bytes) -> bool:
    """Tell whether a file to be decrypted is in the private format of other clients.

    Such a file fails with a sentence of its own instead of arriving encrypted as if all were well.
    """
    return name.endswith(FOREIGN_SUFFIX) and name != FOREIGN_SUFFIX
