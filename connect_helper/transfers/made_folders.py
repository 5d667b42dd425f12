"""The folders of one session: made as they are found, and given their times last of all.

One that cannot be made counts as a failed file only where nothing else tells of it (see `unmade`).
"""

from __future__ import annotations

import logging
import os
from contextlib import closing
from functools import partial
from itertools import groupby
from typing import Final

from connect_helper.errors import TransferError
from connect_helper.transfers.blocking import to_the_end
from connect_helper.transfers.job import (
    FolderJob,
    LocalFolderJob,
    RemoteFolderJob,
    Work,
    ends_session,
    folder_target,
    stamps,
)
from connect_helper.transfers.plan import Policies
from connect_helper.transfers.side_by_side import side_by_side
from connect_helper.transfers.unmade import UnmadeFolders
from connect_helper.transports.local_target import open_target_folder

_log = logging.getLogger(__name__)

TIMES_IN_FLIGHT: Final = 16  # folders that are given their times at a time


class MadeFolders:
    """Those under way; `unmade` are those that could not be made."""

    def __init__(self, policies: Policies) -> None:
        self.unmade = UnmadeFolders()
        self.keeps_times = policies.preserve_times or policies.preserve_access_times
        self._waiting: list[FolderJob] = []  # for their times
        self._untimed = 0  # those that did not get theirs from the server

    async def make(self, work: Work, job: FolderJob) -> None:
        """Make a folder. Raises TransferError only where that ends the session."""
        try:
            if isinstance(job, RemoteFolderJob):
                await work.transport.make_folder(job.target)
            else:
                await to_the_end(_make_local_folder, job)
        except TransferError as error:
            if ends_session(error):
                raise
            self.unmade.add(os.fsdecode(folder_target(job)), error)
        else:
            if self.keeps_times and job.mtime_ns:
                self._waiting.append(job)

    async def set_times(self, work: Work) -> None:
        """Last of all, since every file made in a folder changes its time; the deepest folders first.

        A time that cannot be set (the folder is somebody else's, a server over HTTP sets none) fails nothing,
        for all files are there; of those on a server `about_times` tells. Raises ConnectError.
        """
        found = sorted(self._waiting, key=_depth, reverse=True)
        for _, level in groupby(found, key=_depth):
            await side_by_side(level, partial(self._set_time, work), TIMES_IN_FLIGHT)

    async def _set_time(self, work: Work, job: FolderJob) -> None:
        times = stamps(work.policies, atime_ns=job.atime_ns, mtime_ns=job.mtime_ns)
        if times is None:
            return
        if isinstance(job, RemoteFolderJob):
            kept = await work.transport.set_times(job.target, *times)
            self._untimed += not kept
            return
        try:
            await to_the_end(_set_local_times, job, *times)
        except TransferError as error:
            _log.info("a folder keeps its own time: %s", error.internal_message)

    def about_times(self) -> str:
        """What is to be said of folders on the server without the times they should have; "": nothing."""
        if not self._untimed:
            return ""
        what = "The time of 1 folder" if self._untimed == 1 else f"The times of {self._untimed} folders"
        return f"{what} could not be kept on the server; all files are there."


def _depth(job: FolderJob) -> int:
    return job.target.count(b"/") if isinstance(job, RemoteFolderJob) else len(job.names)


def _make_local_folder(job: LocalFolderJob) -> None:
    open_target_folder(job.granted, job.names).close()


def _set_local_times(job: LocalFolderJob, atime_ns: int, mtime_ns: int) -> None:
    with closing(open_target_folder(job.granted, job.names)) as folder:
        folder.set_times(atime_ns, mtime_ns)
