"""Has the server hash a file while more of it is on its way, and compares its blocks with ours.

Only our own server is asked: it reads what has just passed from memory, beside everything else it does. Where
it tells nothing, or too late, the size has to do; where it tells something else, the file is damaged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from connect_helper.errors import ChecksumMismatch, ConnectionLost, TransferError
from connect_helper.spec.block_hash import BLOCK_HASH, new_hash
from connect_helper.spec.names import display
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes
from connect_helper.transports.error_map import Side
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.sftp_digest import PATIENCE, patience_s
from connect_helper.wire.writer import Data

_log = logging.getLogger(__name__)

STEP: Final = 4 * RECORD_BLOCK  # bytes of one question
UNDER_WAY: Final = 2  # questions at a time
TRIES: Final = 3  # over one connection after the other, when they break


class Proof:
    """What both ends have of one file of `size` bytes; `path` is its name at the server."""

    def __init__(self, lanes: Lanes, path: bytes, side: Side, size: int) -> None:
        self._lanes = lanes
        self._path = path
        self._side = side
        self._size = size
        self._asked = 0  # bytes, from the first one on
        self._answers: list[asyncio.Task[bytes]] = []

    def reach(self, certain: int) -> None:
        """Hear that the server has everything before `certain`, so that it can be asked about it."""
        while self._asked < certain and (certain == self._size or certain - self._asked >= STEP):
            if sum(not answer.done() for answer in self._answers) >= UNDER_WAY:
                return
            length = min(STEP, self._size - self._asked)
            asking = self._ask(self._asked, length)
            self._answers.append(asyncio.create_task(asking, name=f"digests at {self._asked}"))
            self._asked += length

    async def holds(self, hashes: BlockHashes) -> bool:
        """Tell whether the server has what was hashed here, all of it; False: it tells nothing.

        Raises ChecksumMismatch, ConnectionLost.
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

    async def _ask(self, start: int, length: int) -> bytes:
        """The digest of each block; empty where the server does not tell it."""
        for tries_left in reversed(range(TRIES)):
            lane = self._lanes.lightest()
            lane.users += 1
            try:
                async with asyncio.timeout(PATIENCE * patience_s(length)):
                    return await lane.call(
                        lane.wire.check_file(self._path, BLOCK_HASH, start, length, RECORD_BLOCK),
                        self._side,
                        self._path,
                    )
            except ConnectionLost:
                if not tries_left:
                    raise
                self._lanes.lost(lane)
            except (TransferError, TimeoutError) as error:
                _log.info("no digests of %s by the server: %s", display(self._path), error)
                return b""
            finally:
                lane.users -= 1
        return b""


def same_digest(path: bytes, data: Data, told: bytes) -> bool:
    """Tell whether a small file's hash at the server (`told`) is that of `data`; False: it told none.

    Raises ChecksumMismatch.
    """
    if not told:
        return False
    ours = new_hash(BLOCK_HASH)
    ours.update(data)
    if told != ours.digest():
        raise damaged(path)
    return True


def damaged(path: bytes) -> ChecksumMismatch:
    """The error for a file of which the two ends have something different."""
    return ChecksumMismatch(f"{display(path)} arrived damaged; it has to be transferred again.")


def proof_of(lanes: Lanes, path: bytes, side: Side, size: int, hashes: BlockHashes) -> Proof | None:
    """A proof for a file that is hashed block by block; None where the server is of no help.

    Nor where the digest of the whole file is wanted, which is compared in any case.
    """
    tells = lanes.first.wire.tells_digests
    return None if not tells or hashes.asked_for else Proof(lanes, path, side, size)
