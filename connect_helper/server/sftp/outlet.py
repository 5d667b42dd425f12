"""The way out of one SSH channel, as the SFTP service uses it."""

from __future__ import annotations

import asyncio

import asyncssh

from connect_helper.server.sftp.packets import Data
from connect_helper.wire.connection import LeanConnection
from connect_helper.wire.writer import LeanWriter


class ChannelOutlet:
    """The way out of one channel; plain until `go_lean`. Made and fed by the channel's session."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = channel
        self._lean: LeanWriter | None = None
        self._gone = False
        self._roomier = asyncio.Event()

    def go_lean(self, lean: LeanConnection) -> None:
        """Use the lean way from now on; what was sent so far has gone to the library."""
        self._lean = lean.writer(self._channel, self._roomier.set)

    def send(self, *parts: Data) -> None:
        if self._gone:
            return
        if self._lean is not None:
            self._lean.send(*parts)
        else:
            self._channel.write(b"".join(parts))

    @property
    def waiting(self) -> int:
        """Bytes that have not left."""
        library: int = self._channel.get_write_buffer_size()
        return library if self._lean is None else library + self._lean.waiting

    async def room(self, limit: int) -> None:
        """Wait until at most `limit` bytes wait, or the client is gone."""
        while not self._gone and self.waiting > limit:
            self._roomier.clear()
            await self._roomier.wait()

    def progressed(self) -> None:
        """Some bytes have left."""
        self._roomier.set()

    def gone(self) -> None:
        """The channel is closed: nothing more can be sent, and nobody needs to wait."""
        self._gone = True
        self._roomier.set()
        if self._lean is not None:
            self._lean.forget()

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        # Not from within: the library would deliver what it kept while a request is being handled.
        asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if not self._gone:
            self._channel.resume_reading()
