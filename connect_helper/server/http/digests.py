"""SHA-256 of files, told in the headers of RFC 9530, and hashed once for each version of a file.

And the digests of single blocks, which nobody keeps: who fetches a file asks for each of them once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final, Protocol, Self

from aiohttp import web

from connect_helper.server.http.problems import Problem
from connect_helper.server.http.threads import in_thread
from connect_helper.server.turns import Turns
from connect_helper.spec import block_hash

KEPT: Final = 10_000  # digests of file versions
AT_ONCE: Final = 2  # files hashed at the same time: others need the disk and the cores too
_STEP: Final = 32 * 1024 * 1024  # bytes between two looks at whether the request is still wanted
_READ: Final = 2 * 1024 * 1024
_WANTED: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*([0-9]{1,2})\s*(?:$|[,;])", re.ASCII)


def wants_repr_digest(request: web.Request) -> bool:
    """Whether the caller asks for a SHA-256; a preference, 0 to 10, of 0 means that it does not want one."""
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
                digest = hashlib.sha256(usedforsecurity=False)
                self._known[etag] = await self._made(digest, handle, 0, size, wanted)
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[etag]

    async def of_blocks(
        self, handle: int, start: int, length: int, block: int, wanted: Callable[[], bool]
    ) -> list[bytes]:
        """The `BLOCK_HASH` of each `block` bytes from `start` on, the last one of what is left of `length`.

        Raises as `of` does.
        """
        digests: list[bytes] = []
        for at in range(start, start + length, block):
            digest = block_hash.new_hash(block_hash.BLOCK_HASH)
            digests.append(await self._made(digest, handle, at, min(block, start + length - at), wanted))
        return digests

    async def _made(
        self, digest: block_hash.Hash, handle: int, start: int, length: int, wanted: Callable[[], bool]
    ) -> bytes:
        end = start + length
        for at in range(start, end, _STEP):
            async with self._places:  # for one step: who asks about a small file does not wait for a huge one
                if not wanted():
                    raise ConnectionResetError("the client has gone")
                await in_thread(self._disk, partial(_feed, digest, handle, at, min(_STEP, end - at)))
        return digest.digest()


def _feed(digest: block_hash.Hash, handle: int, start: int, length: int) -> None:
    """Hash a piece of an open file."""
    end = start + length
    while start < end:
        data = os.pread(handle, min(_READ, end - start), start)
        if not data:
            raise Problem(409, "changed", "The file changes at the moment; try again later.")
        digest.update(data)
        start += len(data)
