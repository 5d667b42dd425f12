"""What was picked, with its identity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connect_helper.errors import InvalidRequest
from connect_helper.picking.facts import PINNED_FILES, Picked, look_at, release


@pytest.fixture
def kept() -> Iterator[list[Picked]]:
    """Whatever a test adds here is released after it."""
    items: list[Picked] = []
    yield items
    release(items)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, not paths


def test_a_file_comes_with_its_identity(tmp_path: Path, kept: list[Picked]) -> None:
    film = tmp_path / "Film one.mp4"
    film.write_bytes(b"12345")
    kept += look_at([film], save=False)
    facts = film.stat()
    assert kept[0].kind == "file"
    assert (kept[0].path, kept[0].size, kept[0].mime_type) == (str(film), 5, "video/mp4")
    assert (kept[0].device, kept[0].inode, kept[0].mtime_ns) == (
        facts.st_dev,
        facts.st_ino,
        facts.st_mtime_ns,
    )


def test_the_descriptor_holds_on_to_what_was_picked(tmp_path: Path, kept: list[Picked]) -> None:
    film = tmp_path / "film"
    film.touch()
    kept += look_at([film], save=False)
    film.unlink()
    film.write_text("another")
    assert kept[0].pin is not None
    assert os.fstat(kept[0].pin).st_ino == kept[0].inode
    assert os.fstat(kept[0].pin).st_nlink == 0


def test_a_link_is_taken_for_what_it_leads_to(tmp_path: Path, kept: list[Picked]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    kept += look_at([tmp_path / "link"], save=False)
    assert (kept[0].kind, kept[0].path) == ("folder", str(tmp_path / "real"))
    assert (kept[0].size, kept[0].mime_type) == (0, "inode/directory")


def test_only_so_many_files_are_held_open(tmp_path: Path, kept: list[Picked]) -> None:
    paths = [tmp_path / f"{number}" for number in range(PINNED_FILES + 3)]
    for path in paths:
        path.touch()
    kept += look_at([*paths, tmp_path], save=False)
    assert sum(item.pin is not None for item in kept) == PINNED_FILES + 1
    assert kept[-1].pin is not None  # folders always


def test_a_new_file_comes_with_the_identity_of_its_folder(tmp_path: Path, kept: list[Picked]) -> None:
    (tmp_path / "old.txt").write_text("old")
    kept += look_at([tmp_path / "new.txt", tmp_path / "old.txt"], save=True)
    folder = tmp_path.stat()
    new, old = kept
    assert (new.kind, new.exists, new.size, new.mtime_ns) == ("save", False, 0, 0)
    assert (old.kind, old.exists, old.size) == ("save", True, 3)
    assert {(item.device, item.inode) for item in kept} == {(folder.st_dev, folder.st_ino)}
    assert new.path == str(tmp_path / "new.txt")


def test_a_new_file_in_a_linked_folder_has_its_real_path(tmp_path: Path, kept: list[Picked]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    kept += look_at([tmp_path / "link" / "new"], save=True)
    assert kept[0].path == str(tmp_path / "real" / "new")


def test_names_that_are_no_utf8_survive(tmp_path: Path, kept: list[Picked]) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff.mov")
    path.touch()
    kept += look_at([path], save=False)
    assert os.fsencode(kept[0].path).endswith(b"bad\xff.mov")


@pytest.mark.parametrize("odd", ["gone", "pipe", "nul\0"])
def test_what_cannot_be_used_is_refused_and_nothing_stays_open(tmp_path: Path, odd: str) -> None:
    (tmp_path / "good").touch()
    os.mkfifo(tmp_path / "pipe")
    before = open_descriptors()
    with pytest.raises(InvalidRequest, match="Choose"):
        look_at([tmp_path / "good", tmp_path / odd], save=False)
    assert open_descriptors() == before


def test_saving_over_something_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "folder").mkdir()
    before = open_descriptors()
    for name in ("link", "folder", "gone/new"):
        with pytest.raises(InvalidRequest):
            look_at([tmp_path / name], save=True)
    assert open_descriptors() == before
