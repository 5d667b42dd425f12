"""Uploads over HTTP, whatever the dialect: made, appended to, finished, given up, swept.

The rules: one request at a time works on an upload; an offset counts only bytes that were written; a file
gets its final name only when it is whole, verified if the client said how, and durable. Where an upload
stands as complete but has not got its name (the program was killed in between), the next request finishes it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, ParamSpec, TypeVar

from aiohttp import StreamReader

from connect_helper.server.access import Operation
from connect_helper.server.http.callers import Caller
from connect_helper.server.http.digests import Hash
from connect_helper.server.http.problems import (
    Problem,
    already_exists,
    bad_request,
    denied,
    disk_full,
    no_such_upload,
    problem_of,
)
from connect_helper.server.http.receiving import Destination, End, Receiver
from connect_helper.server.http.threads import in_thread
from connect_helper.server.http.tus_headers import Checksum, Metadata, metadata_header
from connect_helper.server.http.upload_disk import (
    feed_piece,
    joined,
    open_partial,
    partial_beside,
    prepare_target,
    publish_upload,
    published_before,
    ready_to_publish,
    remove_partial,
    size_of,
    split,
    sweep_one,
    upload_target,
)
from connect_helper.server.http.upload_locks import Busy, Hold, UploadLocks
from connect_helper.server.http.upload_records import Kind, UploadRecord, UploadRecords
from connect_helper.server.http.upload_refusals import broken_off, content_wrong, too_long, wrong_offset
from connect_helper.storage.docpath import ROOT, DocPath
from connect_helper.storage.docroot import Docroot

P = ParamSpec("P")
R = TypeVar("R")
DEFERRED_LIMIT: Final = 1 << 40  # bytes of an upload whose length was never said
DONE_KEPT_S: Final = 3600.0  # how long a client may ask whether its last bytes arrived
NOTE_EVERY_S: Final = 1.0  # how often a running upload's offset is noted
PROMISE_S: Final = 3600.0  # how long room is kept for an upload that does not move
DIGESTS_KEPT: Final = 4096  # running digests of uploads between two requests
_STEP: Final = 64 * 1024 * 1024  # bytes hashed between two looks at whether we are still wanted


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What the operator allows."""

    unfinished_s: float = 7 * 86_400  # uploads left alone so long are removed
    unfinished_per_account: int = 10_000
    idle_s: float = 60.0  # a body that brings next to nothing for so long is given up
    keep_free_percent: float = 1.0  # of the disk


@dataclass(frozen=True, slots=True)
class Creation:
    """What a client says at the start of an upload."""

    metadata: Metadata
    length: int | None
    kind: Kind = "whole"
    wants_digest: bool = False
    parts: tuple[str, ...] = ()


class Uploads:
    """All uploads over HTTP."""

    def __init__(
        self,
        records: UploadRecords,
        disk: Executor,
        limits: UploadLimits,
        *,
        clock: Callable[[], float] = time.time,
        locks: UploadLocks | None = None,
    ) -> None:
        self._records = records
        self._disk = disk
        self._limits = limits
        self._clock = clock
        self._locks = locks or UploadLocks()
        self._list = ThreadPoolExecutor(1, thread_name_prefix="uploads list")
        self._digests: OrderedDict[str, tuple[int, Hash]] = OrderedDict()

    def close(self) -> None:
        """Let go of the list, once no request runs any more."""
        self._list.shutdown(wait=True)
        self._records.close()

    # Creating ------------------------------------------------------------------------------------------

    async def create(self, caller: Caller, wish: Creation) -> UploadRecord:
        """Begin an upload; one of no bytes is finished at once. Raises Problem."""
        target = upload_target(caller, wish.metadata.path, wish.kind)
        await self._check_count(caller)
        if wish.kind != "final":  # made of bytes that are there already
            await self.check_space(caller, wish.length)
        upload_id = secrets.token_hex(16)
        await self.on_disk(prepare_target, caller, target, wish.kind)
        record = UploadRecord(
            id=upload_id,
            account=caller.account,
            kind=wish.kind,
            path=joined(target),
            partial=joined(partial_beside(target, upload_id)),
            length=wish.length,
            offset=0,
            synced=0,
            metadata=metadata_header(wish.metadata.values),
            mtime_ns=wish.metadata.mtime_ns,
            sha256=wish.metadata.sha256,
            wants_digest=wish.wants_digest or wish.metadata.sha256 is not None,
            digest=None,
            parts=wish.parts,
            done=False,
            expires_at=self._clock() + self._limits.unfinished_s,
        )
        await self.note(record)
        return await self._finish_if_whole(caller, record)

    async def _check_count(self, caller: Caller) -> None:
        count, _ = await self._unfinished(caller)
        if count >= self._limits.unfinished_per_account:
            raise Problem(
                429,
                "too_many_uploads",
                "Too many uploads are unfinished; finish or cancel some of them.",
                headers={"Retry-After": "60"},
            )

    async def check_space(self, caller: Caller, length: int | None) -> None:
        """Raise Problem (507) unless `length` more bytes fit beside what the account's uploads promise.

        None: nobody knows how many. What uploads really bring is looked at once more as they come.
        """
        if length == 0:
            return
        _, promised = await self._unfinished(caller)
        facts = await self.on_disk(caller.docroot.statvfs, ROOT)
        reserve = facts.f_blocks * facts.f_frsize * self._limits.keep_free_percent / 100
        if facts.f_bavail * facts.f_frsize - promised - (length or 1) < reserve:
            raise disk_full()

    async def _unfinished(self, caller: Caller) -> tuple[int, int]:
        alive = self._clock() + self._limits.unfinished_s - PROMISE_S
        return await self._listed(self._records.unfinished, caller.account, alive)

    # Finding -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def held(self, caller: Caller, upload_id: str) -> AsyncIterator[tuple[UploadRecord, Hold]]:
        """Work on one upload alone. Raises Problem: 404 when it is not the caller's, 423 when in use."""
        await self.find(caller, upload_id)  # a stranger must not even disturb
        try:
            async with self._locks.hold(upload_id) as hold:
                yield await self.find(caller, upload_id), hold
        except Busy:
            raise Problem(
                423,
                "locked",
                "Another request works on this upload; try again.",
                headers={"Retry-After": "1"},
            ) from None

    async def find(self, caller: Caller, upload_id: str) -> UploadRecord:
        """An upload as it is now, whoever works on it. Raises Problem (404)."""
        record = await self._listed(self._records.get, upload_id)
        if record is None or record.account != caller.account or record.expires_at < self._clock():
            raise no_such_upload()
        if not caller.access.allows(Operation.CREATE, split(record.path)):
            raise no_such_upload()
        return record

    async def state(self, caller: Caller, upload_id: str) -> UploadRecord:
        """Where an upload stands; a complete one without its name gets it first. Raises Problem."""
        async with self.held(caller, upload_id) as (record, _):
            return await self._finish_if_whole(caller, record)

    # Appending -----------------------------------------------------------------------------------------

    async def append(
        self,
        caller: Caller,
        upload_id: str,
        *,
        offset: int,
        body: StreamReader,
        body_length: int | None,
        checksum: Checksum | None = None,
        length: int | None = None,
    ) -> UploadRecord:
        """Add a body at `offset`; the last byte finishes the upload. `length` ends its being deferred.

        Raises Problem: 409 for another offset, 413 for too many bytes, 460 for a wrong checksum (nothing of
        the body is kept then), 408 and 423 when it was broken off (what came is kept).
        """
        async with self.held(caller, upload_id) as (record, hold):
            if record.kind == "final":
                raise Problem(403, "final", "This upload is made of others and takes no bytes of its own.")
            if length is not None and record.length != length:
                record = self._with_length(record, length)
                await self.check_space(caller, length - record.offset)
            if offset != record.offset:
                raise wrong_offset(record)
            room = (DEFERRED_LIMIT if record.length is None else record.length) - offset
            if body_length is not None and body_length > room:
                raise too_long(record)
            record = await self._finish_if_whole(caller, record)  # its file may have its name already
            if not record.done:
                caller.session.file_started(split(record.path), "in", record.length)
                try:
                    record = await self._receive(caller, record, hold, body, room, checksum)
                finally:
                    caller.session.file_left(split(record.path), "in")
            return await self._finish_if_whole(caller, record)

    async def _finish_if_whole(self, caller: Caller, record: UploadRecord) -> UploadRecord:
        if record.complete and not record.done and record.kind == "whole":
            return await self.finish(caller, record)
        return record

    @staticmethod
    def _with_length(record: UploadRecord, length: int) -> UploadRecord:
        if record.length is not None or length < record.offset:
            raise bad_request("The length of this upload is settled and cannot be changed.")
        return replace(record, length=length)

    async def _receive(
        self,
        caller: Caller,
        record: UploadRecord,
        hold: Hold,
        body: StreamReader,
        room: int,
        checksum: Checksum | None,
    ) -> UploadRecord:
        handle = await self.on_disk(open_partial, caller.docroot, split(record.partial), record.offset)
        try:
            if handle is None:
                # Bytes we counted are gone: somebody else shortened the file. What is left counts.
                raise wrong_offset(await self._shrunk(caller, record))
            whole = self._running_digest(record)
            piece = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
            hashes = tuple(each for each in (whole, piece) if each is not None)
            keep_free = self._limits.keep_free_percent / 100
            destination = Destination(handle, record.offset, record.synced, hashes, keep_free=keep_free)
            receiver = Receiver(
                body, destination, disk=self._disk, pace=caller.pace_in, idle_s=self._limits.idle_s
            )
            hold.on_wanted(receiver.let_go)
            try:
                end = await receiver.run(room, _Noting(self, record, quiet=checksum is not None))
            except BaseException:
                # The digest may know bytes that the disk does not; it is made anew at the end.
                await self._keep(record, destination, None, kept=checksum is None)
                raise
            wrong = piece is not None and checksum is not None and piece.digest() != checksum.digest
            if end is End.TOO_LONG or wrong or (checksum is not None and end is not End.WHOLE):
                await self.on_disk(os.ftruncate, handle, record.offset)
                raise too_long(record) if end is End.TOO_LONG else broken_off(end, checksum_wrong=wrong)
            record = await self._keep(record, destination, whole, kept=True)
            if end is not End.WHOLE:
                raise broken_off(end)
            if record.complete and record.kind == "partial":
                await self.on_disk(destination.sync)
                record = await self._keep(record, destination, whole, kept=True)
            return record
        finally:
            if handle is not None:
                await self.on_disk(os.close, handle)

    async def _keep(
        self, record: UploadRecord, destination: Destination, whole: Hash | None, *, kept: bool
    ) -> UploadRecord:
        """Note how far an upload has come, and that it is alive."""
        self._digests.pop(record.id, None)
        if kept:
            record = replace(
                record, offset=destination.offset, synced=min(destination.synced, destination.offset)
            )
            if whole is not None:
                self._digests[record.id] = (record.offset, whole)
                if len(self._digests) > DIGESTS_KEPT:
                    self._digests.popitem(last=False)
        record = replace(record, expires_at=self._clock() + self._limits.unfinished_s)
        await self.note(record)
        return record

    async def _shrunk(self, caller: Caller, record: UploadRecord) -> UploadRecord:
        size = await self.on_disk(size_of, caller.docroot, split(record.partial))
        record = replace(record, offset=size, synced=min(size, record.synced))
        await self.note(record)
        return record

    def _running_digest(self, record: UploadRecord) -> Hash | None:
        """The digest so far, to go on with; None when it is not wanted or must be made at the end."""
        if not record.wants_digest or record.kind != "whole":
            return None
        if record.offset == 0:
            return hashlib.sha256(usedforsecurity=False)
        at, digest = self._digests.get(record.id, (-1, None))
        return digest.copy() if digest is not None and at == record.offset else None

    # Ending --------------------------------------------------------------------------------------------

    async def finish(self, caller: Caller, record: UploadRecord) -> UploadRecord:
        """Bring a complete upload under its name. Raises Problem; refused for good, the upload is gone.

        What is about to happen is noted first: killed before the end is noted, the next call finds the file
        under its name and knows it for its own.
        """
        target, docroot = split(record.path), caller.docroot
        at, running = self._digests.pop(record.id, (-1, None))
        digest = running.digest() if running is not None and at == record.length else None
        with caller.file(target, "in") as file:
            try:
                published = await self.on_disk(published_before, docroot, record)
                if digest is None and record.wants_digest:
                    whole = target if published else split(record.partial)
                    digest = await self._digest_of(docroot, whole, record.length or 0)
                if record.sha256 is not None and digest != record.sha256:
                    raise content_wrong()
                if not published:
                    record = replace(record, inode=await self.on_disk(ready_to_publish, docroot, record))
                    await self.note(record)
                    await self.on_disk(publish_upload, caller, record)
            except Problem:
                await self.forget(caller, record)
                raise
            except FileExistsError:
                await self.forget(caller, record)
                raise already_exists() from None
            except FileNotFoundError:
                await self.forget(caller, record)
                raise no_such_upload() from None
            except IsADirectoryError as error:
                await self.forget(caller, record)
                raise problem_of(error) or denied() from None
            file.finished(record.length or 0, digest)
        kept_until = min(record.expires_at, self._clock() + DONE_KEPT_S)
        record = replace(record, done=True, digest=digest, synced=record.offset, expires_at=kept_until)
        await self.note(record)
        return record

    async def _digest_of(self, docroot: Docroot, path: DocPath, size: int) -> bytes:
        """Hash a file piece by piece, so that we can be stopped in between."""
        digest = hashlib.sha256(usedforsecurity=False)
        for start in range(0, size, _STEP):
            await self.on_disk(feed_piece, digest, docroot, path, start, min(_STEP, size - start))
        return digest.digest()

    async def terminate(self, caller: Caller, upload_id: str) -> None:
        """Give an upload up; a finished file stays. Raises Problem."""
        async with self.held(caller, upload_id) as (record, _):
            await self.forget(caller, record)

    async def published(self, caller: Caller, record: UploadRecord) -> bool:
        """Whether the program was killed after the file of an upload got its name."""
        return await self.on_disk(published_before, caller.docroot, record)

    async def forget(self, caller: Caller, record: UploadRecord) -> None:
        """Remove an upload and what came of it; a finished file stays."""
        self._digests.pop(record.id, None)
        await self.on_disk(remove_partial, caller.docroot, record)
        await self.forget_record(record)

    async def part_used(self, caller: Caller, part: UploadRecord, whole: UploadRecord) -> None:
        """Remove the bytes of a part that are in the finished file `whole`, and remember whose they were."""
        self._digests.pop(part.id, None)
        await self.on_disk(remove_partial, caller.docroot, part)
        await self.note(replace(part, done=True, parts=(whole.id,), expires_at=whole.expires_at))

    async def forget_record(self, record: UploadRecord) -> None:
        """Remove an upload whose bytes are those of others, and leave them."""
        await self._listed(self._records.remove, [record.id])

    async def sweep(self, open_docroot: Callable[[str], Docroot | None]) -> int:
        """Remove uploads left alone for too long, but none in use; returns how many.

        `open_docroot` gives the docroot of an account, None when there is none of that name; it blocks.
        """
        removed = 0
        while over := [
            record
            for record in await self._listed(self._records.expired, self._clock())
            if not self._locks.held(record.id)
        ]:
            for record in over:
                self._digests.pop(record.id, None)
                if not record.done:
                    async with self._locks.hold(record.id):
                        await self.on_disk(sweep_one, open_docroot, record)
            await self._listed(self._records.remove, [record.id for record in over])
            removed += len(over)
        return removed

    # Threads -------------------------------------------------------------------------------------------

    async def note(self, record: UploadRecord) -> None:
        """Keep the newest state of an upload."""
        await self._listed(self._records.put, record)

    async def _listed(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await in_thread(self._list, partial(step, *args, **kwargs))

    async def on_disk(self, step: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run one blocking step on the disk; raises what it raises, Problem for what callers should know."""
        return await in_thread(self._disk, partial(step, *args, **kwargs))


class _Noting:
    """Notes a running upload's offset now and then, so that a killed server has not forgotten much."""

    def __init__(self, uploads: Uploads, record: UploadRecord, *, quiet: bool) -> None:
        self._uploads = uploads
        self._record = record
        self._quiet = quiet  # a body that may yet prove wrong must not count
        self._last = time.monotonic()

    async def __call__(self, offset: int, synced: int) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._last > NOTE_EVERY_S:
            self._last = now
            await self._uploads.note(replace(self._record, offset=offset, synced=synced))
