"""Sends one file from where it begins: the bytes, the record beside them, the check, the final name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from connect_helper.errors import (
    AlreadyExists,
    ChecksumMismatch,
    LengthMismatch,
    TargetDenied,
    TransferError,
)
from connect_helper.spec.names import display
from connect_helper.spec.saving import saved_name
from connect_helper.transfers.blocking import finished, to_the_end
from connect_helper.transfers.job import (
    SAVED,
    UploadJob,
    Work,
    digest_algorithm,
    digest_label,
    ends_session,
    saving_stamp,
    stamps,
)
from connect_helper.transfers.ledger import foreign, sent
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transfers.twins import collision
from connect_helper.transfers.unfinished import Unfinished, record_maker
from connect_helper.transfers.upload_decisions import Begin
from connect_helper.transports.base import SendItem
from connect_helper.transports.local_files import SourceFile
from connect_helper.transports.resume import Slot, SourceId

_log = logging.getLogger(__name__)

REMOVING_S: Final = 0.5  # for a file nobody goes on from: a stop may not take much longer


class NameTaken(AlreadyExists):
    """Somebody made a partial file of that name after we looked: it is theirs, and we take another."""


class Refused(NameTaken):
    """An earlier session made the partial file, and the server does not let this one write to it.

    So it is where a new token took the place of the one that the file was begun with.
    """


class Sending:
    """One file's bytes on their way. `fresh`: nothing was there; `saves`: what was there is kept."""

    def __init__(
        self,
        work: Work,
        job: UploadJob,
        tracker: Tracker,
        slot: Slot,
        leave: Callable[[SourceFile], None],
        *,
        fresh: bool,
        saves: bool = False,
    ) -> None:
        """`leave` blocks; it closes the source and gives the slot back, in one trip with the record."""
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._tracker = tracker
        self._slot = slot
        self._leave = leave
        self._fresh = fresh
        self._saves = saves

    async def run(self, source: SourceFile, begin: Begin, *, noted: bool) -> Outcome:
        """Send, verify and publish; `noted` tells that there may be a record of an earlier run.

        Raises NameTaken when another name for the partial file is to be tried, TransferError otherwise.
        """
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
            await self._send(item)
            outcome = await self._verify(source, item)
            await self._publish(item)
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
        self._work.ledger.add(self._job.mark(source.identity) + sent(self._job.target))
        self._leave(source)

    async def _send(self, item: SendItem) -> None:
        try:
            await self._transport.send(item)
        except AlreadyExists as error:
            await asyncio.to_thread(self._work.ledger.add, foreign(item.partial))
            raise NameTaken(error.user_message, internal_message=error.internal_message) from error
        except TargetDenied as error:
            if item.exclusive:
                raise
            raise Refused(error.user_message, internal_message=error.internal_message) from error

    async def _give_up(self, item: SendItem, unfinished: Unfinished, error: BaseException) -> None:
        if self._policies.resume != "none" and not isinstance(error, AlreadyExists):
            await to_the_end(unfinished.keep)
            return
        if isinstance(error, TransferError):
            pointless = not isinstance(error, NameTaken) and not ends_session(error)
        else:  # a stop, perhaps before it was known whether the name is somebody else's
            pointless = isinstance(error, asyncio.CancelledError) and item.done.offset > 0
        if not pointless:
            return
        try:
            async with asyncio.timeout(REMOVING_S):
                await self._transport.remove(item.partial)  # nobody would ever go on from it
        except TransferError as failure:
            _log.info("%s stays: %s", display(item.partial), failure.internal_message)
        except TimeoutError:
            _log.info("%s stays: the server has not answered in time", display(item.partial))

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
            return Outcome("done", "digest" if item.proved else "size")
        algorithm = digest_algorithm(self._policies)
        theirs = await self._transport.digest(item.partial, algorithm, source.size, expected=ours)
        if not theirs:  # the server tells none: the receipt says that only the size was compared
            return Outcome("done", "size")
        if theirs != ours:
            raise ChecksumMismatch(f"{display(self._job.target)} arrived damaged; send it again.")
        return Outcome("done", "digest", digest_label(self._policies, ours))

    async def _publish(self, item: SendItem) -> None:
        if item.times is not None:
            await self._transport.set_times(item.partial, *item.times)
        if self._saves:
            await self._save_target()
        if self._fresh and (self._job.twin or self._work.is_new(self._job)):
            await self._publish_new(item)
            return
        careful = self._fresh and self._policies.overwrite == "none"
        await self._transport.publish(item.partial, self._job.target, "fresh" if careful else "replace")

    async def _publish_new(self, item: SendItem) -> None:
        try:
            await self._transport.publish(item.partial, self._job.target, "new")
        except AlreadyExists as error:
            # Nobody looked at the name, for the folder is new: the server takes two of our names for one.
            raise collision(self._job) from error

    async def _save_target(self) -> None:
        stamp = saving_stamp()
        for index in range(1, SAVED):
            saved = self._job.beside(saved_name(self._job.name, stamp, index))
            try:
                await self._transport.publish(self._job.target, saved, "fresh")
            except AlreadyExists:
                continue
            return
        raise AlreadyExists(f"{display(self._job.target)}: too many saved files of that name there.")
