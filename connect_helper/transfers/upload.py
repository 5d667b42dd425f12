"""Sends one file: decides, goes on from what is there, sends, verifies, publishes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from connect_helper.errors import (
    AlreadyExists,
    CannotDecrypt,
    ChecksumMismatch,
    ContentError,
    LengthMismatch,
    NameCollision,
    SourceChanged,
    SourceDenied,
    TargetDenied,
    TargetError,
    TargetIsFolder,
    TransferError,
)
from connect_helper.spec.names import display, numbered_name, partial_name
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
    UploadJob,
    Work,
    digest_algorithm,
    digest_label,
    ends_session,
    saving_stamp,
    stamps,
)
from connect_helper.transfers.ledger import begun, mark
from connect_helper.transfers.leftovers import forget_one
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transfers.sealing import SealedSource
from connect_helper.transfers.unfinished import Unfinished, record_maker
from connect_helper.transports.age import HEAD_LIMIT
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Facts, Proof, SendItem
from connect_helper.transports.local_files import Identity, SourceFile, open_source
from connect_helper.transports.resume import Record, SourceId, proven

_log = logging.getLogger(__name__)

HELD = 64 * 1024  # bytes; a file up to this size is read as it is opened
PARTIALS = 100  # other people's partial files of one name before giving up


@dataclass(slots=True)
class _Begin:
    """Where sending begins."""

    partial: bytes
    offset: int
    hashes: BlockHashes
    exclusive: bool


class _NameTaken(AlreadyExists):
    """Somebody made a partial file of that name after we looked: it is theirs, and we take another."""


class _Refused(_NameTaken):
    """An earlier session made the partial file, and the server does not let this one write to it.

    So it is where a new token took the place of the one that the file was begun with.
    """


class Upload:
    """One file on its way to the server."""

    def __init__(self, work: Work, job: UploadJob, tracker: Tracker) -> None:
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._tracker = tracker
        self._folder, _, self._name = job.target.rpartition(b"/")
        self._slot = work.records.slot(work.record_key(job.target))
        self._saves = False  # the file under the final name is kept under another one
        self._first_is_free = False  # nothing was there under the first name for a partial file
        self._sent: Identity | None = None  # what was opened last
        self._left = False  # what was opened last is closed again

    async def run(self) -> Outcome:
        """Send the file. Raises TransferError; the partial file and its record stay for another try."""
        try:
            outcome = await self._quickly() or await self._try(resume=True)
        except (SourceChanged, ContentError):
            # Once more from the start: the source may have been in the middle of being saved.
            outcome = await self._try(resume=False)
        return replace(outcome, seen=self._sent)

    def _open(self) -> SourceFile:
        plain = open_source(self._job.granted, self._job.real, quiet=self._policies.quiet_reading)
        vault = self._work.vault
        return plain if vault is None else SealedSource(plain, vault.new_seal(self._job.target, plain))

    async def _quickly(self) -> Outcome | None:
        """Send a small file to a free place, with two trips to the disk. None: it takes more care."""
        if self._job.size > HELD or self._work.vault is not None:
            return None
        first = self._beside(partial_name(self._name))
        if self._folder:
            await self._transport.make_folder(self._folder)
        if not self._in_new_folder:
            looks = (self._transport.facts(self._job.target), self._transport.facts(first))
            for found in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
                if found is not None:
                    return None
        source = await handed_over(self._work.trips.start(self._open_new), self._let_go)
        if source is None:
            return None
        self._sent = source.identity
        self._left = False
        try:
            self._tracker.resize(source.size)
            begin = _Begin(first, 0, self._new_hashes(), exclusive=True)
            return await self._send_from(source, begin, fresh=True, noted=False)
        except _NameTaken:
            return None
        finally:
            if not self._left:
                await finished(self._work.trips.start(lambda: self._leave(source)))

    def _open_new(self) -> SourceFile | None:
        """The source, read and closed, the right to its target taken; None where there is more to look at.

        Blocks.
        """
        source = open_source(self._job.granted, self._job.real, quiet=self._policies.quiet_reading)
        try:
            if source.size <= HELD and self._takes_new():
                source.read_at_once()
                return source
        except BaseException:
            self._leave(source)
            raise
        self._leave(source)
        return None

    def _takes_new(self) -> bool:
        """Take the right to the target, if no earlier run left anything of it. Blocks."""
        ledger, mine = self._work.ledger, begun(self._beside(partial_name(self._name)))
        if self._work.records.has(self._slot.take()) or ledger.knows(mine):
            return False
        ledger.add(mine)
        return True

    def _let_go(self, source: SourceFile | None) -> None:
        if source is not None:
            self._leave(source)

    async def _try(self, *, resume: bool) -> Outcome:
        source = await acquired(self._open, SourceFile.close)
        self._sent = source.identity
        self._left = False
        try:
            self._tracker.resize(source.size)
            there = await self._look()
            if (
                there is not None
                and there.size == source.size
                and self._work.ledger.knows(self._mark(source))
            ):
                await asyncio.to_thread(self._forget)
                return Outcome("done", "size")
            decision = Decision.WRITE if there is None else await self._decide(source, there)
            if decision is Decision.SKIP:
                await asyncio.to_thread(self._forget)
                return Outcome("skipped")
            self._saves = saves_first(
                wanted=self._policies.save_first,
                resume=self._policies.resume,
                decision=decision,
                target=None if there is None else FileFacts(there.size, there.mtime_ns),
            )
            if self._folder:
                await self._transport.make_folder(self._folder)
            return await self._send(source, fresh=there is None, resume=resume)
        finally:
            if not self._left:
                await to_the_end(self._leave, source)

    def _leave(self, source: SourceFile) -> None:
        self._left = True
        source.close()
        self._slot.release()

    def _forget(self) -> None:
        plan = self._work.plan
        forget_one(Path(plan.resume_folder), self._work.record_key(self._job.target), plan.transfer_id)

    # What is there ---------------------------------------------------------------------------------

    @property
    def _in_new_folder(self) -> bool:
        """Tell whether nothing can be there: this session made the folder, and no other file goes there."""
        return not self._job.again and self._transport.is_new(self._folder)

    async def _look(self) -> Facts | None:
        """What is there, and on the way what else is asked next: a question alone costs a round trip."""
        if self._in_new_folder:
            self._first_is_free = True
            return None
        first = self._beside(partial_name(self._name))
        looks = [self._existing(), self._transport.facts(first)]
        if self._folder:
            looks.append(self._transport.facts(self._folder, follow=True))
        found: list[Facts | None] = []
        for one in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(one, BaseException):
                raise one
            found.append(one)
        self._first_is_free = found[1] is None
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

    async def _decide(self, source: SourceFile, there: Facts) -> Decision:
        if isinstance(source, SealedSource) and there.kind == "file":
            source = await self._sealed_as_there(source)
        decision = decide(
            self._policies.overwrite,
            self._policies.resume,
            _facts(source),
            FileFacts(there.size, there.mtime_ns),
        )
        try:
            if decision is Decision.COMPARE_SPARSE:
                ranges = sparse_ranges(source.size)
                return after_compare(same=await self._same_samples(source, self._job.target, ranges))
            if decision is Decision.COMPARE_FULL:
                ours = await asyncio.to_thread(_digest, source, source.size)
                theirs = await self._transport.digest(self._job.target, "sha256", source.size, expected=ours)
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

    async def _same_samples(self, source: SourceFile, path: bytes, ranges: Sequence[tuple[int, int]]) -> bool:
        theirs = await self._transport.read_ranges(path, ranges)
        ours = await asyncio.to_thread(lambda: [source.read(*one) for one in ranges])
        return ours == theirs

    # Going on --------------------------------------------------------------------------------------

    async def _begin(self, source: SourceFile, *, resume: bool) -> _Begin:
        record = await asyncio.to_thread(self._earlier)
        if record is None or record.direction != "send":
            return await self._begin_new()
        try:
            begin = await self._go_on(source, record) if resume else None
        except (SourceDenied, TargetDenied):  # another token made it: a new one may not go on there
            return await self._begin_new(taken=True)
        if begin is None:
            # The record says the partial file is ours. A new one takes its place, for what an earlier try has
            # sent may still be on its way, and must not be written over what comes now.
            partial = _bytes(record.partial)
            return _Begin(partial, 0, self._new_hashes(), exclusive=await self._cleared(partial))
        return begin

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

    def _earlier(self) -> Record | None:
        """What an earlier run left; its partial file is ours alone from here on. Blocks."""
        key = self._slot.take()
        return None if self._policies.resume == "none" else self._work.records.load(key)

    async def _begin_new(self, *, taken: bool = False) -> _Begin:
        """A name for a new partial file. One that exists belongs to somebody else and is left alone.

        But for the one that an earlier session of this transfer made and was killed over, unless the server
        is known not to let us have it (`taken`).
        """
        ledger = self._work.ledger
        first = self._beside(partial_name(self._name))
        if not taken and self._slot.alone and ledger.knows(begun(first)):
            return _Begin(first, 0, self._new_hashes(), exclusive=False)
        for number in range(PARTIALS):
            partial = self._beside(partial_name(numbered_name(self._name, number) if number else self._name))
            known = partial == first and self._first_is_free
            if known or await self._transport.facts(partial) is None:
                self._first_is_free = False  # should it be taken meanwhile, the next look tells
                if partial == first:
                    await asyncio.to_thread(ledger.add, begun(partial))
                return _Begin(partial, 0, self._new_hashes(), exclusive=True)
        raise self._too_many()

    def _too_many(self) -> AlreadyExists:
        return AlreadyExists(f"{display(self._job.target)}: too many unfinished files of that name there.")

    def _beside(self, name: bytes) -> bytes:
        return self._job.target[: len(self._job.target) - len(self._name)] + name

    def _new_hashes(self) -> BlockHashes:
        return BlockHashes(digest_algorithm(self._policies), chained=self._transport.compares_whole)

    async def _go_on(self, source: SourceFile, record: Record) -> _Begin | None:
        """Where to go on from a record; None when anything is in doubt."""
        partial = _bytes(record.partial)
        there = await self._transport.facts(partial)
        if there is None or there.kind != "file" or record.source.inode != source.identity.inode:
            return None
        begun_from = FileFacts(record.source.size, record.source.mtime_ns)
        decision = decide_partial(
            self._work.overwrite_for(record), self._policies.resume, _facts(source), begun_from, there.size
        )
        if decision is PartialDecision.START_OVER:
            return None
        hashes = self._new_hashes()
        proof = _at_most(record.proof, there.size)
        offset = await asyncio.to_thread(proven, source.read, proof, hashes)
        if not offset or not await self._same_partial(source, partial, offset, decision):
            return None
        return _Begin(partial, offset, hashes, exclusive=False)

    async def _same_partial(
        self, source: SourceFile, partial: bytes, offset: int, decision: PartialDecision
    ) -> bool:
        if decision is PartialDecision.COMPARE_FULL:
            return await self._same_whole(source, partial, offset)
        last = ((max(0, offset - TAIL), min(TAIL, offset)),)
        ranges = sparse_ranges(offset) if decision is PartialDecision.COMPARE_SPARSE else last
        try:
            return await self._same_samples(source, partial, ranges)
        except SourceDenied:  # who may only send may not read either: the server compares, if it can
            return await self._same_whole(source, partial, offset)

    async def _same_whole(self, source: SourceFile, partial: bytes, offset: int) -> bool:
        await self._transport.truncate(partial, offset)
        ours = await asyncio.to_thread(_digest, source, offset)
        return ours == await self._transport.digest(partial, "sha256", offset, expected=ours)

    # Sending ---------------------------------------------------------------------------------------

    async def _send(self, source: SourceFile, *, fresh: bool, resume: bool) -> Outcome:
        self._slot = self._work.records.slot(self._work.record_key(self._job.target))
        refused = False
        for _ in range(PARTIALS):
            try:
                begin = await (self._begin_new(taken=True) if refused else self._begin(source, resume=resume))
                return await self._send_from(source, begin, fresh=fresh, noted=True)
            except _Refused:
                refused = True
            except _NameTaken:
                continue
        raise self._too_many()

    async def _send_from(self, source: SourceFile, begin: _Begin, *, fresh: bool, noted: bool) -> Outcome:
        """Send, verify and publish; `noted` tells that there may be a record of an earlier run."""
        self._tracker.begin_at(begin.offset)
        times = stamps(self._policies, atime_ns=source.atime_ns, mtime_ns=source.identity.mtime_ns)
        item = SendItem(
            source,
            begin.partial,
            begin.offset,
            begin.hashes,
            self._tracker.advance,
            begin.exclusive,
            times,
        )
        item.target = self._job.target
        unfinished = self._unfinished(source, item, noted=noted)
        if self._policies.resume != "none":
            self._work.checkpoints.add(unfinished)
        try:
            await self._send_item(item)
            outcome = await self._verify(source, item)
            await self._publish(item, fresh=fresh)
        except BaseException as error:
            # Also on cancelling: that is how a stop comes, and the point of the record.
            await self._give_up(item, unfinished, error)
            raise
        finally:
            self._work.checkpoints.remove(unfinished)
        await finished(self._work.trips.start(lambda: self._finish(source, unfinished)))
        return outcome

    def _finish(self, source: SourceFile, unfinished: Unfinished) -> None:
        unfinished.drop()
        self._work.ledger.add(self._mark(source))
        self._leave(source)

    async def _send_item(self, item: SendItem) -> None:
        try:
            await self._transport.send(item)
        except AlreadyExists as error:
            raise _NameTaken(error.user_message, internal_message=error.internal_message) from error
        except TargetDenied as error:
            if item.exclusive:
                raise
            raise _Refused(error.user_message, internal_message=error.internal_message) from error

    def _mark(self, source: SourceFile) -> bytes:
        identity = source.identity
        return mark(self._job.target, identity.size, identity.mtime_ns, identity.inode)

    async def _give_up(self, item: SendItem, unfinished: Unfinished, error: BaseException) -> None:
        if self._policies.resume != "none" and not isinstance(error, AlreadyExists):
            await to_the_end(unfinished.keep)
        elif (
            isinstance(error, TransferError) and not isinstance(error, _NameTaken) and not ends_session(error)
        ):
            try:
                await self._transport.remove(item.partial)  # nobody would ever go on from it
            except TransferError as failure:
                _log.info("%s stays: %s", display(item.partial), failure.internal_message)

    def _unfinished(self, source: SourceFile, item: SendItem, *, noted: bool) -> Unfinished:
        identity = source.identity
        make = record_maker(
            transfer_id=self._work.plan.transfer_id,
            partial=item.partial.decode("utf-8", "surrogateescape"),
            device=0,
            inode=0,
            source=SourceId(source.size, identity.mtime_ns, identity.inode),
            hashes=item.hashes,
            sends=True,
        )
        return Unfinished(
            self._work.records, self._slot.key, make, lambda: item.done, lambda: None, noted=noted
        )

    async def _verify(self, source: SourceFile, item: SendItem) -> Outcome:
        """Compare what arrived with what was read, before anything gets its final name."""
        if source.held is None:
            await asyncio.to_thread(source.check)
        there = item.arrived or await self._transport.facts(item.partial)
        if there is None or there.size != source.size:
            got = "nothing" if there is None else f"{there.size} bytes"
            raise LengthMismatch(
                f"{display(self._job.target)} did not arrive whole: {got} of {source.size} bytes."
            )
        ours = item.hashes.digest()
        if not ours:
            return Outcome("done", "size")
        algorithm = digest_algorithm(self._policies)
        theirs = await self._transport.digest(item.partial, algorithm, source.size, expected=ours)
        if not theirs:  # the server tells none: the receipt says that only the size was compared
            return Outcome("done", "size")
        if theirs != ours:
            raise ChecksumMismatch(f"{display(self._job.target)} arrived damaged; send it again.")
        return Outcome("done", "digest", digest_label(self._policies, ours))

    async def _publish(self, item: SendItem, *, fresh: bool) -> None:
        if item.times is not None:
            await self._transport.set_times(item.partial, *item.times)
        if self._saves:
            await self._save_target()
        if fresh and self._in_new_folder:
            await self._publish_new(item)
            return
        careful = fresh and self._policies.overwrite == "none"
        await self._transport.publish(item.partial, self._job.target, "fresh" if careful else "replace")

    async def _publish_new(self, item: SendItem) -> None:
        try:
            await self._transport.publish(item.partial, self._job.target, "new")
        except AlreadyExists as error:
            # Nobody looked at the name, for the folder is new: the server takes two of our names for one.
            raise NameCollision(
                f"{display(self._job.target)}: the server takes the name for that of another file sent"
                " there. Rename one of them and start again.",
                internal_message=error.internal_message,
            ) from error

    async def _save_target(self) -> None:
        stamp = saving_stamp()
        for index in range(1, SAVED):
            saved = self._beside(saved_name(self._name, stamp, index))
            try:
                await self._transport.publish(self._job.target, saved, "fresh")
            except AlreadyExists:
                continue
            return
        raise AlreadyExists(f"{display(self._job.target)}: too many saved files of that name there.")


def _facts(source: SourceFile) -> FileFacts:
    return FileFacts(source.size, source.identity.mtime_ns)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _at_most(proof: Proof, size: int) -> Proof:
    """The part of a proof that a file of `size` bytes can fulfil: the server may have lost its end."""
    if proof.offset <= size:
        return proof
    blocks = proof.blocks[: size // RECORD_BLOCK]
    return Proof(len(blocks) * RECORD_BLOCK, blocks, chained=proof.chained)


def _digest(source: SourceFile, length: int) -> str:
    """SHA-256 of the first `length` bytes. Blocks."""
    whole = hashlib.sha256()
    for offset in range(0, length, RECORD_BLOCK):
        whole.update(source.read(offset, min(RECORD_BLOCK, length - offset)))
    return whole.hexdigest()
