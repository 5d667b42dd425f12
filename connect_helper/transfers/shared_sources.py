"""Sources that several items of one transfer name: given twice, or once more with a folder around them.

Each item reads them once, so none may be removed or moved before the last of those has. Which they are shows
in the items alone: nothing is kept for each file, of which there may be millions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator
from typing import Final

from connect_helper.errors import TransferError
from connect_helper.transfers.job import ends_session
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transports.base import Transport
from connect_helper.transports.sftp_scan import real_entry

ASKED: Final = 100  # questions to the server at a time


class SharedSources:
    """A set of real paths: those at or below an item that lies at or below another one."""

    def __init__(self, items: Collection[tuple[str, bytes]] = ()) -> None:
        """`items` are the sources, as they were given and with links resolved."""
        self._real = {os.fsencode(text): real for text, real in items}
        self._given: dict[bytes, tuple[str, ...]] = {}
        around: tuple[tuple[bytes, ...], str] | None = None
        for names, text in sorted(
            (_names(real), text) for text, real in items
        ):  # a folder before its content
            if around is None or names[: len(around[0])] != around[0]:
                around = names, text
                continue
            path = b"/".join(names)
            first = (around[1],) if names == around[0] else ()
            self._given[path] = (*self._given.get(path, first), text)

    def __bool__(self) -> bool:
        return bool(self._given)

    def __contains__(self, path: object) -> bool:
        """Tell whether a source, by its real path, is read for several items."""
        if not self._given or not isinstance(path, bytes):
            return False
        return any(map(self._given.__contains__, above(path)))

    def real(self, path: bytes) -> bytes:
        """The real path of an item's source; any other path as it is."""
        return self._real.get(path, path)

    def given(self, path: bytes) -> tuple[str, ...]:
        """The sources of items that are this shared one, as they were given."""
        return self._given.get(b"/".join(_names(path)), ())


def above(path: bytes) -> Iterator[bytes]:
    """A path and the folders above it, in the one form in which they can be compared; shortest first."""
    names = _names(path)
    return (b"/".join(names[:depth]) for depth in range(len(names) + 1))


def _names(path: bytes) -> tuple[bytes, ...]:
    return tuple(name for name in path.split(b"/") if name not in (b"", b"."))


async def shared_sources(plan: SessionPlan, transport: Transport) -> SharedSources:
    """Look at the items of a plan. Raises ConnectError."""
    texts = [item.source_path for item in plan.items]
    if len(texts) < 2:
        return SharedSources()
    follows = plan.policies.links == "follow"
    if plan.direction == "send":
        real = await asyncio.to_thread(lambda: [_real_here(text, follows=follows) for text in texts])
        return SharedSources(list(zip(texts, real, strict=True)))
    found: list[tuple[str, bytes]] = []
    for at in range(0, len(texts), ASKED):
        some = texts[at : at + ASKED]
        real = await asyncio.gather(*(_real_there(transport, text, follows=follows) for text in some))
        found.extend(zip(some, real, strict=True))
    return SharedSources(found)


def _real_here(text: str, *, follows: bool) -> bytes:
    """Blocks. A link that is not followed is a source itself."""
    folder, name = os.path.split(text)
    return os.fsencode(os.path.realpath(text) if follows else os.path.join(os.path.realpath(folder), name))  # noqa: PTH118 - the text of a path


async def _real_there(transport: Transport, text: str, *, follows: bool) -> bytes:
    path = os.fsencode(text)
    try:
        return await (transport.real_path(path) if follows else real_entry(transport, path))
    except TransferError as error:
        if ends_session(error):
            raise
        return path  # there is nothing, which the scan tells
