"""Joining parts that came over several connections into one file (tus extension "concatenation").

The first part's file is lengthened by the others, so one part in each file is never copied. The parts stay
until the whole has its name: killed in between, the same request simply joins again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final

from connect_helper.server.http.callers import Caller
from connect_helper.server.http.problems import Problem, bad_request, no_such_upload
from connect_helper.server.http.upload_disk import feed_piece, upload_target
from connect_helper.server.http.upload_files import as_left, open_partial, open_unfinished, split
from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.server.http.upload_refusals import part_changed
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.server.http.uploads import Creation, Uploads
from connect_helper.spec.block_hash import Hash, new_hash
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot
from connect_helper.storage.file_data import copy_range

STEP: Final = 32 * 1024 * 1024  # bytes between two looks at whether the request is still wanted


async def concatenate(uploads: Uploads, caller: Caller, wish: Creation) -> UploadRecord:
    """Make one file of `wish.parts`, in that order. Raises Problem; the parts are kept then.

    Joining may outlast a client's patience, or the server: asked once more for what is done already, it says
    so.
    """
    if (before := await _begun_before(uploads, caller, wish)) is not None and before.done:
        return await _tidied(uploads, caller, before)
    async with AsyncExitStack() as held:
        parts: list[UploadRecord] = []
        for part_id in sorted(wish.parts):  # one order for all, or two requests could wait for each other
            record, _ = await held.enter_async_context(uploads.held(caller, part_id))
            parts.append(record)
        parts.sort(key=lambda record: wish.parts.index(record.id))
        if (before := await _begun_before(uploads, caller, wish)) is not None:
            if before.done or await uploads.endings.published(caller, before):
                done = before if before.done else await uploads.endings.finish(caller, before)
                return await _tidied(uploads, caller, done)
            await uploads.endings.forget_record(before)  # its bytes are those of the parts
        lengths = [_complete_length(record) for record in parts]
        if wish.length is not None and wish.length != sum(lengths):
            raise bad_request("The Upload-Length of a final upload must be that of its parts, or missing.")
        await uploads.room.check_space(caller, sum(lengths[1:]))  # copied behind the first
        whole = await uploads.create(caller, replace(wish, length=None, kind="final"))
        try:
            return await _join(uploads, caller, whole, parts)
        except BaseException:
            await uploads.endings.forget(caller, whole)
            raise


async def _begun_before(uploads: Uploads, caller: Caller, wish: Creation) -> UploadRecord | None:
    """The final upload that an earlier request began to make of the same parts, done or not."""
    first = await uploads.find(caller, wish.parts[0])
    if first.kind != "partial" or not first.parts:
        return None
    try:
        whole = await uploads.find(caller, first.parts[0])
    except Problem:
        if first.done:
            raise
        return None
    named = wish.metadata
    target = upload_target(caller, named.path, "final", from_docroot=named.from_docroot)
    return whole if whole.parts == wish.parts and split(whole.path) == target else None


async def _tidied(uploads: Uploads, caller: Caller, whole: UploadRecord) -> UploadRecord:
    """Let go of the parts of a file that has its name; returns `whole`.

    They are remembered for as long as the whole is, and lead to it: who did not hear the answer asks how far
    each part has come, and then for the same whole.
    """
    first = await uploads.find(caller, whole.parts[0])
    if not first.done:
        for part_id in reversed(whole.parts):  # the first one's note says that the others are written
            with suppress(Problem):  # gone already
                part = await uploads.find(caller, part_id)
                await uploads.endings.part_used(caller, part, whole)
    return whole


def _complete_length(record: UploadRecord) -> int:
    if record.kind != "partial":
        raise bad_request("An upload named in Upload-Concat is no partial one.")
    if record.done:  # its bytes are in another file
        raise no_such_upload()
    if record.length is None or record.offset != record.length:
        raise Problem(409, "part_unfinished", "A part of the file has not been sent whole yet.")
    return record.length


class _PartChanged(Exception):
    """A part's file is shorter than what was counted of it."""


async def _join(
    uploads: Uploads,
    caller: Caller,
    whole: UploadRecord,
    parts: Sequence[UploadRecord],
) -> UploadRecord:
    try:
        first = await uploads.store.on_disk(_ready_first, caller.docroot, parts[0])
        parts = [first, *parts[1:]]
        whole = await _lengthen_first(uploads, caller, whole, parts)
    except FileNotFoundError:  # somebody removed a part's file
        raise no_such_upload() from None
    except _PartChanged:
        for part in parts:  # what is left of them counts, so that the rest can be sent again
            left = await uploads.store.on_disk(as_left, caller.docroot, part)
            if left != part:
                await uploads.store.note(left)
        raise part_changed() from None
    await uploads.store.note(whole)
    await uploads.store.note(replace(parts[0], parts=(whole.id,)))
    if len(parts) == 1:
        uploads.endings.joined_from(parts[0], whole)
    try:
        finished = await uploads.endings.finish(caller, whole)
    except Problem:  # refused for good, and the first part's file is gone with it
        for part in parts:
            await uploads.endings.forget(caller, part)
        raise
    return await _tidied(uploads, caller, finished)


def _ready_first(docroot: Docroot, first: UploadRecord) -> UploadRecord:
    """See that the first part's file has its bytes; an empty part has no file yet. Returns it with which one.

    Raises _PartChanged, and FileNotFoundError where the file is gone.
    """
    opened = open_partial(docroot, first)
    if opened is None:
        os.close(open_unfinished(docroot, first, os.O_RDONLY))  # gone altogether, it is said to be
        raise _PartChanged
    handle, first = opened
    os.close(handle)
    return first


async def _lengthen_first(
    uploads: Uploads, caller: Caller, whole: UploadRecord, parts: Sequence[UploadRecord]
) -> UploadRecord:
    """Add the other parts to the first one's file; returns `whole` with that file, all of it."""
    first, store = parts[0], uploads.store
    path = split(first.partial)
    joined = _Joined(first.offset)
    algorithm = whole.algorithm if whole.wants_digest and len(parts) > 1 else ""
    async with joined.hashed(store, caller.docroot, path, algorithm):
        for part in parts[1:]:
            for start in range(0, part.offset, STEP):
                step = min(STEP, part.offset - start)
                append = partial(_append, caller.docroot, first, joined.length, part, start, step)
                await store.on_disk(append)
                joined.grow(step)
    await store.on_disk(_settle_length, caller.docroot, first, joined.length)
    whole = replace(
        whole, partial=first.partial, identity=first.identity, length=joined.length, offset=joined.length
    )
    if joined.digest is not None:
        uploads.endings.hashed(whole, joined.digest, await store.on_disk(caller.docroot.lstat, path))
    return whole


class _Joined:
    """A file that grows by other files, and is hashed behind that: what counts is what was written."""

    def __init__(self, length: int) -> None:
        self.length = length  # bytes
        self.digest: Hash | None = None  # of all of it, once it has been `hashed`
        self._is_complete = False
        self._news = asyncio.Event()

    def grow(self, more: int) -> None:
        self.length += more
        self._news.set()

    @asynccontextmanager
    async def hashed(
        self, store: UploadStore, docroot: Docroot, path: DocPath, algorithm: str
    ) -> AsyncIterator[None]:
        """Hash the file while it grows within the context; it is complete at the end of that. "": not."""
        if not algorithm:
            yield
            return
        hashing = asyncio.create_task(
            self._hash(store, docroot, path, new_hash(algorithm)), name="digest of a joined file"
        )
        try:
            yield
            self._is_complete = True
            self._news.set()
            self.digest = await hashing
        finally:
            hashing.cancel()
            await asyncio.gather(hashing, return_exceptions=True)

    async def _hash(self, store: UploadStore, docroot: Docroot, path: DocPath, digest: Hash) -> Hash:
        at = 0
        while at < self.length or not self._is_complete:
            if at == self.length:
                self._news.clear()
                await self._news.wait()
                continue
            step = min(STEP, self.length - at)
            await store.on_disk(feed_piece, digest, docroot, path, at, step)
            at += step
        return digest


def _append(
    docroot: Docroot, target: UploadRecord, at: int, source: UploadRecord, start: int, length: int
) -> None:
    """Copy `length` bytes of one file to offset `at` of another, inside the system."""
    reading = open_unfinished(docroot, source, os.O_RDONLY)
    try:
        writing = open_unfinished(docroot, target, os.O_WRONLY)
        try:
            while length:
                copied = copy_range(reading, start, length, writing, at)
                if not copied:
                    raise _PartChanged
                start, at, length = start + copied, at + copied, length - copied
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _settle_length(docroot: Docroot, first: UploadRecord, length: int) -> None:
    """Drop what an earlier, broken joining may have left behind the end."""
    handle = open_unfinished(docroot, first, os.O_WRONLY)
    try:
        size = os.fstat(handle).st_size
        if size < length:
            raise _PartChanged
        if size > length:
            os.ftruncate(handle, length)
    finally:
        os.close(handle)
