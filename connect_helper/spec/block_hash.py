"""How the blocks of a file on its way are hashed, where both ends, or two sessions, compare what they have.

XXH3 with 128 bits: it notices every accident, for a quarter of what SHA-256 costs. It is no signature, and
need be none: who could forge a block could as well change the file once it has its name. Where somebody asks
for the digest of a file, it is one of those that everybody knows.
"""

from __future__ import annotations

import hashlib
from typing import Final, Protocol, Self

import xxhash

BLOCK_HASH: Final = "xxh128"
SHA256: Final = "sha256"
IN_HEADERS: Final = {SHA256: "sha-256", BLOCK_HASH: "xxh128"}  # the second is none of RFC 9530's


class Hash(Protocol):
    """What the hashes of `hashlib` and `xxhash` have in common."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> Self: ...


def new_hash(name: str) -> Hash:
    """A hash of nothing so far; `name` is `BLOCK_HASH` or one of hashlib. Raises ValueError."""
    return xxhash.xxh3_128() if name == BLOCK_HASH else hashlib.new(name, usedforsecurity=False)
