"""Turns the items of a plan into jobs, one at a time, while earlier ones already run."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final

from connect_helper.errors import NameCollision, TransferError, UnsafeName
from connect_helper.spec.names import collision_key, display, safe_component
from connect_helper.transfers.job import (
    DownloadJob,
    Job,
    LocalFolderJob,
    MishapJob,
    RemoteFolderJob,
    UploadJob,
    ends_session,
    granted,
)
from connect_helper.transfers.plan import Download, SessionPlan, Upload
from connect_helper.transports.base import Entry, Transport
from connect_helper.transports.local_walk import LocalEntry, walk

BATCH: Final = 200  # local entries listed per hop to a thread


class Scan:
    """The jobs of one plan. Two sources that lead to one target: the second is a mishap."""

    def __init__(self, plan: SessionPlan, transport: Transport) -> None:
        self._plan = plan
        self._transport = transport
        self._targets: set[bytes] = set()  # short hashes: there may be a million

    async def jobs(self) -> AsyncGenerator[Job, None]:
        """All jobs, folders before what is in them. Raises ConnectError when the connection goes."""
        if self._plan.direction == "send" and self._plan.destination:
            yield RemoteFolderJob(os.fsencode(self._plan.destination), 0)
        for item in self._plan.items:
            jobs = self._upload(item) if isinstance(item, Upload) else self._download(item)
            async with aclosing(jobs):
                async for job in jobs:
                    yield job

    def _is_new(self, target: str) -> bool:
        mark = hashlib.blake2b(target.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if mark in self._targets:
            return False
        self._targets.add(mark)
        return True

    # Uploads ---------------------------------------------------------------------------------------

    async def _upload(self, item: Upload) -> AsyncGenerator[Job, None]:
        start = tuple(map(os.fsencode, item.source.below))
        follow = self._plan.policies.follow_links
        entries = walk(granted(item.source), start, follow_links=follow)
        try:
            while batch := await asyncio.to_thread(_next, entries):
                for entry in batch:
                    yield self._upload_job(item, entry, len(start))
        except TransferError as error:
            yield MishapJob(os.path.join(item.source.path, *item.source.below), item.target, error)  # noqa: PTH118 - text to show
        finally:
            await asyncio.to_thread(entries.close)  # type: ignore[attr-defined] # it is a generator

    def _upload_job(self, item: Upload, entry: LocalEntry, depth: int) -> Job:
        top = granted(item.source)
        path = os.fsdecode(b"/".join((top.path.rstrip(b"/"), *entry.below)))
        target = b"/".join((os.fsencode(item.target), *entry.below[depth:]))
        if entry.error is not None:
            return MishapJob(path, os.fsdecode(target), entry.error)
        if entry.facts.kind == "folder":
            return RemoteFolderJob(target, entry.facts.mtime_ns)
        if not self._is_new(os.fsdecode(target)):
            return MishapJob(path, os.fsdecode(target), _collision(path, os.fsdecode(target)))
        return UploadJob(top, entry.real, path, target, entry.facts.size)

    # Downloads -------------------------------------------------------------------------------------

    async def _download(self, item: Download) -> AsyncGenerator[Job, None]:
        source = os.fsencode(item.source)
        names = tuple(map(os.fsencode, item.target))
        try:
            for name in names:
                safe_component(name)
            if not names:
                raise UnsafeName("The download has no name to be stored under.")
            entries = self._transport.scan(source, follow_links=self._plan.policies.follow_links)
            async with aclosing(entries):
                async for entry in entries:
                    yield self._download_job(item, entry, (*names, *entry.below))
        except TransferError as error:
            if ends_session(error):
                raise
            yield MishapJob(os.path.join(item.root.path, *item.target), item.source, error)  # noqa: PTH118 - text to show

    def _download_job(self, item: Download, entry: Entry, names: tuple[bytes, ...]) -> Job:
        top = granted(item.root)
        path = os.fsdecode(b"/".join((top.path.rstrip(b"/"), *names)))
        remote = os.fsdecode(entry.path)
        if entry.error is not None:
            return MishapJob(path, remote, entry.error)
        if entry.facts.kind == "folder":
            return LocalFolderJob(top, names, entry.facts.mtime_ns)
        # A file system here may take names for one that differ in case or composition only.
        if not self._is_new(collision_key(path)):
            return MishapJob(path, remote, _collision(remote, path))
        return DownloadJob(entry.path, entry.facts, top, names)


def _next(entries: Iterator[LocalEntry]) -> list[LocalEntry]:
    return list(islice(entries, BATCH))


def _collision(source: str, target: str) -> NameCollision:
    return NameCollision(
        f"{display(source)} was left out: another file of this transfer goes to {display(target)}, or to a"
        " name that differs in case only."
    )
