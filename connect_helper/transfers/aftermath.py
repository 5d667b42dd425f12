"""Removes and moves sources once they have arrived, as far as the user agreed (`spec.aftermath` decides).

A source that cannot be removed or moved is told about and fails nothing: it did arrive. One that is read more
than once, for links that lead to it or for several items, stays until everything else was transferred, and
for good where one of its copies was not. Of several sources for one target all stay: all but one of them are
nowhere else, and none may be missing when the order of the others decides once more.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from dataclasses import replace

from connect_helper.errors import AlreadyExists, SourceChanged, TransferError
from connect_helper.spec import aftermath as rules
from connect_helper.spec.aftermath import Keep, Move, Names, Source
from connect_helper.spec.names import collision_key, display, numbered_name
from connect_helper.transfers.job import (
    DownloadJob,
    FileJob,
    FolderJob,
    Job,
    LinkJob,
    LocalFolderJob,
    MishapJob,
    RemoteFolderJob,
    RemoteLinkJob,
    UploadJob,
    Work,
    ends_session,
    folder_target,
    granted,
)
from connect_helper.transfers.ledger import Ledger, gone
from connect_helper.transfers.plan import SessionPlan, Upload
from connect_helper.transfers.report import Outcome
from connect_helper.transfers.shared_sources import SharedSources, shared_sources
from connect_helper.transports.base import Facts, Transport
from connect_helper.transports.local_changes import (
    NUMBERS,
    move_source,
    remove_empty,
    remove_link,
    remove_source,
)
from connect_helper.transports.local_files import Identity

_log = logging.getLogger(__name__)


class Aftermath:
    """What one session does with its sources."""

    def __init__(self, plan: SessionPlan) -> None:
        self._plan = plan
        wishes = plan.afterwards
        self._follows = plan.policies.links == "follow"
        self._move_root = wishes.move_root
        self._move_to = wishes.move_to
        self._wishes = rules.Aftermath(
            remove_files=wishes.remove_files,
            remove_skipped=wishes.remove_skipped,
            move_to=wishes.move_to or ("/" if wishes.move_root else ""),
            remove_empty_folders=wishes.remove_empty_folders or wishes.remove_source_folders,
            remove_source_folders=wishes.remove_source_folders,
        )
        self._items = {item.source_path for item in plan.items}
        self._spellings: dict[Names, list[str]] = {}  # of the items, as they were given
        for path in self._items:
            self._spellings.setdefault(_names(path), []).append(path)
        self._walked: set[Names] = set()
        self._linked: set[bytes] = set()  # the files that links lead to, by their keys as all below
        self._shared = SharedSources()
        self._missed: set[bytes] = set()  # of linked or shared ones those that did not arrive everywhere
        self._went: set[bytes] = set()  # shared ones that were removed or moved
        self._contested: set[str] = set()  # targets of several sources

    @property
    def _takes_files(self) -> bool:
        return bool(self._wishes.remove_files or self._wishes.move_to)

    async def prepare(self, transport: Transport) -> None:
        """Look at what the items have in common, before the first file. Raises ConnectError."""
        if self._takes_files:
            self._shared = await shared_sources(self._plan, transport)

    @property
    def needs_all(self) -> bool:
        """Tell whether `listed` has to see every job before the first file may go.

        So it is where links are followed: a source may be read through one of them, too. And where a later
        source may take the place of an earlier one.
        """
        return self._takes_files and (self._follows or self._plan.policies.last_duplicate_wins)

    def listed(self, job: Job) -> None:
        """Note what is read through a link, and what has the target of another source."""
        if not self.needs_all or isinstance(job, RemoteFolderJob | LocalFolderJob | MishapJob):
            return
        if self._follows and isinstance(job, UploadJob | DownloadJob) and job.linked:
            self._linked.add(self.key(job))
        if job.again and self._plan.policies.existing != "keep_both":
            self._contested.add(_target(job))

    def _is_contested(self, job: FileJob | LinkJob) -> bool:
        return bool(self._contested) and _target(job) in self._contested

    def key(self, job: FileJob | LinkJob) -> bytes:
        """What is equal for jobs that read the same source."""
        return self._shared.key(job.real_path)

    def waits(self, job: FileJob | LinkJob) -> bool:
        """Tell whether `file` is to be called for a source only when all others were transferred."""
        if isinstance(job, UploadJob | DownloadJob):
            is_linked = bool(self._linked) and self.key(job) in self._linked
            return not job.linked and (is_linked or job.real_path in self._shared)
        return job.real_path in self._shared

    def failed(self, job: FileJob | LinkJob | MishapJob) -> None:
        """Note a source that did not arrive, if it is read more than once: it must be there for another try.

        It may be a folder of which nobody knows what is in it.
        """
        path = job.real_path
        if isinstance(job, MishapJob):
            path = self._shared.real(path)
            if self._shared or self._shared.key(path) in self._linked:
                self._miss(path)
        elif path in self._shared or (isinstance(job, UploadJob | DownloadJob) and job.linked):
            self._miss(path)

    def _miss(self, path: bytes) -> None:
        self._missed.add(self._shared.key(path))

    def _is_missed(self, path: bytes) -> bool:
        return bool(self._missed) and any(map(self._missed.__contains__, self._shared.above(path)))

    def all_waiting(self, waiting: Iterable[tuple[FileJob | LinkJob, Outcome]]) -> None:
        """See all that waited, before `file` is called for each: a shared source goes only when that is right
        for each of its copies, and all are of one content."""
        contents: dict[bytes, object] = {}
        for job, outcome in waiting:
            if (path := job.real_path) not in self._shared:
                continue
            content = _content(outcome)
            keeps = isinstance(rules.after_file(self._wishes, outcome.state, job.place), Keep)
            keeps = keeps or outcome.unsure or self._is_contested(job)
            if keeps or contents.setdefault(self.key(job), content) != content:
                self._miss(path)

    def walked(self, job: FolderJob) -> None:
        """Note a folder of the sources that the scan went through; none that was reached by a link."""
        if self._wishes.remove_empty_folders and job.source:
            self._walked.add(_names(os.fsdecode(job.source)))

    async def as_first_seen(self, ledger: Ledger, job: FolderJob) -> FolderJob:
        """A folder with the times it had before this transfer took sources out of it, in a session before."""
        if not job.mtime_ns or not (self._takes_files or self._wishes.remove_empty_folders):
            return job
        return await asyncio.to_thread(_as_first_seen, ledger, job)

    async def file(self, work: Work, job: FileJob | LinkJob, outcome: Outcome) -> str:
        """Do what is to be done with one source; return what the user should know about it.

        Raises ConnectError.
        """
        verdict = rules.after_file(self._wishes, outcome.state, job.place)
        if isinstance(verdict, Keep):
            return ""
        if outcome.unsure:
            return (
                "The source stays: it is a second newer than what is there, and only samples were compared."
            )
        if self._is_contested(job):
            return "The source stays: another file of this transfer has the same target."
        if job.linked:
            return "The source stays: it was reached through a link."
        shared = job.real_path in self._shared
        if isinstance(job, UploadJob | DownloadJob) and not shared and self._is_missed(job.real_path):
            return "The source stays: a link leads to it, which could not be transferred."
        if shared and self._is_missed(job.real_path):
            return "The source stays: it goes to another place too, where it did not arrive as it is here."
        if shared and self.key(job) in self._went:
            return ""
        source = job.path if isinstance(job, UploadJob | RemoteLinkJob) else os.fsdecode(job.source)
        given = {source} & self._items | set(self._shared.given(job.real_path))
        if given:
            # Before it goes: a session that is broken off here must not miss it when it comes back.
            await asyncio.to_thread(work.ledger.add, b"".join(gone(os.fsencode(one)) for one in given))
        to = verdict.names if isinstance(verdict, Move) else None
        try:
            if isinstance(job, UploadJob | RemoteLinkJob):
                await asyncio.to_thread(self._local, job, outcome, to)
            else:
                await self._remote(work, job, outcome, to)
        except TransferError as error:
            if ends_session(error):
                raise
            _log.info("%s stays: %s", display(source), error.internal_message)
            return f"The source stays where it is. {error.user_message}"
        if shared:
            self._went.add(self.key(job))
        return ""

    def _local(self, job: UploadJob | RemoteLinkJob, outcome: Outcome, to: Names | None) -> None:
        sent: Identity | bytes
        if isinstance(job, RemoteLinkJob):
            sent = job.content
        elif isinstance(outcome.seen, Identity):
            sent = outcome.seen
        else:
            raise SourceChanged(f"{display(job.path)} could not be told from others.")
        if to is not None and self._move_root is not None:
            names = (*self._move_root.below, *to)
            move_source(job.granted, job.real, sent, granted(self._move_root), tuple(map(os.fsencode, names)))
        elif isinstance(sent, bytes):
            remove_link(job.granted, job.real, sent)
        else:
            remove_source(job.granted, job.real, sent)

    async def _remote(
        self, work: Work, job: DownloadJob | LinkJob, outcome: Outcome, to: Names | None
    ) -> None:
        path = job.source if not isinstance(job, RemoteLinkJob) else b""
        there = await work.transport.facts(path)
        seen = outcome.seen
        if there is None:
            return
        if isinstance(seen, Facts) and (there.kind, there.size, there.mtime_ns) != (
            "file",
            seen.size,
            seen.mtime_ns,
        ):
            raise SourceChanged(f"{display(path)} is another one by now, or a link.")
        if to is None:
            await work.transport.remove(path)
        else:
            await self._move_remote(work, path, to)

    async def _move_remote(self, work: Work, path: bytes, to: Names) -> None:
        folder, _, name = os.fsencode("/".join((self._move_to.rstrip("/"), *to))).rpartition(b"/")
        await work.transport.make_folder(folder)
        for number in range(NUMBERS):
            free = numbered_name(name, number) if number else name
            try:
                await work.transport.publish(path, folder + b"/" + free, "fresh")
            except AlreadyExists:
                continue
            return
        raise AlreadyExists(f"{display(path)}: too many files of that name where it is to go.")

    async def folders(self, work: Work) -> None:
        """Remove the folders that are empty now; last of all. Raises ConnectError."""
        if not self._wishes.remove_empty_folders:
            return
        sources = [self._source(item.source_path, item.base) for item in work.plan.items]
        for names in rules.folders_to_try(self._wishes, sources, self._walked):
            path = "/".join(names)
            if not path:
                continue  # the root
            if given := self._given(names):
                marks = b"".join(gone(os.fsencode(one)) for one in given)
                await asyncio.to_thread(work.ledger.add, marks)
            try:
                await self._remove_folder(work, names, path)
            except TransferError as error:
                if ends_session(error):
                    raise
                _log.info("the folder %s stays: %s", display(path), error.internal_message)

    def _given(self, names: Names) -> set[str]:
        """The items that are missing without this folder, as they were given: links that lead to it, too."""
        given = self._spellings.get(names, [])
        real = {self._shared.real(os.fsencode(path)) for path in given}
        return {*given, *(other for path in real for other in self._shared.given(path))}

    def _source(self, path: str, base: int) -> Source:
        names = _names(path)
        above = names[: len(names) - base] if base else None
        return Source(names, names in self._walked, above)

    async def _remove_folder(self, work: Work, names: Names, path: str) -> None:
        if work.plan.direction == "receive":
            await work.transport.remove_folder(os.fsencode(path))
            return
        for item in work.plan.items:
            top = _names(item.source.path) if isinstance(item, Upload) else ()
            if isinstance(item, Upload) and names[: len(top)] == top:
                below = tuple(map(os.fsencode, names[len(top) :]))
                await asyncio.to_thread(remove_empty, granted(item.source), below)
                return
        # Not given by the user, such as the folder around a file that was chosen by itself: it stays.


def _as_first_seen(ledger: Ledger, job: FolderJob) -> FolderJob:
    """Blocks."""
    times = ledger.first_times(folder_target(job), atime_ns=job.atime_ns, mtime_ns=job.mtime_ns)
    return replace(job, atime_ns=times[0], mtime_ns=times[1])


def _content(outcome: Outcome) -> object:
    """What a source was when it was read, to be compared with another time; reading changes a time itself."""
    seen = outcome.seen
    return (seen.size, seen.mtime_ns) if isinstance(seen, Facts) else seen


def _target(job: FileJob | LinkJob) -> str:
    """Where it goes, in a form that is equal for targets which may be one."""
    return collision_key(os.fsdecode(job.target) if isinstance(job, UploadJob | RemoteLinkJob) else job.path)


def _names(path: str) -> Names:
    """The names of a path; an absolute one begins with "", for the same names may lead elsewhere without."""
    names = tuple(name for name in path.split("/") if name)
    return ("", *names) if path.startswith("/") else names
