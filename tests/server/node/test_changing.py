"""Create, delete, rename."""

from __future__ import annotations

import base64
import errno
import os
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.http.node import changing
from connect_helper.server.http.node.bodies import OnePath
from connect_helper.storage import docroot
from connect_helper.storage.docroot import Docroot
from tests.support.node import Node


def codes(items: list[dict[str, Any]]) -> list[int | None]:
    return [item["error"]["code"] if "error" in item else None for item in items]


async def create(node: Node, *paths: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await node.good("files/create", {"paths": paths}))["paths"]
    assert [item["path"] for item in items] == [path["path"] for path in paths]
    return items


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def test_create_makes_folders_files_and_links(node: Node) -> None:
    items = await create(
        node,
        {"path": "/new", "type": "directory"},
        {"path": "new/file.txt", "type": "file", "contents": coded(b"hello\xff")},
        {"path": "/new/empty", "type": "file"},
        {"path": "/new/link", "type": "symbolic_link", "target": {"path": "/new/file.txt"}},
        {"path": "/other", "type": "symbolic_link", "target": {"path": "new"}},
    )
    assert codes(items) == [None] * 5
    assert (node.files / "new/file.txt").read_bytes() == b"hello\xff"
    assert (node.files / "new/empty").read_bytes() == b""
    assert (node.files / "new/link").readlink() == Path("file.txt")
    assert (node.files / "other").readlink() == Path("new")
    assert {path.name for path in (node.files / "new").iterdir()} == {"file.txt", "empty", "link"}


async def test_a_list_of_paths_is_as_many_items(node: Node) -> None:
    """What aspera-cli sent for `mkdir` for years; each path gets its own outcome."""
    (node.files / "there").mkdir()
    asked = {"paths": [{"type": "directory", "path": ["/a", "b", "/there"]}, {"type": "file", "path": "/c"}]}
    items = (await node.good("files/create", asked))["paths"]
    assert [item["path"] for item in items] == ["/a", "b", "/there", "/c"]
    assert codes(items) == [None, None, 409, None]
    for wrong in ([5], [["/x"]], {"x": 1}):
        await node.bad(400, "files/create", {"paths": [{"type": "directory", "path": wrong}]})


async def test_create_replaces_nothing_and_makes_no_parents(node: Node) -> None:
    (node.files / "there").write_text("old")
    (node.files / "dir").mkdir()
    (node.files / "link").symlink_to("nowhere")
    items = await create(
        node,
        *({"path": "/there", "type": kind, "target": {"path": "/"}} for kind in ("file", "directory")),
        {"path": "/there", "type": "symbolic_link", "target": {"path": "/x"}},
        {"path": "/dir", "type": "file", "contents": coded(b"x")},
        {"path": "/link", "type": "file", "contents": coded(b"x")},
        {"path": "/", "type": "directory"},
        {"path": "/no/such", "type": "directory"},
        {"path": "/no/such", "type": "file"},
        {"path": "/there/below", "type": "file"},
    )
    assert codes(items) == [409, 409, 409, 409, 409, 409, 404, 404, 404]
    assert items[0]["error"]["user_message"] == "Path already exists"
    assert items[6]["error"]["user_message"] == "Path not found"
    assert (node.files / "there").read_text() == "old"
    assert sorted(path.name for path in node.files.iterdir()) == ["dir", "link", "there"]


async def test_create_refuses_what_it_cannot_make(node: Node) -> None:
    node.settings(max_file_create_kb=1)
    items = await create(
        node,
        {"path": "/a", "type": "file", "contents": "no base64!"},
        {"path": "/b", "type": "pipe"},
        {"path": "/c", "type": "symbolic_link"},
        {"path": "/d", "type": "file", "contents": coded(b"x" * 1025)},
        {"path": "/e", "type": "file", "contents": coded(b"x" * 1024)},
        {"path": "/../x", "type": "file"},
        {"path": "/l", "type": "symbolic_link", "target": {"path": "/../../etc/passwd"}},
    )
    assert codes(items) == [400, 400, 400, 413, None, 404, 404]
    assert [path.name for path in node.files.iterdir()] == ["e"]


async def test_a_body_beyond_the_limit_is_refused(node: Node) -> None:
    node.settings(max_file_create_kb=1)
    await node.bad(413, "files/create", BytesIO(b" " * (8 * 1024 * 1024 + 1)))


async def test_delete(node: Node) -> None:
    (node.files / "file").touch()
    (node.files / "full/deep/er").mkdir(parents=True)
    (node.files / "full/deep/f").touch()
    (node.files / "full/link").symlink_to("../kept")
    (node.files / "kept").mkdir()
    (node.files / "kept/f").touch()
    (node.files / "empty").mkdir()
    (node.files / "in").symlink_to("kept")
    wanted = [
        {"path": "/file"},
        {"path": "full", "recursive_delete": False},
        {"path": "/full/"},
        {"path": "/empty", "recursive_delete": False},
        {"path": "/in"},
        {"path": "/none"},
        {"path": "/"},
        {"path": "/.."},
    ]
    items = (await node.good("files/delete", {"paths": wanted}))["paths"]
    assert codes(items) == [None, 409, None, None, None, 404, 403, 404]
    assert items[1]["error"]["user_message"] == "The folder is not empty."
    assert [str(path.relative_to(node.files)) for path in sorted(node.files.rglob("*"))] == ["kept", "kept/f"]


async def test_a_deep_tree_is_deleted(node: Node) -> None:
    place = os.open(node.files, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    items = (await node.good("files/delete", {"paths": [{"path": "/d"}]}))["paths"]
    assert codes(items) == [None]
    assert list(node.files.iterdir()) == []


@pytest.mark.parametrize("inside", [True, False])
def test_deleting_never_follows_a_folder_swapped_for_a_link(tmp_path: Path, inside: bool) -> None:
    """While a tree is removed, someone swaps folders in it for links to what must stay (SEC-14)."""
    root = tmp_path / "root"
    outside = (root / "kept") if inside else (tmp_path / "outside")
    outside.mkdir(parents=True)
    root.mkdir(exist_ok=True)
    kept = [outside / f"f{number}" for number in range(20)]
    for path in kept:
        path.touch()
    access = Access(Account(name="ann", docroot=root))
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                (root / "t/a").rename(root / "t/b")
                (root / "t/a").symlink_to("../kept" if inside else outside)
                (root / "t/a").unlink()
                (root / "t/b").rename(root / "t/a")
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with Docroot.open(root) as docroot:
            for _ in range(40):
                (root / "t/a").mkdir(parents=True, exist_ok=True)
                changing.delete(docroot, access, [OnePath(path="/t")])
    except FileExistsError:
        pass  # the swapper's link was in our way
    finally:
        stop.set()
        thread.join()
    assert all(path.exists() for path in kept)


async def test_a_move_to_another_disk_says_that_it_is_one(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk can be mounted inside the folder, and nothing can be renamed across its edge."""

    def across(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(docroot, "rename_fresh", across)
    (node.files / "a").touch()
    asked = {"paths": [{"path": "/", "source": "a", "destination": "disk/a"}]}
    (node.files / "disk").mkdir()
    (item,) = (await node.good("files/rename", asked))["paths"]
    assert item["error"]["code"] == 409
    assert "another disk" in item["error"]["user_message"]


async def test_rename(node: Node) -> None:
    (node.files / "d/sub").mkdir(parents=True)
    for name in ("a", "b", "c", "e"):
        (node.files / "d" / name).write_text(name)
    wanted = [
        {"path": "/d", "source": "a", "destination": "a2"},
        {"path": "d", "source": "b", "destination": "c"},
        {"path": "/d", "source": "b", "destination": "sub/b"},
        {"path": "/", "source": "d/sub", "destination": "sub2"},
        {"path": "/d", "source": "none", "destination": "x"},
        {"path": "/d", "source": "c", "destination": "../c"},
        {"path": "/d", "source": "/d/c", "destination": "x"},
        {"path": "/d", "source": "", "destination": "x"},
        {"path": "/d", "source": "c", "destination": "none/c"},
        {"path": "/", "source": "d", "destination": "d/inside"},
    ]
    items = (await node.good("files/rename", {"paths": wanted}))["paths"]
    assert codes(items) == [None, 409, None, None, 404, 400, 400, 400, 404, 400]
    assert all(item.items() >= asked.items() for item, asked in zip(items, wanted, strict=True))
    assert sorted(str(path.relative_to(node.files)) for path in node.files.rglob("*")) == [
        "d", "d/a2", "d/c", "d/e", "sub2", "sub2/b",
    ]  # fmt: skip
    assert (node.files / "d/c").read_text() == "c"


@pytest.mark.parametrize(
    ("route", "item"),
    [
        ("files/create", {"path": "/new", "type": "directory"}),
        ("files/create", {"path": "/new", "type": "file"}),
        ("files/create", {"path": "/new", "type": "symbolic_link", "target": {"path": "/"}}),
        ("files/delete", {"path": "/file"}),
        ("files/rename", {"path": "/", "source": "file", "destination": "x"}),
    ],
)
async def test_an_account_that_may_not_write_changes_nothing(
    node: Node, route: str, item: dict[str, Any]
) -> None:
    (node.files / "file").touch()
    node.change(may_write=False, may_delete=False, upload="deny")
    items = (await node.good(route, {"paths": [item]}))["paths"]
    assert codes(items) == [403]
    assert [path.name for path in node.files.iterdir()] == ["file"]


async def test_without_the_right_to_delete_nothing_goes(node: Node) -> None:
    (node.files / "file").touch()
    node.change(may_delete=False)
    deleted = (await node.good("files/delete", {"paths": [{"path": "/file"}]}))["paths"]
    asked = [{"path": "/", "source": "file", "destination": "x"}]
    renamed = (await node.good("files/rename", {"paths": asked}))["paths"]
    assert codes(deleted) == codes(renamed) == [403]
    assert codes(await create(node, {"path": "/n", "type": "file"})) == [None]


async def test_what_a_folder_is_called_gives_no_right_to_delete_it(node: Node) -> None:
    (node.files / "season.part").mkdir()
    (node.files / "film.partial").touch()
    node.change(may_delete=False)
    paths = [{"path": "/season.part"}, {"path": "/film.partial"}]
    deleted = (await node.good("files/delete", {"paths": paths}))["paths"]
    assert codes(deleted) == [403, 403]
    assert len(list(node.files.iterdir())) == 2


async def test_token_accounts_keep_their_folder_in_order(node: Node) -> None:
    """Where bytes move by token only, the account that hands tokens out still makes and removes folders."""
    node.change(upload="token", download="token")
    assert codes(await create(node, {"path": "/d", "type": "directory"}, {"path": "/f", "type": "file"})) == [
        None,
        None,
    ]
    items = (await node.good("files/delete", {"paths": [{"path": "/d"}, {"path": "/f"}]}))["paths"]
    assert codes(items) == [None, None]


async def test_create_leaves_room_on_the_disk(node: Node) -> None:
    node.settings(keep_free_percent=100.0)
    (item, empty) = await create(
        node,
        {"path": "/a", "type": "file", "contents": base64.b64encode(b"abc").decode()},
        {"path": "/b", "type": "file"},
    )
    assert item["error"]["code"] == 507
    assert "error" not in empty
    assert [path.name for path in node.files.iterdir() if path.name in "ab"] == ["b"]
