"""What sending one file does about what the server has: a file in its place, a partial file to go on from."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import (
    AlreadyExists,
    CannotDecrypt,
    SourceDenied,
    TargetDenied,
    TargetError,
    TargetIsFolder,
)
from connect_helper.spec.block_hash import SHA256
from connect_helper.spec.names import display, numbered_name, partial_name
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
from connect_helper.transfers.belonging import at_most, is_ours, made_this_way
from connect_helper.transfers.blocking import to_the_end
from connect_helper.transfers.job import TAIL, UploadJob, Work, digest_algorithm, ends_session
from connect_helper.transfers.ledger import begun
from connect_helper.transfers.sealing import SealedSource
from connect_helper.transfers.twins import collision, tells_apart
from connect_helper.transports.age import HEAD_LIMIT
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Facts, Transport
from connect_helper.transports.local_files import SourceFile
from connect_helper.transports.resume import Record, Slot, proven

_log = logging.getLogger(__name__)

PARTIALS: Final = 100  # other people's partial files of one name before giving up


@dataclass(slots=True)
class Begin:
    """Where sending begins."""

    partial: bytes
    offset: int
    hashes: BlockHashes
    exclusive: bool


class Existing:
    """What is under the target's name, and whether it is to stay."""

    def __init__(self, work: Work, job: UploadJob) -> None:
        self._work = work
        self._transport = work.transport
        self._job = job
        self.first_is_free = False  # nothing was there under the first name for a partial file
        self.unsure = False  # whether what is to be kept equals the source; set by `decide`

    async def look(self) -> Facts | None:
        """What is there, and on the way what else is asked next: a question alone costs a round trip."""
        if self._work.is_new(self._job):
            self.first_is_free = True
            return None
        first = self._job.beside(partial_name(self._job.name))
        looks = [self._existing(), self._transport.unfinished(first)]
        if self._job.folder:
            looks.append(self._transport.facts(self._job.folder, follow=True))
        found: list[Facts | None] = []
        for one in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(one, BaseException):
                raise one
            found.append(one)
        self.first_is_free = found[1] is None
        return found[0]

    async def _existing(self) -> Facts | None:
        there = await self._transport.facts(self._job.target)
        if there is not None and there.kind == "folder":
            raise TargetIsFolder(
                f"{display(self._job.target)} cannot be written: a folder of that name is in the way."
            )
        if there is not None and there.kind == "special":
            raise TargetError(f"{display(self._job.target)} is no regular file on the server.")
        if there is not None and there.kind == "link":
            behind = await self._transport.facts(self._job.target, follow=True)
            # A link is compared by what it leads to, and replaced itself; it never equals a file by size.
            return behind if behind is not None and behind.kind == "file" else Facts("link", -1, 0)
        return there

    def finished_before(self, source: SourceFile, there: Facts) -> bool:
        """Tell whether an earlier session of this transfer put it there."""
        return there.size == source.size and self._work.ledger.knows(self._job.mark(source.identity))

    async def refuse_twin(self) -> None:
        """Raise NameCollision when what is there may be another file of this transfer."""
        if self._job.twin and not await tells_apart(self._work, self._job):
            raise collision(self._job)

    async def decide(self, source: SourceFile, there: Facts) -> Decision:
        """WRITE or SKIP, after what comparing takes."""
        if isinstance(source, SealedSource) and there.kind == "file":
            source = await self._sealed_as_there(source)
        policies = self._work.policies
        both = _facts(source), FileFacts(there.size, there.mtime_ns)
        decision = decide(policies.overwrite, policies.resume, *both)
        self.unsure = is_unsure(policies.overwrite, policies.resume, *both)
        target = self._job.target
        try:
            if decision is Decision.COMPARE_SPARSE:
                ranges = sparse_ranges(source.size)
                return after_compare(same=await _same_samples(self._transport, source, target, ranges))
            if decision is Decision.COMPARE_FULL:
                ours = await asyncio.to_thread(_digest, source, source.size)
                theirs = await self._transport.digest(target, "sha256", source.size, expected=ours)
                return after_compare(same=ours == theirs)
        except SourceDenied:  # who may only send may not read: what cannot be compared counts as different
            return after_compare(same=False)
        return decision

    async def _sealed_as_there(self, source: SealedSource) -> SourceFile:
        """The source as the encrypted file that is there would hold it, so that the two can be compared."""
        vault = self._work.vault
        assert vault is not None  # noqa: S101 - there is no sealed source without one
        (head,) = await self._transport.read_ranges(self._job.target, ((0, HEAD_LIMIT),))
        try:
            seal = await asyncio.to_thread(vault.open, head)
        except CannotDecrypt:
            return source  # of another passphrase, or no such file: it differs by content
        return SealedSource(source.plain, seal)


class Beginning:
    """Which partial file is written to, and from where on."""

    def __init__(self, work: Work, job: UploadJob, slot: Slot, *, first_is_free: bool) -> None:
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._slot = slot
        self._first_is_free = first_is_free

    async def find(self, source: SourceFile, *, resume: bool, mine: bytes = b"") -> Begin:
        """Where an earlier run left off, or a new partial file. This session has written to `mine` before."""
        taken = False
        while True:
            record = await asyncio.to_thread(self._earlier)
            if record is None or record.direction != "send" or not made_this_way(record, self._transport):
                return await self.new(taken=taken)
            try:
                begin = await self._go_on(source, record) if resume else None
                ours = begin is not None or self._is_mine(record, mine) or await self._is_ours(record)
            except (SourceDenied, TargetDenied):  # another token made it: a new one may not go on there
                begin, ours = None, False
            if begin is not None:
                return begin
            if ours:
                return await self._anew(_bytes(record.partial))
            # Another transfer's may be of another account, which goes on from it, where one login name and
            # tokens stand for several.
            taken = True
            if self._is_of_this(record) or not await to_the_end(self._slot.pass_on):
                return await self.new(taken=True)

    def _is_of_this(self, record: Record) -> bool:
        return record.transfer_id == self._work.plan.transfer_id

    def _is_mine(self, record: Record, mine: bytes) -> bool:
        return self._is_of_this(record) and _bytes(record.partial) == mine

    async def _anew(self, partial: bytes) -> Begin:
        """Begin a file of ours once more.

        A new one takes its place, for what an earlier try has sent may still be on its way, and must not be
        written over what comes now.
        """
        return Begin(partial, 0, new_hashes(self._work), exclusive=await self._cleared(partial))

    async def _is_ours(self, record: Record) -> bool:
        """Tell whether a record's partial file is there and ours."""
        ours = await is_ours(self._transport, record)
        if ours is None and not record.proof.offset:  # as of one without a record, the mark has to do
            return self._left(_bytes(record.partial))
        return ours is True

    def _left(self, partial: bytes) -> bool:
        """Tell whether an earlier session of this transfer made a partial file and did not finish it."""
        ledger, named = self._work.ledger, self._transport.names_unfinished
        return ledger.left(partial, self._job.target, named=named)

    def _earlier(self) -> Record | None:
        """What an earlier run left; its partial file is ours alone from here on. Blocks."""
        key = self._slot.take()
        return None if self._policies.resume == "none" else self._work.records.load(key)

    async def _cleared(self, partial: bytes) -> bool:
        """Remove a partial file of ours; False where this user may not remove anything."""
        try:
            await self._transport.remove(partial)
        except TargetError as error:
            if ends_session(error):
                raise
            _log.info("%s is written over: %s", display(partial), error.internal_message)
            return False
        return True

    async def new(self, *, taken: bool = False) -> Begin:
        """A name for a new partial file. One that exists belongs to somebody else and is left alone.

        But for the one that an earlier session of this transfer made and was killed over, unless the server
        is known not to let us have it (`taken`).
        """
        ledger, job = self._work.ledger, self._job
        first = job.beside(partial_name(job.name))
        if not taken and self._slot.alone and self._left(first):
            return Begin(first, 0, new_hashes(self._work), exclusive=False)
        for number in range(PARTIALS):
            partial = job.beside(partial_name(numbered_name(job.name, number) if number else job.name))
            known = partial == first and self._first_is_free
            if known or await self._transport.unfinished(partial) is None:
                self._first_is_free = False  # should it be taken meanwhile, the next look tells
                await asyncio.to_thread(ledger.add, begun(partial, named=self._transport.names_unfinished))
                return Begin(partial, 0, new_hashes(self._work), exclusive=True)
        raise too_many(job)

    async def _go_on(self, source: SourceFile, record: Record) -> Begin | None:
        """Where to go on from a record; None when anything is in doubt."""
        partial = _bytes(record.partial)
        there = await self._transport.unfinished(partial)
        if there is None or there.kind != "file" or record.source.inode != source.identity.inode:
            return None
        begun_from = FileFacts(record.source.size, record.source.mtime_ns)
        decision = decide_partial(
            self._work.overwrite_for(record), self._policies.resume, _facts(source), begun_from, there.size
        )
        if decision is PartialDecision.START_OVER:
            return None
        hashes = new_hashes(self._work)
        proof = at_most(record.proof, there.size)
        offset = await asyncio.to_thread(proven, source.read, proof, hashes)
        if not offset or not await self._same_partial(source, partial, offset, decision):
            return None
        return Begin(partial, offset, hashes, exclusive=False)

    async def _same_partial(
        self, source: SourceFile, partial: bytes, offset: int, decision: PartialDecision
    ) -> bool:
        if decision is PartialDecision.COMPARE_FULL:
            return await self._same_whole(source, partial, offset)
        last = ((max(0, offset - TAIL), min(TAIL, offset)),)
        ranges = sparse_ranges(offset) if decision is PartialDecision.COMPARE_SPARSE else last
        try:
            return await _same_samples(self._transport, source, partial, ranges)
        except SourceDenied:  # who may only send may not read either: the server compares, if it can
            return await self._same_whole(source, partial, offset)

    async def _same_whole(self, source: SourceFile, partial: bytes, offset: int) -> bool:
        await self._transport.truncate(partial, offset)
        ours = await asyncio.to_thread(_digest, source, offset)
        return ours == await self._transport.digest(partial, "sha256", offset, expected=ours)


def new_hashes(work: Work) -> BlockHashes:
    """The hashes of a file of which nothing was sent yet."""
    asked, whole = digest_algorithm(work.policies), work.transport.whole_hash
    return BlockHashes(asked, chained=SHA256 if whole and asked == SHA256 else whole)  # so one hashing does


def too_many(job: UploadJob) -> AlreadyExists:
    """The error for a place where no name for a partial file is free."""
    return AlreadyExists(f"{display(job.target)}: too many unfinished files of that name there.")


async def _same_samples(
    transport: Transport, source: SourceFile, path: bytes, ranges: Sequence[tuple[int, int]]
) -> bool:
    theirs = await transport.read_ranges(path, ranges)
    ours = await asyncio.to_thread(lambda: [source.read(*one) for one in ranges])
    return ours == theirs


def _facts(source: SourceFile) -> FileFacts:
    return FileFacts(source.size, source.identity.mtime_ns)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(source: SourceFile, length: int) -> str:
    """SHA-256 of the first `length` bytes. Blocks."""
    whole = hashlib.sha256()
    for offset in range(0, length, RECORD_BLOCK):
        whole.update(source.read(offset, min(RECORD_BLOCK, length - offset)))
    return whole.hexdigest()
