"""Deletes at the destination what the source has no name for (`delete_before_transfer`), once per transfer.

Everything is listed before anything is deleted: where a listing fails, nothing is. `spec.mirror` decides
folder by folder, from the listings of all sources that go into one. The user agreed before the session began.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass

from connect_helper.errors import TargetError, TransferError
from connect_helper.spec.mirror import Listed, compares, name_key, stored_name, surplus
from connect_helper.spec.names import display, partial_name
from connect_helper.transfers.job import Work, ends_session, granted
from connect_helper.transfers.ledger import mirrored
from connect_helper.transfers.plan import Download, Item, Upload
from connect_helper.transports.base import Facts
from connect_helper.transports.local_changes import list_folder, remove_whole

_log = logging.getLogger(__name__)

Below = tuple[bytes, ...]
Place = tuple[bytes, ...]  # the names that lead to a folder of the destination, in the form that is compared
CASE_BLIND = sys.platform in ("darwin", "win32")


@dataclass(frozen=True, slots=True)
class _Part:
    """A folder of one item, or something else below it."""

    item: Item
    below: Below = ()  # names from the item down

    def child(self, name: bytes) -> _Part:
        return _Part(self.item, (*self.below, name))


@dataclass(frozen=True, slots=True)
class _Surplus:
    part: _Part  # by the names at the target
    folder: bool


async def mirror(work: Work) -> None:
    """List, compare and delete. What fails is reported as a failed file. Raises ConnectError."""
    if work.ledger.knows(mirrored()):
        return
    try:
        found = await _Comparison(work).run()
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


class _Comparison:
    """Of all items at once: several may go into one folder, and one into what another one is."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._action = work.plan.protect.action if work.plan.protect else None
        self._blind = CASE_BLIND and work.plan.direction == "receive"
        self._items: dict[Place, list[Item]] = {}
        self._ways: set[Place] = set()  # all that lead to one of these, and themselves
        for item in work.plan.items:
            place = self._place(item)
            self._items.setdefault(place, []).append(item)
            self._ways.update(place[:depth] for depth in range(1, len(place) + 1))
            stored = stored_name(_last_names(item)[1], self._action)  # where it is a file
            self._ways.update((*place[:-1], self._key(name)) for name in (stored, partial_name(stored)))
        self._over: set[Place] = set()  # of the items' places those that were compared, or must not be

    def _place(self, item: Item) -> Place:
        path = item.target if isinstance(item, Upload) else "/".join((item.root.path, *item.target))
        return tuple(self._key(os.fsencode(name)) for name in path.split("/") if name)

    def _key(self, name: bytes) -> bytes:
        return name_key(name, case_blind=self._blind)

    async def run(self) -> list[_Surplus]:
        """Raises TransferError when one list cannot be had."""
        found: list[_Surplus] = []
        for place in sorted(self._items, key=len):  # so that all that goes into a folder is known there
            if any(map(_is_compared, self._items[place])):
                found += await self._below(place)
        return found

    async def _below(self, top: Place) -> list[_Surplus]:
        """What is to go from the target of items, with all that comes into it."""
        found: list[_Surplus] = []
        todo: list[tuple[Place, list[_Part]]] = [(top, [])]
        while todo:
            place, parts = todo.pop()
            if place in self._over:
                continue
            if place in self._items:
                self._over.add(place)
                parts = [*parts, *map(_Part, self._items[place])]
            there = await _target_list(self._work, parts[0])
            lists = [await _source_list(self._work, part) for part in parts] if there is not None else []
            sources = [_listed(one) for one in lists if one is not None]
            if there is None or len(sources) < len(parts):  # what is no folder is not compared
                continue
            every = [one for source in sources for one in source]
            # A link may lead to a folder, of which nothing is known here.
            others = ((*place, self._key(one.name)) for one in every if not one.folder)
            self._over.update(other for other in others if other in self._items)
            verdict = surplus(every, _listed(there), action=self._action, case_blind=self._blind)
            found += [
                _Surplus(parts[0].child(one.name), one.folder)
                for one in verdict.delete
                if (*place, self._key(one.name)) not in self._ways
            ]
            for name in verdict.descend:
                key = self._key(name)
                inside = [
                    part.child(one.name)
                    for part, source in zip(parts, sources, strict=True)
                    for one in source
                    if self._key(one.name) == key
                ]
                todo.append(((*place, key), inside))
        return found


def _is_compared(item: Item) -> bool:
    name, target = _last_names(item)
    return compares(Listed(name, folder=True), Listed(target, folder=True))


def _last_names(item: Item) -> tuple[bytes, bytes]:
    """The source's own name and that of its target."""
    target = item.target if isinstance(item, Upload) else item.target[-1]
    source = os.fsencode(item.source_path.rstrip("/"))
    return source.rpartition(b"/")[2], os.fsencode(target.rstrip("/")).rpartition(b"/")[2]


def _listed(entries: list[tuple[bytes, Facts]]) -> list[Listed]:
    return [Listed(name, facts.kind == "folder") for name, facts in entries]


async def _source_list(work: Work, part: _Part) -> list[tuple[bytes, Facts]] | None:
    item = part.item
    if isinstance(item, Upload):
        names = (*map(os.fsencode, item.source.below), *part.below)
        return await asyncio.to_thread(list_folder, granted(item.source), names, "source")
    return await _remote_list(work, b"/".join((os.fsencode(item.source), *part.below)))


async def _target_list(work: Work, part: _Part) -> list[tuple[bytes, Facts]] | None:
    item = part.item
    if isinstance(item, Upload):
        return await _remote_list(work, b"/".join((os.fsencode(item.target), *part.below)))
    names = (*map(os.fsencode, item.target), *part.below)
    return await asyncio.to_thread(list_folder, granted(item.root), names, "target")


async def _remote_list(work: Work, path: bytes) -> list[tuple[bytes, Facts]] | None:
    facts = await work.transport.facts(path)
    return await work.transport.list_names(path) if facts is not None and facts.kind == "folder" else None


async def _delete(work: Work, one: _Surplus) -> None:
    item, below = one.part.item, one.part.below
    if isinstance(item, Download):
        names = (*map(os.fsencode, item.target), *below)
        await asyncio.to_thread(remove_whole, granted(item.root), names, folder=one.folder)
        return
    path = b"/".join((os.fsencode(item.target), *below))
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
