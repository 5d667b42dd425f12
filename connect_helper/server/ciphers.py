"""The ciphers that transfer specs name, and how much encryption an account demands. Pure.

They are names of key lengths: over SSH and HTTPS the two ends agree on the cipher itself, and `none` means
HTTP without encryption (Aspera server configuration reference, sections 3.6 and 4.2).
"""

from __future__ import annotations

from typing import Final, Literal

Cipher = Literal["none", "aes-128", "aes-192", "aes-256"]
CIPHERS: Final[tuple[Cipher, ...]] = ("none", "aes-128", "aes-192", "aes-256")
USUAL: Final[Cipher] = "aes-128"  # where nothing is asked for


def chosen(wished: str | None, lowest: Cipher) -> Cipher:
    """The cipher that was wished for or the usual one, raised to `lowest` where it is weaker."""
    known = next((cipher for cipher in CIPHERS if cipher == wished), USUAL)
    return max(known, lowest, key=CIPHERS.index)
