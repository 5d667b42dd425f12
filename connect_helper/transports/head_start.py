"""What of an SFTP session can be under way before the login is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncssh

from connect_helper.transports import early_channel
from connect_helper.transports.sftp_wire import SftpWire


class HeadStart:
    """Opens SFTP on one connection, right behind its login where that can be.

    Use as a context: an opening that nobody waits for any more ends with it.
    """

    def __init__(self, asked: Callable[[], None] = lambda: None) -> None:
        """`asked` is called when the request to log in is on its way."""
        self._opening: asyncio.Task[SftpWire] | None = None
        self._asked = asked
        self.begun = False  # something was sent before it was its turn

    def begin(self, connection: asyncssh.SSHClientConnection) -> None:
        """The request to log in has just been sent, to a server that reads in order."""
        self._asked()
        if early_channel.fits(connection):
            self.begun = True
            self._opening = asyncio.create_task(SftpWire.open(connection, early=True), name="early SFTP")

    def refused(self) -> None:
        """That request did not log in: what was sent behind it counts for nothing."""
        self.begun = False  # and there is nothing to be taken back
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    async def wire(self, connection: asyncssh.SSHClientConnection) -> SftpWire:
        """The session of a connection that is logged in. Raises asyncssh.Error, OSError."""
        if self._opening is None:
            return await SftpWire.open(connection)
        return await self._opening

    async def __aenter__(self) -> HeadStart:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        if self._opening is not None:
            with suppress(asyncio.CancelledError, asyncssh.Error, OSError):
                await self._opening
