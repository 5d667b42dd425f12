"""The requests to one open file, in their order, many in one trip to a thread.

A client sends dozens of reads or writes at once. Each trip to a thread takes what has come in meanwhile, and
while the answers of one trip are sent, the next is under way. Different files have different lanes, so they
never wait for each other; within one, a CLOSE or FSTAT sees everything that was asked before it.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connect_helper.server.fetch import Fetch
from connect_helper.server.sftp import packets
from connect_helper.server.sftp.digests import Slices
from connect_helper.server.sftp.failures import failure
from connect_helper.server.sftp.files import OpenFile, errno_error
from connect_helper.server.sftp.free_space import FreeSpace
from connect_helper.server.sftp.packets import Data, Status

BATCH_BYTES: Final = 2 * 1024 * 1024
BATCH_JOBS: Final = 64
_MOST_PIECES: Final = 512  # of one system call; a kernel takes 1024

Answer = tuple[Data, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for the file."""

    number: int
    offset: int
    pieces: tuple[Data, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Read:
    """A wish for bytes of the file."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else: `run` blocks, returns the answer and raises OSError.

    `after` is called in the event loop before the answer goes.
    """

    number: int
    run: Callable[[], Answer]
    after: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Long:
    """What may take hours, in slices; each blocks and raises OSError.

    `over` is called once in the event loop, however it ended, and also when it never began.
    """

    number: int
    slices: Slices[Answer]
    over: Callable[[], None] = lambda: None


Job = Write | Read | Other


class Lane:
    """One open file and what is asked of it."""

    def __init__(self, file: OpenFile, fetch: Fetch | None, space: FreeSpace) -> None:
        self.file = file
        self.fetch = fetch  # of a file that is open for reading only
        self.jobs: deque[Job | Long] = deque()
        self.busy = False
        self.closing = False  # a CLOSE has come; nothing more is taken
        self._space = space

    def take(self, most: int = BATCH_BYTES) -> list[Job]:
        """The jobs of the next trip: no further one once they bring `most` bytes, and none that is long."""
        batch: list[Job] = []
        size = 0
        while self.jobs and len(batch) < BATCH_JOBS and size < most:
            job = self.jobs[0]
            if isinstance(job, Long):
                break
            self.jobs.popleft()
            batch.append(job)
            size += 0 if isinstance(job, Other) else job.size
        return batch

    def run(self, batch: list[Job]) -> list[Answer]:
        """Do the jobs; blocks. Each has one answer, a failure too."""
        with self.file.lock:
            return self._run(batch)

    def step(self, job: Long) -> Answer | None:
        """Do a slice of a long job; blocks. None while it is not done."""
        with self.file.lock:
            try:
                next(job.slices)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            except OSError as error:
                return self._failed(job, error)
            return None

    def _run(self, batch: list[Job]) -> list[Answer]:
        answers: list[Answer] = []
        at = 0
        while at < len(batch):
            job = batch[at]
            if isinstance(job, Write):
                joined = self._joined(batch, at)
                answers.extend(self._write(joined))
                at += len(joined)
                continue
            answers.append(self._one(job))
            at += 1
        return answers

    def drop(self) -> None:
        """Forget what was asked and not begun."""
        while self.jobs:
            job = self.jobs.popleft()
            if isinstance(job, Long):
                job.over()

    def _one(self, job: Read | Other) -> Answer:
        try:
            return self._read(job) if isinstance(job, Read) else job.run()
        except OSError as error:
            return self._failed(job, error)

    def _failed(self, job: Read | Other | Long, error: OSError) -> Answer:
        self.file.error = self.file.error or str(error.strerror)
        return failure(job.number, error)

    def _read(self, job: Read) -> Answer:
        if not self.file.readable:
            raise errno_error(errno.EACCES)
        if job.offset >= 1 << 63:
            return packets.status(job.number, Status.EOF)
        content = os.pread(self.file.handle, min(job.size, packets.LARGEST_DATA), job.offset)
        if not content and job.size:
            return packets.status(job.number, Status.EOF)
        return packets.data(job.number, content)

    def _joined(self, batch: list[Job], at: int) -> list[Write]:
        """The writes from `at` on that lie one behind the other in the file."""
        joined: list[Write] = []
        pieces, end = 0, -1
        for job in batch[at:]:
            if not isinstance(job, Write) or (joined and job.offset != end):
                break
            pieces += len(job.pieces)
            if joined and pieces > _MOST_PIECES:
                break
            joined.append(job)
            end = job.offset + job.size
        return joined

    def _write(self, jobs: list[Write]) -> list[Answer]:
        size = sum(job.size for job in jobs)
        try:
            if not self.file.writable:
                raise errno_error(errno.EACCES)
            if jobs[0].offset + size >= 1 << 63:
                raise errno_error(errno.EFBIG)
            self._space.check_for(self.file, size)
            _write_all(self.file.handle, [piece for job in jobs for piece in job.pieces], jobs[0].offset)
        except OSError as error:
            self.file.error = self.file.error or str(error.strerror)
            return [failure(job.number, error) for job in jobs]
        self.file.bytes_written += size
        return [packets.status(job.number, Status.OK) for job in jobs]

    def check_space(self) -> None:
        """Raise OSError ENOSPC while there is still room for everybody else (REL-10)."""
        self._space.check(self.file.handle)


def _write_all(handle: int, pieces: list[Data], offset: int) -> None:
    """Write all pieces, however little a call takes."""
    while pieces:
        part = pieces[:_MOST_PIECES]
        written = os.pwritev(handle, part, offset)
        offset += written
        done = 0
        while done < len(pieces) and written >= len(pieces[done]):
            written -= len(pieces[done])
            done += 1
        pieces = pieces[done:]
        if written:
            pieces[0] = memoryview(pieces[0])[written:]
