"""Fetches one file: decides, goes on from what is there, fetches, verifies, publishes."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Sequence

from connect_helper.errors import (
    AlreadyExists,
    ChecksumMismatch,
    ContentError,
    LengthMismatch,
    SourceChanged,
    SourceMissing,
    TargetError,
    TargetIsFolder,
)
from connect_helper.spec.names import display
from connect_helper.spec.overwrite import (
    Decision,
    FileFacts,
    PartialDecision,
    after_compare,
    decide,
    decide_partial,
)
from connect_helper.spec.sampling import sparse_ranges
from connect_helper.transfers.job import TAIL, DownloadJob, Work, digest_algorithm, digest_label
from connect_helper.transfers.ledger import mark
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transfers.unfinished import Unfinished, record_maker
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Facts, ReceiveItem
from connect_helper.transports.local_target import FileId, PartialFile, TargetFolder, open_target_folder
from connect_helper.transports.resume import Record, SourceId, proven


class Download:
    """One file on its way from the server."""

    def __init__(self, work: Work, job: DownloadJob, tracker: Tracker) -> None:
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._tracker = tracker
        self._name = job.names[-1]
        self._slot = work.records.slot(work.record_key(os.fsencode(job.path)))

    async def run(self) -> Outcome:
        """Fetch the file. Raises TransferError; the partial file and its record stay for another try."""
        folder = await asyncio.to_thread(open_target_folder, self._job.granted, self._job.names[:-1])
        try:
            try:
                return await self._try(folder, self._job.facts, resume=True)
            except (SourceChanged, ContentError):
                # Once more from the start, with what the server says now.
                facts = await self._transport.facts(self._job.source, follow=True)
                if facts is None or facts.kind != "file":
                    raise SourceMissing(
                        f"{display(self._job.source)} is not on the server any more."
                    ) from None
                return await self._try(folder, facts, resume=False)
        finally:
            await asyncio.to_thread(self._leave, folder)

    def _leave(self, folder: TargetFolder) -> None:
        folder.close()
        self._slot.release()

    async def _try(self, folder: TargetFolder, source: Facts, *, resume: bool) -> Outcome:
        self._tracker.resize(source.size)
        there = await self._existing(folder)
        if there is not None and self._finished_before(source, there):
            return Outcome("done", "size")
        if there is not None and await self._decide(folder, source, there) is Decision.SKIP:
            return Outcome("skipped")
        partial, offset, hashes = await self._begin(folder, source, resume=resume)
        try:
            return await self._receive(folder, source, partial, offset, hashes)
        finally:
            await asyncio.to_thread(partial.close)

    # What is there ---------------------------------------------------------------------------------

    async def _existing(self, folder: TargetFolder) -> Facts | None:
        there = await asyncio.to_thread(folder.facts, self._name)
        path = display(folder.path_of(self._name))
        if there is not None and there.kind == "folder":
            raise TargetIsFolder(f"{path} cannot be written: a folder of that name is in the way.")
        if there is not None and there.kind == "special":
            raise TargetError(f"{path} cannot be written: it is no regular file.")
        # A link is never followed: it counts as different from any file and is replaced itself.
        return Facts("link", -1, there.mtime_ns) if there is not None and there.kind == "link" else there

    def _finished_before(self, source: Facts, there: Facts) -> bool:
        # With keep_both the finished file stands under another name, beside one of any size.
        as_left = there.size == source.size or self._policies.existing == "keep_both"
        return as_left and self._work.ledger.knows(self._mark(source))

    async def _decide(self, folder: TargetFolder, source: Facts, there: Facts) -> Decision:
        decision = decide(
            self._policies.overwrite,
            self._policies.resume,
            FileFacts(source.size, source.mtime_ns),
            FileFacts(there.size, there.mtime_ns),
        )
        if decision is Decision.COMPARE_SPARSE:
            ranges = sparse_ranges(source.size)
            theirs = await self._transport.read_ranges(self._job.source, ranges)
            ours = await asyncio.to_thread(folder.read_ranges, self._name, ranges)
            return after_compare(same=ours == theirs)
        if decision is Decision.COMPARE_FULL:
            mine = await asyncio.to_thread(_digest, folder, self._name, source.size)
            other = await self._transport.digest(self._job.source, "sha256", source.size, expected=mine)
            return after_compare(same=mine == other)
        return decision

    # Going on --------------------------------------------------------------------------------------

    async def _begin(
        self, folder: TargetFolder, source: Facts, *, resume: bool
    ) -> tuple[PartialFile, int, BlockHashes]:
        """The partial file to write, where to begin, and the hashes of what is before that."""
        record = await asyncio.to_thread(self._earlier)
        partial = await asyncio.to_thread(self._reopen, folder, record) if record is not None else None
        hashes, offset = BlockHashes(digest_algorithm(self._policies)), 0
        try:
            if record is not None and partial is not None and resume:
                offset = await self._go_on(source, record, partial, hashes)
                if not offset:
                    hashes = BlockHashes(digest_algorithm(self._policies))
            await asyncio.to_thread(folder.need_space, source.size - offset)
            if partial is None:
                partial = await asyncio.to_thread(folder.create_partial, self._name)
            else:
                await asyncio.to_thread(partial.truncate, offset)
        except BaseException:
            if partial is not None:
                await asyncio.to_thread(partial.close)
            raise
        return partial, offset, hashes

    def _earlier(self) -> Record | None:
        """What an earlier run left; its partial file is ours alone from here on. Blocks."""
        key = self._slot.take()
        return None if self._policies.resume == "none" else self._work.records.load(key)

    def _reopen(self, folder: TargetFolder, record: Record) -> PartialFile | None:
        path, _, name = os.fsencode(record.partial).rpartition(b"/")
        if record.direction != "receive" or path != folder.path.rstrip(b"/"):
            return None
        return folder.reopen_partial(name, FileId(record.partial_device, record.partial_inode))

    async def _go_on(self, source: Facts, record: Record, partial: PartialFile, hashes: BlockHashes) -> int:
        """How many bytes of the partial file can be kept; 0 when anything is in doubt."""
        decision = decide_partial(
            self._work.overwrite_for(record),
            self._policies.resume,
            FileFacts(source.size, source.mtime_ns),
            FileFacts(record.source.size, record.source.mtime_ns),
            await asyncio.to_thread(partial.size),
        )
        if decision is PartialDecision.START_OVER:
            return 0
        offset = await asyncio.to_thread(proven, partial.read, record.proof, hashes)
        last = ((max(0, offset - TAIL), min(TAIL, offset)),)
        # The whole is compared at the end where `full_checksum` asks for it; here samples must do, since
        # reading everything on the server again would be as long as fetching it.
        ranges = last if decision is PartialDecision.CONTINUE else sparse_ranges(offset)
        return offset if offset and await self._same(partial, ranges) else 0

    async def _same(self, partial: PartialFile, ranges: Sequence[tuple[int, int]]) -> bool:
        theirs = await self._transport.read_ranges(self._job.source, ranges)
        ours = await asyncio.to_thread(lambda: [partial.read(*one) for one in ranges])
        return ours == theirs

    # Receiving -------------------------------------------------------------------------------------

    async def _receive(
        self, folder: TargetFolder, source: Facts, partial: PartialFile, offset: int, hashes: BlockHashes
    ) -> Outcome:
        self._tracker.begin_at(offset)
        item = ReceiveItem(
            self._job.source, source.size, source.mtime_ns, partial, offset, hashes, self._tracker.advance
        )
        unfinished = self._unfinished(source, partial, item)
        if self._policies.resume != "none":
            self._work.checkpoints.add(unfinished)
        try:
            await self._transport.receive(item)
            await asyncio.to_thread(partial.sync)
            outcome = await self._verify(source, partial, item)
            await asyncio.to_thread(self._publish, folder, partial, source)
        except BaseException as error:
            # Also on cancelling: that is how a stop comes, and the point of the record.
            await asyncio.to_thread(self._give_up, folder, partial, unfinished, error)
            raise
        finally:
            self._work.checkpoints.remove(unfinished)
        await asyncio.to_thread(unfinished.drop)
        await asyncio.to_thread(self._work.ledger.add, self._mark(source))
        return outcome

    def _mark(self, source: Facts) -> bytes:
        return mark(os.fsencode(self._job.path), source.size, source.mtime_ns)

    def _give_up(
        self, folder: TargetFolder, partial: PartialFile, unfinished: Unfinished, error: BaseException
    ) -> None:
        if self._policies.resume == "none" or isinstance(error, AlreadyExists):
            folder.remove_partial(partial)  # nobody would ever go on from it
            unfinished.drop()
        else:
            unfinished.keep()

    def _unfinished(self, source: Facts, partial: PartialFile, item: ReceiveItem) -> Unfinished:
        make = record_maker(
            transfer_id=self._work.plan.transfer_id,
            partial=os.fsdecode(partial.path),
            device=partial.identity.device,
            inode=partial.identity.inode,
            source=SourceId(source.size, source.mtime_ns),
            hashes=item.hashes,
            sends=False,
        )
        return Unfinished(self._work.records, self._slot.key, make, lambda: item.done, partial.sync)

    async def _verify(self, source: Facts, partial: PartialFile, item: ReceiveItem) -> Outcome:
        """Compare what was written with what the server has, before anything gets its final name."""
        size = await asyncio.to_thread(partial.size)
        if size != source.size:
            raise LengthMismatch(
                f"{display(self._job.source)} did not arrive whole: {size} of {source.size} bytes."
            )
        ours = item.hashes.digest()
        if not ours:
            return Outcome("done", "size")
        algorithm = digest_algorithm(self._policies)
        if await self._transport.digest(self._job.source, algorithm, source.size, expected=ours) != ours:
            raise ChecksumMismatch(f"{display(self._job.source)} arrived damaged; fetch it again.")
        return Outcome("done", "digest", digest_label(self._policies, ours))

    def _publish(self, folder: TargetFolder, partial: PartialFile, source: Facts) -> None:
        if self._policies.preserve_times:
            partial.set_times(source.mtime_ns)
        if self._policies.existing == "keep_both":
            name = folder.publish_numbered(partial, self._name)
        else:
            careful = self._policies.overwrite == "none"
            name = folder.publish(partial, self._name, "fresh" if careful else "replace")
        self._tracker.path = os.fsdecode(folder.path_of(name))


def _digest(folder: TargetFolder, name: bytes, length: int) -> str:
    """SHA-256 of the first `length` bytes of a local file. Blocks."""
    whole = hashlib.sha256()
    for part in _parts(length):
        for data in folder.read_ranges(name, (part,)):
            whole.update(data)
    return whole.hexdigest()


def _parts(length: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, length, RECORD_BLOCK):
        yield offset, min(RECORD_BLOCK, length - offset)
