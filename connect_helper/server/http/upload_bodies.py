"""The body of one request into the unfinished file of its upload: what came is kept, or nothing of it.

An offset counts only bytes that were written. A body with a checksum counts whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from connect_helper.server.http.callers import Caller
from connect_helper.server.http.receiving import Destination, End, Receiver, Share
from connect_helper.server.http.tus_headers import Checksum
from connect_helper.server.http.upload_digests import RunningDigests
from connect_helper.server.http.upload_files import as_left, open_partial
from connect_helper.server.http.upload_limits import UploadLimits
from connect_helper.server.http.upload_locks import Hold
from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.server.http.upload_refusals import broken_off, too_long, wrong_offset
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.spec.block_hash import Hash
from connect_helper.wire.batches import Stream

NOTE_EVERY_S: Final = 1.0  # how often a running upload's offset is noted


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brings: at most `room` bytes, with the checksum of them all if the client said one."""

    stream: Stream
    room: int
    checksum: Checksum | None


class UploadBodies:
    """Takes the bodies of all uploads."""

    def __init__(
        self,
        store: UploadStore,
        digests: RunningDigests,
        limits: UploadLimits,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._digests = digests
        self._limits = limits
        self._clock = clock
        self._share = Share()

    async def take(self, caller: Caller, record: UploadRecord, hold: Hold, body: Body) -> UploadRecord:
        """Add a body at the upload's offset. Raises Problem: see `Uploads.append`."""
        on_disk = self._store.on_disk
        opened = await on_disk(open_partial, caller.docroot, record)
        if opened is None:
            # Bytes we counted are gone: somebody else shortened or removed the file. What is left counts.
            raise wrong_offset(await self._shrunk(caller, record))
        handle, record = opened
        try:
            return await self._take(caller, record, hold, body, handle)
        finally:
            await on_disk(os.close, handle)

    async def _take(
        self, caller: Caller, record: UploadRecord, hold: Hold, body: Body, handle: int
    ) -> UploadRecord:
        facts = await self._store.on_disk(os.fstat, handle)
        checksum, whole = body.checksum, self._digests.so_far(record, facts)
        piece = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        hashes = tuple(each for each in (whole, piece) if each is not None)
        keep_free = self._limits.keep_free_percent / 100
        destination = Destination(handle, record.offset, record.synced, hashes, keep_free=keep_free)
        receiver = Receiver(
            body.stream,
            destination,
            disk=self._store.disk,
            pace=caller.pace_in,
            idle_s=self._limits.idle_s,
            share=self._share,
        )
        hold.on_wanted(receiver.let_go)
        try:
            end = await receiver.run(body.room, self._noting(record, quiet=checksum is not None))
        except BaseException:
            # The digest may know bytes that the disk does not; it is made anew at the end.
            await self._keep(record, destination, None, kept=checksum is None)
            raise
        wrong = piece is not None and checksum is not None and piece.digest() != checksum.digest
        if end is End.TOO_LONG or wrong or (checksum is not None and end is not End.WHOLE):
            await self._store.on_disk(os.ftruncate, handle, record.offset)
            raise too_long(record) if end is End.TOO_LONG else broken_off(end, checksum_wrong=wrong)
        record = await self._keep(record, destination, whole, kept=True)
        if end is not End.WHOLE:
            raise broken_off(end)
        if record.complete and record.kind == "partial":
            await self._store.on_disk(destination.sync)
            record = await self._keep(record, destination, whole, kept=True)
        return record

    def _noting(self, record: UploadRecord, *, quiet: bool) -> _Noting:
        return _Noting(self._store, record, lambda: self._clock() + self._limits.unfinished_s, quiet=quiet)

    async def _keep(
        self, record: UploadRecord, destination: Destination, whole: Hash | None, *, kept: bool
    ) -> UploadRecord:
        """Note how far an upload has come, and that it is alive."""
        self._digests.forget(record.id)
        if kept:
            record = replace(
                record, offset=destination.offset, synced=min(destination.synced, destination.offset)
            )
            if whole is not None:
                facts = await self._store.on_disk(os.fstat, destination.handle)
                self._digests.keep(record, whole, facts)
        record = replace(record, expires_at=self._clock() + self._limits.unfinished_s)
        await self._store.note(record)
        return record

    async def _shrunk(self, caller: Caller, record: UploadRecord) -> UploadRecord:
        record = await self._store.on_disk(as_left, caller.docroot, record)
        await self._store.note(record)
        return record


class _Noting:
    """Notes a running upload's offset now and then, so that a killed server has not forgotten much."""

    def __init__(
        self, store: UploadStore, record: UploadRecord, expires_at: Callable[[], float], *, quiet: bool
    ) -> None:
        self._store = store
        self._record = record
        self._expires_at = expires_at
        self._quiet = quiet  # a body that may yet prove wrong must not count
        self._last = time.monotonic()

    async def __call__(self, offset: int, synced: int) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._last > NOTE_EVERY_S:
            self._last = now
            expires_at = self._expires_at()
            await self._store.note(replace(self._record, offset=offset, synced=synced, expires_at=expires_at))
