"""Turns the items of a plan into jobs, one at a time, while earlier ones already run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import Final

from connect_helper.errors import CannotDecrypt, NameCollision, SourceMissing, TransferError, UnsafeName
from connect_helper.spec.names import collision_key, display, safe_component
from connect_helper.spec.obfuscation import hidden_name
from connect_helper.spec.protection import is_foreign, opened_name, protected_name
from connect_helper.transfers.job import (
    DownloadJob,
    Job,
    LocalFolderJob,
    LocalLinkJob,
    MishapJob,
    RemoteFolderJob,
    RemoteLinkJob,
    UploadJob,
    ends_session,
    granted,
)
from connect_helper.transfers.ledger import Ledger, gone, twin
from connect_helper.transfers.marks import MARK, Marks
from connect_helper.transfers.plan import Afterwards, Download, SessionPlan, Upload
from connect_helper.transfers.selection import Selection
from connect_helper.transports.base import Entry, Transport
from connect_helper.transports.local_walk import LocalEntry, walk

BATCH: Final = 200  # local entries listed per hop to a thread


class Scan:
    """The jobs of one plan. Two sources that lead to one target: the second is a mishap."""

    def __init__(self, plan: SessionPlan, transport: Transport, ledger: Ledger) -> None:
        self._plan = plan
        self._transport = transport
        self._ledger = ledger
        self._selection = Selection(plan.policies)
        self._hidden_key = bytes.fromhex(plan.hidden_key)
        self._targets = Marks()  # there may be a million

    async def jobs(self) -> AsyncGenerator[Job, None]:
        """All jobs, folders before what is in them. Raises ConnectError when the connection goes."""
        if self._plan.direction == "send" and self._plan.destination:
            yield RemoteFolderJob(os.fsencode(self._plan.destination), 0)
        for index, item in enumerate(self._plan.items):
            jobs = self._upload(item, index) if isinstance(item, Upload) else self._download(item)
            async with aclosing(jobs):
                async for job in jobs:
                    yield job

    def _is_new(self, target: str) -> bool:
        return self._targets.add(_digest(target, MARK))

    def _met(self, target: str) -> tuple[bool, bool]:
        """Whether another file goes to a target on the server, or to one that may be the same there."""
        alike = _digest(collision_key(target), MARK // 2)
        similar = self._targets.begins(alike)
        again = not self._targets.add(alike + _digest(target, MARK // 2))
        earlier = not self._ledger.is_new and self._ledger.knows(twin(os.fsencode(target)))
        return again, not again and (similar or earlier)

    # Uploads ---------------------------------------------------------------------------------------

    async def _upload(self, item: Upload, index: int) -> AsyncGenerator[Job, None]:
        start = tuple(map(os.fsencode, item.source.below))
        source = item.source_path
        top = item.set_names or (os.path.basename(source),)  # noqa: PTH119 - the text of a path
        entries = _Batches(
            walk(
                granted(item.source),
                start,
                links=self._plan.policies.links,
                enters=self._selection.enters(top),
            )
        )
        try:
            while batch := await asyncio.to_thread(entries.take):
                for entry in batch:
                    if not self._selection.takes(top, entry.below[len(start) :], entry.facts):
                        continue
                    job = self._upload_job(item, index, entry, top)
                    if isinstance(job, UploadJob | RemoteLinkJob) and job.twin:
                        # A later session may not find the other one any more, and take this for the first.
                        await asyncio.to_thread(self._ledger.add, twin(job.target))
                    yield job
        except SourceMissing as error:
            # An earlier session of this transfer may have removed or moved it, as it was asked to.
            if not self._ledger.knows(gone(os.fsencode(source))):
                yield MishapJob(source, item.target, error, os.fsencode(source))
        except TransferError as error:
            yield MishapJob(source, item.target, error, os.fsencode(source))
        finally:
            await asyncio.to_thread(entries.close)

    def _upload_job(self, item: Upload, index: int, entry: LocalEntry, top: tuple[str, ...]) -> Job:
        grant = granted(item.source)
        below = entry.below[len(item.source.below) :]
        path = os.fsdecode(b"/".join((grant.path.rstrip(b"/"), *entry.below)))
        real = b"/".join((grant.path.rstrip(b"/"), *entry.real))
        target = b"/".join((os.fsencode(item.target), *below))
        if entry.facts.kind == "folder" and entry.error is None:
            source = os.fsencode(path) if entry.real == entry.below and not item.linked else b""
            return RemoteFolderJob(target, entry.facts.mtime_ns, entry.facts.atime_ns, source)
        try:
            target = self._stored(target, index, below)
        except TransferError as error:
            return MishapJob(path, os.fsdecode(target), error, real)
        if entry.error is not None:
            return MishapJob(path, os.fsdecode(target), entry.error, real)
        again, twins = self._met(os.fsdecode(target))
        if self._plan.policies.last_duplicate_wins:
            again, twins = again or twins, False
        elif again:
            return MishapJob(path, os.fsdecode(target), _collision(path, os.fsdecode(target)), real)
        place = (*top, *map(os.fsdecode, below))
        if entry.facts.kind == "link":
            return RemoteLinkJob(
                grant, entry.real, path, target, entry.content, place, again, twins, item.linked
            )
        linked = item.linked or entry.real != entry.below
        return UploadJob(grant, entry.real, path, target, entry.facts.size, place, linked, again, twins)

    def _stored(self, target: bytes, index: int, below: tuple[bytes, ...]) -> bytes:
        """The target under the name that hides the real one, or that says it is encrypted."""
        folder, slash, name = target.rpartition(b"/")
        if self._hidden_key:
            name = hidden_name(self._hidden_key, index, tuple(map(os.fsdecode, below))).encode("ascii")
        if self._plan.protect is not None:
            name = protected_name(name)
        return folder + slash + name

    # Downloads -------------------------------------------------------------------------------------

    async def _download(self, item: Download) -> AsyncGenerator[Job, None]:
        source = os.fsencode(item.source)
        names = tuple(map(os.fsencode, item.target))
        try:
            for name in names:
                safe_component(name)
            if not names:
                raise UnsafeName("The download has no name to be stored under.")
            top = item.set_names or (item.source.rstrip("/").rpartition("/")[2],)
            entries = self._transport.scan(
                source, links=self._plan.policies.links, enters=self._selection.enters(top)
            )
            async with aclosing(entries):
                root = None
                async for entry in entries:
                    root = root or await self._root(source, entry)  # it comes before what it holds
                    if self._selection.takes(top, entry.below, entry.facts):
                        yield self._download_job(item, entry, top, root)
        except TransferError as error:
            if ends_session(error):
                raise
            if not isinstance(error, SourceMissing) or not self._ledger.knows(gone(source)):
                path = os.path.join(item.root.path, *item.target)  # noqa: PTH118 - text to show
                yield MishapJob(path, item.source, error, source)

    async def _root(self, source: bytes, entry: Entry) -> _Root:
        """What `entry`, the first one found, says of `source`. Raises TransferError.

        Whether a folder is a link itself is asked only where what it leads to might be removed or moved: of a
        file that is seen then.
        """
        asks = self._plan.afterwards != Afterwards() and entry.real and entry.facts.kind == "folder"
        found = await self._transport.facts(source.rstrip(b"/") or source) if asks else None
        return _Root(entry.real, linked=found is not None and found.kind == "link")

    def _download_job(self, item: Download, entry: Entry, top: tuple[str, ...], root: _Root) -> Job:
        grant = granted(item.root)
        names = (*map(os.fsencode, item.target), *entry.below)
        opened, problem = self._opened(names, entry)
        path = os.fsdecode(b"/".join((grant.path.rstrip(b"/"), *(opened or names))))
        remote = os.fsdecode(entry.path)
        if problem is not None:
            return MishapJob(path, remote, problem, entry.real or entry.path)
        if entry.facts.kind == "folder":
            walked = b"" if root.linked else entry.path
            return LocalFolderJob(grant, names, entry.facts.mtime_ns, entry.facts.atime_ns, walked)
        # A file system here may take names for one that differ in case or composition only.
        again = not self._is_new(collision_key(path))
        if again and not self._plan.policies.last_duplicate_wins:
            return MishapJob(path, remote, _collision(remote, path), entry.real or entry.path)
        place = (*top, *map(os.fsdecode, entry.below))
        if entry.facts.kind == "link":
            depth = max(0, len(entry.below) - 1)
            return LocalLinkJob(
                entry.path, grant, names, entry.content, depth, place, entry.real, root.linked, again
            )
        sealed = opened is not None
        plain = b"/".join((root.real.rstrip(b"/"), *entry.below))
        linked = root.linked or (bool(entry.real) and entry.real != plain)
        return DownloadJob(
            entry.path, entry.facts, grant, opened or names, place, sealed, again, entry.real, linked
        )

    def _opened(
        self, names: tuple[bytes, ...], entry: Entry
    ) -> tuple[tuple[bytes, ...] | None, TransferError | None]:
        """The names a file gets once it is decrypted, None when it is not to be; and why it cannot be had."""
        if self._plan.protect is None or entry.error is not None or entry.facts.kind != "file":
            return None, entry.error
        name = os.fsencode(entry.path).rpartition(b"/")[2]
        if is_foreign(name):
            return None, CannotDecrypt(
                f"{display(entry.path)} is encrypted in another program's own format; decrypt it there."
            )
        if opened_name(name) is None:
            return None, None
        # A target the page or user named ends as they said; one that took the source's name loses the suffix.
        return (*names[:-1], opened_name(names[-1]) or names[-1]), None


@dataclass(frozen=True, slots=True)
class _Root:
    """The source of a download."""

    real: bytes  # its path with links resolved; b"" where that is not known
    linked: bool  # it is a link to a folder


class _Batches:
    """Takes a walk's entries in batches. Both calls block; who closes waits for the batch under way.

    A stop does not reach the thread that lists, and a generator must not be closed while it runs.
    """

    def __init__(self, entries: Generator[LocalEntry, None, None]) -> None:
        self._entries = entries
        self._turn = threading.Lock()

    def take(self) -> list[LocalEntry]:
        with self._turn:
            return list(islice(self._entries, BATCH))

    def close(self) -> None:
        with self._turn:
            self._entries.close()


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).digest()


def _collision(source: str, target: str) -> NameCollision:
    return NameCollision(
        f"{display(source)} was left out: another file of this transfer goes to {display(target)}, or to a"
        " name that differs in case only."
    )
