"""Looking for dropped files in likely folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connect_helper.consent.drops import Dropped
from connect_helper.picking.finding import DEPTH, Found, Match, Place, find_dropped
from connect_helper.picking.recently_used import recent_folders

A = Dropped("a.txt", 1, "text/plain", None)


def nothing_refused(folder: str) -> str | None:
    return None


def find(*places: Path, dropped: Dropped = A, depth: int = DEPTH) -> Found:
    looked = [Place(str(place), depth) for place in places]
    return find_dropped([dropped], looked, nothing_refused, within_s=30)


def paths(found: Found) -> list[str]:
    return [match.path for match in found.matches[0]]


def put(path: Path, content: str = "a") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_the_one_file_is_found_below_a_place(tmp_path: Path) -> None:
    path = put(tmp_path / "x" / "y" / "a.txt")
    put(tmp_path / "x" / "b.txt")
    put(tmp_path / "z" / "a.txt", "longer")
    found = find(tmp_path)
    assert found.only == [Match(str(path), False)]
    assert found.best_folder == str(path.parent)


def test_a_file_seen_from_two_places_is_one(tmp_path: Path) -> None:
    put(tmp_path / "x" / "a.txt")
    assert find(tmp_path, tmp_path / "x").only is not None
    assert find(tmp_path / "x", tmp_path).only is not None


def test_a_shallow_look_keeps_no_deeper_one_from_going_on(tmp_path: Path) -> None:
    path = put(tmp_path / "x" / "y" / "a.txt")
    places = [Place(str(tmp_path / "x"), 0), Place(str(tmp_path))]
    assert paths(find_dropped([A], places, nothing_refused, within_s=30)) == [str(path)]


def test_two_matches_are_none(tmp_path: Path) -> None:
    put(tmp_path / "x" / "a.txt")
    put(tmp_path / "y" / "a.txt")
    found = find(tmp_path)
    assert found.only is None
    assert len(paths(found)) == 2


def test_a_folder_is_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "x" / "photos").mkdir(parents=True)
    found = find(tmp_path, dropped=Dropped("photos", 4096, "", None))
    assert found.only == [Match(str(tmp_path / "x" / "photos"), True)]


def test_a_folder_is_found_whatever_size_is_told(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    found = find(tmp_path, dropped=Dropped("photos", 61, "", None))
    assert found.only == [Match(str(tmp_path / "photos"), True)]


def test_a_file_that_fits_is_meant_rather_than_a_folder_of_its_name(tmp_path: Path) -> None:
    path = put(tmp_path / "x" / "notes")
    (tmp_path / "y" / "notes").mkdir(parents=True)
    assert find(tmp_path, dropped=Dropped("notes", 1, "", None)).only == [Match(str(path), False)]


def test_hidden_things_links_and_special_files_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / ".secret" / "a.txt")
    put(tmp_path / "elsewhere" / "a.txt")
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(tmp_path / "elsewhere")
    (top / "a.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    os.mkfifo(put(top / "deeper" / "b.txt").with_name("a.txt"))
    assert paths(find(top, tmp_path / ".secret")) == []


def test_sec_15_refused_folders_are_not_looked_into_nor_found(tmp_path: Path) -> None:
    put(tmp_path / "keys" / "a.txt")
    (tmp_path / "keys" / "photos").mkdir()
    looked = [Place(str(tmp_path)), Place(str(tmp_path / "keys"))]
    told = [A, Dropped("keys", 0, "", None), Dropped("photos", 0, "", None)]

    def rule(folder: str) -> str | None:
        return "Keys." if "keys" in folder else None

    assert find_dropped(told, looked, rule, within_s=30).matches == [[], [], []]


def test_a_search_that_was_cut_short_is_sure_of_nothing(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt")
    cut = find_dropped([A], [Place(str(tmp_path))], nothing_refused, within_s=-1)
    assert not cut.complete
    assert cut.only is None
    deep = put(tmp_path.joinpath(*"12345", "b.txt"))
    assert paths(find(tmp_path, dropped=Dropped("b.txt", 1, "", None))) == []  # too deep
    assert deep.exists()
    assert path.exists()


def test_places_that_are_not_there_do_no_harm(tmp_path: Path) -> None:
    found = find(tmp_path / "gone", put(tmp_path / "file"))
    assert found.best_folder is None
    assert found.complete


@pytest.mark.parametrize("name", ["../a.txt", "sub/a.txt", "/etc/hostname", "a.txt\0", "", "."])
def test_sec_11_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "sub" / "a.txt")
    assert paths(find(tmp_path / "sub", dropped=Dropped(name, 1, "", None))) == []


# The desktop's list of recently used files ------------------------------------------------------------


BOOKMARK = '<bookmark href="{address}" modified="{when}" visited="{when}"/>'


def listed(data: Path, *entries: str) -> None:
    text = f'<?xml version="1.0"?><xbel version="1.0">{"".join(entries)}</xbel>'
    (data / "recently-used.xbel").write_text(text)


def test_folders_of_recent_files_come_last_used_first(tmp_path: Path) -> None:
    listed(
        tmp_path,
        BOOKMARK.format(address="file:///old/a", when="2025-01-01T00:00:00Z"),
        BOOKMARK.format(address="file:///new%20one/a", when="2026-01-01T00:00:00Z"),
        BOOKMARK.format(address="file:///old/b", when="2024-01-01T00:00:00Z"),
        BOOKMARK.format(address="https://a.example/x", when="2026-01-02T00:00:00Z"),
    )
    assert recent_folders({"XDG_DATA_HOME": str(tmp_path)}) == ["/new one", "/old"]


@pytest.mark.parametrize(
    "text",
    ["", "<xbel", "<xbel/>", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'],
)
def test_a_list_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "recently-used.xbel").write_text(text)
    assert recent_folders({"XDG_DATA_HOME": str(tmp_path)}) == []
    assert recent_folders({"XDG_DATA_HOME": str(tmp_path / "gone")}) == []
