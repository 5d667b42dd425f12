"""Sources that several items of one transfer name: given twice, or once more with a folder around them.

Each item reads them once, so none may be removed or moved before the last of those has. Which they are shows
in the items alone: nothing is kept for each file, of which there may be millions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from connect_helper.errors import TransferError
from connect_helper.transfers.job import ends_session
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transports.base import Transport
from connect_helper.transports.sftp_scan import entry_parts, entry_path

ASKED: Final = 100  # questions to the server at a time


class SharedSources:
    """A set of real paths: those at or below an item that lies at or below another one."""

    def __init__(self, items: Collection[tuple[str, bytes]] = ()) -> None:
        """`items` are the sources, as they were given and with links resolved."""
        self._real = {os.fsencode(text): real for text, real in items}
        self._given: dict[bytes, dict[str, None]] = {}  # of each every text once: there may be very many
        around: tuple[tuple[bytes, ...], str] | None = None
        for names, text in sorted(
            (_names(real), text) for text, real in items
        ):  # a folder before its content
            if around is None or names[: len(around[0])] != around[0]:
                around = names, text
                continue
            texts = self._given.setdefault(b"/".join(names), {})
            if names == around[0]:
                texts[around[1]] = None
            texts[text] = None

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
        return tuple(self._given.get(b"/".join(_names(path)), ()))


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
        return await asyncio.to_thread(_shared_here, texts, follows=follows)
    real = await _real_there(transport, texts, follows=follows)
    return await asyncio.to_thread(SharedSources, list(zip(texts, real, strict=True)))


def _shared_here(texts: Sequence[str], *, follows: bool) -> SharedSources:
    """Blocks."""
    return SharedSources([(text, _real_here(text, follows=follows)) for text in texts])


def _real_here(text: str, *, follows: bool) -> bytes:
    """Blocks. A link that is not followed is a source itself."""
    folder, name = os.path.split(text)
    return os.fsencode(os.path.realpath(text) if follows else os.path.join(os.path.realpath(folder), name))  # noqa: PTH118 - the text of a path


async def _real_there(transport: Transport, texts: Iterable[str], *, follows: bool) -> list[bytes]:
    """As `_real_here` each; where no link is followed, one question for all that lie in one folder."""
    parts = [(path, b"") if follows else entry_parts(path) for path in map(os.fsencode, texts)]
    asked = list(dict.fromkeys(path for path, _ in parts))
    real: dict[bytes, bytes] = {}
    for at in range(0, len(asked), ASKED):
        some = asked[at : at + ASKED]
        answers = await asyncio.gather(*(_answer(transport, path) for path in some))
        real.update(zip(some, answers, strict=True))
    return [entry_path(real[path], name) for path, name in parts]


async def _answer(transport: Transport, path: bytes) -> bytes:
    try:
        return await transport.real_path(path)
    except TransferError as error:
        if ends_session(error):
            raise
        return path  # there is nothing, which the scan tells
