"""What has to be looked after while the helper runs: sleep of the machine, memory, leftovers on disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from connect_helper.errors import Unavailable
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.file_reports import FileReports
from connect_helper.transfers.listing import TransferList
from connect_helper.transfers.queueing import Queue
from connect_helper.transfers.runner import distrust
from connect_helper.transfers.tasks import Tasks

logger = logging.getLogger(__name__)

SLEEP_CHECK_S: Final = 2.0
SLEEP_JUMP_S: Final = 5.0  # the wall clock went so much further than the monotonic one: the machine slept
KEEP_MISSED_S: Final = 15.0  # how often what a full disk did not take is tried again
SHELVE_S: Final = 2.0  # how often it is looked whether memory holds too many finished transfers


class Upkeep:
    """Made once. `present` is awaited with positions and returns those that are still listed."""

    def __init__(
        self,
        *,
        transfers: TransferList,
        queue: Queue,
        reports: FileReports,
        present: Callable[[Sequence[int]], Awaitable[list[int]]],
        clock: Clock,
    ) -> None:
        self._list = transfers
        self._queue = queue
        self._reports = reports
        self._present = present
        self._clock = clock
        self._reports_to_forget: asyncio.Queue[int] = asyncio.Queue()

    def begin(self, tasks: Tasks) -> None:
        """Look after everything until the program ends."""
        tasks.chore(self._watch_for_sleep(), "sleep-watch")
        tasks.chore(self._shelve_old(), "shelve")
        tasks.chore(self._keep_missed(), "keep-missed")
        tasks.chore(self._forget_reports(), "forget-reports")

    def forget(self, position: int) -> None:
        """Delete the files of a transfer that was removed, some time soon."""
        self._reports_to_forget.put_nowait(position)

    async def _watch_for_sleep(self) -> None:
        """After the machine slept no connection is to be trusted (REL-14)."""
        before = self._clock.wall() - self._clock.monotonic()
        while True:
            await asyncio.sleep(SLEEP_CHECK_S)
            now = self._clock.wall() - self._clock.monotonic()
            if abs(now - before) > SLEEP_JUMP_S:
                logger.info("The clock jumped by %.0f s; running transfers connect anew", now - before)
                for entry in self._queue.running:
                    distrust(entry, self._clock)
            before = now

    async def _shelve_old(self) -> None:
        while True:
            await asyncio.sleep(SHELVE_S)
            await self._list.shelve()

    async def _keep_missed(self) -> None:
        while True:
            await asyncio.sleep(KEEP_MISSED_S)
            await self._list.keep_missed()

    async def _forget_reports(self) -> None:
        """Delete the files of removed transfers, beginning with what an earlier run did not get to."""
        try:
            await self._reports.keep_only(self._present)
            while True:
                await self._reports.remove(await self._reports_to_forget.get())
        except Unavailable as error:
            logger.error("files of removed transfers stay on disk: %s", error.internal_message)
