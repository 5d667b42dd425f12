"""One SSH channel for SFTP: joins the library's events, the way out and the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import asyncssh

from connect_helper.server.sftp.outlet import ChannelOutlet
from connect_helper.server.sftp.packets import Data
from connect_helper.server.sftp.service import SftpService

MANY: Final = 16  # pieces of data; by then a client has done more than log in and look around


class SftpChannel(asyncssh.SSHServerSession[bytes]):
    """Refuses everything but SFTP.

    `started` is called when the client begins it, `busy` when it has sent many requests, `closed` at its end.
    """

    def __init__(
        self,
        started: Callable[[SftpChannel], None],
        closed: Callable[[SftpChannel], None],
        busy: Callable[[], None],
    ) -> None:
        self._started = started
        self._closed = closed
        self._busy = busy
        self._pieces = 0
        self._service: SftpService | None = None
        self._early: list[Data] = []
        self._over: bool | None = None  # how it ended: False by the client, True lost
        self.channel: asyncssh.SSHServerChannel[bytes]
        self.outlet: ChannelOutlet

    def serve_with(self, service: SftpService) -> None:
        """Give what came so far, and all that will come, to `service`."""
        self._service = service
        early, self._early = self._early, []
        for data in early:
            service.received(data)
        if self._over is not None:
            service.ended(lost=self._over)

    def close(self) -> None:
        """End the channel, all answers sent: its client has asked for nothing more."""
        if self._over is False:
            self.channel.exit(0)

    # What the library calls ------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.channel = chan
        self.outlet = ChannelOutlet(chan)

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        self._started(self)

    def data_received(self, data: Data, datatype: int | None) -> None:
        self._pieces += 1
        if self._pieces == MANY:
            self._busy()
        if self._service is not None:
            self._service.received(data)
        elif self._over is None:
            self._early.append(data)

    def eof_received(self) -> bool:
        """The client asks no more; the answers are still sent."""
        self._end(lost=False)
        return True

    def resume_writing(self) -> None:
        self.outlet.progressed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed(self)
        self.outlet.gone()
        self._end(lost=True)

    def _end(self, *, lost: bool) -> None:
        self._over = lost
        if self._service is not None:
            self._service.ended(lost=lost)
