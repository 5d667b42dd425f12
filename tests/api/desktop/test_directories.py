"""Listing a folder the user gave (desktop reference, section 4.7)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api import reading, walking
from tests.api.desktop.conftest import RpcPage


@pytest.fixture
async def tree(page: RpcPage, folder: Path) -> Path:
    """A granted folder with a bit of everything."""
    for name in ("b.tif", "a.txt", "deep/c.tif", "deep/er/d.tif", ".hidden", ".dark/e.tif", "deep/.f.tif"):
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    (folder / "tree" / "empty").mkdir()
    (folder / "tree" / "link").symlink_to(folder / "tree" / "a.txt")
    (folder / "tree" / "way out").symlink_to("/etc")
    os.mkfifo(folder / "tree" / "pipe")
    await page.choose(folder / "tree", dialog="show_folder_dialog")
    return folder / "tree"


async def listed(page: RpcPage, path: Path, **request: Any) -> list[str]:
    result = await page.call("read_directory", {"request": {"path": str(path), **request}})
    assert set(result) == {"entries", "totalCount"}
    assert result["totalCount"] == len(result["entries"])
    return [entry["relativePath"] for entry in result["entries"]]


ALL = ["a.txt", "b.tif", "deep", "deep/c.tif", "deep/er", "deep/er/d.tif", "empty"]
NOTHING_SAID: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (NOTHING_SAID, ALL),
        ({"depth": None}, ALL),
        ({"depth": 0}, ["a.txt", "b.tif", "deep", "empty"]),
        ({"depth": 1}, ["a.txt", "b.tif", "deep", "deep/c.tif", "deep/er", "empty"]),
        ({"depth": 2}, ALL),
        ({"filters": {"type": "file"}}, ["a.txt", "b.tif", "deep/c.tif", "deep/er/d.tif"]),
        ({"filters": {"type": "directory"}}, ["deep", "deep/er", "empty"]),
        ({"filters": {"namePattern": "*.tif"}}, ["b.tif", "deep/c.tif", "deep/er/d.tif"]),
        ({"filters": {"namePattern": "?.txt", "type": "file"}}, ["a.txt"]),
        ({"filters": {"namePattern": "[bd].tif"}}, ["b.tif", "deep/er/d.tif"]),
        ({"filters": {"namePattern": "*.TIF"}}, []),
        ({"filters": {"namePattern": "deep/*"}}, []),
        ({"depth": 0, "filters": {"hidden": True}}, [".dark", ".hidden", "a.txt", "b.tif", "deep", "empty"]),
        (
            {"filters": {"hidden": True, "namePattern": "*.tif"}},
            [".dark/e.tif", "b.tif", "deep/.f.tif", "deep/c.tif", "deep/er/d.tif"],
        ),
    ],
)
async def test_what_is_listed_depends_on_depth_and_filters(
    page: RpcPage, tree: Path, request_: dict[str, Any], names: list[str]
) -> None:
    assert await listed(page, tree, **request_) == names


async def test_an_entry_has_type_size_and_time(page: RpcPage, tree: Path) -> None:
    result = await page.call("read_directory", {"request": {"path": str(tree), "depth": 0}})
    entries = {entry["relativePath"]: entry for entry in result["entries"]}
    assert entries["a.txt"] == {
        "relativePath": "a.txt",
        "type": "file",
        "size": 5,
        "lastModified": (tree / "a.txt").stat().st_mtime_ns // 1_000_000,
    }
    assert (entries["deep"]["type"], entries["deep"]["size"]) == ("directory", 0)


async def test_a_folder_below_the_granted_one_can_be_listed_and_what_is_found_be_read(
    page: RpcPage, tree: Path
) -> None:
    assert await listed(page, tree / "deep") == ["c.tif", "er", "er/d.tif"]
    read = await page.call("read_as_array_buffer", {"request": {"path": f"{tree}/deep/er/d.tif"}})
    assert read["type"] == "image/tiff"


async def test_a_name_that_is_no_utf_8_comes_through_and_goes_back(page: RpcPage, folder: Path) -> None:
    (folder / "tree").mkdir()
    (folder / "tree" / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    await page.choose(folder / "tree", dialog="show_folder_dialog")
    (name,) = await listed(page, folder / "tree")
    assert name == "caf\udce9"
    asked = {"request": {"path": f"{folder}/tree/{name}"}}
    assert (await page.call("read_as_array_buffer", asked))["data"] == "eA=="


async def test_a_link_in_the_way_and_a_file_are_no_folders(page: RpcPage, tree: Path) -> None:
    for name in ("way out", "link", "a.txt", "pipe", "missing"):
        error = await page.error("read_directory", {"request": {"path": str(tree / name)}})
        assert error["code"] == -32000, name
        assert "passwd" not in error["message"]


async def test_a_folder_that_cannot_be_looked_into_hides_nothing_else(
    page: RpcPage, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = walking.open_below

    def refuse(folder: int, names: Any, flags: int, mode: int = 0) -> int:
        if list(names) == [b"deep"]:
            raise PermissionError(13, "Permission denied")
        return real(folder, names, flags, mode)

    monkeypatch.setattr(walking, "open_below", refuse)
    assert await listed(page, tree) == ["a.txt", "b.tif", "deep", "empty"]
    error = await page.error("read_directory", {"request": {"path": str(tree / "deep")}})
    assert error["data"]["reason"] == "source_denied"


async def test_a_folder_that_was_replaced_is_not_the_one_that_was_chosen(page: RpcPage, tree: Path) -> None:
    tree.rename(tree.with_name("elsewhere"))
    tree.mkdir()
    error = await page.error("read_directory", {"request": {"path": str(tree)}})
    assert error["data"]["reason"] == "source_changed"


async def test_very_much_is_cut_off_or_refused(
    page: RpcPage, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ENTRIES", 3)
    assert await listed(page, tree) == ALL[:3]
    monkeypatch.setattr(reading, "LOOKED_AT", 4)
    error = await page.error(
        "read_directory", {"request": {"path": str(tree), "filters": {"namePattern": "no such"}}}
    )
    assert error["code"] == -32006
