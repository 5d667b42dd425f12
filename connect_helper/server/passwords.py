"""Passwords at rest and at login: argon2id, RFC 9106's set for little memory (64 MiB, 3 passes, 4 lanes).

Hashing is meant to be slow: it runs in threads of its own, four at once, and a crowd beyond what these get
done in some seconds is turned away, so that a storm of logins cannot take the machine from the transfers.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from connect_helper.errors import TooManyRequests

MAX_BYTES: Final = 1024
_AT_ONCE: Final = 4
_WAITING: Final = 64  # some 3 s of work
_HASHER: Final = argon2.PasswordHasher.from_parameters(argon2.profiles.RFC_9106_LOW_MEMORY)


def hash_password(password: str) -> str:
    """The text for `password_hash`. Slow. Raises ValueError, with a sentence, for one that is no good."""
    try:
        size = len(password.encode())
    except UnicodeEncodeError:  # lone surrogates: bytes of a file or a terminal in another encoding
        raise ValueError("A password must be UTF-8 text.") from None
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"A password has 1 to {MAX_BYTES} bytes.")
    return _HASHER.hash(password)


def is_hash(text: str) -> bool:
    """Tell whether `text` is an argon2id hash that logins can be checked against."""
    try:
        facts = argon2.extract_parameters(text)
    except InvalidHashError:
        return False
    return facts.type is argon2.Type.ID


@functools.cache
def _nobodys_hash() -> str:
    return _HASHER.hash(secrets.token_hex(16))


def matches(known: str | None, password: str) -> bool:
    """Compare in the same time whether there is a hash or not. Slow: call it in a thread."""
    if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return False
    try:
        return _HASHER.verify(known or _nobodys_hash(), password) and known is not None
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


class PasswordChecker:
    """Checks passwords in its threads. Close it when the server ends."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="password")
        self._under_way = 0

    async def check(self, known: str | None, password: str) -> bool:
        """Tell whether `password` fits the hash; None stands for an unknown user or one without a password.

        Raises TooManyRequests when too many wait already.
        """
        if self._under_way >= _AT_ONCE + _WAITING:
            raise TooManyRequests("Too many logins at once. Try again in a moment.", retry_after=3)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, matches, known, password)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
