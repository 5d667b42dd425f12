"""What is still said about a sent file, all of which is on the server's disk, while it gets its name.

It sets the times and closes the file. Nothing of it harms the content, so a failure is only noted; the times
are then set once more, by the file's name.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import TransferError
from connect_helper.spec.names import display
from connect_helper.transports.sftp_files import RemoteFile

_log = logging.getLogger(__name__)

LIMIT_S: Final = 5.0  # for answers that most often are here before the one about the name


@dataclass(frozen=True, slots=True)
class _Entry:
    times: tuple[int, int] | None
    task: asyncio.Task[bool]


class Settling:
    """The files of one session that are being settled, by their partial files' paths."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, _Entry] = {}

    def begin(self, file: RemoteFile, times: tuple[int, int] | None) -> None:
        """Set a file's times (of access and modification, in whole seconds), and close it."""
        lane = file.lane
        file.leave()
        task = asyncio.create_task(_settle(file, times), name="settling")
        lane.users += 1  # or somebody who needs the connection no more might drop it

        def over(_: asyncio.Task[bool]) -> None:
            lane.users -= 1

        task.add_done_callback(over)
        self._under_way[file.path] = _Entry(times, task)

    async def over(self, path: bytes) -> tuple[int, int] | None:
        """Wait for what is said about a file, LIMIT_S at most; returns times that are still to be set."""
        entry = self._under_way.get(path)
        if entry is None:
            return None
        task = entry.task
        await asyncio.wait([task], timeout=LIMIT_S)
        if self._under_way.get(path) is entry:  # nobody else waited for it too
            del self._under_way[path]
        if task.done() and not task.cancelled() and task.result():
            return None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return entry.times

    async def close(self) -> None:
        """Say no more, of files that got no name."""
        tasks = [entry.task for entry in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _settle(file: RemoteFile, times: tuple[int, int] | None) -> bool:
    try:
        await file.call(file.wire.settle(file.handle, times=times, durable=False))
    except TransferError as error:
        _log.info("%s is durable, but not settled: %s", display(file.path), error.internal_message)
        return False
    return True
