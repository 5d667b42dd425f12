"""Fetches one file: opens its folder, has it decided what is to be done, and has it received.

A small file that is new is made as its folder is opened, so that it takes two trips to the disk.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from connect_helper.errors import (
    BadPassphrase,
    CannotDecrypt,
    ContentError,
    SourceChanged,
    SourceMissing,
    TransferError,
)
from connect_helper.spec.names import display
from connect_helper.spec.overwrite import Decision, FileFacts
from connect_helper.spec.saving import saves_first
from connect_helper.transfers.blocking import finished, handed_over
from connect_helper.transfers.download_decisions import Begin, Beginning, Existing
from connect_helper.transfers.job import DownloadJob, Work, digest_algorithm
from connect_helper.transfers.leftovers import forget_one
from connect_helper.transfers.receiving import Receiving
from connect_helper.transfers.report import Outcome, Tracker
from connect_helper.transports.age import HEAD_LIMIT, Seal
from connect_helper.transports.base import Facts
from connect_helper.transports.local_target import TargetFolder

SMALL: Final = 64 * 1024  # bytes; a file up to this size is written and published in one go


class Download:
    """One file on its way from the server."""

    def __init__(self, work: Work, job: DownloadJob, tracker: Tracker) -> None:
        self._work = work
        self._transport = work.transport
        self._policies = work.policies
        self._job = job
        self._tracker = tracker
        self._slot = work.records.slot(work.record_key(os.fsencode(job.path)))
        self._beginning = Beginning(work, job, self._slot)
        # Worth no more than two trips to the disk.
        self._is_small = job.facts.size <= SMALL and not job.sealed and not digest_algorithm(work.policies)
        self._fetched = job.facts  # what the server said last
        self._left = False  # the folder is closed again
        self._ready: Begin | None = None  # of a small file, made on arrival

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
        folder = self._work.folders.open(self._job.granted, self._job.names[:-1])
        try:
            if self._is_small and folder.facts(self._job.name) is None:
                self._ready = self._beginning.new(folder, self._job.facts.size)
        except BaseException:
            self._leave(folder)
            raise
        return folder

    def _leave(self, folder: TargetFolder) -> None:
        self._left = True
        if self._ready is not None:  # cancelled before anything was fetched
            with suppress(TransferError):
                folder.remove_partial(self._ready.partial)
            self._ready.partial.close()
        folder.close()
        self._slot.release()

    async def _try(self, folder: TargetFolder, source: Facts, *, resume: bool) -> Outcome:
        self._fetched = source
        self._tracker.resize(source.size)
        # Before anything is fetched: a wrong passphrase is told at once and leaves nothing behind.
        seal = await self._open_seal() if self._job.sealed else None
        if self._ready is not None:
            begin, self._ready = self._ready, None
            begin.partial.expected = source.size
            receiving = self._receiving(folder, None)
            return await receiving.run(source, begin, small=self._is_small, noted=False)
        existing = Existing(self._work, self._job, folder, source, seal)
        there = await existing.look()
        if there is not None and existing.finished_before(there):
            await asyncio.to_thread(self._forget)
            return Outcome("done", "size", earlier=True)
        decision = Decision.WRITE if there is None else await existing.decide(there)
        if decision is Decision.SKIP:
            await asyncio.to_thread(self._forget)
            return Outcome("skipped", unsure=existing.unsure)
        saves = self._policies.existing == "replace" and saves_first(
            wanted=self._policies.save_first,
            resume=self._policies.resume,
            decision=decision,
            target=None if there is None else FileFacts(there.size, there.mtime_ns),
        )
        begin = await self._beginning.find(folder, source, resume=resume)
        receiving = self._receiving(folder, seal, saves=saves)
        return await receiving.run(source, begin, small=self._is_small, noted=True)

    def _receiving(self, folder: TargetFolder, seal: Seal | None, *, saves: bool = False) -> Receiving:
        return Receiving(
            self._work, self._job, self._tracker, self._slot, folder, self._leave, seal=seal, saves=saves
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

    def _forget(self) -> None:
        plan = self._work.plan
        forget_one(
            Path(plan.resume_folder), self._work.record_key(os.fsencode(self._job.path)), plan.transfer_id
        )
