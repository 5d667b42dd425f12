"""Requests about open files and folders. A file has a lane (`lane`), a folder is read in its order."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, TypeVar

from connect_helper.server.sftp import packets
from connect_helper.server.sftp.desk import Desk, done, space_answer
from connect_helper.server.sftp.failures import failure
from connect_helper.server.sftp.files import OpenFile, set_open_attrs
from connect_helper.server.sftp.folders import ANSWER_BYTES, OpenFolder
from connect_helper.server.sftp.lane import (
    BATCH_BYTES,
    Answer,
    Job,
    Lane,
    Long,
    Other,
    Read,
    Write,
)
from connect_helper.server.sftp.open_handles import OpenHandles
from connect_helper.server.sftp.order import Order
from connect_helper.server.sftp.packets import Fields, Request, Status
from connect_helper.storage.docpath import DocPath, parse

SMALLEST_TRIP: Final = 64 * 1024  # bytes
WAYS: Final[tuple[Literal["in", "out"], ...]] = ("in", "out")
_O = TypeVar("_O", OpenFile, OpenFolder)
Act = Callable[[int, Fields], None]


class HandleRequests:
    """Each method takes a request's number and fields; raises BadPacket, UnsafePath, and OSError for a wrong
    handle. `close_all` ends what the client has left open."""

    def __init__(self, desk: Desk, counted: OpenHandles) -> None:
        self._desk = desk
        self.counted = counted
        self._handles: dict[bytes, Lane | OpenFolder] = {}
        self._last = 0
        self._over = False
        self.by_kind: dict[int, Act] = {
            packets.OPEN: self._open,
            packets.OPENDIR: self._opendir,
            packets.CLOSE: self._close,
            packets.READ: self._read,
            packets.FSTAT: self._fstat,
            packets.FSETSTAT: self._fsetstat,
            packets.READDIR: self._readdir,
        }
        self.by_name: dict[bytes, Act] = {
            b"fsync@openssh.com": self._fsync,
            b"fstatvfs@openssh.com": self._fstatvfs,
        }

    @property
    def has_files(self) -> bool:
        return any(isinstance(one, Lane) for one in self._handles.values())

    async def close_all(self, *, lost: bool) -> None:
        """Close what is open, after the threads that use it are done; `lost`: the connection was cut.

        Folders are not waited for: of them nothing is told, and one that is read just now may take as long as
        a hung disk.
        """
        self._over = True
        handles, self._handles = list(self._handles.values()), {}
        for one in handles:
            if isinstance(one, OpenFolder):
                closing = self._desk.start(one.close)
                closing.add_done_callback(lambda _closing: self.counted.give_back())
                continue
            one.drop()
            try:
                await self._desk.in_thread(one.file.close)
            except OSError as error:
                one.file.error = one.file.error or str(error.strerror)
            self.counted.give_back()
            self._report(one, "The connection ended before the file was closed.", lost=lost)

    # Opening and closing ---------------------------------------------------------------------------

    def _opendir(self, number: int, fields: Fields) -> None:
        path, owner = parse(fields.string()), self._desk.session.account.name.encode()
        self._opening(number, path, lambda: OpenFolder(self._desk.files, path, owner), changes=False)

    def _open(self, number: int, fields: Fields) -> None:
        path, flags, attrs = parse(fields.string()), fields.u32(), fields.attrs()
        self._opening(
            number,
            path,
            lambda: self._desk.files.open(path, flags, attrs.mode),
            changes=flags != packets.FLAG_READ,
        )

    def _opening(self, number: int, path: DocPath, open_it: Callable[[], _O], *, changes: bool) -> None:
        desk = self._desk
        self.counted.take()  # now: hundreds of requests may be under way at once
        turn, before = desk.order.enter([path], changes=changes)
        size = desk.holds([path])
        handle: bytes | None = None

        async def work() -> None:
            nonlocal handle
            await Order.wait(before)
            try:
                handle = self._keep(await self._opened(open_it))
            except OSError as error:
                desk.answer(failure(number, error), size)
                return
            desk.answer(packets.answer(packets.HANDLE, number, packets.string(handle)), size)

        def over() -> None:
            if handle is None:
                self.counted.give_back()
            desk.order.leave(turn)

        desk.spawn(work(), "open", over)

    async def _opened(self, open_it: Callable[[], _O]) -> _O:
        """Open something in a thread; with nobody left to have it, it is closed again."""
        opening = self._desk.start(open_it)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    def _keep(self, opened: OpenFile | OpenFolder) -> bytes:
        self._last += 1
        handle = packets.u64(self._last)
        if isinstance(opened, OpenFolder):
            self._handles[handle] = opened
        else:
            session, fetch = self._desk.session, None
            if opened.facts is None:
                session.file_started(opened.path, "in")
            else:
                fetch = session.fetch(opened.path, opened.facts)
            self._handles[handle] = Lane(opened, fetch, self._desk.space)
        return handle

    def _close(self, number: int, fields: Fields) -> None:
        handle = fields.string()
        folder = self._handles.get(handle)
        if isinstance(folder, OpenFolder):
            del self._handles[handle]
            self.counted.give_back()
            self._desk.in_turn(number, [], done(number, folder.close), changes=False)
            return
        lane = self.lane(handle)
        lane.closing = True
        # Requests about the path that come later must find what was written.
        turn, _before = self._desk.order.enter([lane.file.path], changes=lane.file.writable)

        def after() -> None:
            if self._handles.pop(handle, None) is not None:
                self.counted.give_back()
            self._desk.order.leave(turn)
            self._report(lane, None)

        self.put(lane, Other(number, done(number, lane.file.close), after=after))

    def _report(self, lane: Lane, ended: str | None, *, lost: bool = False) -> None:
        """Tell the session how a file ended; one that was only looked at is not worth a line."""
        session, file, fetch = self._desk.session, lane.file, lane.fetch
        if fetch is None:
            if file.bytes_written or file.error:
                session.file_finished(file.path, "in", file.bytes_written, error=file.error or ended)
            else:
                session.file_left(file.path, "in")
        elif file.error:
            fetch.failed(file.error)
        elif lost:
            fetch.broke_off()
        else:  # a reader may stop wherever it likes
            fetch.finished()

    # Open files ------------------------------------------------------------------------------------

    def lane(self, handle: bytes) -> Lane:
        """The lane of an open file. Raises OSError for a handle that is none."""
        lane = self._handles.get(handle)
        if not isinstance(lane, Lane) or lane.closing:
            raise OSError(errno.EBADF, "no such handle")
        return lane

    def put(self, lane: Lane, job: Job | Long) -> None:
        """Have a job done when those before it are."""
        lane.jobs.append(job)
        self._kick(lane)

    def write(self, request: Request) -> None:
        lane = self.lane(request.fields.string())
        self.put(lane, Write(request.number, request.fields.u64(), request.data, request.size))

    def _read(self, number: int, fields: Fields) -> None:
        lane = self.lane(fields.string())
        self.put(lane, Read(number, fields.u64(), min(fields.u32(), packets.LARGEST_DATA)))

    def _on_file(self, number: int, handle: bytes, run: Callable[[OpenFile], Answer]) -> None:
        lane = self.lane(handle)
        self.put(lane, Other(number, lambda: run(lane.file)))

    def _fstat(self, number: int, fields: Fields) -> None:
        handle = fields.string()
        folder = self._handles.get(handle)
        if isinstance(folder, OpenFolder):
            path = folder.path

            def look() -> Answer:
                return packets.answer(packets.ATTRS, number, packets.attrs(self._desk.files.stat(path)))

            self._desk.in_turn(number, [path], look, changes=False)
            return
        self._on_file(
            number,
            handle,
            lambda file: packets.answer(packets.ATTRS, number, packets.attrs(os.fstat(file.handle))),
        )

    def _fsetstat(self, number: int, fields: Fields) -> None:
        handle, attrs = fields.string(), fields.attrs()
        self._on_file(number, handle, lambda file: done(number, lambda: set_open_attrs(file, attrs))())

    def _fsync(self, number: int, fields: Fields) -> None:
        self._on_file(number, fields.string(), lambda file: done(number, lambda: os.fsync(file.handle))())

    def _fstatvfs(self, number: int, fields: Fields) -> None:
        self._on_file(number, fields.string(), lambda file: space_answer(number, os.fstatvfs(file.handle)))

    # Lanes -----------------------------------------------------------------------------------------

    def _kick(self, lane: Lane) -> None:
        if not lane.busy:
            lane.busy = True
            self._desk.spawn(self._work(lane), "file")

    async def _work(self, lane: Lane) -> None:
        """Do the jobs of a lane until there are none, one trip while the answers of the last one go."""
        desk = self._desk
        last: tuple[list[Job], list[Answer]] | None = None
        try:
            while lane.jobs:
                if isinstance(job := lane.jobs[0], Long):
                    if last is not None:
                        await self._deliver(lane, *last)
                        last = None
                    lane.jobs.popleft()
                    desk.answer(await desk.in_slices(partial(lane.step, job), job.over))
                    continue
                batch = lane.take(self._trip_bytes())
                coming = sum(job.size for job in batch if isinstance(job, Write))
                wanted = _wanted(batch)
                if last is not None and (coming or (wanted and not desk.has_room)):
                    await self._deliver(lane, *last)  # what may have to wait lets nobody wait for an answer
                    last = None
                if wanted:
                    await desk.reserve(wanted)
                if coming:
                    await desk.session.pace(coming, "in")
                trip = desk.start(partial(lane.run, batch))
                if last is not None:
                    await self._deliver(lane, *last)
                last = batch, await asyncio.shield(trip)
            if last is not None:
                await self._deliver(lane, *last)
        finally:
            lane.busy = False
        if lane.jobs and not self._over:  # came while the last answers waited for their turn
            self._kick(lane)

    def _trip_bytes(self) -> int:
        """A session whose rate is limited moves a tenth of a second's bytes at a time, not a burst."""
        rates = [rate for way in WAYS if (rate := self._desk.session.rate(way)) is not None]
        most = min(BATCH_BYTES, self._desk.room.answers)
        return max(SMALLEST_TRIP, min(most, min(rates) * 1000 // 80)) if rates else most

    async def _deliver(self, lane: Lane, batch: list[Job], answers: list[Answer]) -> None:
        going = sum(len(answer[1]) for answer in answers if len(answer) > 1)
        if going:
            await self._desk.session.pace(going, "out")
        for job, answer in zip(batch, answers, strict=True):
            if isinstance(job, Other) and job.after is not None:
                job.after()
            elif isinstance(job, Read) and lane.fetch is not None:
                lane.fetch.handed(job.offset, job.offset + sum(map(len, answer[1:])))
            self._desk.answer(answer, job.size if isinstance(job, Write) else 0)
        if wanted := _wanted(batch):
            self._desk.release(wanted)

    # Open folders ----------------------------------------------------------------------------------

    def _readdir(self, number: int, fields: Fields) -> None:
        desk, folder = self._desk, self._handles.get(fields.string())
        if not isinstance(folder, OpenFolder):
            raise OSError(errno.EBADF, "no such handle")

        def look() -> Answer:
            entries = folder.read()
            return packets.names(number, entries) if entries else packets.status(number, Status.EOF)

        async def work() -> None:
            async with folder.turn:
                await desk.reserve(ANSWER_BYTES)
                try:
                    answer = await desk.in_list_turn(look)
                except OSError as error:
                    answer = failure(number, error)
            desk.answer(answer)
            desk.release(ANSWER_BYTES)

        desk.spawn(work(), "folder")


def _wanted(batch: list[Job]) -> int:
    """Bytes that the reads among some jobs may bring."""
    return sum(job.size for job in batch if isinstance(job, Read))


def _close_opened(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
