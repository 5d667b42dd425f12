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
from connect_helper.transports.lanes import Lanes
from connect_helper.transports.proof import PATIENCE, Proof, damaged, patience_s
from connect_helper.wire.writer import Data

TRIES: Final = 3  # over one connection after the other, when they break


async def _ask(lanes: Lanes, path: bytes, side: Side, start: int, length: int) -> bytes:
    """See `proof.Ask`."""
    for tries_left in reversed(range(TRIES)):
        lane = lanes.lightest()
        lane.users += 1
        try:
            async with asyncio.timeout(PATIENCE * patience_s(length)):
                return await lane.call(
                    lane.wire.check_file(path, BLOCK_HASH, start, length, RECORD_BLOCK), side, path
                )
        except ConnectionLost:
            if not tries_left:
                raise
            lanes.lost(lane)
        except TransferError as error:
            if isinstance(error.__cause__, asyncssh.SFTPOpUnsupported):
                lanes.first.wire.tells_digests = False  # an older server, that knows no such hash
            raise
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


def proof_of(lanes: Lanes, path: bytes, side: Side, size: int, hashes: BlockHashes) -> Proof | None:
    """A proof for a file that is hashed block by block; None where the server is of no help.

    Nor where the digest of the whole file is wanted, which is compared in any case.
    """
    if not lanes.first.wire.tells_digests or hashes.asked_for:
        return None
    return Proof(partial(_ask, lanes, path, side), path, size)
