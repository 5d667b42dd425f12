"""Looking into folders for the picker page."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from connect_helper.errors import InvalidRequest, NotFound
from connect_helper.picking.folders import (
    HIDDEN,
    LINK,
    crumbs,
    list_folder,
    make_folder,
    places,
)


def entry(folder: Path, name: str) -> tuple[str, int, int]:
    listing = list_folder(str(folder))
    index = listing.names.index(name)
    return listing.kinds[index], listing.sizes[index], listing.flags[index]


def test_entries_come_with_kind_size_and_flags(tmp_path: Path) -> None:
    (tmp_path / "film.mov").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / "link").symlink_to(tmp_path / "film.mov")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    assert entry(tmp_path, "film.mov") == ("f", 5, 0)
    assert entry(tmp_path, "folder") == ("d", 0, 0)
    assert entry(tmp_path, ".hidden") == ("f", 0, HIDDEN)
    assert entry(tmp_path, "link") == ("f", 5, LINK)
    assert entry(tmp_path, "nowhere") == ("o", 0, LINK)
    assert entry(tmp_path, "pipe")[0] == "o"


def test_names_that_mislead_are_shown_escaped_and_kept_exact(tmp_path: Path) -> None:
    names = ["gpj.\u202eexe", "new\nline", "bad\udcff", "plain"]
    for name in names:
        (tmp_path / name).touch()
    shown = json.loads(json.dumps(list_folder(str(tmp_path)).as_json()))
    assert sorted(shown["names"]) == sorted(names)
    for index, name in enumerate(shown["names"]):
        text = shown["shown"].get(str(index), name)
        assert text.isprintable()
        assert (text == name) == (name == "plain")


def test_50_000_entries_take_less_than_a_second(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for number in range(50_000):
        os.close(os.open(f"clip {number:05}.mov", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=folder))
    os.close(folder)
    spent = []
    for _ in range(3):
        begun = time.process_time()
        text = json.dumps(list_folder(str(tmp_path)).as_json(), separators=(",", ":"))
        spent.append(time.process_time() - begun)
    assert min(spent) < 1.0
    assert len(text) < 50_000 * 60


@pytest.mark.parametrize("path", ["", "relative", "\0", "/a\0b", "/\ud800"])
def test_odd_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        list_folder(path)
    with pytest.raises(InvalidRequest):
        make_folder(path, "new")


def test_what_cannot_be_opened_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="is not there any more"):
        list_folder(str(tmp_path / "gone"))
    with pytest.raises(InvalidRequest, match="is not a folder"):
        list_folder(str(tmp_path / "file"))


def test_the_way_to_a_folder() -> None:
    assert crumbs("/srv/films") == [("/", "/"), ("srv", "/srv"), ("films", "/srv/films")]
    assert crumbs("/") == [("/", "/")]


def test_a_new_folder_is_made_where_it_was_asked_for(tmp_path: Path) -> None:
    made = make_folder(str(tmp_path), "Rushes é")
    assert Path(made).is_dir()
    with pytest.raises(InvalidRequest, match="already is something") as refusal:
        make_folder(str(tmp_path), "Rushes é")
    assert refusal.value.field == "name"


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/b", "../x", "a\\b", "a\0b", "x" * 256, "\ud800"])
def test_a_folder_name_can_only_be_one_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        make_folder(str(tmp_path), name)
    assert refusal.value.field == "name"
    assert list(tmp_path.iterdir()) == []


def test_places_exist_and_come_once(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    found = places([str(tmp_path / "films"), str(tmp_path / "gone"), str(Path.home())])
    paths = [place["path"] for place in found]
    assert len(paths) == len(set(paths))
    assert {"kind": "recent", "name": "films", "path": str(tmp_path / "films")} in found
    assert {"kind": "drive", "name": "Computer", "path": "/"} in found
    assert str(tmp_path / "gone") not in paths
