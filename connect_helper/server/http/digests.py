"""SHA-256 of files, told in the headers of RFC 9530, and hashed once for each version of a file."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, Protocol, Self

from aiohttp import web

from connect_helper.server.http.problems import Problem
from connect_helper.server.turns import Turns

KEPT: Final = 10_000  # digests of file versions
AT_ONCE: Final = 2  # files hashed at the same time: others need the disk and the cores too
_STEP: Final = 32 * 1024 * 1024  # bytes between two looks at whether the request is still wanted
_READ: Final = 2 * 1024 * 1024
_WANTED: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*([0-9]+)\s*(?:$|[,;])", re.ASCII)


def wants_repr_digest(request: web.Request) -> bool:
    """Whether the caller asks for a SHA-256; a preference of 0 means that it does not want one."""
    match = _WANTED.search(request.headers.get("Want-Repr-Digest", ""))
    return match is not None and int(match[1]) > 0


def repr_digest(digest: bytes) -> str:
    """The value of Repr-Digest for a SHA-256."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


class Hash(Protocol):
    """A digest in the making, as hashlib gives it."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Self: ...


class Digests:
    """Remembers the digest of each file version by its strong tag."""

    def __init__(self, disk: Executor) -> None:
        self._disk = disk
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._files = Turns()  # by tag: who waits for a digest that another request has made takes that
        self._places = asyncio.Semaphore(AT_ONCE)

    async def of(self, handle: int, etag: str, size: int, wanted: Callable[[], bool]) -> bytes:
        """The SHA-256 of an open file of `size` bytes; `wanted` tells whether somebody still waits for it.

        Raises Problem when the file is shorter by now, and ConnectionResetError when nobody waits.
        """
        async with self._files.of(etag):
            if etag not in self._known:
                self._known[etag] = await self._made(handle, size, wanted)
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[etag]

    async def _made(self, handle: int, size: int, wanted: Callable[[], bool]) -> bytes:
        digest = hashlib.sha256(usedforsecurity=False)
        async with self._places:
            for start in range(0, size, _STEP):
                if not wanted():
                    raise ConnectionResetError("the client has gone")
                await asyncio.get_running_loop().run_in_executor(
                    self._disk, _feed, digest, os.dup(handle), start, min(_STEP, size - start)
                )
        return digest.digest()


def _feed(digest: Hash, handle: int, start: int, length: int) -> None:
    """Hash a piece of a file; closes `handle`, a duplicate, so that the caller may end before we do."""
    try:
        end = start + length
        while start < end:
            data = os.pread(handle, min(_READ, end - start), start)
            if not data:
                raise Problem(409, "changed", "The file changes at the moment; try again later.")
            digest.update(data)
            start += len(data)
    finally:
        os.close(handle)
