"""Has the server hash a file while more of it is on its way, and compares its blocks with ours.

Only our own server is asked: it reads what has just passed from memory, beside everything else it does. Where
it tells nothing, or too late, the size has to do; where it tells something else, the file is damaged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from connect_helper.errors import ChecksumMismatch, ConnectError, SourceChanged, TransferError
from connect_helper.spec.names import display
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes

_log = logging.getLogger(__name__)

STEP: Final = 4 * RECORD_BLOCK  # bytes of one question
UNDER_WAY: Final = 2  # questions at a time
PATIENCE: Final = 4  # times what hashing may take: others may be before us
START_S: Final = 20.0
SLOWEST_BYTES_PER_S: Final = 20_000_000

Ask = Callable[[int, int], Awaitable[bytes]]
"""Gets a place and a length in bytes; has the server tell the digest of each block there, empty: it does not.

What is raised means that too, but for ConnectError and SourceChanged.
"""


def patience_s(length: int) -> float:
    """Seconds that a good server may take to hash so many bytes."""
    return START_S + length / SLOWEST_BYTES_PER_S


class Proof:
    """What both ends have of one file of `size` bytes; `path` is its name at the server."""

    def __init__(self, ask: Ask, path: bytes, size: int) -> None:
        self._ask = ask
        self._path = path
        self._size = size
        self._certain = 0  # bytes
        self._asked = 0  # bytes, from the first one on
        self._told = bytearray()  # what the server has, so far without a gap
        self._answers: deque[asyncio.Task[bytes]] = deque()  # to the questions behind that
        self._open = 0  # of them
        self._tells = True  # as far as it was asked

    def reach(self, certain: int) -> None:
        """Hear that the server has everything before `certain`, so that it can be asked about it."""
        self._certain = max(self._certain, certain)
        while self._may_ask:
            length = min(STEP, self._size - self._asked)
            self._open += 1
            asking = self._answer(self._asked, length)
            self._answers.append(asyncio.create_task(asking, name=f"digests at {self._asked}"))
            self._asked += length

    @property
    def _may_ask(self) -> bool:
        if self._asked >= self._certain or self._open >= UNDER_WAY or not self._tells:
            return False
        return self._certain == self._size or self._certain - self._asked >= STEP

    async def holds(self, hashes: BlockHashes) -> bool:
        """Tell whether the server has what was hashed here, all of it; False: it tells nothing.

        Raises ChecksumMismatch, ConnectError, SourceChanged.
        """
        self.reach(self._size)
        while self._answers and self._tells:
            await self._answers[0]
            self._collect()
        if not self._tells:
            return False
        tail = hashes.mark().tail
        if self._told != bytes.fromhex("".join([*hashes.blocks, tail])):
            raise damaged(self._path)
        return bool(self._told)

    async def close(self) -> None:
        """Ask no more."""
        self._tells = False
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    def _collect(self) -> None:
        """Take what has been told; what was raised is left for who waits for it."""
        while self._answers and self._answers[0].done():
            if self._answers[0].cancelled() or self._answers[0].exception() is not None:
                return
            self._told += self._answers.popleft().result()

    async def _answer(self, start: int, length: int) -> bytes:
        """Ask, and then go on, for nobody may be there to do so: all may have arrived long ago."""
        told = b""
        try:
            told = await self._ask(start, length)
        except (ConnectError, SourceChanged):
            raise
        except (TransferError, TimeoutError) as error:
            _log.info("no digests of %s by the server: %s", display(self._path), error)
        finally:
            self._open -= 1
        self._tells = self._tells and bool(told)  # with a gap the rest proves nothing
        self._collect()
        self.reach(self._certain)
        return told


def damaged(path: bytes) -> ChecksumMismatch:
    """The error for a file of which the two ends have something different."""
    return ChecksumMismatch(f"{display(path)} arrived damaged; it has to be transferred again.")
