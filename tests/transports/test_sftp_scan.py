"""Listings a server makes up: they end, and take no memory without bound."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from itertools import count

import pytest

from connect_helper.errors import SourceError
from connect_helper.transports import sftp_scan
from connect_helper.transports.base import Entry, Facts, everywhere
from connect_helper.transports.sftp_answers import Attrs, Name
from connect_helper.transports.sftp_scan import scan


class Endless:
    """A server whose folders hold entries of one kind without end, or `few` folders each."""

    def __init__(self, mode: int, few: int | None = None) -> None:
        self._mode = mode
        self._few = few
        self.told = 0

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
        return Facts("folder", 0, 0)

    async def real_path(self, path: bytes) -> bytes:
        return path

    async def list_folder(self, path: bytes) -> AsyncIterator[Name]:
        for number in count() if self._few is None else range(self._few):
            self.told += 1
            yield Name(b"%d" % number, Attrs(0, self._mode, 1))


FOLDER, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


async def entries(server: Endless, source: bytes = b"/top") -> list[Entry]:
    return [entry async for entry in scan(server, source, links="follow", enters=everywhere)]


@pytest.mark.parametrize(
    ("limit", "mode"), [("ENTRY_LIMIT", FILE), ("ENTRY_LIMIT", FOLDER), ("WAITING_LIMIT", FOLDER)]
)
async def test_a_listing_without_end_ends_in_a_sentence(
    limit: str, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp_scan, limit, 20_000)
    server = Endless(mode)
    with pytest.raises(SourceError, match="/top holds more files and folders than") as failure:
        await entries(server)
    assert not failure.value.retryable
    assert server.told <= 20_000


async def test_folders_in_folders_without_end_are_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sftp_scan, "ENTRY_LIMIT", 5_000)
    server = Endless(FOLDER, few=2)
    with pytest.raises(SourceError, match="holds more"):
        await entries(server)
    assert server.told <= 5_000


async def test_what_was_listed_makes_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class TwoLevels(Endless):
        async def list_folder(self, path: bytes) -> AsyncIterator[Name]:
            if path.count(b"/") < 3:
                async for name in super().list_folder(path):
                    yield name

    # At most the 20 of the top and the 20 of one below wait at a time, of 420 in all.
    monkeypatch.setattr(sftp_scan, "WAITING_LIMIT", 50 * (sftp_scan._FOLDER_COST + 50))
    assert len(await entries(TwoLevels(FOLDER, few=20))) == 1 + 20 + 400


def test_the_limits_leave_room_for_real_trees() -> None:
    path = b"/" + b"x" * 120
    typical = sftp_scan._Folder(path, (b"x",) * 10, 0, path, ())
    assert sftp_scan.WAITING_LIMIT // sftp_scan._cost(typical) > 200_000
    assert sftp_scan.ENTRY_LIMIT >= 10_000_000
