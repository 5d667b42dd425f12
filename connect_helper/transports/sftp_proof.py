"""What is compared over SFTP: blocks that the server hashes, and small files whose hash comes along."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import asyncssh

from connect_helper.errors import ConnectionLost, TransferError
from connect_helper.spec.block_hash import BLOCK_HASH, new_hash
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes
from connect_helper.transports.error_map import Side
from connect_helper.transports.lane import Lane
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.proof import PATIENCE, Proof, damaged, patience_s
from connect_helper.wire.writer import Data

TRIES: Final = 3  # over one connection after the other, when they break


async def _ask(lanes: Lanes, path: bytes, side: Side, over: Lane | None, start: int, length: int) -> bytes:
    """See `proof.Ask`. `over`: no other connection is asked."""
    lane = over or lanes.witness()
    for tries_left in reversed(range(TRIES)):
        lane.users += 1
        try:
            async with asyncio.timeout(PATIENCE * patience_s(length)):
                return await lane.call(
                    lane.wire.check_file(path, BLOCK_HASH, start, length, RECORD_BLOCK), side, path
                )
        except ConnectionLost:
            if not tries_left or lane is over:
                raise
            lanes.lost(lane)
            following = lanes.witness()
        except TransferError as error:
            if isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                lanes.first.wire.tells_digests = False  # an older server, that knows no such hash
                raise
            if not tries_left or lane in (over, lanes.first):
                raise
            following = lanes.first  # another machine may not have yet what this one has
        finally:
            lane.users -= 1
        lane = following
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


def proof_of(
    lanes: Lanes, path: bytes, side: Side, size: int, hashes: BlockHashes, *, over: Lane | None = None
) -> Proof | None:
    """A proof for a file that is hashed block by block; None where the server is of no help.

    Nor where the digest of the whole file is wanted, which is compared in any case. `over`: the one
    connection that is asked.
    """
    if not lanes.first.wire.tells_digests or hashes.asked_for:
        return None
    return Proof(partial(_ask, lanes, path, side, over), path, size)
