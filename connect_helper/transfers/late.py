"""Jobs that come after the others of a transfer, since their target is, or may be, another file's place.

So it is where two sources go to one target, and where the target has the name under which another file stands
while it is unfinished: `film.partial` comes after `film`, and `film.partial.partial` after both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

from connect_helper.spec.names import partial_depth
from connect_helper.transfers.job import (
    DownloadJob,
    FileJob,
    Job,
    LinkJob,
    LocalLinkJob,
    RemoteLinkJob,
    UploadJob,
)

LateJob = FileJob | LinkJob


class LateJobs:
    """Those of one session, in the order in which they were found."""

    def __init__(self) -> None:
        self._apart: dict[int, list[LateJob]] = {}  # by depth: each the only one for its target
        self._in_order: dict[int, list[LateJob]] = {}

    def takes(self, job: Job) -> bool:
        """Take a job that has to wait; False where it has not."""
        if not _has_target(job):
            return False
        depth = partial_depth(_name(job))
        if _waits_for_another(job):
            self._in_order.setdefault(depth, []).append(job)
        elif depth:
            self._apart.setdefault(depth, []).append(job)
        else:
            return False
        return True

    def levels(self) -> Iterator[tuple[list[LateJob], list[LateJob]]]:
        """What may be done by now, once what came before is: first side by side, then one by one."""
        for depth in sorted({*self._apart, *self._in_order}):
            yield self._apart.pop(depth, []), self._in_order.pop(depth, [])


def _has_target(job: Job) -> TypeGuard[LateJob]:
    return isinstance(job, UploadJob | DownloadJob | RemoteLinkJob | LocalLinkJob)


def _name(job: LateJob) -> bytes:
    """The name at the target."""
    return job.target.rpartition(b"/")[2] if isinstance(job, UploadJob | RemoteLinkJob) else job.names[-1]


def _waits_for_another(job: LateJob) -> bool:
    """Tell whether an earlier file may have the same target."""
    return job.again or (isinstance(job, UploadJob | RemoteLinkJob) and job.twin)
