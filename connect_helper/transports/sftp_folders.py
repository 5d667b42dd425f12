"""Makes folders on the server, and remembers which are there: a question costs a round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from connect_helper.errors import TargetError, TargetNotFolder
from connect_helper.spec.names import display
from connect_helper.transports.base import Facts

ASKED: Final = 8  # folders, one in the other, asked about at once


class Look(Protocol):
    """Asks for the facts of a path, links followed; None when there is nothing."""

    async def __call__(self, path: bytes, *, follow: bool = False) -> Facts | None: ...


class RemoteFolders:
    """The folders of one server, as far as this session knows them."""

    def __init__(self, look: Look, make: Callable[[bytes], Awaitable[None]]) -> None:
        """`make` makes one folder, and raises TargetError where it cannot."""
        self._look = look
        self._make = make
        self._there: set[bytes] = set()
        self._new: set[bytes] = set()
        self._turn = asyncio.Lock()

    def learn(self, path: bytes) -> None:
        """The path is a folder."""
        self._there.add(_plain(path))

    def forget(self, path: bytes) -> None:
        self._there.discard(_plain(path))
        self._new.discard(_plain(path))

    def is_new(self, path: bytes) -> bool:
        """Tell whether this session made the folder: nothing is in it but what the session put there."""
        return _plain(path) in self._new

    async def make(self, path: bytes) -> None:
        """Make a folder and those above it, where they are not there. Raises TargetError."""
        path = _plain(path)
        if path in self._there:
            return
        async with self._turn:
            for folder in reversed(await self._missing(path)):
                await self._make_one(folder)
                self._there.add(folder)

    async def _missing(self, path: bytes) -> list[bytes]:
        """The folders to make, the innermost first."""
        unknown: list[bytes] = []
        while path and path not in self._there:
            unknown.append(path)
            parent = path.rpartition(b"/")[0]
            path = _plain(parent) if parent else b""
        if path in self._new:
            return unknown
        for begin in range(0, len(unknown), ASKED):
            some = unknown[begin : begin + ASKED]
            looks = (self._look(one, follow=True) for one in some)
            found = await asyncio.gather(*looks, return_exceptions=True)
            for number, (folder, facts) in enumerate(zip(some, found, strict=True)):
                if isinstance(facts, BaseException):
                    raise facts
                if facts is None:
                    continue
                if facts.kind != "folder":
                    raise TargetNotFolder(
                        f"{display(folder)} on the server is no folder; choose another destination."
                    )
                self._there.add(folder)
                return unknown[: begin + number]
        return unknown

    async def _make_one(self, path: bytes) -> None:
        try:
            await self._make(path)
        except TargetError:
            facts = await self._look(path, follow=True)  # somebody else may have been quicker
            if facts is None or facts.kind != "folder":
                raise
        else:
            self._new.add(path)


def _plain(path: bytes) -> bytes:
    return path.rstrip(b"/") or b"/"
