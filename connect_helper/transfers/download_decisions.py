"""What fetching one file does about what is here: a file in its place, a partial file to go on from."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connect_helper.errors import TargetError, TargetIsFolder, TransferError
from connect_helper.spec.names import display
from connect_helper.spec.overwrite import (
    Decision,
    FileFacts,
    PartialDecision,
    after_compare,
    decide,
    decide_partial,
    is_unsure,
)
from connect_helper.spec.sampling import sparse_ranges
from connect_helper.spec.times import same_moment
from connect_helper.transfers.blocking import acquired, to_the_end
from connect_helper.transfers.job import TAIL, DownloadJob, Work, digest_algorithm
from connect_helper.transfers.ledger import begun
from connect_helper.transports.age import Seal, Sealed
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Facts
from connect_helper.transports.local_target import FileId, PartialFile, TargetFolder
from connect_helper.transports.resume import Record, Slot, proven

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Begin:
    """Where receiving begins: `hashes` are those of what is before `offset`."""

    partial: PartialFile
    offset: int
    hashes: BlockHashes


class Existing:
    """What is under the target's name, and whether it is to stay."""

    def __init__(
        self, work: Work, job: DownloadJob, folder: TargetFolder, source: Facts, seal: Seal | None
    ) -> None:
        """`seal` is that of a file that is decrypted."""
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._folder = folder
        self._source = source
        self._seal = seal
        self.unsure = False  # whether what is to be kept equals the source; set by `decide`
        # Of what the target is to hold, in bytes.
        self._size = source.size if seal is None else seal.plain_size(source.size)

    async def look(self) -> Facts | None:
        """What is there. Raises TargetIsFolder, TargetError."""
        there = await asyncio.to_thread(self._folder.facts, self._job.name)
        path = display(self._folder.path_of(self._job.name))
        if there is not None and there.kind == "folder":
            raise TargetIsFolder(f"{path} cannot be written: a folder of that name is in the way.")
        if there is not None and there.kind == "special":
            raise TargetError(f"{path} cannot be written: it is no regular file.")
        # A link is never followed: it counts as different from any file and is replaced itself.
        return Facts("link", -1, there.mtime_ns) if there is not None and there.kind == "link" else there

    def finished_before(self, there: Facts) -> bool:
        """Tell whether an earlier session of this transfer put it there."""
        # With keep_both the finished file stands under another name, beside one of any size.
        as_left = there.size == self._size or self._policies.existing == "keep_both"
        return as_left and any(map(self._work.ledger.knows, self._job.known_marks(self._source)))

    async def decide(self, there: Facts) -> Decision:
        """WRITE or SKIP, after what comparing takes."""
        source = self._source
        both = FileFacts(self._size, source.mtime_ns), FileFacts(there.size, there.mtime_ns)
        decision = decide(self._policies.overwrite, self._policies.resume, *both)
        self.unsure = is_unsure(self._policies.overwrite, self._policies.resume, *both)
        if decision is Decision.COMPARE_SPARSE:
            ranges = sparse_ranges(source.size)
            theirs = await self._transport.read_ranges(self._job.source, ranges)
            ours = await asyncio.to_thread(self._ranges, ranges)
            return after_compare(same=ours == theirs)
        if decision is Decision.COMPARE_FULL:
            mine = await asyncio.to_thread(self._digest, source.size)
            other = await self._transport.digest(self._job.source, "sha256", source.size, expected=mine)
            return after_compare(same=mine == other)
        return decision

    def _ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Pieces of the file that is there, in the form it has on the server. Blocks."""
        folder, name = self._folder, self._job.name
        if self._seal is None:
            return folder.read_ranges(name, ranges)
        sealed = Sealed(lambda *part: folder.read_ranges(name, (part,))[0], self._size, self._seal)
        return [sealed.read(*part) for part in ranges]

    def _digest(self, length: int) -> str:
        """SHA-256 of the file that is there, in the form it has on the server. Blocks."""
        whole = hashlib.sha256()
        for part in _parts(length):
            for data in self._ranges((part,)):
                whole.update(data)
        return whole.hexdigest()


class Beginning:
    """Which partial file is written to, and from where on."""

    def __init__(self, work: Work, job: DownloadJob, slot: Slot) -> None:
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._slot = slot

    async def find(self, folder: TargetFolder, source: Facts, *, resume: bool) -> Begin:
        """Where an earlier run left off, or a new partial file."""
        record = await asyncio.to_thread(self._earlier)
        partial = await acquired(lambda: self._reopen(folder, record), _close)
        hashes, offset = self._new_hashes(), 0
        try:
            if record is not None and partial is not None and resume:
                offset = await self._go_on(source, record, partial, hashes)
                if not offset:
                    hashes = self._new_hashes()
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
        return Begin(partial, offset, hashes)

    def new(self, folder: TargetFolder, size: int) -> Begin | None:
        """Begin a file of `size` bytes; None when an earlier run left a record. Blocks."""
        self._slot.take()
        if self._slot.noted:
            return None
        folder.need_space(size)
        return Begin(self._create(folder), 0, self._new_hashes())

    def _new_hashes(self) -> BlockHashes:
        return BlockHashes(digest_algorithm(self._policies))

    def _earlier(self) -> Record | None:
        """What an earlier run left; its partial file is ours alone from here on. Blocks."""
        key = self._slot.take()
        return None if self._policies.resume == "none" else self._work.records.load(key)

    def _create(self, folder: TargetFolder) -> PartialFile:
        """A new partial file, or the one that an earlier session made and was killed over. Blocks."""
        ledger = self._work.ledger
        adopted = (
            folder.adopt_partial(
                self._job.name, lambda path, found: ledger.knows(begun(path, found.device, found.inode))
            )
            if self._slot.alone and not ledger.is_new
            else None
        )
        partial = adopted or folder.create_partial(self._job.name)
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
        # Another way of fetching may tell times less exactly.
        same = same_moment(source.mtime_ns, record.source.mtime_ns)
        began_ns = source.mtime_ns if same else record.source.mtime_ns
        decision = decide_partial(
            self._work.overwrite_for(record),
            self._policies.resume,
            FileFacts(source.size, source.mtime_ns),
            FileFacts(record.source.size, began_ns),
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


def remove_unwanted(folder: TargetFolder, partial: PartialFile) -> None:
    """Remove a partial file that nobody would ever go on from, as far as that can be done. Blocks."""
    try:
        folder.remove_partial(partial)
    except TransferError as failure:
        _log.info("%s stays: %s", display(partial.path), failure.internal_message)


def _close(partial: PartialFile | None) -> None:
    if partial is not None:
        partial.close()


def _discard(folder: TargetFolder, partial: PartialFile) -> None:
    """Close and remove a partial file that nothing was written to."""
    remove_unwanted(folder, partial)
    partial.close()


def _parts(length: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, length, RECORD_BLOCK):
        yield offset, min(RECORD_BLOCK, length - offset)
