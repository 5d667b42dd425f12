"""The jobs of a scan that has to be over before the first file begins: on disk, a million as well as one."""

from __future__ import annotations

import asyncio
import logging
import pickle
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import IO, Final

from connect_helper.transfers.job import Job

_log = logging.getLogger(__name__)

BATCH: Final = 500  # jobs in one hop to a thread


class Spool:
    """A file without a name, in `folder`; made by `fill`, gone after `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._failed = False

    async def fill(self, jobs: AsyncGenerator[Job, None], note: Callable[[Job], None]) -> bool:
        """Take all there are, and show each to `note`; call it once.

        False: the disk did not take them all, though `note` has seen them. Raises what `jobs` raises.
        """
        batch: list[Job] = []
        async with aclosing(jobs):
            async for job in jobs:
                note(job)
                batch.append(job)
                if len(batch) == BATCH:
                    await asyncio.to_thread(self._put, batch)
                    batch = []
        await asyncio.to_thread(self._put, batch, last=True)
        return not self._failed

    async def jobs(self) -> AsyncGenerator[Job, None]:
        """All of them, in the order they were found."""
        while batch := await asyncio.to_thread(self._take):
            for job in batch:
                yield job

    def close(self) -> None:
        """Forget them."""
        if self._file is not None:
            self._file.close()

    def _put(self, batch: list[Job], *, last: bool = False) -> None:
        if self._failed:
            return
        try:
            self._file = self._file or self._new_file()
            pickle.dump(batch, self._file, pickle.HIGHEST_PROTOCOL)
            if last:
                pickle.dump([], self._file)
                self._file.seek(0)  # writes what is left
        except OSError as error:
            _log.warning("what was listed has to be listed again: %s", error)
            self._failed = True

    def _new_file(self) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.TemporaryFile(dir=self._folder)

    def _take(self) -> list[Job]:
        assert self._file is not None  # noqa: S101 - it was filled
        batch: list[Job] = pickle.load(self._file)  # noqa: S301 - nobody else ever had this file
        return batch


async def show_all(jobs: AsyncGenerator[Job, None], note: Callable[[Job], None]) -> bool:
    """What `Spool.fill` does, without keeping them."""
    async with aclosing(jobs):
        async for job in jobs:
            note(job)
    return False
