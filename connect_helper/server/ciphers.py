"""The ciphers that transfer specs name, and how much encryption an account demands. Pure.

They are names of key lengths: over SSH and HTTPS the two ends agree on the cipher itself, and `none` means
HTTP without encryption (Aspera server configuration reference, sections 3.6 and 4.2).
"""

from __future__ import annotations

import re
from typing import Final, Literal

Cipher = Literal["none", "aes-128", "aes-192", "aes-256"]
CIPHERS: Final[tuple[Cipher, ...]] = ("none", "aes-128", "aes-192", "aes-256")
USUAL: Final[Cipher] = "aes-128"  # where nothing is asked for
_NAMED: Final = re.compile(r"aes-?(128|192|256)(?:-?(?:cfb|gcm))?", re.ASCII)


def chosen(wished: str | None, lowest: Cipher) -> Cipher:
    """The cipher that was wished for or the usual one, raised to `lowest` where it is weaker."""
    return max(_known(wished or ""), lowest, key=CIPHERS.index)


def _known(wished: str) -> Cipher:
    """The length of key meant by any of a cipher's spellings: "aes-256", "AES-256-GCM", "aes256gcm"."""
    named = _NAMED.fullmatch(wished.lower())
    plain = wished.lower() if named is None else f"aes-{named[1]}"
    return next((cipher for cipher in CIPHERS if cipher == plain), USUAL)
