"""Listings kept between pages: quick, bounded, and never older than the folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.http.node import looking
from connect_helper.server.http.node.bodies import Browse, Filters
from connect_helper.server.http.node.listings import KEEP_S, Listings
from connect_helper.storage.docroot import Docroot


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_listing_is_forgotten_after_a_while() -> None:
    clock = Clock()
    kept = Listings(clock=clock)
    kept.put("a", (b"x",))
    clock.now = KEEP_S
    assert kept.get("a") == (b"x",)
    clock.now += 1
    assert kept.get("a") is None


def test_the_oldest_go_when_there_are_too_many_names() -> None:
    kept = Listings(most=5)
    for key in "ab":
        kept.put(key, (b"1", b"2"))
    kept.put("a", (b"1", b"2", b"3"))
    assert kept.get("b") is not None
    kept.put("c", (b"1",))
    assert kept.get("b") is None
    assert kept.get("a") == (b"1", b"2", b"3")
    kept.put("d", (b"0",) * 6)
    assert all(kept.get(key) is None for key in "abcd")


class Folder:
    """A folder of 30 files, browsed in pages of ten; `looks` counts how often it is read whole."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.looks = 0
        self._listings = Listings()
        for number in range(30):
            (path / f"f{number:02}").write_bytes(b"x" * (number % 7))
        self.settled(monkeypatch)
        real = Docroot.scandir

        def counted(docroot: Docroot, folder: tuple[bytes, ...]) -> object:
            self.looks += 1
            return real(docroot, folder)

        monkeypatch.setattr(Docroot, "scandir", counted)

    def settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let some time pass since the last change of the folder."""
        now = time.time() + 10
        monkeypatch.setattr(looking.time, "time", lambda: now)

    def page(self, skip: int, sort: str = "path", **filters: int) -> tuple[list[str], int]:
        asked = Browse(path="/", skip=skip, count=10, sort=sort, filters=Filters(**filters))
        access = Access(Account(name="ann", docroot=self.path))
        with Docroot.open(self.path) as docroot:
            found = looking.browse(docroot, access, asked, self._listings, max_count=100, limit_s=10)
        return [item["basename"] for item in found["items"]], found["total_count"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path, monkeypatch)


@pytest.mark.parametrize("sort", ["path", "size_d", "mtime_a", "type"])
def test_all_pages_come_from_one_look(folder: Folder, sort: str) -> None:
    whole = [name for skip in (0, 10, 20) for name in folder.page(skip, sort)[0]]
    assert folder.looks == 1
    assert len(set(whole)) == 30
    if sort == "size_d":
        sizes = [(folder.path / name).stat().st_size for name in whole]
        assert sizes == sorted(sizes, reverse=True)


def test_another_order_or_filter_is_another_look(folder: Folder) -> None:
    folder.page(0)
    folder.page(10, "size_a")
    assert folder.page(10, size_min=1)[1] == 25
    assert folder.looks == 3


def test_what_comes_and_goes_is_seen_on_the_next_page(folder: Folder) -> None:
    folder.page(0)
    (folder.path / "f00").unlink()
    assert folder.page(10)[1] == 29
    (folder.path / "a").touch()
    assert folder.page(0)[0][0] == "a"
    assert folder.looks == 3


def test_a_single_page_is_not_kept(folder: Folder) -> None:
    assert folder.page(20) == ([f"f{number}" for number in range(20, 30)], 30)
    folder.page(20)
    assert folder.looks == 2


@pytest.mark.parametrize("sort", ["size_d", "mtime_d"])
def test_the_first_page_shows_what_files_are_now(folder: Folder, sort: str) -> None:
    """A file that grows leaves its folder as it is."""
    folder.page(0, sort)
    grown = folder.path / "f00"
    grown.write_bytes(b"x" * 100)
    os.utime(grown, (2e9, 2e9))
    assert folder.page(0, sort)[0][0] == "f00"
    assert folder.page(0, size_min=50)[0] == ["f00"]
    (folder.path / "f28").write_bytes(b"x" * 99)
    assert folder.page(0, size_min=50)[1] == 2


def test_on_a_disk_with_coarse_times_a_new_file_is_seen(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came in the same second as the change before the look."""
    real = Docroot.lstat
    now = int(time.time())

    def coarse(docroot: Docroot, path: tuple[bytes, ...]) -> os.stat_result:
        facts = real(docroot, path)
        return os.stat_result([*facts[:7], now, now, now])

    monkeypatch.setattr(Docroot, "lstat", coarse)
    monkeypatch.setattr(looking.time, "time", lambda: now + 0.5)
    folder.page(0)
    (folder.path / "a").touch()
    assert folder.page(0)[0][0] == "a"


def test_long_filters_take_no_room_in_what_is_kept(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[object] = []
    monkeypatch.setattr(Listings, "put", lambda self, key, names: keys.append(key))
    asked = Browse(
        path="/", count=10, filters=Filters(paths=["*" + "?" * 3000] * 99, basenames=["\udcff", "*"])
    )
    with Docroot.open(folder.path) as docroot:
        access = Access(Account(name="ann", docroot=folder.path))
        looking.browse(docroot, access, asked, Listings(), max_count=100, limit_s=10)
        short = asked.model_copy(update={"filters": Filters(basenames=["\udcff", "*"])})
        looking.browse(docroot, access, short, Listings(), max_count=100, limit_s=10)
    assert keys
    assert all(len(repr(key)) < 500 for key in keys)
