"""The window's API for the files of a transfer: pages, filters and whole lists to keep."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import FINAL, Status
from connect_helper.transfers.transfer import Transfer
from tests.support.managing import reaches, request, until
from tests.support.window import Window, open_window

MIXED = [["connect"], ["files", 0, 20, "done"], ["files", 20, 23, "failed"], ["file", 23, "skipped"]]
ENDS = [*MIXED, ["end", "failed", "files_failed", False]]
RUNS = [*MIXED, ["file", 24, "running"], ["hold"]]


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path / "home") as running:
        yield running


@pytest.fixture
async def client(window: Window) -> AsyncIterator[aiohttp.ClientSession]:
    async with window.client() as session:
        yield session


async def ended(window: Window, script: list[Any]) -> Transfer:
    one = await window.manager.submit(request(script))
    await reaches(one, *FINAL)
    return one


async def get(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_files_come_in_pages_newest_first(window: Window, client: aiohttp.ClientSession) -> None:
    one = await ended(window, ENDS)
    path = f"/api/transfers/{one.id}/files"
    first = await get(client, f"{path}?limit=5")
    assert [file["index"] for file in first["files"]] == [23, 22, 21, 20, 19]
    assert [file["state"] for file in first["files"]] == ["skipped", "failed", "failed", "failed", "done"]
    assert first["under_way"] == []
    rest = await get(client, f"{path}?limit=500&before={first['before']}")
    assert [file["index"] for file in rest["files"]] == list(range(18, -1, -1))
    assert rest["before"] is None
    assert first["files"][1]["message"] == "The file is not there any more."
    assert first["files"][4]["proof"] == "digest"
    assert first["files"][4]["digest"].startswith("sha-256:")
    assert "\udcff" not in first["files"][0]["path"]


@pytest.mark.parametrize(
    ("show", "number"), [("all", 24), ("done", 20), ("failed", 3), ("skipped", 1), ("running", 0)]
)
async def test_a_filter_shows_its_state(
    window: Window, client: aiohttp.ClientSession, show: str, number: int
) -> None:
    one = await ended(window, ENDS)
    page = await get(client, f"/api/transfers/{one.id}/files?show={show}")
    assert len(page["files"]) == number
    assert {file["state"] for file in page["files"]} <= {show, "done", "failed", "skipped"}


async def test_what_is_under_way_comes_first_and_is_unfinished_after_a_stop(
    window: Window, client: aiohttp.ClientSession
) -> None:
    one = await window.manager.submit(request(RUNS))
    await until(lambda: one.counts.attempted == 25)
    path = f"/api/transfers/{one.id}/files"
    page = await get(client, f"{path}?show=running")
    assert [(file["index"], file["state"]) for file in page["under_way"]] == [(24, "running")]
    assert page["files"] == []
    assert (await get(client, f"{path}?before=24&show=all"))["under_way"] == []
    await window.manager.stop(one.id)
    page = await get(client, f"{path}?show=running")
    assert page["under_way"] == []
    assert [(file["index"], file["state"]) for file in page["files"]] == [(24, "unfinished")]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "show=mine", "before=x", "before=-1", "before=" + "9" * 19, "before=²"]
)
async def test_a_bad_query_names_its_field(window: Window, client: aiohttp.ClientSession, query: str) -> None:
    one = await ended(window, ENDS)
    async with client.get(f"/api/transfers/{one.id}/files?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["field"] == query.split("=")[0]


@pytest.mark.parametrize("ending", ["", ".csv", ".json"])
async def test_files_of_an_unknown_transfer_are_404(client: aiohttp.ClientSession, ending: str) -> None:
    async with client.get(f"/api/transfers/nothing/files{ending}") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("ending", ["", ".csv", ".json"])
async def test_nobody_gets_the_files_without_a_token(window: Window, ending: str) -> None:
    one = await ended(window, ENDS)
    async with aiohttp.ClientSession(window.address) as stranger:
        async with stranger.get(f"/api/transfers/{one.id}/files{ending}") as answer:
            assert answer.status == 401
        async with stranger.get(f"/api/transfers/{one.id}/files{ending}?token={window.token()}") as answer:
            assert answer.status == 401


async def test_the_whole_list_as_json(window: Window, client: aiohttp.ClientSession) -> None:
    many = [["connect"], ["files", 0, 2_345, "done"], ["end", "completed", "", False]]
    one = await ended(window, many)
    async with client.get(f"/api/transfers/{one.id}/files.json") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == f'attachment; filename="transfer-{one.id[:40]}.json"'
        assert answer.headers["Cache-Control"] == "no-store"
        whole = json.loads(await answer.read())
    assert whole["transfer"]["status"] == "completed"
    assert len(whole["files"]) == 2_345
    assert whole["files"][0] == {
        "path": "/tmp/film-2344\udcff.mov",
        "remote_path": "/in/film-2344",
        "bytes_expected": 100,
        "bytes_written": 100,
        "state": "done",
        "proof": "size",
        "digest": "",
        "code": "",
        "error_code": 0,
        "message": "",
    }


async def test_an_empty_list_is_still_json(window: Window, client: aiohttp.ClientSession) -> None:
    one = await ended(window, [["connect"], ["end", "completed", "", False]])
    async with client.get(f"/api/transfers/{one.id}/files.json") as answer:
        assert json.loads(await answer.read())["files"] == []


async def test_the_whole_list_as_csv(window: Window, client: aiohttp.ClientSession) -> None:
    one = await ended(window, ENDS)
    async with client.get(f"/api/transfers/{one.id}/files.csv") as answer:
        assert answer.content_type == "text/csv"
        text = (await answer.read()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 24
    assert rows[1]["path"] == "/tmp/film-22\\udcff.mov"
    assert (rows[1]["state"], rows[1]["code"], rows[1]["error_code"]) == ("failed", "source_missing", "10")
    assert rows[-2]["digest"] == f"sha-256:{1:064x}"


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r\n=1", "＝1+1", "\n@x"]
HARMLESS = ['a"b', "a,b", "a\nb", "a=1", "/d/=1", "😀", "1-1"]


async def test_no_name_is_a_formula_in_a_spreadsheet(window: Window, client: aiohttp.ClientSession) -> None:
    one = await ended(window, [["connect"], ["end", "completed", "", False]])
    position = (await window.manager.look(one.id)).position
    for index, name in enumerate([*HOSTILE, *HARMLESS]):
        report = FileReport(
            index=index,
            path=name,
            remote_path=name,
            bytes_expected=1,
            bytes_written=1,
            state="failed",
            message=name,
        )
        window.manager._reports.put(position, report)
    async with client.get(f"/api/transfers/{one.id}/files.csv") as answer:
        text = (await answer.read()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    wanted = [*(f"'{name}" for name in HOSTILE), *HARMLESS]
    for column in ("path", "remote_path", "message"):
        assert [row[column] for row in reversed(rows)] == wanted
    async with client.get(f"/api/transfers/{one.id}/files.json") as answer:
        files = json.loads(await answer.read())["files"]
    assert [file["path"] for file in reversed(files)] == [*HOSTILE, *HARMLESS]


async def test_a_transfer_of_the_past_lists_its_files(tmp_path: Path) -> None:
    async with open_window(tmp_path / "home") as window:
        one = await ended(window, ENDS)
    async with open_window(tmp_path / "home") as window, window.client() as client:
        page = await get(client, f"/api/transfers/{one.id}/files?limit=500")
        assert len(page["files"]) == 24
        view = await get(client, f"/api/transfers/{one.id}")
        assert view["status"] == Status.FAILED.value
