"""SHA-256 of files, told in the headers of RFC 9530, and hashed once for each version of a file.

And the digests of single blocks, which nobody keeps: who fetches a file asks for each of them once.
"""

from __future__ import annotations

import base64
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Final

from aiohttp import web

from connect_helper.server.fair_turns import FairTurns
from connect_helper.server.http.problems import Problem
from connect_helper.server.http.threads import in_thread
from connect_helper.server.turns import Turns
from connect_helper.spec import block_hash
from connect_helper.spec.block_hash import SHA256, Hash

KEPT: Final = 10_000  # digests of file versions
AT_ONCE: Final = 2  # files hashed at the same time: others need the disk and the cores too
MOST_ASKED: Final = 128  # questions that one token or network may have open at a time
_STEP: Final = 32 * 1024 * 1024  # bytes between two looks at whether the request is still wanted
_READ: Final = 2 * 1024 * 1024
_WANTED: Final = re.compile(r"(?:^|,)\s*(sha-256|xxh128)\s*=\s*([0-9]{1,2})\s*(?=$|[,;])", re.ASCII)
_ALGORITHMS: Final = {name: algorithm for algorithm, name in block_hash.IN_HEADERS.items()}


def wanted_digest(request: web.Request, offered: Collection[str] = (SHA256,)) -> str:
    """Which of the `offered` algorithms the caller asks for a digest by, the first of those it likes best.

    "": none; a preference, 0 to 10, of 0 means that it does not want one (RFC 9530, section 4).
    """
    best, wanted = 0, ""
    for name, preference in _WANTED.findall(request.headers.get("Want-Repr-Digest", "")):
        if int(preference) > best and _ALGORITHMS[name] in offered:
            best, wanted = int(preference), _ALGORITHMS[name]
    return wanted


def repr_digest(digest: bytes, algorithm: str = SHA256) -> str:
    """The value of Repr-Digest."""
    return f"{block_hash.IN_HEADERS[algorithm]}=:{base64.b64encode(digest).decode()}:"


class TooManyDigests(Problem):
    """Somebody asks for so many digests at a time that further questions are put off."""

    def __init__(self) -> None:
        super().__init__(
            429,
            "too_many_digests",
            "Many digests are being made for this token or address; ask again in a while.",
            headers={"Retry-After": "5"},
        )


class Digests:
    """Remembers the digest of each file version by its strong tag.

    What they are made of is read in steps, and the steps take turns: those of each `who` stand in one line.
    """

    def __init__(self, disk: Executor) -> None:
        self._disk = disk
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._files = Turns()  # who waits for a digest that another request makes takes that
        self._steps = FairTurns(AT_ONCE)
        self._asked: Counter[Hashable] = Counter()  # questions under way, by who asks

    async def of(self, who: Hashable, handle: int, etag: str, size: int, wanted: Callable[[], bool]) -> bytes:
        """The SHA-256 of an open file of `size` bytes; `wanted` tells whether somebody still waits for it.

        Raises Problem when the file is shorter by now, TooManyDigests, and ConnectionResetError when nobody
        waits.
        """
        if etag in self._known:
            return self._known[etag]
        # Not by the tag alone: another's requests may stand far behind in the line of theirs.
        with self._counted(who):
            async with self._files.of(f"{etag} {who}"):
                if etag not in self._known:
                    digest = block_hash.new_hash(SHA256)
                    self._known[etag] = await self._made(who, digest, handle, 0, size, wanted)
                    if len(self._known) > KEPT:
                        self._known.popitem(last=False)
                return self._known[etag]

    async def of_blocks(
        self, who: Hashable, handle: int, start: int, length: int, block: int, wanted: Callable[[], bool]
    ) -> list[bytes]:
        """The `BLOCK_HASH` of each `block` bytes from `start` on, the last one of what is left of `length`.

        Raises as `of` does.
        """
        digests: list[bytes] = []
        with self._counted(who):
            for at in range(start, start + length, block):
                digest, size = block_hash.new_hash(block_hash.BLOCK_HASH), min(block, start + length - at)
                digests.append(await self._made(who, digest, handle, at, size, wanted))
        return digests

    @contextmanager
    def _counted(self, who: Hashable) -> Iterator[None]:
        if self._asked[who] >= MOST_ASKED:
            raise TooManyDigests
        self._asked[who] += 1
        try:
            yield
        finally:
            self._asked[who] -= 1
            if not self._asked[who]:
                del self._asked[who]

    async def _made(
        self,
        who: Hashable,
        digest: Hash,
        handle: int,
        start: int,
        length: int,
        wanted: Callable[[], bool],
    ) -> bytes:
        end = start + length
        for at in range(start, end, _STEP):
            # For one step: who asks about a small file does not wait for a huge one.
            await self._steps.take(who)
            try:
                if not wanted():
                    raise ConnectionResetError("the client has gone")
                await in_thread(self._disk, partial(_feed, digest, handle, at, min(_STEP, end - at)))
            finally:
                self._steps.give_back()
        return digest.digest()


def _feed(digest: Hash, handle: int, start: int, length: int) -> None:
    """Hash a piece of an open file."""
    end = start + length
    while start < end:
        data = os.pread(handle, min(_READ, end - start), start)
        if not data:
            raise Problem(409, "changed", "The file changes at the moment; try again later.")
        digest.update(data)
        start += len(data)
