"""Reading a file that is sent: blocks do not wait for hashes, and hashes do not fall far behind."""

from __future__ import annotations

import asyncio
import hashlib
import threading

import pytest

from connect_helper.transports.base import BlockHashes, SendItem
from connect_helper.transports.disk_ends import DISK_BLOCK, HASHED_LATE, MARK_EVERY, DiskReader
from tests.support.sessions import noise

PIECES = 6


class Held:
    """A source in memory."""

    held = None

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]


class SlowHashes(BlockHashes):
    """Hashes only as far as it is let."""

    __slots__ = ("fed", "let")

    def __init__(self) -> None:
        super().__init__("sha256")
        self.let = threading.Semaphore(0)
        self.fed = 0

    def feed(self, data: bytes | memoryview) -> None:
        self.let.acquire()
        super().feed(data)
        self.fed += len(data)


def item(content: bytes, hashes: BlockHashes, offset: int = 0) -> SendItem:
    return SendItem(Held(content), b"p", offset, hashes, lambda _count: None, True)


async def blocks_of(reader: DiskReader, size: int) -> bytes:
    parts: list[bytes] = []
    while sum(map(len, parts)) < size:
        parts.append(bytes(await reader.next_block(100_000)))
    return b"".join(parts)


@pytest.mark.parametrize("rest", [0, 1, MARK_EVERY + 1])
async def test_everything_is_handed_out_and_hashed_in_order(rest: int) -> None:
    content = noise(3 * DISK_BLOCK + rest, 1)
    hashes = BlockHashes("sha256")
    reader = DiskReader(item(content, hashes))
    assert await blocks_of(reader, len(content)) == content
    await reader.hashed()
    assert hashes.digest() == hashlib.sha256(content).hexdigest()
    offsets = [mark.offset for mark in reader.marks]
    assert offsets == [*range(MARK_EVERY, len(content), MARK_EVERY), len(content)]
    await reader.close()


async def test_blocks_go_ahead_of_their_hashes_but_not_far() -> None:
    content, hashes = noise(PIECES * DISK_BLOCK, 1), SlowHashes()
    reader = DiskReader(item(content, hashes))
    got = await asyncio.wait_for(blocks_of(reader, HASHED_LATE * DISK_BLOCK), 5)
    assert hashes.fed == 0
    assert list(reader.marks) == []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.next_block(100_000), 0.2)
    hashes.let.release(PIECES * DISK_BLOCK // MARK_EVERY)
    # The block that nobody waited for any more is not lost: the file would have a hole.
    got += await asyncio.wait_for(blocks_of(reader, len(content) - len(got)), 5)
    assert got == content
    await reader.hashed()
    assert hashes.digest() == hashlib.sha256(content).hexdigest()
    await reader.close()


async def test_closing_waits_for_what_goes_on_in_threads() -> None:
    content, hashes = noise(PIECES * DISK_BLOCK, 1), SlowHashes()
    reader = DiskReader(item(content, hashes))
    await reader.next_block(100_000)
    closing = asyncio.create_task(reader.close())
    assert await asyncio.wait({closing}, timeout=0.1) == (set(), {closing})
    hashes.let.release(DISK_BLOCK // MARK_EVERY)
    await asyncio.wait_for(closing, 5)
    assert hashes.fed == DISK_BLOCK
