"""Deletes at the destination what the source has no name for (`delete_before_transfer`), once per transfer.

Everything is listed before anything is deleted: where a listing fails, nothing is. `spec.mirror` decides
folder by folder. The user agreed before the session began.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass

from connect_helper.errors import TargetError, TransferError
from connect_helper.spec.mirror import Listed, compares, surplus
from connect_helper.spec.names import display
from connect_helper.transfers.job import Work, ends_session, granted
from connect_helper.transfers.ledger import mirrored
from connect_helper.transfers.plan import Download, Item, Upload
from connect_helper.transports.base import Facts
from connect_helper.transports.local_changes import list_folder, remove_whole

_log = logging.getLogger(__name__)

Below = tuple[bytes, ...]
CASE_BLIND = sys.platform in ("darwin", "win32")


@dataclass(frozen=True, slots=True)
class _Surplus:
    item: Item
    below: Below  # names from the item's target down
    folder: bool


async def mirror(work: Work) -> None:
    """List, compare and delete. What fails is reported as a failed file. Raises ConnectError."""
    if work.ledger.knows(mirrored()):
        return
    try:
        found = [one for item in work.plan.items for one in await _compared(work, item)]
    except TransferError as error:
        if ends_session(error):
            raise
        # A list that is not complete would make deleting wrong.
        await _report(work, "Nothing was deleted at the destination.", error)
        return
    for one in found:
        try:
            await _delete(work, one)
        except TransferError as error:
            if ends_session(error):
                raise
            await _report(work, "Something could not be deleted at the destination.", error)
    _log.info("%s entries deleted at the destination", len(found))
    await asyncio.to_thread(work.ledger.add, mirrored())


async def _report(work: Work, sentence: str, error: TransferError) -> None:
    destination = work.plan.destination or "the destination"
    work.reporter.found(0)
    tracker = await work.reporter.start(destination, destination, 0)
    internal = f"{sentence} {error.internal_message}"
    await work.reporter.fail(
        tracker, TargetError(f"{sentence} {error.user_message}", internal_message=internal)
    )


async def _compared(work: Work, item: Item) -> list[_Surplus]:
    """What is to go from the target of one item."""
    name, target = _last_names(item)
    if not compares(Listed(name, folder=True), Listed(target, folder=True)):
        return []
    found: list[_Surplus] = []
    action = work.plan.protect.action if work.plan.protect else None
    blind = CASE_BLIND and isinstance(item, Download)
    todo: list[Below] = [()]
    while todo:
        below = todo.pop()
        source, there = await _source_list(work, item, below), await _target_list(work, item, below)
        if source is None or there is None:
            continue
        verdict = surplus(_listed(source), _listed(there), action=action, case_blind=blind)
        found += [_Surplus(item, (*below, one.name), one.folder) for one in verdict.delete]
        todo += [(*below, folder) for folder in verdict.descend]
    return found


def _last_names(item: Item) -> tuple[bytes, bytes]:
    """The source's own name and that of its target."""
    target = item.target if isinstance(item, Upload) else item.target[-1]
    source = os.fsencode(item.source_path.rstrip("/"))
    return source.rpartition(b"/")[2], os.fsencode(target.rstrip("/")).rpartition(b"/")[2]


def _listed(entries: list[tuple[bytes, Facts]]) -> list[Listed]:
    return [Listed(name, facts.kind == "folder") for name, facts in entries]


async def _source_list(work: Work, item: Item, below: Below) -> list[tuple[bytes, Facts]] | None:
    if isinstance(item, Upload):
        names = (*map(os.fsencode, item.source.below), *below)
        return await asyncio.to_thread(list_folder, granted(item.source), names, "source")
    return await _remote_list(work, b"/".join((os.fsencode(item.source), *below)))


async def _target_list(work: Work, item: Item, below: Below) -> list[tuple[bytes, Facts]] | None:
    if isinstance(item, Upload):
        return await _remote_list(work, b"/".join((os.fsencode(item.target), *below)))
    names = (*map(os.fsencode, item.target), *below)
    return await asyncio.to_thread(list_folder, granted(item.root), names, "target")


async def _remote_list(work: Work, path: bytes) -> list[tuple[bytes, Facts]] | None:
    facts = await work.transport.facts(path)
    return await work.transport.list_names(path) if facts is not None and facts.kind == "folder" else None


async def _delete(work: Work, one: _Surplus) -> None:
    item = one.item
    if isinstance(item, Download):
        names = (*map(os.fsencode, item.target), *one.below)
        await asyncio.to_thread(remove_whole, granted(item.root), names, folder=one.folder)
        return
    path = b"/".join((os.fsencode(item.target), *one.below))
    if not one.folder:
        await work.transport.remove(path)
        return
    _log.info("the folder %s goes from the destination", display(path))
    await _delete_folder(work, path)


async def _delete_folder(work: Work, path: bytes) -> None:
    """Remove a folder of the server with everything in it; links as links. No recursion: it may be deep."""
    todo, emptied = [path], []
    while todo:
        folder = todo.pop()
        emptied.append(folder)
        for name, facts in await work.transport.list_names(folder):
            below = folder + b"/" + name
            if facts.kind == "folder":
                todo.append(below)
            else:
                await work.transport.remove(below)
    for folder in reversed(emptied):
        await work.transport.remove_folder(folder)
