"""One SFTP session: takes requests as they come, has them done side by side, answers each when it is done.

Everything here belongs to the event loop's thread; what touches a disk goes to the threads of `Workers`.
Requests about paths keep their order where they meet (`order`), requests about one open file have a lane of
their own (`lane`). What waits is bounded: above a limit the channel is not read until half of it is done, and
nothing is read from a disk for a client that does not take what was read before.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from connect_helper.errors import UnsafePath
from connect_helper.server.sessions import Session
from connect_helper.server.sftp import digests, packets
from connect_helper.server.sftp.failures import failure
from connect_helper.server.sftp.files import Files, OpenFile, errno_error, set_open_attrs
from connect_helper.server.sftp.folders import OpenFolder
from connect_helper.server.sftp.lane import Answer, Job, Lane, Other, Read, Write
from connect_helper.server.sftp.order import Order
from connect_helper.server.sftp.packets import BadPacket, Data, Fields, Packets, Request, Status
from connect_helper.storage.docpath import DocPath, absolute, parse

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_O = TypeVar("_O", OpenFile, OpenFolder)

MOST_REQUESTS: Final = 512  # waiting for their answers
MOST_BYTES: Final = 8 * 1024 * 1024  # of data waiting to be written
MOST_OUT: Final = 4 * 1024 * 1024  # bytes of answers waiting to be sent
MOST_HANDLES: Final = 1000
EXTENSIONS: Final = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"fsync@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"copy-data", b"1"),
    (b"check-file", b"1"),
)


class Outlet(Protocol):
    """The way to the client."""

    def send(self, *parts: Data) -> None:
        """Send bytes in order; they stay unchanged until they have left."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes that have not left."""
        ...

    async def room(self, limit: int) -> None:
        """Wait until at most `limit` bytes wait, or the client is gone."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Workers:
    """The threads for disk work, shared by all sessions: short jobs, and those that may take minutes."""

    quick: ThreadPoolExecutor
    slow: ThreadPoolExecutor


class SftpService:
    """Serves one channel; `run` it, feed it with `received`, end it with `ended`."""

    def __init__(
        self, files: Files, session: Session, outlet: Outlet, workers: Workers, *, keep_free: float
    ) -> None:
        self._files = files
        self._session = session
        self._outlet = outlet
        self._workers = workers
        self._keep_free = keep_free
        self._input = Packets(self._request)
        self._order = Order()
        self._handles: dict[bytes, Lane | OpenFolder] = {}
        self._last_handle = 0
        self._requests = 0  # not answered
        self._bytes = 0  # of data not written
        self._paused = False
        self._greeted = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._over = asyncio.Event()  # nothing more will come
        self._lost = False
        self._broken: BadPacket | None = None
        self._stop = threading.Event()  # for long jobs in threads
        self._tasks: asyncio.TaskGroup | None = None
        self._early: list[Data] = []  # what came before `run` began
        self.requests = 0  # so far
        self._do: dict[int, Callable[[Request], None]] = {
            packets.OPEN: self._open,
            packets.CLOSE: self._close,
            packets.READ: self._read,
            packets.WRITE: self._write,
            packets.LSTAT: self._lstat,
            packets.FSTAT: self._fstat,
            packets.SETSTAT: self._setstat,
            packets.FSETSTAT: self._fsetstat,
            packets.OPENDIR: self._opendir,
            packets.READDIR: self._readdir,
            packets.REMOVE: self._remove,
            packets.MKDIR: self._mkdir,
            packets.RMDIR: self._rmdir,
            packets.REALPATH: self._realpath,
            packets.STAT: self._stat,
            packets.RENAME: self._rename,
            packets.READLINK: self._readlink,
            packets.SYMLINK: self._symlink,
            packets.EXTENDED: self._extended,
        }
        self._more: dict[bytes, Callable[[int, Fields], None]] = {
            b"posix-rename@openssh.com": self._posix_rename,
            b"statvfs@openssh.com": self._statvfs,
            b"fstatvfs@openssh.com": self._fstatvfs,
            b"fsync@openssh.com": self._fsync,
            b"limits@openssh.com": self._limits,
            b"copy-data": self._copy_data,
            b"check-file-name": self._check_name,
            b"check-file-handle": self._check_handle,
        }

    @property
    def busy(self) -> bool:
        """Tell whether answers are owed."""
        return self._requests > 0

    @property
    def has_files(self) -> bool:
        """Tell whether a file is open, or answers are owed."""
        return self._requests > 0 or any(isinstance(one, Lane) for one in self._handles.values())

    # Life ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the client is done or gone; files left open are closed then.

        Raises BadPacket when the client does not speak the protocol, SessionCancelled; both in groups.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                early, self._early = self._early, []
                for data in early:
                    self.received(data)
                await self._over.wait()
                if not self._lost:
                    await self._idle.wait()
                    await self._outlet.room(0)
                else:
                    raise _ClientGone
        except* _ClientGone:
            if self._broken is not None:
                raise self._broken from None
        finally:
            self._stop.set()
            await self._close_all()

    def received(self, data: Data) -> None:
        """Take bytes of the client."""
        if self._tasks is None:
            self._early.append(data)
            return
        if self._lost:
            return
        try:
            self._input.feed(data)
        except BadPacket as error:
            self._broken = error
            self.ended(lost=True)

    def ended(self, *, lost: bool) -> None:
        """Nothing more will come; `lost`: nobody waits for answers either."""
        self._lost = self._lost or lost
        self._over.set()

    async def _close_all(self) -> None:
        handles, self._handles = list(self._handles.values()), {}
        loop = asyncio.get_running_loop()
        for one in handles:
            if isinstance(one, Lane):
                one.drop()
                try:
                    await loop.run_in_executor(self._workers.quick, one.file.close)
                except OSError as error:
                    one.file.error = one.file.error or str(error.strerror)
                self._report(one.file, "The connection ended before the file was closed.")
            else:
                one.close()

    # Requests --------------------------------------------------------------------------------------

    def _request(self, request: Request) -> None:
        if request.kind == packets.INIT:
            self._greet(request.fields)
            return
        if not self._greeted:
            raise BadPacket("a request came before the greeting")
        self.requests += 1
        self._requests += 1
        self._bytes += request.size
        self._idle.clear()
        if not self._paused and (self._requests >= MOST_REQUESTS or self._bytes >= MOST_BYTES):
            self._paused = True
            self._outlet.pause_reading()
        act = self._do.get(request.kind)
        try:
            if act is None:
                self._answer(packets.status(request.number, Status.OP_UNSUPPORTED))
            else:
                act(request)
        except OSError as error:
            self._answer(failure(request.number, error), request.size)
        except UnsafePath as error:
            self._answer(packets.status(request.number, Status.NO_SUCH_FILE, error.user_message))

    def _greet(self, fields: Fields) -> None:
        if fields.u32() < 3 or self._greeted:
            raise BadPacket("no version that is spoken here")
        self._greeted = True
        body = packets.u32(3) + b"".join(packets.string(n) + packets.string(v) for n, v in EXTENSIONS)
        self._outlet.send(packets.u32(1 + len(body)) + bytes((packets.VERSION,)) + body)

    def _answer(self, answer: Answer, size: int = 0) -> None:
        """Send the answer to one request, which brought `size` bytes of data."""
        self._outlet.send(*answer)
        self._requests -= 1
        self._bytes -= size
        if not self._requests:
            self._idle.set()
        if self._paused and self._requests <= MOST_REQUESTS // 2 and self._bytes <= MOST_BYTES // 2:
            self._paused = False
            self._outlet.resume_reading()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._tasks is None:  # cannot be: `received` keeps what comes too early
            raise RuntimeError("the session does not run")
        self._tasks.create_task(work, name=f"sftp {name} {self._session.id}")

    def _start(self, run: Callable[[], _T], *, slow: bool = False) -> asyncio.Future[_T]:
        pool = self._workers.slow if slow else self._workers.quick
        return asyncio.get_running_loop().run_in_executor(pool, run)

    async def _in_thread(self, run: Callable[[], _T], *, slow: bool = False) -> _T:
        """What has begun is not taken back when the session ends: a thread cannot be."""
        return await asyncio.shield(self._start(run, slow=slow))

    async def _opened(self, open_it: Callable[[], _O]) -> _O:
        """Open something in a thread; nobody left to have it, it is closed again."""
        opening = self._start(open_it)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    # Requests about paths --------------------------------------------------------------------------

    def _at_path(
        self, number: int, paths: list[DocPath], run: Callable[[], Answer], *, changes: bool
    ) -> None:
        """Have `run` done in a thread when its turn comes, and send what it returns."""
        turn, before = self._order.enter(paths, changes=changes)

        async def work() -> None:
            try:
                await Order.wait(before)
                try:
                    answer = await self._in_thread(run)
                except OSError as error:
                    answer = failure(number, error)
                self._answer(answer)
            finally:
                self._order.leave(turn)

        self._spawn(work(), "path")

    def _looking(self, request: Request, look: Callable[[DocPath], os.stat_result]) -> None:
        path, number = parse(request.fields.string()), request.number
        self._at_path(
            number,
            [path],
            lambda: packets.answer(packets.ATTRS, number, packets.attrs(look(path))),
            changes=False,
        )

    def _stat(self, request: Request) -> None:
        self._looking(request, self._files.stat)

    def _lstat(self, request: Request) -> None:
        self._looking(request, self._files.lstat)

    def _changing(self, number: int, paths: list[DocPath], run: Callable[[], None]) -> None:
        def done() -> Answer:
            run()
            return packets.status(number, Status.OK)

        self._at_path(number, paths, done, changes=True)

    def _setstat(self, request: Request) -> None:
        path, attrs = parse(request.fields.string()), request.fields.attrs()
        self._changing(request.number, [path], lambda: self._files.set_attrs(path, attrs))

    def _remove(self, request: Request) -> None:
        path = parse(request.fields.string())
        self._changing(request.number, [path], lambda: self._files.remove(path))

    def _mkdir(self, request: Request) -> None:
        path, attrs = parse(request.fields.string()), request.fields.attrs()
        self._changing(request.number, [path], lambda: self._files.make_folder(path, attrs.mode))

    def _rmdir(self, request: Request) -> None:
        path = parse(request.fields.string())
        self._changing(request.number, [path], lambda: self._files.remove_folder(path))

    def _rename(self, request: Request) -> None:
        self._move(request.number, request.fields, replace=False)

    def _posix_rename(self, number: int, fields: Fields) -> None:
        self._move(number, fields, replace=True)

    def _move(self, number: int, fields: Fields, *, replace: bool) -> None:
        old, new = parse(fields.string()), parse(fields.string())
        self._changing(number, [old, new], lambda: self._files.rename(old, new, replace=replace))

    def _symlink(self, request: Request) -> None:
        # The order of OpenSSH, which nearly all clients follow, is not that of the draft.
        content, path = request.fields.string(), parse(request.fields.string())
        self._changing(request.number, [path], lambda: self._files.make_link(content, path))

    def _readlink(self, request: Request) -> None:
        path, number = parse(request.fields.string()), request.number

        def look() -> Answer:
            content = self._files.read_link(path)
            return packets.names(number, [packets.name(content, content, packets.NO_ATTRS)])

        self._at_path(number, [path], look, changes=False)

    def _realpath(self, request: Request) -> None:
        """A matter of words: whether there is such a file is not told."""
        text = request.fields.string()
        try:
            name = absolute(parse(text))
        except UnsafePath:
            # Going up from the top leads to the top, as in any root folder.
            if set(text.split(b"/")) - {b"", b".", b".."}:
                raise
            name = b"/"
        self._answer(packets.names(request.number, [packets.name(name, name, packets.NO_ATTRS)]))

    def _statvfs(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())
        self._at_path(number, [path], lambda: _space(number, self._files.space(path)), changes=False)

    def _opendir(self, request: Request) -> None:
        path, owner = parse(request.fields.string()), self._session.account.name.encode()
        self._opening(request.number, path, lambda: OpenFolder(self._files, path, owner), changes=False)

    def _open(self, request: Request) -> None:
        path, flags, attrs = parse(request.fields.string()), request.fields.u32(), request.fields.attrs()
        self._opening(
            request.number,
            path,
            lambda: self._files.open(path, flags, attrs.mode),
            changes=flags != packets.FLAG_READ,
        )

    def _opening(self, number: int, path: DocPath, open_it: Callable[[], _O], *, changes: bool) -> None:
        handle = self._new_handle()
        turn, before = self._order.enter([path], changes=changes)

        async def work() -> None:
            try:
                await Order.wait(before)
                try:
                    self._keep(handle, await self._opened(open_it))
                except OSError as error:
                    self._answer(failure(number, error))
                    return
                self._answer(packets.answer(packets.HANDLE, number, packets.string(handle)))
            finally:
                self._order.leave(turn)

        self._spawn(work(), "open")

    def _keep(self, handle: bytes, opened: OpenFile | OpenFolder) -> None:
        if isinstance(opened, OpenFolder):
            self._handles[handle] = opened
            return
        self._handles[handle] = Lane(opened, keep_free=self._keep_free)
        self._session.file_started(opened.path, "in" if opened.writable else "out")

    # Requests about handles ------------------------------------------------------------------------

    def _new_handle(self) -> bytes:
        if len(self._handles) >= MOST_HANDLES:
            raise errno_error(errno.EMFILE)
        self._last_handle += 1
        return packets.u64(self._last_handle)

    def _lane(self, handle: bytes) -> Lane:
        lane = self._handles.get(handle)
        if not isinstance(lane, Lane) or lane.closing:
            raise OSError(errno.EBADF, "no such handle")
        return lane

    def _put(self, lane: Lane, job: Job) -> None:
        lane.jobs.append(job)
        self._kick(lane)

    def _kick(self, lane: Lane) -> None:
        if not lane.busy:
            lane.busy = True
            self._spawn(self._work(lane), "file")

    def _read(self, request: Request) -> None:
        lane = self._lane(request.fields.string())
        offset, size = request.fields.u64(), request.fields.u32()
        self._put(lane, Read(request.number, offset, min(size, packets.LARGEST_DATA)))

    def _write(self, request: Request) -> None:
        lane = self._lane(request.fields.string())
        self._put(lane, Write(request.number, request.fields.u64(), request.data, request.size))

    def _on_file(self, number: int, handle: bytes, run: Callable[[OpenFile], Answer]) -> None:
        lane = self._lane(handle)
        self._put(lane, Other(number, lambda: run(lane.file)))

    def _fstat(self, request: Request) -> None:
        number, handle = request.number, request.fields.string()
        folder = self._handles.get(handle)
        if isinstance(folder, OpenFolder):
            path = folder.path
            self._at_path(
                number,
                [path],
                lambda: packets.answer(packets.ATTRS, number, packets.attrs(self._files.stat(path))),
                changes=False,
            )
            return
        self._on_file(
            number,
            handle,
            lambda file: packets.answer(packets.ATTRS, number, packets.attrs(os.fstat(file.handle))),
        )

    def _fsetstat(self, request: Request) -> None:
        number, handle, attrs = request.number, request.fields.string(), request.fields.attrs()

        def act(file: OpenFile) -> Answer:
            set_open_attrs(file, attrs)
            return packets.status(number, Status.OK)

        self._on_file(number, handle, act)

    def _fsync(self, number: int, fields: Fields) -> None:
        def act(file: OpenFile) -> Answer:
            os.fsync(file.handle)
            return packets.status(number, Status.OK)

        self._on_file(number, fields.string(), act)

    def _fstatvfs(self, number: int, fields: Fields) -> None:
        self._on_file(number, fields.string(), lambda file: _space(number, os.fstatvfs(file.handle)))

    def _readdir(self, request: Request) -> None:
        number, folder = request.number, self._handles.get(request.fields.string())
        if not isinstance(folder, OpenFolder):
            raise OSError(errno.EBADF, "no such handle")

        def look() -> Answer:
            entries = folder.read()
            return packets.names(number, entries) if entries else packets.status(number, Status.EOF)

        # A NAME answer for every reader that does not read would fill the memory, too.
        async def work() -> None:
            async with folder.turn:
                await self._outlet.room(MOST_OUT)
                try:
                    answer = await self._in_thread(look)
                except OSError as error:
                    answer = failure(number, error)
            self._answer(answer)

        self._spawn(work(), "folder")

    def _close(self, request: Request) -> None:
        number, handle = request.number, request.fields.string()
        folder = self._handles.get(handle)
        if isinstance(folder, OpenFolder):
            del self._handles[handle]
            self._at_path(number, [], lambda: _closed(number, folder.close), changes=False)
            return
        lane = self._lane(handle)
        lane.closing = True
        turn, _before = self._order.enter([lane.file.path], changes=lane.file.writable)

        def act() -> Answer:
            return _closed(number, lane.file.close)

        def after() -> None:
            self._handles.pop(handle, None)
            self._order.leave(turn)
            self._report(lane.file, "")

        self._put(lane, Other(number, act, after=after))

    def _report(self, file: OpenFile, ended: str) -> None:
        """Tell the session how a file ended; one that was only looked at is not worth a line."""
        way, size = ("in", file.bytes_written) if file.writable else ("out", file.bytes_read)
        if not size and not file.error:
            self._session.file_left(file.path, "in" if file.writable else "out")
            return
        error = file.error or (ended if file.writable else "")
        self._session.file_finished(file.path, "in" if way == "in" else "out", size, error=error or None)

    async def _work(self, lane: Lane) -> None:
        """Do the jobs of a lane until there are none, one trip while the answers of the last one go."""
        done: tuple[list[Job], list[Answer]] | None = None
        try:
            while lane.jobs:
                batch = lane.take()
                coming = sum(job.size for job in batch if isinstance(job, Write))
                if done is not None and (coming or (self._outlet.waiting > MOST_OUT and not _is_slow(batch))):
                    await self._deliver(*done)  # what may have to wait lets nobody wait for an answer
                    done = None
                if any(isinstance(job, Read) for job in batch):
                    await self._outlet.room(MOST_OUT)
                if coming:
                    await self._session.pace(coming, "in")
                trip = self._start(partial(lane.run, batch), slow=_is_slow(batch))
                if done is not None:
                    await self._deliver(*done)
                done = batch, await asyncio.shield(trip)
            if done is not None:
                await self._deliver(*done)
        finally:
            lane.busy = False
        if lane.jobs and not self._over.is_set():  # came while the last answers waited for their turn
            self._kick(lane)

    async def _deliver(self, batch: list[Job], answers: list[Answer]) -> None:
        going = sum(len(answer[1]) for answer in answers if len(answer) > 1)
        if going:
            await self._session.pace(going, "out")
        for job, answer in zip(batch, answers, strict=True):
            if isinstance(job, Other) and job.after is not None:
                job.after()
            self._answer(answer, job.size if isinstance(job, Write) else 0)

    # Extensions ------------------------------------------------------------------------------------

    def _extended(self, request: Request) -> None:
        act = self._more.get(request.fields.string())
        if act is None:
            self._answer(packets.status(request.number, Status.OP_UNSUPPORTED))
        else:
            act(request.number, request.fields)

    def _limits(self, number: int, _fields: Fields) -> None:
        """limits@openssh.com: the largest packet, read and write in bytes, and how many handles."""
        numbers = (packets.LARGEST_PACKET, packets.LARGEST_DATA, packets.LARGEST_DATA, MOST_HANDLES)
        self._answer(packets.answer(packets.EXTENDED_REPLY, number, b"".join(map(packets.u64, numbers))))

    def _copy_data(self, number: int, fields: Fields) -> None:
        source, start, length = self._lane(fields.string()), fields.u64(), fields.u64()
        target, at = self._lane(fields.string()), fields.u64()
        if source is target or max(start + length, at + length) >= 1 << 63:
            raise errno_error(errno.EINVAL)
        if not source.file.readable or not target.file.writable:
            raise errno_error(errno.EACCES)

        handle = os.dup(source.file.handle)  # the client may close the source meanwhile

        def act() -> Answer:
            try:
                copied = digests.copy_data(handle, start, length, target.file.handle, at, self._stop)
            finally:
                os.close(handle)
            target.file.bytes_written += copied
            return packets.status(number, Status.OK)

        self._put(target, Other(number, act, slow=True, dropped=lambda: os.close(handle)))

    def _check_handle(self, number: int, fields: Fields) -> None:
        lane = self._lane(fields.string())
        wanted = self._wanted(fields)
        # Who writes a file knows what is in it; a digest of it tells nothing new.
        self._put(lane, Other(number, lambda: self._checked(number, lane.file.handle, *wanted), slow=True))

    def _check_name(self, number: int, fields: Fields) -> None:
        path = parse(fields.string())
        wanted = self._wanted(fields)
        turn, before = self._order.enter([path], changes=False)

        def act() -> Answer:
            handle = self._files.open_for_digest(path)
            try:
                return self._checked(number, handle, *wanted)
            finally:
                os.close(handle)

        async def work() -> None:
            try:
                await Order.wait(before)
                try:
                    answer = await self._in_thread(act, slow=True)
                except OSError as error:
                    answer = failure(number, error)
                self._answer(answer)
            finally:
                self._order.leave(turn)

        self._spawn(work(), "digest")

    def _wanted(self, fields: Fields) -> tuple[str, int, int, int]:
        algorithm = digests.choose(fields.string())
        start, length, block = fields.u64(), fields.u64(), fields.u32()
        if not algorithm:
            raise OSError(errno.ENOTSUP, "none of these digests is known here")
        return algorithm, start, length, block

    def _checked(
        self, number: int, handle: int, algorithm: str, start: int, length: int, block: int
    ) -> Answer:
        found = digests.check_file(handle, algorithm, start, length, block, self._stop)
        body = packets.string(b"check-file") + packets.string(algorithm.encode()) + found
        return packets.answer(packets.EXTENDED_REPLY, number, body)


def _is_slow(batch: list[Job]) -> bool:
    return any(isinstance(job, Other) and job.slow for job in batch)


def _close_opened(opening: asyncio.Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class _ClientGone(Exception):
    """Ends the tasks of a session whose client waits for nothing."""


def _closed(number: int, close: Callable[[], None]) -> Answer:
    close()
    return packets.status(number, Status.OK)


def _space(number: int, facts: os.statvfs_result) -> Answer:
    numbers = (
        facts.f_bsize, facts.f_frsize, facts.f_blocks, facts.f_bfree, facts.f_bavail, facts.f_files,
        facts.f_ffree, facts.f_favail, facts.f_fsid, facts.f_flag & 3, facts.f_namemax,
    )  # fmt: skip
    return packets.answer(packets.EXTENDED_REPLY, number, packets.space(numbers))
