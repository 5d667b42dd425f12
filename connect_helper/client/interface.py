"""The Python interface: `send` and `receive`, and `asend` and `areceive` for programs with an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, Unpack

from connect_helper.client.planning import (
    LocalPath,
    download_items,
    plan_for,
    upload_items,
    with_afterwards,
)
from connect_helper.client.receipts import HeldReceipts
from connect_helper.client.results import Progress, Receipt, Result, TransferFailed
from connect_helper.client.settling import Options, settle
from connect_helper.client.transfer import Transfer
from connect_helper.errors import InvalidRequest
from connect_helper.settings import Folders
from connect_helper.spec.remote_address import RemoteAddress, parse_address
from connect_helper.spec.words import Direction
from connect_helper.transfers.messages import Question
from connect_helper.transfers.plan import Item

One = TypeVar("One", str, LocalPath)

LocalSources = LocalPath | Sequence[LocalPath] | Mapping[LocalPath, str]
"""A file or folder, or several, or several each with the name it is to have on the server."""
RemoteSources = str | Sequence[str] | Mapping[str, str]
"""An address of a file or folder, or several on one server, perhaps each with its name here."""


def send(sources: LocalSources, address: str, **options: Unpack[Options]) -> Result:
    """Send files and folders into a folder of a server, and return when all is there.

    `sources` is a path, a list of paths, or a mapping of paths to their names there. `address` is
    "ssh://user@host:port/folder" (absolute; "/~/folder" lies in the login folder); the folder is made when
    missing. See `Options` for the keyword arguments.

    Raises InvalidRequest, SourceMissing, SourceDenied before anything is sent; HostNotFound; TransferFailed
    with the result unless `check=False`. Ctrl-C ends it in good order; the next call goes on from there. Not
    for use inside an event loop: see `asend`.
    """
    _refuse_in_loop("send", "asend")
    return asyncio.run(asend(sources, address, **options))


def receive(sources: RemoteSources, folder: LocalPath = ".", **options: Unpack[Options]) -> Result:
    """Fetch files and folders of one server into a local folder, which is made when missing.

    `sources` is an address ("ssh://user@host:port/path"), a list of them, or a mapping of them to the names
    they are to have here. Otherwise as `send`; also raises TargetError when the folder cannot be used.
    """
    _refuse_in_loop("receive", "areceive")
    return asyncio.run(areceive(sources, folder, **options))


def _refuse_in_loop(name: str, instead: str) -> None:
    """Raise RuntimeError with a sentence, before a coroutine is made that nobody would await."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{name}() cannot be used where an event loop runs: await {instead}() there.")


async def asend(sources: LocalSources, address: str, **options: Unpack[Options]) -> Result:
    """Do what `send` does, in the running event loop. Cancelled, it ends in good order within seconds."""
    place = parse_address(address)
    named = _named(sources)
    return await _run(place, lambda: upload_items(named, place), options, "send")


async def areceive(sources: RemoteSources, folder: LocalPath = ".", **options: Unpack[Options]) -> Result:
    """Do what `receive` does, in the running event loop. Cancelled, it ends in good order within seconds."""
    named = remote_sources(_named(sources))
    return await _run(named[0][0], lambda: download_items(named, folder), options, "receive")


def remote_sources(sources: Sequence[tuple[str, str]]) -> list[tuple[RemoteAddress, str]]:
    """Read addresses with the names given to them or "". Raises InvalidRequest when the servers differ."""
    named = [(parse_address(text), name) for text, name in sources]
    if not named:
        raise InvalidRequest("Name at least one file or folder to fetch.", field="sources")
    if len({address.server for address, _ in named}) > 1:
        raise InvalidRequest("All sources of one transfer must lie on one server.", field="sources")
    return named


def _named(sources: One | Sequence[One] | Mapping[One, str]) -> list[tuple[One, str]]:
    """Each source with the name it is given, or ""."""
    if isinstance(sources, Mapping):
        return list(sources.items())
    if isinstance(sources, str | os.PathLike):
        return [(sources, "")]
    return [(source, "") for source in sources]


async def _run(
    place: RemoteAddress, items: Callable[[], Sequence[Item]], options: Options, direction: Direction
) -> Result:
    settings = await asyncio.to_thread(settle, options, direction)
    if settings.password is None and settings.private_key is None:
        raise InvalidRequest("Give a password or a private key to log in with.", field="password")
    if settings.protection.needs_passphrase:
        raise InvalidRequest(
            'Give a "content_protection_passphrase" for "content_protection".',
            field="content_protection_passphrase",
        )
    folders = Folders.from_environment()
    await asyncio.to_thread(folders.create)
    found = await asyncio.to_thread(items)
    settings = await asyncio.to_thread(with_afterwards, settings, found)
    plan = await plan_for(place, found, settings, folders)
    view = _Callbacks(settings.accept_new, options.get("on_progress"), options.get("on_file"))
    receipts = HeldReceipts()
    result = await Transfer(plan, view, folders, rules=settings.retry_rules, receipts=receipts).run()
    result = replace(result, receipts=tuple(receipts))
    if not result.ok and options.get("check", True):
        raise TransferFailed(result)
    return result


@dataclass(frozen=True, slots=True)
class _Callbacks:
    """The caller's functions as a view."""

    accept_new: bool
    on_progress: Callable[[Progress], None] | None
    on_file: Callable[[Receipt], None] | None

    def progress(self, progress: Progress) -> None:
        if self.on_progress is not None:
            self.on_progress(progress)

    def file(self, receipt: Receipt) -> None:
        if self.on_file is not None:
            self.on_file(receipt)

    async def accept(self, question: Question) -> bool:
        return self.accept_new
