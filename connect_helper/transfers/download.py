"""Fetches one file: decides, goes on from what is there, fetches, verifies, publishes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from connect_helper.errors import (
    AlreadyExists,
    BadPassphrase,
    CannotDecrypt,
    ChecksumMismatch,
    ContentError,
    LengthMismatch,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    TargetError,
    TargetIsFolder,
    TransferError,
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
from connect_helper.spec.saving import saved_name, saves_first
from connect_helper.transfers.blocking import acquired, finished, handed_over, to_the_end
from connect_helper.transfers.job import (
    SAVED,
    TAIL,
    DownloadJob,
    Work,
    digest_algorithm,
    digest_label,
    saving_stamp,
    stamps,
)
from connect_helper.transfers.ledger import begun, mark
from connect_helper.transfers.leftovers import forget_one
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transfers.unfinished import SMALLEST, Unfinished, record_maker
from connect_helper.transports.age import HEAD_LIMIT, Seal, Sealed, unseal_in_place
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Facts, ReceiveItem
from connect_helper.transports.free_space import Spare
from connect_helper.transports.local_target import FileId, PartialFile, TargetFolder, open_target_folder
from connect_helper.transports.resume import Record, SourceId, proven

_log = logging.getLogger(__name__)

SMALL = 64 * 1024  # bytes; a file up to this size is written and published in one go


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
        self._seal: Seal | None = None  # of a file that is decrypted
        self._size = job.facts.size  # of what the target is to hold
        self._saves = False  # the file under the final name is kept under another one
        self._fetched = job.facts  # what the server said last
        self._left = False  # the folder is closed again
        self._ready: PartialFile | None = None  # of a small file, made on arrival
        self._clean = False  # no earlier run left a record

    async def run(self) -> Outcome:
        """Fetch the file. Raises TransferError; the partial file and its record stay for another try."""
        folder = await handed_over(self._work.trips.start(self._arrive), self._leave)
        try:
            try:
                outcome = await self._try(folder, self._job.facts, resume=True)
            except BadPassphrase:
                raise
            except (SourceChanged, ContentError):
                # Once more from the start, with what the server says now.
                facts = await self._transport.facts(self._job.source, follow=True)
                if facts is None or facts.kind != "file":
                    raise SourceMissing(
                        f"{display(self._job.source)} is not on the server any more."
                    ) from None
                outcome = await self._try(folder, facts, resume=False)
            return replace(outcome, seen=self._fetched)
        finally:
            if not self._left:
                await finished(self._work.trips.start(lambda: self._leave(folder)))

    def _arrive(self) -> TargetFolder:
        """The open folder, and for a small file that is new its partial file too. Blocks."""
        spare = Spare(self._work.plan.keep_free)
        folder = open_target_folder(self._job.granted, self._job.names[:-1], spare)
        try:
            if self._is_small and folder.facts(self._name) is None:
                self._clean = not self._work.records.has(self._slot.take())
                if self._clean:
                    folder.need_space(self._job.facts.size)
                    self._ready = self._create(folder)
        except BaseException:
            self._leave(folder)
            raise
        return folder

    @property
    def _is_small(self) -> bool:
        """Tell whether the file is worth no more than two trips to the disk."""
        by_size = not digest_algorithm(self._policies)
        return self._job.facts.size <= SMALL and not self._job.sealed and by_size

    def _leave(self, folder: TargetFolder) -> None:
        self._left = True
        if self._ready is not None:  # cancelled before anything was fetched
            with suppress(TransferError):
                folder.remove_partial(self._ready)
            self._ready.close()
        folder.close()
        self._slot.release()

    async def _try(self, folder: TargetFolder, source: Facts, *, resume: bool) -> Outcome:
        self._fetched = source
        self._tracker.resize(source.size)
        # Before anything is fetched: a wrong passphrase is told at once and leaves nothing behind.
        self._seal = await self._open_seal() if self._job.sealed else None
        self._size = source.size if self._seal is None else self._seal.plain_size(source.size)
        if self._ready is not None:
            partial, self._ready = self._ready, None
            partial.expected = source.size
            hashes = BlockHashes(digest_algorithm(self._policies))
            return await self._receive_into(folder, source, partial, 0, hashes)
        there = await self._existing(folder)
        if there is not None and self._finished_before(source, there):
            await asyncio.to_thread(self._forget)
            return Outcome("done", "size")
        decision = Decision.WRITE if there is None else await self._decide(folder, source, there)
        if decision is Decision.SKIP:
            await asyncio.to_thread(self._forget)
            return Outcome("skipped")
        self._saves = self._policies.existing == "replace" and saves_first(
            wanted=self._policies.save_first,
            resume=self._policies.resume,
            decision=decision,
            target=None if there is None else FileFacts(there.size, there.mtime_ns),
        )
        partial, offset, hashes = await self._begin(folder, source, resume=resume)
        return await self._receive_into(folder, source, partial, offset, hashes)

    async def _receive_into(
        self, folder: TargetFolder, source: Facts, partial: PartialFile, offset: int, hashes: BlockHashes
    ) -> Outcome:
        try:
            return await self._receive(folder, source, partial, offset, hashes)
        finally:
            if partial.is_open:
                await to_the_end(partial.close)

    def _forget(self) -> None:
        plan = self._work.plan
        forget_one(
            Path(plan.resume_folder), self._work.record_key(os.fsencode(self._job.path)), plan.transfer_id
        )

    async def _open_seal(self) -> Seal:
        vault = self._work.vault
        if vault is None:
            raise CannotDecrypt(f"{display(self._job.source)}: there is no passphrase to decrypt it.")
        (head,) = await self._transport.read_ranges(self._job.source, ((0, HEAD_LIMIT),))
        try:
            return await asyncio.to_thread(vault.open, head)
        except CannotDecrypt as error:
            raise type(error)(f"{display(self._job.source)}: {error.user_message}") from error

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
        as_left = there.size == self._size or self._policies.existing == "keep_both"
        return as_left and self._work.ledger.knows(self._mark(source))

    async def _decide(self, folder: TargetFolder, source: Facts, there: Facts) -> Decision:
        decision = decide(
            self._policies.overwrite,
            self._policies.resume,
            FileFacts(self._size, source.mtime_ns),
            FileFacts(there.size, there.mtime_ns),
        )
        if decision is Decision.COMPARE_SPARSE:
            ranges = sparse_ranges(source.size)
            theirs = await self._transport.read_ranges(self._job.source, ranges)
            ours = await asyncio.to_thread(self._local_ranges, folder, ranges)
            return after_compare(same=ours == theirs)
        if decision is Decision.COMPARE_FULL:
            mine = await asyncio.to_thread(self._digest, folder, source.size)
            other = await self._transport.digest(self._job.source, "sha256", source.size, expected=mine)
            return after_compare(same=mine == other)
        return decision

    def _local_ranges(self, folder: TargetFolder, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pieces of the file that is there, in the form it has on the server. Blocks."""
        if self._seal is None:
            return folder.read_ranges(self._name, ranges)
        sealed = Sealed(lambda *part: folder.read_ranges(self._name, (part,))[0], self._size, self._seal)
        return [sealed.read(*part) for part in ranges]

    def _digest(self, folder: TargetFolder, length: int) -> str:
        """SHA-256 of the file that is there, in the form it has on the server. Blocks."""
        whole = hashlib.sha256()
        for part in _parts(length):
            for data in self._local_ranges(folder, (part,)):
                whole.update(data)
        return whole.hexdigest()

    # Going on --------------------------------------------------------------------------------------

    async def _begin(
        self, folder: TargetFolder, source: Facts, *, resume: bool
    ) -> tuple[PartialFile, int, BlockHashes]:
        """The partial file to write, where to begin, and the hashes of what is before that."""
        record = await asyncio.to_thread(self._earlier)
        partial = await acquired(lambda: self._reopen(folder, record), _close)
        hashes, offset = BlockHashes(digest_algorithm(self._policies)), 0
        try:
            if record is not None and partial is not None and resume:
                offset = await self._go_on(source, record, partial, hashes)
                if not offset:
                    hashes = BlockHashes(digest_algorithm(self._policies))
            await asyncio.to_thread(folder.need_space, source.size - offset)
            if partial is None:
                partial = await acquired(lambda: self._create(folder), lambda made: _discard(folder, made))
            else:
                await asyncio.to_thread(partial.truncate, offset)
            partial.expected = source.size
        except BaseException:
            if partial is not None:
                await to_the_end(partial.close)
            raise
        return partial, offset, hashes

    def _earlier(self) -> Record | None:
        """What an earlier run left; its partial file is ours alone from here on. Blocks."""
        key = self._slot.take()
        return None if self._policies.resume == "none" else self._work.records.load(key)

    def _create(self, folder: TargetFolder) -> PartialFile:
        """A new partial file, or the one that an earlier session made and was killed over. Blocks."""
        ledger = self._work.ledger
        adopted = (
            folder.adopt_partial(
                self._name, lambda path, found: ledger.knows(begun(path, found.device, found.inode))
            )
            if self._slot.alone
            else None
        )
        partial = adopted or folder.create_partial(self._name)
        ledger.add(begun(partial.path, partial.identity.device, partial.identity.inode))
        return partial

    def _reopen(self, folder: TargetFolder, record: Record | None) -> PartialFile | None:
        if record is None:
            return None
        path, _, name = os.fsencode(record.partial).rpartition(b"/")
        if record.direction != "receive" or path != folder.path.rstrip(b"/"):
            return None
        return folder.reopen_partial(name, FileId(record.partial_device, record.partial_inode))

    async def _go_on(self, source: Facts, record: Record, partial: PartialFile, hashes: BlockHashes) -> int:
        """How many bytes of the partial file can be kept; 0 when anything is in doubt."""
        if record.source.etag and source.etag and record.source.etag != source.etag:
            return 0
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
        item.etag = source.etag
        item.writes_itself = self._is_small and not offset
        unfinished = self._unfinished(source, partial, item)
        if self._policies.resume != "none":
            self._work.checkpoints.add(unfinished)
        try:
            await self._transport.receive(item)
            if item.content is not None:
                await finished(
                    self._work.trips.start(
                        lambda: self._finish_small(folder, partial, source, item, unfinished)
                    )
                )
                return Outcome("done", "size")
            await asyncio.to_thread(unfinished.sync)
            outcome = await self._verify(source, partial, item)
            if self._seal is not None:
                await asyncio.to_thread(self._unseal, partial, source, self._seal)
            await to_the_end(self._finish, folder, partial, source, unfinished)
        except BaseException as error:
            # Also on cancelling: that is how a stop comes, and the point of the record.
            await to_the_end(self._give_up, folder, partial, item, unfinished, error)
            raise
        finally:
            self._work.checkpoints.remove(unfinished)
        return outcome

    def _finish(
        self, folder: TargetFolder, partial: PartialFile, source: Facts, unfinished: Unfinished
    ) -> None:
        """Everything from the final name on, which no cancellation may divide. Blocks."""
        self._publish(folder, partial, source)
        unfinished.drop()
        self._work.ledger.add(self._mark(source))

    def _finish_small(
        self,
        folder: TargetFolder,
        partial: PartialFile,
        source: Facts,
        item: ReceiveItem,
        unfinished: Unfinished,
    ) -> None:
        """All that is left to do for a file that fits into memory, in one trip to the disk. Blocks."""
        if item.content:
            partial.write(0, [item.content])
        unfinished.sync()
        self._check_size(partial, source)
        self._finish(folder, partial, source, unfinished)
        self._leave(folder)

    def _unseal(self, partial: PartialFile, source: Facts, seal: Seal) -> None:
        """Decrypt what has arrived; from here on nobody can go on from it, as its hashes show. Blocks."""
        partial.truncate(unseal_in_place(partial.read, partial.overwrite, source.size, seal))
        partial.sync()

    def _mark(self, source: Facts) -> bytes:
        return mark(os.fsencode(self._job.path), source.size, source.mtime_ns)

    def _give_up(
        self,
        folder: TargetFolder,
        partial: PartialFile,
        item: ReceiveItem,
        unfinished: Unfinished,
        error: BaseException,
    ) -> None:
        # Nobody goes on from what was never given; and what another file ended is as quickly fetched again.
        certain = item.done.offset
        refused = certain <= 0 and isinstance(error, SourceDenied | SourceMissing)
        pointless = refused or (self._work.hopeless.is_set() and certain < SMALLEST)
        if pointless or self._policies.resume == "none" or isinstance(error, AlreadyExists | CannotDecrypt):
            unfinished.drop()
            _remove(folder, partial)  # nobody would ever go on from it
        else:
            unfinished.keep()

    def _unfinished(self, source: Facts, partial: PartialFile, item: ReceiveItem) -> Unfinished:
        make = record_maker(
            transfer_id=self._work.plan.transfer_id,
            partial=os.fsdecode(partial.path),
            device=partial.identity.device,
            inode=partial.identity.inode,
            source=SourceId(source.size, source.mtime_ns, etag=source.etag),
            hashes=item.hashes,
            sends=False,
        )
        noted, self._clean = not self._clean, False  # giving up notes it
        return Unfinished(
            self._work.records,
            self._slot.key,
            make,
            lambda: item.done,
            partial.sync,
            noted=noted,
        )

    async def _verify(self, source: Facts, partial: PartialFile, item: ReceiveItem) -> Outcome:
        """Compare what was written with what the server has, before anything gets its final name."""
        await asyncio.to_thread(self._check_size, partial, source)
        ours = item.hashes.digest()
        if not ours:
            return Outcome("done", "size")
        algorithm = digest_algorithm(self._policies)
        if await self._transport.digest(self._job.source, algorithm, source.size, expected=ours) != ours:
            raise ChecksumMismatch(f"{display(self._job.source)} arrived damaged; fetch it again.")
        return Outcome("done", "digest", digest_label(self._policies, ours))

    def _check_size(self, partial: PartialFile, source: Facts) -> None:
        size = partial.size()
        if size != source.size:
            raise LengthMismatch(
                f"{display(self._job.source)} did not arrive whole: {size} of {source.size} bytes."
            )

    def _publish(self, folder: TargetFolder, partial: PartialFile, source: Facts) -> None:
        times = stamps(self._policies, atime_ns=source.atime_ns, mtime_ns=source.mtime_ns)
        if times is not None:
            partial.set_times(*times)
        partial.close()  # an error of closing is one of writing, so it comes before the name (REL-11)
        if self._policies.existing == "keep_both":
            name = folder.publish_numbered(partial, self._name)
        else:
            if self._saves:
                self._save_target(folder)
            careful = self._policies.overwrite == "none"
            name = folder.publish(partial, self._name, "fresh" if careful else "replace")
        self._tracker.path = os.fsdecode(folder.path_of(name))

    def _save_target(self, folder: TargetFolder) -> None:
        stamp = saving_stamp()
        for index in range(1, SAVED):
            try:
                folder.keep_as(self._name, saved_name(self._name, stamp, index))
            except AlreadyExists:
                continue
            return
        raise AlreadyExists(f"{display(folder.path_of(self._name))}: too many saved files of that name.")


def _close(partial: PartialFile | None) -> None:
    if partial is not None:
        partial.close()


def _discard(folder: TargetFolder, partial: PartialFile) -> None:
    """Close and remove a partial file that nothing was written to."""
    _remove(folder, partial)
    partial.close()


def _remove(folder: TargetFolder, partial: PartialFile) -> None:
    try:
        folder.remove_partial(partial)
    except TransferError as failure:
        _log.info("%s stays: %s", display(partial.path), failure.internal_message)


def _parts(length: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, length, RECORD_BLOCK):
        yield offset, min(RECORD_BLOCK, length - offset)
