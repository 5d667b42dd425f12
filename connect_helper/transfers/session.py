"""One transfer from connecting to its last file: scan, queue, files in flight, the end.

The session decides nothing about single files (see `upload` and `download`) and knows no protocol (see
`transports`). A file that fails does not stop the others; a connection that breaks ends the session as
retryable and keeps every partial file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from connect_helper.errors import BadPassphrase, ConnectionLost, LinkSkipped, SpecialFile, TransferError
from connect_helper.spec.names import display
from connect_helper.transfers.aftermath import Aftermath
from connect_helper.transfers.blocking import to_the_end
from connect_helper.transfers.download import Download
from connect_helper.transfers.fallback import reached
from connect_helper.transfers.job import (
    DownloadJob,
    FileJob,
    Job,
    LinkJob,
    LocalFolderJob,
    LocalLinkJob,
    MishapJob,
    RemoteFolderJob,
    RemoteLinkJob,
    UploadJob,
    Work,
    ends_session,
)
from connect_helper.transfers.late import LateJobs
from connect_helper.transfers.links import copy_link
from connect_helper.transfers.made_folders import MadeFolders
from connect_helper.transfers.messages import Connected, Ended, Question
from connect_helper.transfers.mirror import mirror
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.remote_leftovers import remove_unfinished
from connect_helper.transfers.report import Channel, Outcome, Reporter, Tracker
from connect_helper.transfers.scan import Scan
from connect_helper.transfers.side_by_side import side_by_side
from connect_helper.transfers.spool import Spool, show_all
from connect_helper.transfers.upload import Upload
from connect_helper.transports.base import Transport
from connect_helper.transports.connections import Connections
from connect_helper.transports.host_keys import KnownKeys
from connect_helper.transports.kept import KeptConnections
from connect_helper.transports.local_files import open_files
from connect_helper.transports.rate import TokenBucket
from connect_helper.transports.resume import RecordStore
from connect_helper.transports.sftp import SftpTransport
from connect_helper.transports.ssh_connection import Credentials, Endpoint

_log = logging.getLogger(__name__)

IN_FLIGHT: Final = 512  # files at a time, where the system lets us have so many open
SMALL: Final = 128 * 1024  # bytes; of files larger than this
OTHERS_IN_FLIGHT: Final = 16  # so many at a time
LARGE: Final = 16 * 1024 * 1024  # bytes; of files this large
LARGE_IN_FLIGHT: Final = 2  # so many at a time, for each fills the line alone
QUEUE: Final = 512  # jobs the scan may be ahead
IDLE_LIMIT_S: Final = 60.0  # without an answer the server owes
LOOKED_AT: Final = 100  # items, for a guess at how much there is to send
BRIEFLY_S: Final = 2.0  # what counting ahead may take when nobody asked for it
SOME_FAILED: Final = 27  # error code of a transfer of which only files failed

_Waiting = tuple[FileJob | LinkJob, Tracker, Outcome]
Look = Callable[[AsyncGenerator[Job, None], Callable[[Job], None]], Awaitable[bool]]
"""Shows all jobs to somebody; tells whether they are kept."""


class Session:
    """One run of one plan. `set_rate` and `stop` may be called at any time while `run` runs."""

    def __init__(self, plan: SessionPlan, channel: Channel, kept: KeptConnections | None = None) -> None:
        """`kept` are the connections earlier sessions left in this process."""
        self._plan = plan
        self._kept = kept
        self._channel = channel
        self._limiter = TokenBucket(plan.rate_kbps)
        self._reporter = Reporter(channel)
        self._queue: asyncio.Queue[Job | None] = asyncio.Queue(QUEUE)
        self._large = asyncio.Semaphore(LARGE_IN_FLIGHT)
        self._others = asyncio.Semaphore(OTHERS_IN_FLIGHT)
        self._in_flight = min(IN_FLIGHT, max(OTHERS_IN_FLIGHT, open_files() // 4))
        self._folders = MadeFolders(plan.policies)
        self._late = LateJobs()
        self._aftermath = Aftermath(plan)
        self._last: list[_Waiting] = []  # done but for their aftermath
        self._spool = Spool(Path(plan.resume_folder))
        self._listed = False  # all jobs are in the spool
        self._task: asyncio.Task[Ended] | None = None
        self._stopping = False

    def set_rate(self, rate_kbps: int | None) -> None:
        """Change the limit, in kbit/s; None lifts it."""
        self._limiter.set_rate(rate_kbps)

    def stop(self) -> None:
        """End the session within a second; partial files stay, with what is needed to go on."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> Ended:
        """Run to the end, which is never an exception of the error tree."""
        self._task = asyncio.create_task(self._guarded(), name=f"session {self._plan.transfer_id}")
        if self._stopping:
            self._task.cancel()
        try:
            ended = await self._task
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            ended = Ended(outcome="stopped", message="Stopped.")
        await self._reporter.beat(final=True)
        return ended

    async def _guarded(self) -> Ended:
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._reporter.run(), name="report")
                try:
                    await self._connected()
                finally:
                    beat.cancel()
        except BaseExceptionGroup as group_error:
            return _failed(_first(group_error))
        return self._result()

    async def _connected(self) -> None:
        way = self._transport()
        if self._plan.direction == "send":  # so that connections are begun while the first logs in
            way.expect(await asyncio.to_thread(_at_hand, self._plan))
        async with reached(self._plan, way, self._limiter) as (transport, kind):
            fallback = self._plan.fallback
            encrypted = kind == "fasp" or (fallback is not None and fallback.tls)
            told = Connected(address=transport.address, transport=kind, encrypted=encrypted)
            await self._channel.tell(told)
            if self._plan.clean_only:
                await remove_unfinished(self._plan, transport)
                return
            work = Work.of(self._plan, transport, self._reporter)
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(self._watch(transport), name="idle watch"),
                    group.create_task(work.checkpoints.run(), name="checkpoints"),
                ]
                whole = False
                try:
                    await to_the_end(work.ledger.open)
                    await self._before(work)
                    await self._work(work)
                    await self._folders.set_times(work)
                    await self._aftermath.folders(work)
                    whole = not self._reporter.failed
                finally:
                    for helper in helpers:
                        helper.cancel()
                    work.ledger.close(completed=whole)
                    work.folders.close()
                    self._spool.close()

    def _transport(self) -> Transport:
        plan = self._plan
        server, login, keys = plan.server, plan.login, plan.host_keys
        secret = login.password or login.token
        credentials = Credentials(
            user=login.user,
            password=secret.get_secret_value() if secret else None,
            private_key=login.private_key.get_secret_value() if login.private_key else None,
            passphrase=login.private_key_passphrase.get_secret_value()
            if login.private_key_passphrase
            else None,
            is_token=login.password is None and login.token is not None,
        )
        connections = Connections(
            Endpoint(server.host, server.port, server.addresses),
            credentials,
            KnownKeys(keys.trusted, keys.revoked, keys.sshfp),
            self._ask,
            self._limiter,
            plan.connections,
            plan.divide_from,
            self._kept,
        )
        return SftpTransport(connections)

    async def _ask(self, key: str, fingerprint: str) -> bool:
        server = self._plan.server
        return await self._channel.ask(
            Question(question_id=0, host=server.host, port=server.port, key=key, fingerprint=fingerprint)
        )

    async def _watch(self, transport: Transport) -> None:
        while transport.silent_s < IDLE_LIMIT_S:  # noqa: ASYNC110 - time passing is no event
            await asyncio.sleep(1)
        raise ConnectionLost(
            "The server stopped answering; start the transfer again to go on.",
            internal_message=f"no answer for {IDLE_LIMIT_S} s",
        )

    # Files -----------------------------------------------------------------------------------------

    async def _before(self, work: Work) -> None:
        """What comes before the first byte: deleting what is surplus, counting, looking for links."""
        if self._plan.policies.delete_first:
            await mirror(work)
        await self._aftermath.prepare(work.transport)
        count_first = self._plan.policies.count_first
        if self._aftermath.needs_all or count_first == "yes":
            self._listed = await self._count(work, self._spool.fill)
        elif count_first == "briefly":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BRIEFLY_S):
                    await self._count(work, show_all)

    async def _count(self, work: Work, look: Look) -> bool:
        """Let `look` list everything; return what it returns."""
        files = size = 0

        def note(job: Job) -> None:
            nonlocal files, size
            self._aftermath.listed(job)
            if not isinstance(job, RemoteFolderJob | LocalFolderJob):
                files, size = files + 1, size + _size(job)

        kept = await look(self._jobs(work), note)
        self._reporter.counted(files, size)
        await self._reporter.beat()
        return kept

    def _jobs(self, work: Work) -> AsyncGenerator[Job, None]:
        """The jobs as they were listed, or as they are found from here on."""
        return self._spool.jobs() if self._listed else Scan(self._plan, work.transport, work.ledger).jobs()

    async def _work(self, work: Work) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scan(work), name="scan")
            for number in range(self._in_flight):
                group.create_task(self._files(work), name=f"files {number}")
        for apart, in_order in self._late.levels():
            await side_by_side(apart, partial(self._in_turn, work), self._in_flight)
            for job in in_order:
                await self._file(work, job)
        await self._end_waiting(work)
        for path, error in self._folders.unmade.untold():
            self._reporter.found(0)
            await self._end_badly(await self._reporter.start(path, path, 0), error)

    async def _end_waiting(self, work: Work) -> None:
        """Do with the sources that waited what is to be done, with what is read of one in its order."""
        self._aftermath.all_waiting((job, outcome) for job, _, outcome in self._last)
        by_source: dict[bytes, list[_Waiting]] = {}
        for waiting in self._last:
            by_source.setdefault(self._aftermath.key(waiting[0]), []).append(waiting)

        async def end(group: list[_Waiting]) -> None:
            for job, tracker, outcome in group:
                message = await self._aftermath.file(work, job, outcome)
                await self._reporter.end(tracker, replace(outcome, message=message))

        await side_by_side(by_source.values(), end, self._in_flight)

    async def _scan(self, work: Work) -> None:
        async with aclosing(self._jobs(work)) as jobs:
            async for job in jobs:
                if isinstance(job, RemoteFolderJob | LocalFolderJob):
                    self._aftermath.walked(job)
                    if self._folders.keeps_times:
                        job = await self._aftermath.as_first_seen(work.ledger, job)
                else:
                    self._reporter.found(_size(job))
                    work.transport.expect(_size(job))
                if not self._late.takes(job):
                    await self._queue.put(job)
        self._reporter.scan_ended()
        for _ in range(self._in_flight):
            await self._queue.put(None)

    async def _files(self, work: Work) -> None:
        while (job := await self._queue.get()) is not None:
            match job:
                case RemoteFolderJob() | LocalFolderJob():
                    await self._folders.make(work, job)
                case MishapJob():
                    self._aftermath.failed(job)
                    tracker = await self._reporter.start(job.path, job.remote_path, 0)
                    await self._end_badly(tracker, job.error)
                case _:
                    await self._in_turn(work, job)

    async def _in_turn(self, work: Work, job: FileJob | LinkJob) -> None:
        """One file among others, when there is room for one of its size."""
        size = _size(job)
        if size <= SMALL:
            await self._file(work, job)
            return
        async with self._large if size >= LARGE else self._others:
            await self._file(work, job)

    async def _file(self, work: Work, job: FileJob | LinkJob) -> None:
        remote = os.fsdecode(job.target if isinstance(job, UploadJob | RemoteLinkJob) else job.source)
        tracker = await self._reporter.start(job.path, remote, _size(job))
        try:
            outcome = await _one(work, job, tracker)
            if self._aftermath.waits(job):
                self._last.append((job, tracker, outcome))
                self._reporter.wait(tracker)
                return
            message = await self._aftermath.file(work, job, outcome)
        except TransferError as error:
            if self._is_fatal(error):
                work.hopeless.set()
                await self._end_badly(tracker, error)
                raise
            if ends_session(error):
                raise
            self._aftermath.failed(job)
            await self._end_badly(tracker, error)
        else:
            await self._reporter.end(tracker, replace(outcome, message=message) if message else outcome)

    def _is_fatal(self, error: TransferError) -> bool:
        protect = self._plan.protect
        return isinstance(error, BadPassphrase) and protect is not None and protect.strict

    async def _end_badly(self, tracker: Tracker, error: TransferError) -> None:
        skipped = isinstance(error, LinkSkipped) or (
            isinstance(error, SpecialFile) and self._plan.policies.skip_special_files
        )
        _log.info("%s %s: %s", "skipped" if skipped else "failed", error.code, error.internal_message)
        if skipped:
            await self._reporter.skip(tracker, error)
        else:
            sends = self._plan.direction == "send"
            self._folders.unmade.failed(tracker.remote_path if sends else tracker.path)
            await self._reporter.fail(tracker, error)

    def _result(self) -> Ended:
        failed, files = self._reporter.failed, self._reporter.files
        first = self._reporter.first_error
        if first is None:
            return Ended(outcome="completed", message=self._folders.about_times())
        if files == 1:
            return _failed(first, retryable=False)
        return Ended(
            outcome="failed",
            code=first.code,
            error_code=SOME_FAILED,
            message=f"{failed} of {files} files failed. {first.user_message}",
            internal_message=f"{failed} of {files} files failed; first: {first.internal_message}",
        )


async def run_session(plan: SessionPlan, channel: Channel) -> Ended:
    """Run one session that is neither stopped nor changed on its way."""
    return await Session(plan, channel).run()


async def sweep_records(folder: Path) -> None:
    """Remove what was left unfinished for more than a week and is still ours."""
    try:
        removed = await asyncio.to_thread(RecordStore(folder).sweep)
    except OSError as error:
        _log.warning("old unfinished files cannot be looked at: %s", error)
    else:
        if removed:
            _log.info("%s old unfinished files forgotten", removed)


def _at_hand(plan: SessionPlan) -> int:
    """Bytes of the files named in a plan, without those in folders; a guess. Blocks."""
    size = 0
    for item in plan.items[:LOOKED_AT]:
        if item.kind == "upload":
            with contextlib.suppress(OSError):
                facts = Path(item.source_path).lstat()
                size += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return size


async def _one(work: Work, job: FileJob | LinkJob, tracker: Tracker) -> Outcome:
    if isinstance(job, RemoteLinkJob | LocalLinkJob):
        return await copy_link(work, job)
    if isinstance(job, UploadJob):
        return await Upload(work, job, tracker).run()
    return await Download(work, job, tracker).run()


def _size(job: Job) -> int:
    if isinstance(job, UploadJob):
        return job.size
    return job.facts.size if isinstance(job, DownloadJob) else 0


def _first(group: BaseExceptionGroup[BaseException]) -> TransferError:
    """The error that ended the session. Raises the group itself when a bug is among its members."""
    expected, other = group.split(TransferError)
    if other is not None or expected is None:
        raise group
    found: BaseException = expected
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, TransferError):
        raise group
    return found


def _failed(error: TransferError, *, retryable: bool | None = None) -> Ended:
    return Ended(
        outcome="failed",
        code=error.code,
        error_code=error.error_code,
        message=error.user_message,
        internal_message=display(error.internal_message, 500),
        retryable=error.retryable if retryable is None else retryable,
        retry_after_s=error.retry_after_s,
    )
