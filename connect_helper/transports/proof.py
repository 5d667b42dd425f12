"""Has the server hash a file while more of it is on its way, and compares its blocks with ours.

Only our own server is asked: it reads what has just passed from memory, beside everything else it does. Where
it tells nothing, or too late, the size has to do; where it tells something else, the file is damaged.
"""

from __future__ import annotations

import asyncio
import logging
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
        self._asked = 0  # bytes, from the first one on
        self._answers: list[asyncio.Task[bytes]] = []

    def reach(self, certain: int) -> None:
        """Hear that the server has everything before `certain`, so that it can be asked about it."""
        while self._asked < certain and (certain == self._size or certain - self._asked >= STEP):
            if sum(not answer.done() for answer in self._answers) >= UNDER_WAY:
                return
            length = min(STEP, self._size - self._asked)
            asking = self._told(self._asked, length)
            self._answers.append(asyncio.create_task(asking, name=f"digests at {self._asked}"))
            self._asked += length

    async def holds(self, hashes: BlockHashes) -> bool:
        """Tell whether the server has what was hashed here, all of it; False: it tells nothing.

        Raises ChecksumMismatch, ConnectError, SourceChanged.
        """
        while self._asked < self._size:
            self.reach(self._size)
            left = [answer for answer in self._answers if not answer.done()]
            if left and self._asked < self._size:
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        theirs = [await answer for answer in self._answers]
        if not all(theirs):
            return False
        tail = hashes.mark().tail
        if b"".join(theirs) != bytes.fromhex("".join([*hashes.blocks, tail])):
            raise damaged(self._path)
        return bool(theirs)

    async def close(self) -> None:
        """Ask no more."""
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    async def _told(self, start: int, length: int) -> bytes:
        try:
            return await self._ask(start, length)
        except (ConnectError, SourceChanged):
            raise
        except (TransferError, TimeoutError) as error:
            _log.info("no digests of %s by the server: %s", display(self._path), error)
            return b""


def damaged(path: bytes) -> ChecksumMismatch:
    """The error for a file of which the two ends have something different."""
    return ChecksumMismatch(f"{display(path)} arrived damaged; it has to be transferred again.")
