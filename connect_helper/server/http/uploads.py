"""Uploads over HTTP, whatever the dialect: made, found, appended to.

The rules: one request at a time works on an upload; an offset counts only bytes that were written
(`upload_bodies`); a file gets its final name only when it is whole, verified if the client said how, and
durable (`upload_endings`). Where an upload stands as complete but has not got its name (the program was
killed in between), the next request finishes it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from connect_helper.server.access import Operation
from connect_helper.server.http.callers import Caller
from connect_helper.server.http.problems import Problem, bad_request, no_such_upload
from connect_helper.server.http.tus_headers import Checksum, Metadata, metadata_header
from connect_helper.server.http.upload_bodies import Body, UploadBodies
from connect_helper.server.http.upload_digests import RunningDigests
from connect_helper.server.http.upload_disk import partial_beside, prepare_target, upload_target
from connect_helper.server.http.upload_endings import UploadEndings
from connect_helper.server.http.upload_files import joined, split
from connect_helper.server.http.upload_limits import UploadLimits, UploadRoom
from connect_helper.server.http.upload_locks import Busy, Hold, UploadLocks
from connect_helper.server.http.upload_records import Kind, UploadRecord, UploadRecords
from connect_helper.server.http.upload_refusals import too_long, wrong_offset
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.spec.block_hash import SHA256
from connect_helper.wire.batches import Stream

DEFERRED_LIMIT: Final = 1 << 40  # bytes of an upload whose length was never said


@dataclass(frozen=True, slots=True)
class Creation:
    """What a client says at the start of an upload."""

    metadata: Metadata
    length: int | None
    kind: Kind = "whole"
    wants_digest: str = ""  # by which algorithm it is made, whether it is compared or not; "": not at all
    parts: tuple[str, ...] = ()
    fresh: bool = False  # no file that is there is replaced


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
        self._limits = limits
        self._clock = clock
        self._locks = locks or UploadLocks()
        digests = RunningDigests()
        self.store = UploadStore(records, disk)
        self.room = UploadRoom(self.store, limits, clock)
        self.endings = UploadEndings(self.store, digests, self._locks, clock)
        self._bodies = UploadBodies(self.store, digests, limits, clock)

    def close(self) -> None:
        """Let go of the list, once no request runs any more."""
        self.store.close()

    # Creating ------------------------------------------------------------------------------------------

    async def create(self, caller: Caller, wish: Creation) -> UploadRecord:
        """Begin an upload; one of no bytes is finished at once. Raises Problem."""
        named, expected = wish.metadata, wish.metadata.expected
        algorithm = expected.algorithm if expected is not None else wish.wants_digest
        target = upload_target(caller, named.path, wish.kind, from_docroot=named.from_docroot)
        if wish.kind != "final":  # made of bytes and uploads that are there already
            await self.room.check_count(caller)
            await self.room.check_space(caller, wish.length)
        upload_id = secrets.token_hex(16)
        target = await self.store.on_disk(prepare_target, caller, target, wish.kind, fresh=wish.fresh)
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
            expected=expected.digest if expected is not None else None,
            wants_digest=bool(algorithm),
            digest=None,
            parts=wish.parts,
            done=False,
            expires_at=self._clock() + self._limits.unfinished_s,
            fresh=wish.fresh,
            token=caller.token_id,
            algorithm=algorithm or SHA256,
        )
        await self.store.note(record)
        return await self._finish_if_whole(caller, record)

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
        record = await self.store.get(upload_id)
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
        body: Stream,
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
                await self.room.check_space(caller, length - record.offset)
            if offset != record.offset:
                raise wrong_offset(record)
            room = (DEFERRED_LIMIT if record.length is None else record.length) - offset
            if body_length is not None and body_length > room:
                raise too_long(record)
            record = await self._finish_if_whole(caller, record)  # its file may have its name already
            if not record.done:
                record = await self._take(caller, record, hold, Body(body, room, checksum))
            return await self._finish_if_whole(caller, record)

    async def _take(self, caller: Caller, record: UploadRecord, hold: Hold, body: Body) -> UploadRecord:
        session, path = caller.session, split(record.path)
        session.file_started(path, "in", record.length)
        try:
            record = await self._bodies.take(caller, record, hold, body)
        except BaseException:
            session.upload_broke_off(record.id, path, record.length or 0)
            raise
        session.file_left(path, "in")
        if record.complete:
            session.upload_went_on(record.id)
        return record

    async def _finish_if_whole(self, caller: Caller, record: UploadRecord) -> UploadRecord:
        if record.complete and not record.done and record.kind == "whole":
            return await self.endings.finish(caller, record)
        return record

    @staticmethod
    def _with_length(record: UploadRecord, length: int) -> UploadRecord:
        if record.length is not None or length < record.offset:
            raise bad_request("The length of this upload is settled and cannot be changed.")
        return replace(record, length=length)

    async def terminate(self, caller: Caller, upload_id: str) -> None:
        """Give an upload up; a finished file stays. Raises Problem."""
        async with self.held(caller, upload_id) as (record, _):
            await self.endings.forget(caller, record)
            caller.session.upload_went_on(record.id)
