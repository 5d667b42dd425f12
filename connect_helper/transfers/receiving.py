"""Receives one file from where it begins: the bytes, the record beside them, the check, the final name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Literal

from connect_helper.errors import (
    AlreadyExists,
    CannotDecrypt,
    ChecksumMismatch,
    LengthMismatch,
    SourceDenied,
    SourceMissing,
)
from connect_helper.spec.names import display
from connect_helper.spec.saving import saved_name
from connect_helper.transfers.blocking import finished, to_the_end
from connect_helper.transfers.download_decisions import Begin, remove_unwanted
from connect_helper.transfers.job import (
    SAVED,
    DownloadJob,
    Work,
    digest_algorithm,
    digest_label,
    saving_stamp,
    stamps,
)
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transfers.trips import Shared
from connect_helper.transfers.unfinished import SMALLEST, Unfinished, record_maker
from connect_helper.transports.age import Seal, unseal_in_place
from connect_helper.transports.base import Facts, ReceiveItem
from connect_helper.transports.local_target import PartialFile, TargetFolder
from connect_helper.transports.resume import Slot, SourceId


class Receiving:
    """One file's bytes on their way. `seal`: it is decrypted; `saves`: what was there is kept."""

    def __init__(
        self,
        work: Work,
        job: DownloadJob,
        tracker: Tracker,
        slot: Slot,
        folder: TargetFolder,
        leave: Callable[[TargetFolder], None],
        *,
        seal: Seal | None = None,
        saves: bool = False,
    ) -> None:
        """`leave` blocks; it closes the folder and gives the slot back."""
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._tracker = tracker
        self._slot = slot
        self._folder = folder
        self._leave = leave
        self._seal = seal
        self._saves = saves

    async def run(self, source: Facts, begin: Begin, *, small: bool, noted: bool) -> Outcome:
        """Receive, verify and publish; `noted` tells that there may be a record of an earlier run.

        A `small` file is left to do in one trip to the disk, if the transport hands it over in one piece.
        """
        try:
            return await self._receive(source, begin, small=small, noted=noted)
        finally:
            if begin.partial.is_open:
                await to_the_end(begin.partial.close)

    async def _receive(self, source: Facts, begin: Begin, *, small: bool, noted: bool) -> Outcome:
        partial = begin.partial
        self._tracker.begin_at(begin.offset)
        item = ReceiveItem(
            self._job.source,
            source.size,
            source.mtime_ns,
            partial,
            begin.offset,
            begin.hashes,
            self._tracker.advance,
        )
        item.etag = source.etag
        item.writes_itself = small and not begin.offset
        unfinished = self._unfinished(source, partial, item, noted=noted)
        if self._policies.resume != "none":
            self._work.checkpoints.add(unfinished)
        try:
            await self._transport.receive(item)
            if item.content is not None:
                await finished(
                    self._work.trips.start(lambda: self._finish_small(partial, source, item, unfinished))
                )
                return Outcome("done", _proof(item))
            await asyncio.to_thread(unfinished.sync)
            outcome = await self._verify(source, partial, item)
            if self._seal is not None:
                await asyncio.to_thread(self._unseal, partial, source, self._seal)
            await to_the_end(self._finish, partial, source, unfinished)
        except BaseException as error:
            # Also on cancelling: that is how a stop comes, and the point of the record.
            await to_the_end(self._give_up, partial, item, unfinished, error)
            raise
        finally:
            self._work.checkpoints.remove(unfinished)
        return outcome

    def _finish(self, partial: PartialFile, source: Facts, unfinished: Unfinished) -> None:
        """Everything from the final name on, which no cancellation may divide. Blocks."""
        self._publish(partial, source)
        self._note(source, unfinished)

    def _note(self, source: Facts, unfinished: Unfinished) -> None:
        """The file has its final name, for good. Blocks."""
        unfinished.drop()
        self._work.ledger.add(self._job.mark(source))

    def _finish_small(
        self, partial: PartialFile, source: Facts, item: ReceiveItem, unfinished: Unfinished
    ) -> Shared | None:
        """All that is left to do for a file that fits into memory, in one trip to the disk. Blocks.

        The trip makes the names of all files of a folder durable together.
        """
        if item.content:
            partial.write(0, [item.content])
        unfinished.sync()
        self._check_size(partial, source)

        def end() -> None:
            self._note(source, unfinished)
            self._leave(self._folder)

        if self._policies.existing == "keep_both" or self._saves:
            # Killed between name and note, the transfer would fetch it again under the next number, or keep
            # what it had brought itself as the older one.
            self._publish(partial, source)
            end()
            return None
        self._publish(partial, source, durable=False)
        return Shared(self._folder.identity, self._folder.sync, end)

    def _unseal(self, partial: PartialFile, source: Facts, seal: Seal) -> None:
        """Decrypt what has arrived; from here on nobody can go on from it, as its hashes show. Blocks."""
        partial.truncate(unseal_in_place(partial.read, partial.overwrite, source.size, seal))
        partial.sync()

    def _give_up(
        self, partial: PartialFile, item: ReceiveItem, unfinished: Unfinished, error: BaseException
    ) -> None:
        # Nobody goes on from what was never given; and what another file ended is as quickly fetched again.
        certain = item.done.offset
        refused = certain <= 0 and isinstance(error, SourceDenied | SourceMissing)
        pointless = refused or (self._work.hopeless.is_set() and certain < SMALLEST)
        if pointless or self._policies.resume == "none" or isinstance(error, AlreadyExists | CannotDecrypt):
            unfinished.drop()
            remove_unwanted(self._folder, partial)
        else:
            unfinished.keep()

    def _unfinished(
        self, source: Facts, partial: PartialFile, item: ReceiveItem, *, noted: bool
    ) -> Unfinished:
        make = record_maker(
            transfer_id=self._work.plan.transfer_id,
            partial=os.fsdecode(partial.path),
            device=partial.identity.device,
            inode=partial.identity.inode,
            source=SourceId(source.size, source.mtime_ns, etag=source.etag),
            hashes=item.hashes,
            sends=False,
        )
        return Unfinished(
            self._work.records, self._slot.key, make, lambda: item.done, partial.sync, noted=noted
        )

    async def _verify(self, source: Facts, partial: PartialFile, item: ReceiveItem) -> Outcome:
        """Compare what was written with what the server has, before anything gets its final name."""
        await asyncio.to_thread(self._check_size, partial, source)
        ours = item.hashes.digest()
        if not ours:
            return Outcome("done", _proof(item))
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

    def _publish(self, partial: PartialFile, source: Facts, *, durable: bool = True) -> None:
        folder, target = self._folder, self._job.name
        times = stamps(self._policies, atime_ns=source.atime_ns, mtime_ns=source.mtime_ns)
        if times is not None:
            partial.set_times(*times)
        partial.close()  # an error of closing is one of writing, so it comes before the name (REL-11)
        if self._policies.existing == "keep_both":
            name = folder.publish_numbered(partial, target)
        else:
            if self._saves:
                self._save_target()
            careful = self._policies.overwrite == "none"
            name = folder.publish(partial, target, "fresh" if careful else "replace", durable=durable)
        self._tracker.path = os.fsdecode(folder.path_of(name))

    def _save_target(self) -> None:
        folder, target = self._folder, self._job.name
        stamp = saving_stamp()
        for index in range(1, SAVED):
            try:
                folder.keep_as(target, saved_name(target, stamp, index))
            except AlreadyExists:
                continue
            return
        raise AlreadyExists(f"{display(folder.path_of(target))}: too many saved files of that name.")


def _proof(item: ReceiveItem) -> Literal["size", "digest"]:
    """What was compared, where nobody asked for a digest."""
    return "digest" if item.proved else "size"
