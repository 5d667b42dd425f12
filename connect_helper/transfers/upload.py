"""Sends one file: opens it, has it decided what is to be done, and has it sent.

A small file for a free place goes with two trips to the disk; all others take more care.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from connect_helper.errors import ContentError, SourceChanged
from connect_helper.spec.names import partial_name
from connect_helper.spec.overwrite import Decision, FileFacts
from connect_helper.spec.saving import saves_first
from connect_helper.transfers.blocking import acquired, finished, handed_over, to_the_end
from connect_helper.transfers.job import UploadJob, Work
from connect_helper.transfers.ledger import begun
from connect_helper.transfers.remote_leftovers import forget_sent
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transfers.sealing import SealedSource
from connect_helper.transfers.sending import NameTaken, Refused, Sending
from connect_helper.transfers.upload_decisions import (
    PARTIALS,
    Begin,
    Beginning,
    Existing,
    new_hashes,
    too_many,
)
from connect_helper.transports.local_files import Identity, SourceFile, open_source

HELD: Final = 64 * 1024  # bytes; a file up to this size is read as it is opened


class Upload:
    """One file on its way to the server."""

    def __init__(self, work: Work, job: UploadJob, tracker: Tracker) -> None:
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._tracker = tracker
        self._first = job.beside(partial_name(job.name))  # the first name for a partial file
        self._slot = work.records.slot(work.record_key(job.target))
        self._sent: Identity | None = None  # what was opened last
        self._left = False  # what was opened last is closed again
        self._mine = b""  # the partial file that this session has written to

    async def run(self) -> Outcome:
        """Send the file. Raises TransferError; the partial file and its record stay for another try."""
        try:
            outcome = await self._quickly() or await self._try(resume=True)
        except (SourceChanged, ContentError):
            # Once more from the start: the source may have been in the middle of being saved.
            outcome = await self._try(resume=False)
        return replace(outcome, seen=self._sent)

    # A small file for a free place -----------------------------------------------------------------

    async def _quickly(self) -> Outcome | None:
        """Send a small file to a free place, with two trips to the disk. None: it takes more care."""
        job = self._job
        if job.size > HELD or self._work.vault is not None:
            return None
        if job.folder:
            await self._transport.make_folder(job.folder)
        if not self._work.is_new(job):
            looks = (self._transport.facts(job.target), self._transport.unfinished(self._first))
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
            begin = Begin(self._first, 0, new_hashes(self._work), exclusive=True)
            return await self._sending(fresh=True).run(source, begin, noted=False)
        except NameTaken:
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
        ledger, mine = self._work.ledger, begun(self._first, named=self._transport.names_unfinished)
        self._slot.take()
        if self._slot.noted or ledger.knows(mine):
            return False
        ledger.add(mine)
        return True

    def _let_go(self, source: SourceFile | None) -> None:
        if source is not None:
            self._leave(source)

    # Any file --------------------------------------------------------------------------------------

    async def _try(self, *, resume: bool) -> Outcome:
        source = await acquired(self._open, SourceFile.close)
        self._sent = source.identity
        self._left = False
        try:
            self._tracker.resize(source.size)
            existing = Existing(self._work, self._job)
            there = await existing.look()
            if there is not None and existing.finished_before(source, there):
                await self._forget()
                return Outcome("done", "size", earlier=True)
            if there is not None:
                await existing.refuse_twin()
            decision = Decision.WRITE if there is None else await existing.decide(source, there)
            if decision is Decision.SKIP:
                await self._forget()
                return Outcome("skipped", unsure=existing.unsure)
            saves = saves_first(
                wanted=self._policies.save_first,
                resume=self._policies.resume,
                decision=decision,
                target=None if there is None else FileFacts(there.size, there.mtime_ns),
            )
            if self._job.folder:
                await self._transport.make_folder(self._job.folder)
            self._slot = self._work.records.slot(self._work.record_key(self._job.target))
            beginning = Beginning(self._work, self._job, self._slot, first_is_free=existing.first_is_free)
            sending = self._sending(fresh=there is None, saves=saves)
            return await self._send(source, beginning, sending, resume=resume)
        finally:
            if not self._left:
                await to_the_end(self._leave, source)

    def _open(self) -> SourceFile:
        plain = open_source(self._job.granted, self._job.real, quiet=self._policies.quiet_reading)
        vault = self._work.vault
        return plain if vault is None else SealedSource(plain, vault.new_seal(self._job.target, plain))

    async def _send(
        self, source: SourceFile, beginning: Beginning, sending: Sending, *, resume: bool
    ) -> Outcome:
        refused = False
        for _ in range(PARTIALS):
            try:
                begin = await (
                    beginning.new(taken=True)
                    if refused
                    else beginning.find(source, resume=resume, mine=self._mine)
                )
                self._mine = begin.partial
                return await sending.run(source, begin, noted=True)
            except NameTaken as error:
                self._mine = b""
                refused = refused or isinstance(error, Refused)
        raise too_many(self._job)

    def _sending(self, *, fresh: bool, saves: bool = False) -> Sending:
        return Sending(
            self._work, self._job, self._tracker, self._slot, self._leave, fresh=fresh, saves=saves
        )

    def _leave(self, source: SourceFile) -> None:
        self._left = True
        source.close()
        self._slot.release()

    async def _forget(self) -> None:
        await forget_sent(self._work.plan, self._work.record_key(self._job.target), self._transport)
