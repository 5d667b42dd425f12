"""Copies one symbolic link as a link. What stands at the target decides (`connect_helper.spec.links`).

One that replaces something stands under a partial file's name first, and gets the final one in one step.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from connect_helper.errors import AlreadyExists, TargetDenied, TransferError
from connect_helper.spec.links import LinkDecision, Standing, decide_link, stays_inside
from connect_helper.spec.names import display, numbered_name, partial_name
from connect_helper.transfers.job import LinkJob, LocalLinkJob, RemoteLinkJob, Work, ends_session
from connect_helper.transfers.ledger import link_begun, link_made, sent
from connect_helper.transfers.report import Outcome
from connect_helper.transfers.twins import collision, tells_apart
from connect_helper.transports.base import Facts, Kind
from connect_helper.transports.local_target import TargetFolder, open_target_folder

_log = logging.getLogger(__name__)

PARTIALS: Final = 100  # names of unfinished files that somebody else has, before giving up


async def copy_link(work: Work, job: LinkJob) -> Outcome:
    """Make the link. Raises TransferError, TargetDenied for one that would lead out of the destination."""
    if isinstance(job, RemoteLinkJob):
        outcome = await _on_the_server(work, job)
    else:
        outcome = await asyncio.to_thread(_here, work, job)
    if outcome.state == "done" and not outcome.earlier:
        await asyncio.to_thread(work.ledger.add, _mark(job))
    return outcome


def _target(job: LinkJob) -> bytes:
    return job.target if isinstance(job, RemoteLinkJob) else os.fsencode(job.path)


def _mark(job: LinkJob) -> bytes:
    return link_made(_target(job), job.content) + sent(_target(job))


def _made_before(work: Work, job: LinkJob, there: Facts | None) -> bool:
    """Tell whether an earlier session of this transfer made it."""
    is_link = there is not None and there.kind == "link"
    return is_link and work.ledger.knows(link_made(_target(job), job.content))


def _left(work: Work, job: LinkJob, partial: bytes, there: Facts) -> bool:
    """Tell whether what has a partial file's name is a link that an earlier session was broken off over."""
    return there.kind == "link" and work.ledger.left_link(partial, _target(job))


def _partials(name: bytes) -> Iterator[bytes]:
    yield partial_name(name)
    for number in range(1, PARTIALS):
        yield partial_name(numbered_name(name, number))


def _too_many(path: bytes) -> AlreadyExists:
    return AlreadyExists(f"{display(path)}: too many unfinished files of that name.")


def _standing(kind: Kind | None, *, leads_to_folder: bool) -> Standing:
    if kind is None:
        return "nothing"
    if kind == "link":
        return "folder_link" if leads_to_folder else "link"
    return "folder" if kind == "folder" else "file"


async def _on_the_server(work: Work, job: RemoteLinkJob) -> Outcome:
    folder = job.target.rpartition(b"/")[0]
    if folder:
        await work.transport.make_folder(folder)
    there = await work.transport.facts(job.target)
    if _made_before(work, job, there):
        return Outcome("done", earlier=True)
    if there is not None and job.twin and not await tells_apart(work, job):
        raise collision(job)
    behind = await work.transport.facts(job.target, follow=True) if there and there.kind == "link" else None
    standing = _standing(
        there.kind if there else None, leads_to_folder=behind is not None and behind.kind == "folder"
    )
    match decide_link(work.policies.links, standing):
        case LinkDecision.WRITE:
            await work.transport.make_link(job.target, job.content)
        case LinkDecision.REPLACE:
            await _replace_there(work, job)
        case _:
            return Outcome("skipped")
    return Outcome("done")


async def _replace_there(work: Work, job: RemoteLinkJob) -> None:
    partial = await _free_there(work, job)
    await asyncio.to_thread(work.ledger.add, link_begun(partial))
    await work.transport.make_link(partial, job.content)
    try:
        await work.transport.publish(partial, job.target, "replace")
    except TransferError as error:
        if not ends_session(error):
            await _remove(work, partial)
        raise


async def _free_there(work: Work, job: RemoteLinkJob) -> bytes:
    folder, slash, name = job.target.rpartition(b"/")
    for one in _partials(name):
        partial = folder + slash + one
        there = await work.transport.facts(partial)
        if there is None:
            return partial
        if _left(work, job, partial, there):
            await work.transport.remove(partial)
            return partial
    raise _too_many(job.target)


async def _remove(work: Work, partial: bytes) -> None:
    try:
        await work.transport.remove(partial)
    except TransferError as failure:
        _log.info("%s stays: %s", display(partial), failure.internal_message)


def _here(work: Work, job: LocalLinkJob) -> Outcome:
    """Blocks."""
    if not stays_inside(job.content, job.depth):
        raise TargetDenied(
            f"{display(job.source)} is a link that leads out of the folder; it was not made here."
        )
    with closing(open_target_folder(job.granted, job.names[:-1])) as folder:
        name = job.names[-1]
        there = folder.facts(name)
        if _made_before(work, job, there):
            return Outcome("done", earlier=True)
        standing = _standing(there.kind if there else None, leads_to_folder=folder.leads_to_folder(name))
        match decide_link(work.policies.links, standing):
            case LinkDecision.WRITE:
                folder.make_link(name, job.content)
            case LinkDecision.REPLACE:
                _replace_here(work, job, folder)
            case _:
                return Outcome("skipped")
    return Outcome("done")


def _replace_here(work: Work, job: LocalLinkJob, folder: TargetFolder) -> None:
    for partial in _partials(job.names[-1]):
        path = folder.path_of(partial)
        there = folder.facts(partial)
        if there is not None and not _left(work, job, path, there):
            continue
        if there is not None:
            folder.remove(partial)
        work.ledger.add(link_begun(path))
        folder.replace_by_link(job.names[-1], job.content, partial)
        return
    raise _too_many(folder.path_of(job.names[-1]))
