"""Copies one symbolic link as a link. What stands at the target decides (`connect_helper.spec.links`)."""

from __future__ import annotations

import asyncio
from contextlib import closing

from connect_helper.errors import TargetDenied
from connect_helper.spec.links import LinkDecision, Standing, decide_link, stays_inside
from connect_helper.spec.names import display, partial_name
from connect_helper.transfers.job import LinkJob, LocalLinkJob, RemoteLinkJob, Work
from connect_helper.transfers.report import Outcome
from connect_helper.transfers.twins import collision, tells_apart
from connect_helper.transports.base import Kind, Publish
from connect_helper.transports.local_target import open_target_folder


async def copy_link(work: Work, job: LinkJob) -> Outcome:
    """Make the link. Raises TransferError, TargetDenied for one that would lead out of the destination."""
    if isinstance(job, RemoteLinkJob):
        return await _on_the_server(work, job)
    return await asyncio.to_thread(_here, work, job)


def _standing(kind: Kind | None, *, leads_to_folder: bool) -> Standing:
    if kind is None:
        return "nothing"
    if kind == "link":
        return "folder_link" if leads_to_folder else "link"
    return "folder" if kind == "folder" else "file"


async def _on_the_server(work: Work, job: RemoteLinkJob) -> Outcome:
    folder, slash, name = job.target.rpartition(b"/")
    if folder:
        await work.transport.make_folder(folder)
    there = await work.transport.facts(job.target)
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
            partial = folder + slash + partial_name(name)
            await work.transport.make_link(partial, job.content)
            await work.transport.publish(partial, job.target, "replace")
        case _:
            return Outcome("skipped")
    return Outcome("done")


def _here(work: Work, job: LocalLinkJob) -> Outcome:
    """Blocks."""
    if not stays_inside(job.content, job.depth):
        raise TargetDenied(
            f"{display(job.source)} is a link that leads out of the folder; it was not made here."
        )
    with closing(open_target_folder(job.granted, job.names[:-1])) as folder:
        name = job.names[-1]
        there = folder.facts(name)
        standing = _standing(there.kind if there else None, leads_to_folder=folder.leads_to_folder(name))
        decision = decide_link(work.policies.links, standing)
        hows: dict[LinkDecision, Publish] = {LinkDecision.WRITE: "fresh", LinkDecision.REPLACE: "replace"}
        if decision not in hows:
            return Outcome("skipped")
        folder.make_link(name, job.content, hows[decision])
    return Outcome("done")
