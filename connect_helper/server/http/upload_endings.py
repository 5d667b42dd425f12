"""How uploads end: with a name of their own, given up, as parts of another file, or swept.

A file gets its final name only when it is whole, verified if the client said how, and durable.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from connect_helper.server.http.callers import Caller
from connect_helper.server.http.problems import (
    Problem,
    already_exists,
    denied,
    no_such_upload,
    problem_of,
)
from connect_helper.server.http.upload_digests import RunningDigests
from connect_helper.server.http.upload_disk import (
    feed_piece,
    publish_upload,
    published_before,
    ready_to_publish,
    sweep_one,
)
from connect_helper.server.http.upload_files import remove_partial, split
from connect_helper.server.http.upload_locks import UploadLocks
from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.server.http.upload_refusals import content_wrong
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.spec.block_hash import Hash, new_hash
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot

log = logging.getLogger(__name__)

DONE_KEPT_S: Final = 3600.0  # how long a client may ask whether its last bytes arrived
DONE_KEPT: Final = 10_000  # of an account; files of no bytes come by the thousand
_AT_A_TIME: Final = 500  # uploads forgotten before others have their turn at the list
_STEP: Final = 64 * 1024 * 1024  # bytes hashed between two looks at whether we are still wanted


class UploadEndings:
    """Ends uploads, one at a time each: whoever calls holds its lock, but for `sweep`."""

    def __init__(
        self,
        store: UploadStore,
        digests: RunningDigests,
        locks: UploadLocks,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._digests = digests
        self._locks = locks
        self._clock = clock

    async def finish(self, caller: Caller, record: UploadRecord) -> UploadRecord:
        """Bring a complete upload under its name. Raises Problem; refused for good, the upload is gone.

        What is about to happen is noted first: killed before the end is noted, the next call finds the file
        under its name and knows it for its own.
        """
        with caller.file(split(record.path), "in") as file:
            try:
                record, digest = await self._publish(caller, record)
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
            told = None if digest is None else f"{record.algorithm}:{digest.hex()}"
            file.finished(record.length or 0, told)
        kept_until = min(record.expires_at, self._clock() + DONE_KEPT_S)
        record = replace(record, done=True, digest=digest, synced=record.offset, expires_at=kept_until)
        await self._store.note(record)
        return record

    async def _publish(self, caller: Caller, record: UploadRecord) -> tuple[UploadRecord, bytes | None]:
        """Compare, and give the name. Returns the record with its inode, and the digest if one is wanted."""
        docroot, on_disk = caller.docroot, self._store.on_disk
        published = await on_disk(published_before, docroot, record)
        digest = None
        if record.length and not published:
            facts = await on_disk(docroot.lstat, split(record.partial))
            digest = self._digests.take_whole(record, facts)
        if digest is None and record.wants_digest:
            whole = split(record.path if published else record.partial)
            digest = await self._digest_of(docroot, whole, record)
        if record.expected is not None and digest != record.expected:
            raise content_wrong()
        if not published:
            record = await on_disk(ready_to_publish, docroot, record)
            await self._store.note(record)
            await on_disk(publish_upload, caller, record)
        return record, digest

    async def _digest_of(self, docroot: Docroot, path: DocPath, record: UploadRecord) -> bytes:
        """Hash a file piece by piece, so that we can be stopped in between."""
        digest, size = new_hash(record.algorithm), record.length or 0
        for start in range(0, size, _STEP):
            await self._store.on_disk(feed_piece, digest, docroot, path, start, min(_STEP, size - start))
        return digest.digest()

    def hashed(self, record: UploadRecord, digest: Hash, facts: os.stat_result) -> None:
        """The digest of all that a complete upload has; `facts` are those of its file."""
        self._digests.keep(record, digest, facts)

    def joined_from(self, part: UploadRecord, whole: UploadRecord) -> None:
        """The file of `whole` is that of its only part."""
        self._digests.move(part, whole)

    async def published(self, caller: Caller, record: UploadRecord) -> bool:
        """Whether the program was killed after the file of an upload got its name."""
        return await self._store.on_disk(published_before, caller.docroot, record)

    async def forget(self, caller: Caller, record: UploadRecord) -> None:
        """Remove an upload and what came of it; a finished file stays."""
        self._digests.forget(record.id)
        await self._store.on_disk(remove_partial, caller.docroot, record)
        await self.forget_record(record)

    async def part_used(self, caller: Caller, part: UploadRecord, whole: UploadRecord) -> None:
        """Remove the bytes of a part that are in the finished file `whole`, and remember whose they were."""
        self._digests.forget(part.id)
        await self._store.on_disk(remove_partial, caller.docroot, part)
        await self._store.note(replace(part, done=True, parts=(whole.id,), expires_at=whole.expires_at))

    async def forget_record(self, record: UploadRecord) -> None:
        """Remove an upload whose bytes are those of others, and leave them."""
        await self._store.remove([record.id])

    async def sweep(self, open_docroot: Callable[[str], Docroot | None]) -> int:
        """Remove uploads left alone for too long, but none in use; returns how many.

        Of those that are done, the last ones stay known: each may have brought some kilobytes of metadata.

        `open_docroot` gives the docroot of an account, None when there is none of that name; it blocks. The
        uploads of one that cannot be reached wait for a later call.
        """
        done = await self._store.done_before(DONE_KEPT)
        for start in range(0, len(done), _AT_A_TIME):
            await self._store.remove(done[start : start + _AT_A_TIME])
        removed, unreachable = 0, set[str]()
        while over := [
            record
            for record in await self._store.expired(self._clock(), without=unreachable)
            if not self._locks.held(record.id)
        ]:
            swept = [record.id for record in over if await self._swept(record, open_docroot, unreachable)]
            await self._store.remove(swept)
            removed += len(swept)
        return removed

    async def _swept(
        self, record: UploadRecord, open_docroot: Callable[[str], Docroot | None], unreachable: set[str]
    ) -> bool:
        """Remove what came of an upload; False, and its account is `unreachable`, where that cannot be."""
        self._digests.forget(record.id)
        if record.done:
            return True
        if record.account in unreachable:
            return False
        async with self._locks.hold(record.id):
            try:
                await self._store.on_disk(sweep_one, open_docroot, record)
            except OSError as error:
                log.warning("the docroot of %s cannot be reached: %s", record.account, error.strerror)
                unreachable.add(record.account)
                return False
        return True
