"""Making folders on the server with as few questions as there can be."""

from __future__ import annotations

import asyncio

import pytest

from connect_helper.errors import SourceDenied, TargetDenied, TargetError, TargetNotFolder
from connect_helper.transports.base import Facts
from connect_helper.transports.sftp_folders import ASKED, RemoteFolders

FOLDER = Facts("folder", 0, 0)


class Server:
    """Folders that are there, what was asked, and how often somebody had to wait for answers."""

    def __init__(self, *there: bytes) -> None:
        self.there: dict[bytes, Facts] = dict.fromkeys(there, FOLDER)
        self.denied: set[bytes] = set()
        self.asked: list[bytes] = []
        self.made: list[bytes] = []
        self.trips = 0
        self._answering = False

    async def look(self, path: bytes, *, follow: bool = False) -> Facts | None:
        assert follow
        self.asked.append(path)
        await self._trip()
        if path in self.denied:
            raise SourceDenied("no")
        return self.there.get(path)

    async def make(self, path: bytes) -> None:
        await self._trip()
        if path in self.there or path in self.denied:
            raise TargetDenied("no")
        self.there[path] = FOLDER
        self.made.append(path)

    async def _trip(self) -> None:
        if not self._answering:
            self._answering = True
            self.trips += 1
        await asyncio.sleep(0)
        self._answering = False

    def folders(self) -> RemoteFolders:
        return RemoteFolders(self.look, self.make)


async def test_missing_folders_are_found_with_one_question_each_at_once() -> None:
    server = Server(b"/srv")
    folders = server.folders()
    await folders.make(b"/srv/a/b/c/")
    assert server.made == [b"/srv/a", b"/srv/a/b", b"/srv/a/b/c"]
    assert server.trips == 1 + 3
    await folders.make(b"/srv/a/b")
    assert server.trips == 4


async def test_below_a_new_folder_nothing_is_asked() -> None:
    server = Server(b"/srv")
    folders = server.folders()
    await folders.make(b"/srv/new")
    server.asked.clear()
    await folders.make(b"/srv/new/x/y")
    assert server.asked == []
    assert folders.is_new(b"/srv/new/x/y/")
    assert not folders.is_new(b"/srv")


async def test_a_folder_that_was_there_is_not_new() -> None:
    server = Server(b"/srv", b"/srv/old")
    folders = server.folders()
    await folders.make(b"/srv/old")
    assert not folders.is_new(b"/srv/old")
    await folders.make(b"/srv/old/new")
    folders.forget(b"/srv/old/new")
    assert not folders.is_new(b"/srv/old/new")


async def test_somebody_else_may_be_quicker_and_then_it_is_not_new() -> None:
    server = Server(b"/srv")
    folders = server.folders()
    make = server.make

    async def late(path: bytes) -> None:
        server.there[path] = FOLDER
        await make(path)

    folders._make = late
    await folders.make(b"/srv/a")
    assert not folders.is_new(b"/srv/a")


async def test_what_may_not_be_seen_above_a_folder_that_is_there_does_not_matter() -> None:
    server = Server(b"/locked/mine")
    server.denied = {b"/locked"}
    await server.folders().make(b"/locked/mine")
    assert server.made == []


async def test_a_file_in_the_way_is_named() -> None:
    server = Server(b"/srv")
    server.there[b"/srv/film"] = Facts("file", 1, 0)
    with pytest.raises(TargetNotFolder, match="/srv/film on the server is no folder"):
        await server.folders().make(b"/srv/film/x")


async def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    server = Server(b"/srv")
    server.denied = {b"/srv/a"}
    with pytest.raises((TargetError, SourceDenied)):
        await server.folders().make(b"/srv/a")


async def test_relative_and_very_deep_folders_are_made() -> None:
    server = Server()
    deep = b"/".join([b"d"] * (2 * ASKED + 3))
    await server.folders().make(deep)
    assert server.made[-1] == deep
    assert len(server.made) == 2 * ASKED + 3
