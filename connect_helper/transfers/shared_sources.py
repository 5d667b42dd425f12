"""Sources that several items of one transfer name: given twice, or once more with a folder around them.

Each item reads them once, so none may be removed or moved before the last of those has. Which they are shows
in the items alone: nothing is kept for each file, of which there may be millions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from unicodedata import normalize

from connect_helper.errors import TransferError
from connect_helper.spec.names import collision_key
from connect_helper.transfers.job import ends_session
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transports.base import Transport
from connect_helper.transports.sftp_scan import entry_parts, entry_path

ASKED: Final = 100  # questions to the server at a time


class SharedSources:
    """A set of real paths: those at or below an item that lies at or below another one."""

    def __init__(self, items: Collection[tuple[str, bytes]] = (), *, blind: bool = False) -> None:
        """`items` are the sources, as they were given and with links resolved.

        `blind`: names that differ in cases alone may lead to one file. Where they do not, both are taken for
        one even so, and a source may stay that could have gone.
        """
        self._blind = blind
        self._real = {os.fsencode(text): real for text, real in items}
        self._given: dict[bytes, dict[str, None]] = {}  # of each every text once: there may be very many
        around: tuple[tuple[bytes, ...], str] | None = None
        folders_first = sorted((self._names(real), text) for text, real in items)
        for names, text in folders_first:
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
        return any(map(self._given.__contains__, self.above(path)))

    def real(self, path: bytes) -> bytes:
        """The real path of an item's source; any other path as it is."""
        return self._real.get(path, path)

    def given(self, path: bytes) -> tuple[str, ...]:
        """The sources of items that are this shared one, as they were given."""
        return tuple(self._given.get(self.key(path), ()))

    def key(self, path: bytes) -> bytes:
        """A path in the one form in which it can be compared."""
        return b"/".join(self._names(path))

    def above(self, path: bytes) -> Iterator[bytes]:
        """The keys of a path and of the folders above it; shortest first."""
        names = self._names(path)
        return (b"/".join(names[:depth]) for depth in range(len(names) + 1))

    def _names(self, path: bytes) -> tuple[bytes, ...]:
        if self._blind:
            path = os.fsencode(collision_key(os.fsdecode(path)))
        return tuple(name for name in path.split(b"/") if name not in (b"", b"."))


async def shared_sources(plan: SessionPlan, transport: Transport) -> SharedSources:
    """Look at the items of a plan. Raises ConnectError."""
    texts = [item.source_path for item in plan.items]
    follows = plan.policies.links == "follow"
    if plan.direction == "send":
        return await asyncio.to_thread(_shared_here, texts, follows=follows)
    if len(texts) < 2:
        return SharedSources()
    real = await _real_there(transport, texts, follows=follows)
    return await asyncio.to_thread(SharedSources, list(zip(texts, real, strict=True)))


def _shared_here(texts: Sequence[str], *, follows: bool) -> SharedSources:
    """Blocks."""
    items = [(text, _real_here(text, follows=follows)) for text in texts]
    one_each = {path.rpartition(b"/")[0]: path for _, path in items}
    return SharedSources(items, blind=any(map(_is_blind, one_each.values())))


def _is_blind(path: bytes) -> bool:
    """Tell whether the disk finds what is at `path` by another spelling of its name, too. Blocks.

    Where a name can be spelled in one way only, or is gone, the folder around it is looked at.
    """
    folder, _, name = os.fsdecode(path).rpartition("/")
    others = {name.swapcase(), normalize("NFC", name), normalize("NFD", name)} - {name}
    if folder and not (others and os.path.lexists(path)):
        return _is_blind(os.fsencode(folder))
    return any(_same(path, os.fsencode(f"{folder}/{other}")) for other in others)


def _same(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except (OSError, ValueError):
        return False


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
