"""AES-GCM of the SSH library, used past it: the key of one direction and its nonces (RFC 5647)."""

from __future__ import annotations

from typing import Any, Final

from asyncssh.encryption import GCMEncryption
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

WINDOW_ADJUST: Final = 93  # RFC 4254 section 9
CHANNEL_DATA: Final = 94
HEADER: Final = 10  # bytes of padding length, type, channel and data length before the data of a packet
TAG: Final = 16  # bytes of an AES-GCM tag


class Counter:
    """The key of one direction, and its nonce: 4 fixed bytes and a count (RFC 5647 section 7.1)."""

    __slots__ = ("_cipher", "_count", "_fixed", "key")

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self.key = AESGCM(cipher._key)
        self._fixed = bytes(cipher._iv[:4])
        self._count = 0

    def load(self) -> None:
        self._count = int.from_bytes(self._cipher._iv[4:], "big")

    def next(self) -> bytes:
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    def store(self) -> None:
        self._cipher._iv = self._fixed + self._count.to_bytes(8, "big")

    def of(self, cipher: object) -> bool:
        return cipher is self._cipher


def gcm_of(encryption: Any) -> Any:
    """The library's cipher object, None when it is not AES-GCM."""
    return encryption._cipher if type(encryption) is GCMEncryption else None
