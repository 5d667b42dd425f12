"""Folders to receive into that several files share for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from connect_helper.errors import DiskFull, SourceChanged
from connect_helper.transports.free_space import MIB, Spare
from connect_helper.transports.local_files import Granted
from connect_helper.transports.local_target import CHECKED, FileId, open_target_folder
from connect_helper.transports.target_folders import KEPT, SHARED_S, TargetFolders


class Hand:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def folders(clock: Hand) -> Iterator[TargetFolders]:
    with closing(TargetFolders(Spare(0), clock)) as made:
        yield made


def grant(path: Path) -> Granted:
    facts = path.stat()
    return Granted(os.fsencode(path), facts.st_dev, facts.st_ino)


def open_files() -> int:
    return psutil.Process().num_fds()


def test_those_that_come_within_a_moment_share_and_the_last_one_closes(
    tmp_path: Path, folders: TargetFolders, clock: Hand
) -> None:
    before = open_files()
    first = folders.open(grant(tmp_path), (b"a", b"b"))
    clock.now += SHARED_S
    second = folders.open(grant(tmp_path), [b"a", b"b"])
    assert second is first
    assert open_files() == before + 1
    assert folders.open(grant(tmp_path), (b"a",)) is not first
    clock.now += SHARED_S
    third = folders.open(grant(tmp_path), (b"a", b"b"))
    assert third is not first
    folders.close()
    first.close()
    assert second.facts(b"missing") is None  # still open
    second.close()
    third.close()
    assert open_files() == before + 1  # that of the folder in between


def test_a_folder_that_was_replaced_gets_nothing_more_after_a_moment(
    tmp_path: Path, folders: TargetFolders, clock: Hand
) -> None:
    (tmp_path / "in").mkdir()
    granted = grant(tmp_path / "in")
    folders.open(granted, ()).close()
    (tmp_path / "in").rename(tmp_path / "moved")
    (tmp_path / "in").mkdir()
    clock.now += SHARED_S * 1.5
    with pytest.raises(SourceChanged):
        folders.open(granted, ())


def test_a_folder_below_that_was_replaced_is_entered_anew_after_a_moment(
    tmp_path: Path, folders: TargetFolders, clock: Hand
) -> None:
    with closing(folders.open(grant(tmp_path), (b"in",))):
        (tmp_path / "in").rename(tmp_path / "moved")
    clock.now += SHARED_S * 1.5
    with closing(folders.open(grant(tmp_path), (b"in",))) as again:
        assert again.identity == FileId.of((tmp_path / "in").stat())


def test_only_so_many_stay_open_and_none_after_the_end(tmp_path: Path, folders: TargetFolders) -> None:
    before = open_files()
    for number in range(3 * KEPT):
        folders.open(grant(tmp_path), (b"%d" % number,)).close()
    assert open_files() <= before + KEPT + 1
    folders.close()
    assert open_files() == before
    folders.open(grant(tmp_path), (b"late",)).close()
    assert open_files() == before


def test_for_small_files_it_is_looked_once_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, free = [], [CHECKED + 10]

    def volume(handle: int) -> os.statvfs_result:
        looks.append(handle)
        return os.statvfs_result((1, 1, 100 * MIB, free[0], free[0], 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "fstatvfs", volume)
    with closing(open_target_folder(grant(tmp_path), (), Spare(0))) as folder:
        for _ in range(4):
            folder.need_space(10)
        folder.need_space(CHECKED - 30)  # to the last byte that was promised
        assert len(looks) == 1
        free[0] = 10
        folder.need_space(10)
        assert len(looks) == 2
        folder.need_space(0)
        with pytest.raises(DiskFull):
            folder.need_space(11)
    free[0] = 0
    with closing(open_target_folder(grant(tmp_path), (), Spare(1))) as folder, pytest.raises(DiskFull):
        folder.need_space(0)  # the first of all is looked at, however small
