"""Browse, search, info, space, contents."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest

from connect_helper.server.http.node import looking
from connect_helper.server.http.node.api import LONG_AT_ONCE
from connect_helper.server.http.threads import DISK_THREADS
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot, Entry
from tests.support.node import Node

STAMP = 1_772_126_411  # 2026-02-26T17:20:11Z


def put(path: Path, size: int = 0, mtime: int = STAMP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture
def tree(node: Node) -> Path:
    """/a.mov 5, /B.txt 3, /c 1, /dir/{deep/x.mov 7, y.txt 2}, /empty/"""
    root = node.files
    put(root / "a.mov", 5, STAMP)
    put(root / "B.txt", 3, STAMP + 100)
    put(root / "c", 1, STAMP - 100)
    put(root / "dir/deep/x.mov", 7, STAMP + 5)
    put(root / "dir/y.txt", 2)
    (root / "empty").mkdir()
    return root


def names(body: dict[str, Any]) -> list[str]:
    return [item["path"] for item in body["items"]]


async def test_browse_describes_a_folder_and_its_entries(node: Node, tree: Path) -> None:
    body = await node.good("files/browse", {"path": "/"})
    assert names(body) == ["/a.mov", "/B.txt", "/c", "/dir", "/empty"]
    assert body["item_count"] == body["total_count"] == 5
    assert body["self"]["path"] == "/"
    assert body["self"]["type"] == "directory"
    assert body["self"]["permissions"] == [{"name": "view"}, {"name": "edit"}]  # it cannot be deleted
    assert body["items"][0] == {
        "path": "/a.mov",
        "basename": "a.mov",
        "type": "file",
        "size": 5,
        "mtime": "2026-02-26T17:20:11Z",
        "permissions": [{"name": "view"}, {"name": "edit"}, {"name": "delete"}],
    }
    assert body["items"][3]["size"] == 0
    assert body["parameters"]["path"] == "/"


@pytest.mark.parametrize("path", ["dir", "/dir", "dir/", "//./dir/.", "/x/../dir"])
async def test_a_path_may_be_written_in_many_ways(node: Node, tree: Path, path: str) -> None:
    """Trap 8: no leading slash is needed."""
    body = await node.good("files/browse", {"path": path})
    assert names(body) == ["/dir/deep", "/dir/y.txt"]
    assert body["self"]["path"] == body["parameters"]["path"] == "/dir"


@pytest.mark.parametrize("path", ["/nothing", "/..", "../ann", "/a.mov/x", "/a\0b", "/" + "n" * 300])
async def test_what_is_not_there_is_404(node: Node, tree: Path, path: str) -> None:
    assert await node.bad(404, "files/browse", {"path": path}) == "Path not found"
    assert await node.bad(404, "files/search", {"path": path}) == "Path not found"


async def test_browsing_a_file_describes_it(node: Node, tree: Path) -> None:
    body = await node.good("files/browse", {"path": "/a.mov"})
    assert body["self"]["type"] == "file"
    assert (body["items"], body["item_count"], body["total_count"]) == ([], 0, 0)


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("path", "/a.mov"),
        ("type", "/dir"),
        ("size_a", "/dir"),
        ("size_d", "/a.mov"),
        ("mtime_a", "/c"),
        ("mtime", "/a.mov"),
        ("nonsense", "/a.mov"),
    ],
)
async def test_orders_and_words_nobody_knows(node: Node, tree: Path, sort: str, first: str) -> None:
    """Trap 2: an unknown order is no error."""
    assert names(await node.good("files/browse", {"path": "/", "sort": sort, "unknown": 1}))[0] == first


async def test_order_by_case(node: Node, tree: Path) -> None:
    body = await node.good("files/browse", {"path": "/", "case_sensitive": True})
    assert names(body)[:2] == ["/B.txt", "/a.mov"]


async def test_paging_delivers_exactly_total_count(node: Node) -> None:
    """Trap 1: the loop of a client ends, and has seen every entry once, devices and sockets left out."""
    for number in range(25):
        put(node.files / f"f{number:02}", number % 3)
    os.mkfifo(node.files / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(node.files / "sock"))
        for sort in ("path", "size_d"):
            seen: list[str] = []
            total = 1
            while len(seen) < total:
                body = await node.good(
                    "files/browse", {"path": "/", "skip": len(seen), "count": 10, "sort": sort}
                )
                assert body["items"]
                assert body["item_count"] == len(body["items"])
                seen += names(body)
                total = body["total_count"]
            assert total == 25
            assert sorted(seen) == sorted({f"/f{number:02}" for number in range(25)})


async def test_the_server_may_cap_a_page(node: Node, tree: Path) -> None:
    node.settings(max_response_entries=2)
    body = await node.good("files/browse", {"path": "/", "count": 1000})
    assert (body["item_count"], body["total_count"], body["parameters"]["count"]) == (2, 5, 2)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"types": ["directory"]}, ["/dir", "/empty"]),
        ({"types": ["file"]}, ["/a.mov", "/B.txt", "/c"]),
        ({"types": []}, []),
        ({"types": ["container"]}, []),
        ({"basenames": ["*.mov", "b*"]}, ["/a.mov", "/B.txt"]),
        ({"basenames": ["?"]}, ["/c"]),
        ({"basenames": ["[a-b]*"]}, ["/a.mov", "/B.txt"]),
        ({"paths": ["/a*"]}, ["/a.mov"]),
        ({"paths": ["dir"]}, ["/dir"]),
        ({"size_min": 3}, ["/a.mov", "/B.txt"]),
        ({"size_max": 3}, ["/c"]),
        ({"size_min": 3, "size_max": 5}, ["/B.txt"]),
        ({"mtime_min": "2026-02-26T17:20:11Z", "types": ["file"]}, ["/B.txt"]),
        ({"mtime_max": "2026-02-26 17:20:11", "types": ["file"]}, ["/c"]),
        ({"mtime_max": "2026-02-26T19:20:12+02:00", "types": ["file"]}, ["/a.mov", "/c"]),
        ({"basenames": ["*.mov"], "size_min": 6}, []),
        (None, ["/a.mov", "/B.txt", "/c", "/dir", "/empty"]),
        ({"types": None}, ["/a.mov", "/B.txt", "/c", "/dir", "/empty"]),
    ],
)
async def test_filters(node: Node, tree: Path, filters: object, found: list[str]) -> None:
    body = await node.good("files/browse", {"path": "/", "filters": filters})
    assert names(body) == found
    assert body["total_count"] == len(found)


async def test_a_page_of_none_still_counts(node: Node, tree: Path) -> None:
    for route, total in (("files/browse", 5), ("files/search", 8)):
        body = await node.good(route, {"path": "/", "count": 0})
        assert (body["items"], body["item_count"], body["total_count"]) == ([], 0, total)


async def test_words_that_are_no_text_are_no_fault_of_the_server(node: Node, tree: Path) -> None:
    """Half characters, where any word is taken: the page is one of several, so its listing is kept."""
    for body in ({"sort": "\ud800"}, {"sort": "\udc80"}, {"filters": {"types": ["\udc80", "file"]}}):
        answer = await node.good("files/browse", {"path": "/", "count": 1, **body})
        assert answer["total_count"] in (3, 5)


async def test_patterns_find_names_that_are_no_utf_8(node: Node) -> None:
    (node.files / os.fsdecode(b"\xff\xfe.bin")).touch()
    (node.files / "other").touch()
    for filters in ({"basenames": ["\udcff*"]}, {"paths": ["/\udcff\udcfe.*"]}):
        for route in ("files/browse", "files/search"):
            body = await node.good(route, {"path": "/", "filters": filters})
            assert names(body) == ["/\udcff\udcfe.bin"]
    for filters in ({"basenames": ["x" * 1001]}, {"paths": ["x" * 4001]}):
        assert "more than" in await node.bad(400, "files/browse", {"path": "/", "filters": filters})


async def test_filters_by_case(node: Node, tree: Path) -> None:
    asked = {"path": "/", "case_sensitive": True, "filters": {"basenames": ["b*"]}}
    assert names(await node.good("files/browse", asked)) == []


async def test_search_goes_down(node: Node, tree: Path) -> None:
    body = await node.good("files/search", {"path": "/", "filters": {"basenames": ["*.mov"]}})
    assert names(body) == ["/a.mov", "/dir/deep/x.mov"]
    assert body["total_count"] == 2
    assert "self" not in body
    assert isinstance(body["parameters"], dict)


@pytest.mark.parametrize(
    ("depths", "found"),
    [
        ({"depth_max": 0}, []),
        ({"depth_max": 1}, ["/a.mov", "/B.txt", "/c", "/dir", "/empty"]),
        ({"depth_min": 3}, ["/dir/deep/x.mov"]),
        ({"depth_min": 2, "depth_max": 2}, ["/dir/deep", "/dir/y.txt"]),
    ],
)
async def test_search_between_depths(
    node: Node, tree: Path, depths: dict[str, int], found: list[str]
) -> None:
    body = await node.good("files/search", {"path": "/", "filters": depths})
    assert names(body) == found
    assert body["parameters"].items() >= depths.items()


async def test_search_goes_as_deep_as_paths_may(node: Node) -> None:
    deepest = "/".join(["d"] * 255)
    (node.files / deepest).mkdir(parents=True)
    (node.files / deepest / "x").touch()
    body = await node.good("files/search", {"path": "/", "filters": {"types": ["file"]}})
    assert names(body) == [f"/{deepest}/x"]


async def test_search_enters_no_link(node: Node, tree: Path) -> None:
    (tree / "dir/up").symlink_to("..")
    body = await node.good("files/search", {"path": "/", "filters": {"basenames": ["a.mov"]}})
    assert names(body) == ["/a.mov"]


async def test_a_search_that_takes_too_long_says_so(node: Node, tree: Path) -> None:
    node.settings(max_response_s=-1.0)
    assert "smaller" in await node.bad(503, "files/search", {"path": "/"})


async def test_the_searches_of_one_account_hold_up_nobody_else(
    node: Node, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, search = threading.Event(), looking.search

    def slow(*args: Any, **settings: Any) -> dict[str, Any]:
        may_end.wait(30)
        return search(*args, **settings)

    monkeypatch.setattr(looking, "search", slow)
    many = [asyncio.create_task(node.good("files/search", {"path": "/"})) for _ in range(DISK_THREADS + 4)]
    try:
        await asyncio.sleep(0.5)
        async with asyncio.timeout(10):
            await node.good("files/browse", {"path": "/"}, user="bob")
            await node.good("files/browse", {"path": "/"})  # nor the account's own people
    finally:
        may_end.set()
        found = await asyncio.gather(*many)
    assert all(one["total_count"] for one in found)


async def test_searches_of_clients_that_have_gone_hold_up_nobody(
    node: Node, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tree / f"dir/{number}").mkdir()
    may_go_on, scandir = threading.Event(), Docroot.scandir

    def slow(docroot: Docroot, path: DocPath) -> Iterator[Entry]:
        may_go_on.wait(0.2)
        yield from scandir(docroot, path)

    monkeypatch.setattr(Docroot, "scandir", slow)
    try:
        for _letter in range(4 * LONG_AT_ONCE):  # as a page asks whose user types
            asking = asyncio.create_task(node.good("files/search", {"path": "/"}))
            await asyncio.sleep(0.1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        async with asyncio.timeout(6):
            await node.good("files/search", {"path": "/empty"})
    finally:
        may_go_on.set()


async def test_links(node: Node, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tree / "in").symlink_to("dir/y.txt")
    (tree / "out").symlink_to("../secret")
    (tree / "abs").symlink_to(tmp_path / "secret")
    (tree / "gone").symlink_to("nowhere")
    asked = {"path": "/", "filters": {"types": ["symbolic_link"]}}
    items = {item["basename"]: item for item in (await node.good("files/browse", asked))["items"]}
    assert items.keys() == {"in", "out", "abs", "gone"}
    assert items["in"]["target"]["path"] == "/dir/y.txt"
    assert items["in"]["target"]["size"] == 2
    assert all("target" not in items[name] for name in ("out", "abs", "gone"))
    paths = [{"path": f"/{name}"} for name in ("in", "out", "abs", "gone")]
    shown = (await node.good("files/info", {"paths": paths}))["paths"]
    assert shown[0]["type"] == "file"
    assert [item["error"]["code"] for item in shown[1:]] == [404, 404, 404]


async def test_info_keeps_the_order_and_survives_a_missing_path(node: Node, tree: Path) -> None:
    paths = [{"path": "c"}, {"path": "/none"}, {"path": "/dir"}, {"path": "/.."}]
    body = (await node.good("files/info", {"paths": paths}))["paths"]
    assert [item["path"] for item in body] == ["/c", "/none", "/dir", "/.."]
    assert body[1]["error"] == {"code": 404, "reason": "Not Found", "user_message": "Path not found"}
    assert "size" not in body[2]
    assert body[3]["error"]["code"] == 404


async def test_names_survive(node: Node) -> None:
    odd = [b"\xff\xfe", "é\u0301".encode(), b'quote"\\', b"line\nbreak", b"%2F+ "]
    for name in odd:
        (node.files / os.fsdecode(name)).touch()
    body = await node.good("files/browse", {"path": "/"})
    assert {os.fsencode(item["basename"]) for item in body["items"]} == set(odd)
    shown = await node.good("files/info", {"paths": [{"path": item["path"]} for item in body["items"]]})
    assert all("error" not in item for item in shown["paths"])


async def test_times_no_calendar_has(node: Node) -> None:
    put(node.files / "early", mtime=-1)
    put(node.files / "late", mtime=2**33)
    items = (await node.good("files/browse", {"path": "/"}))["items"]
    assert [item["mtime"] for item in items] == ["1969-12-31T23:59:59Z", "2242-03-16T12:56:32Z"]


async def test_space(node: Node, tree: Path) -> None:
    body = (await node.good("space", {"paths": [{"path": "/"}, {"path": "/none"}]}))["paths"]
    assert body[0]["bytes_total"] > body[0]["bytes_free"] > 0
    assert 0 < body[0]["percent_free"] < 100
    assert body[1]["error"]["code"] == 404


async def test_contents_shows_the_beginning_of_a_file(node: Node) -> None:
    """Trap 6: the path is one segment, decoded after routing; a blank may be a plus."""
    odd = b"a b+c%2F\xff.txt"
    folder = node.files / "x y"
    folder.mkdir()
    (folder / os.fsdecode(odd)).write_bytes(b"\x00\xff" * 4000)
    coded = quote_plus(b"/x y/" + odd, safe="")
    assert "+" in coded
    answer = await node.ask("GET", f"files/{coded}/contents")
    assert (answer.status, answer.body) == (200, (b"\x00\xff" * 4000)[:4096])
    assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_contents_of_a_long_path_in_another_script(node: Node) -> None:
    """Each byte of such a name is three signs of the address."""
    folder = "/".join(["\u5199\u771f" * 40] * 15)  # 240 bytes each, 3,600 in all
    (node.files / folder).mkdir(parents=True)
    (node.files / folder / "x").write_bytes(b"far down")
    coded = quote_plus("/" + folder + "/x", safe="")
    assert len(coded) > 10_000
    assert (await node.ask("GET", f"files/{coded}/contents")).body == b"far down"


async def test_contents_of_what_is_no_file(node: Node, tree: Path) -> None:
    (tree / "link").symlink_to("a.mov")
    assert "Only files" in await node.bad(400, "files/%2Fdir/contents")
    assert "Only files" in await node.bad(400, "files/link/contents")
    assert await node.bad(404, "files/%2Fnone/contents") == "Path not found"
    assert await node.bad(404, "files/%2F..%2Fbob/contents") == "Path not found"
    await node.bad(404, "files/dir/y.txt/contents")


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EMFILE, 503), (errno.ENFILE, 503), (errno.ETXTBSY, 403), (errno.EFBIG, 507)]
)
async def test_what_the_system_has_no_room_for_is_no_mistake_of_the_server(
    node: Node, tree: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Docroot, "lstat", fails)
    assert await node.bad(status, "files/browse", {"path": "/"})
    monkeypatch.setattr(Docroot, "open", fails)
    assert await node.bad(503 if status == 503 else 500, "files/browse", {"path": "/"})


async def test_rights_of_the_account_hold(node: Node, tree: Path) -> None:
    node.change(may_delete=False, may_write=False)
    item = (await node.good("files/browse", {"path": "/"}))["items"][0]
    assert item["permissions"] == [{"name": "view"}]
    node.change(may_browse=False)
    for route in ("files/browse", "files/search"):
        await node.bad(403, route, {"path": "/"})
    await node.bad(403, "files/info", {"paths": [{"path": "/"}]})
    await node.bad(403, "space", {"paths": [{"path": "/"}]})
    await node.good("files/a.mov/contents")
    node.change(download="deny")
    await node.bad(403, "files/a.mov/contents")


async def test_an_account_sees_its_own_folder_only(node: Node, tree: Path) -> None:
    assert names(await node.good("files/browse", {"path": "/"}, user="bob")) == []


async def test_a_slow_folder_does_not_hold_up_others(node: Node, tree: Path) -> None:
    """Disk work is done in threads: many at once are answered."""
    answers = await asyncio.gather(*(node.good("files/search", {"path": "/"}) for _ in range(30)))
    assert {body["total_count"] for body in answers} == {8}
