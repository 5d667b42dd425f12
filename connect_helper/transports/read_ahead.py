"""A stretch of a local file, read in a thread one block ahead of what is taken from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from connect_helper.errors import TransferError

BLOCK: Final = 2 * 1024 * 1024  # bytes; a thread's turn costs as much as encrypting some 100 KiB


class ReadAhead:
    """Reads `length` bytes from `offset` by `read`, in blocks of `block` bytes; never two at a time."""

    def __init__(
        self, read: Callable[[int, int], bytes], offset: int, length: int, block: int = BLOCK
    ) -> None:
        self._read = read
        self._at = offset
        self._end = offset + length
        self._block = block
        self._reading: asyncio.Future[bytes] | None = None
        self.failure: TransferError | None = None  # of `read`; not everybody who takes blocks passes it on

    async def blocks(self) -> AsyncIterator[bytes]:
        """The blocks, in order. Raises what `read` raises."""
        self._start()
        while (reading := self._reading) is not None:
            try:
                block = await asyncio.shield(reading)
            except TransferError as error:
                self.failure = error
                raise
            self._start()
            yield block

    def _start(self) -> None:
        length = min(self._block, self._end - self._at)
        self._reading = None
        if length > 0:
            loop = asyncio.get_running_loop()
            self._reading = loop.run_in_executor(None, self._read, self._at, length)
            self._at += length

    async def end(self) -> None:
        """Wait for a reading that is under way: a thread cannot be stopped. Its failure is not told."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self._at = self._end
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # looked at, so that it is not reported as lost
