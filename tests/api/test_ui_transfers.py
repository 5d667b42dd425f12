"""The window's API for transfers, over a real manager."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connect_helper.api.ui_views import ADVICE
from connect_helper.errors import ConnectHelperError, TransferError
from connect_helper.settings import HOME_VARIABLE, Folders
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Owner
from tests.support.managing import COMPLETES, HOLDS, SECRET, reaches, request, until
from tests.support.window import Window, open_window

FAILS = [["connect"], ["totals", 100, 1], ["progress", 40], ["end", "failed", "auth_failed", False]]
LIMIT_S = 10.0


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path / "home") as running:
        yield running


@pytest.fixture
async def client(window: Window) -> AsyncIterator[aiohttp.ClientSession]:
    async with window.client() as session:
        yield session


async def get(client: aiohttp.ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def post(client: aiohttp.ClientSession, path: str, body: object = None) -> tuple[int, Any]:
    async with client.post(path, json=body) as answer:
        return answer.status, None if answer.status == 204 else await answer.json()


async def test_the_list_is_newest_first_and_comes_in_pages(
    window: Window, client: aiohttp.ClientSession
) -> None:
    made = [await window.manager.submit(request(HOLDS, title=f"t{n}")) for n in range(5)]
    newest_first = [one.id for one in reversed(made)]
    first = await get(client, "/api/transfers?limit=2")
    assert [one["id"] for one in first["transfers"]] == newest_first[:2]
    assert first["more"]
    rest = await get(client, f"/api/transfers?limit=3&before={newest_first[1]}")
    assert [one["id"] for one in rest["transfers"]] == newest_first[2:]
    assert not rest["more"]
    assert rest["counts"] == {"all": 5, "running": 5, "finished": 0, "failed": 0}


async def test_filters_show_their_group(window: Window, client: aiohttp.ClientSession) -> None:
    done = await window.manager.submit(request(COMPLETES))
    failed = await window.manager.submit(request(FAILS))
    running = await window.manager.submit(request(HOLDS))
    await reaches(done, Status.COMPLETED)
    await reaches(failed, Status.FAILED)
    for show, one in [("finished", done), ("failed", failed), ("running", running)]:
        answer = await get(client, f"/api/transfers?show={show}")
        assert [entry["id"] for entry in answer["transfers"]] == [one.id]
        assert answer["counts"] == {"all": 3, "running": 1, "finished": 1, "failed": 1}


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "show=mine"])
async def test_a_bad_query_names_its_field(client: aiohttp.ClientSession, query: str) -> None:
    async with client.get(f"/api/transfers?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["field"] == query.split("=")[0]


async def test_a_view_has_what_the_page_shows(window: Window, client: aiohttp.ClientSession) -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[31m\u202egpj.exe"
    failed = await window.manager.submit(
        request(FAILS, title=hostile, owner=Owner("https://a.example", "app"), explorer_path="/d/\udcff")
    )
    await reaches(failed, Status.FAILED)
    view = (await get(client, "/api/transfers"))["transfers"][0]
    assert (view["status"], view["group"]) == ("failed", "failed")
    assert (view["bytes_written"], view["bytes_expected"]) == (40, 100)
    assert view["error"]["message"] == "It ended: auth_failed."
    assert view["error"]["advice"] == ADVICE["auth_failed"]
    assert view["can"] == ["sign_in", "remove", "reveal"]
    assert view["origin"] == "https://a.example"
    assert "\x1b" not in view["title"]
    assert "\u202e" not in view["title"]
    assert "<img src=x" in view["title"]  # text stays text; the page shows it as such
    json.dumps(view).encode("ascii")


async def test_the_details_have_files_and_facts_but_no_secret(
    window: Window, client: aiohttp.ClientSession
) -> None:
    done = await window.manager.submit(request(COMPLETES, spec={"cookie": "case 7"}, rate_kbps=5_000))
    await reaches(done, Status.COMPLETED)
    details = await get(client, f"/api/transfers/{done.id}")
    files = await get(client, f"/api/transfers/{done.id}/files")
    assert [(file["index"], file["state"]) for file in files["files"]] == [(0, "done")]
    assert ["Cookie", "case 7"] in details["facts"]
    assert ["Existing files", "replaced when they differ"] in details["facts"]
    assert details["rate_limit_kbps"] == 5_000
    assert details["app_id"] == "app-1"
    assert SECRET not in json.dumps(details)


@pytest.mark.parametrize("action", ["", "/stop", "/resume", "/remove", "/reveal", "/rate"])
async def test_an_unknown_transfer_is_404(client: aiohttp.ClientSession, action: str) -> None:
    method = "POST" if action else "GET"
    async with client.request(method, f"/api/transfers/nothing{action}", json={"rate_kbps": 9}) as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "not_found"


async def test_stop_resume_and_remove(window: Window, client: aiohttp.ClientSession) -> None:
    one = await window.manager.submit(request(HOLDS, COMPLETES))
    await reaches(one, Status.RUNNING)
    status, view = await post(client, f"/api/transfers/{one.id}/stop")
    assert (status, view["status"]) == (200, "cancelled")
    assert view["can"] == ["resume", "remove"]
    status, view = await post(client, f"/api/transfers/{one.id}/resume")
    assert status == 200
    await reaches(one, Status.COMPLETED)
    status, body = await post(client, f"/api/transfers/{one.id}/resume")
    assert (status, body["error"]["code"]) == (409, "wrong_state")
    assert (await post(client, f"/api/transfers/{one.id}/remove"))[0] == 204
    assert (await get(client, "/api/transfers"))["counts"]["all"] == 0


async def test_signing_in_again_brings_the_new_login(window: Window, client: aiohttp.ClientSession) -> None:
    one = await window.manager.submit(request(FAILS, COMPLETES))
    await reaches(one, Status.FAILED)
    body = {"user": "bob", "password": "new-canary"}
    status, view = await post(client, f"/api/transfers/{one.id}/resume", body)
    assert status == 200
    assert view["user"] == "bob"
    assert "new-canary" not in json.dumps(view)
    await reaches(one, Status.COMPLETED)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user": "bob"}, "password"),
        ({"password": 7}, "password"),
        ({"user": ["x"], "password": "x"}, "user"),
        ({"password": "x" * 1025}, "password"),
    ],
)
async def test_a_bad_login_names_its_field(
    window: Window, client: aiohttp.ClientSession, body: object, field: str
) -> None:
    one = await window.manager.submit(request(FAILS))
    await reaches(one, Status.FAILED)
    status, answer = await post(client, f"/api/transfers/{one.id}/resume", body)
    assert (status, answer["error"]["field"]) == (400, field)
    assert one.status is Status.FAILED


async def test_after_a_restart_the_window_asks_to_sign_in(tmp_path: Path) -> None:
    async with open_window(tmp_path / "home") as window:
        one = await window.manager.submit(request(HOLDS, COMPLETES))
        await reaches(one, Status.RUNNING)
    async with open_window(tmp_path / "home") as window, window.client() as client:
        view = (await get(client, "/api/transfers"))["transfers"][0]
        assert view["id"] == one.id
        assert view["status"] == "failed"
        assert "sign_in" in view["can"]
        assert "resume" not in view["can"]
        assert view["error"]["advice"] == ADVICE["sign_in_needed"]
        again = window.manager.get(one.id)
        status, _ = await post(client, f"/api/transfers/{one.id}/resume", {"password": "again"})
        assert status == 200
        await reaches(again, Status.COMPLETED)


async def test_the_rate_of_one_transfer_can_be_limited(window: Window, client: aiohttp.ClientSession) -> None:
    one = await window.manager.submit(request(HOLDS))
    await reaches(one, Status.RUNNING)
    status, view = await post(client, f"/api/transfers/{one.id}/rate", {"rate_kbps": 2_000})
    assert (status, view["rate_limit_kbps"]) == (200, 2_000)
    log = Folders.from_environment({HOME_VARIABLE: str(window.folders.state.parent)}).state / "fake.log"
    await until(lambda: '"set_rate", 2000' in log.read_text(), "the worker hears of it")
    status, view = await post(client, f"/api/transfers/{one.id}/rate", {"rate_kbps": None})
    assert (status, view["rate_limit_kbps"]) == (200, None)


@pytest.mark.parametrize("rate", [0, 7, -1, 100_000_001, 1.5, "9", True, []])
async def test_a_bad_rate_is_refused(window: Window, client: aiohttp.ClientSession, rate: object) -> None:
    one = await window.manager.submit(request(HOLDS, rate_kbps=900))
    status, body = await post(client, f"/api/transfers/{one.id}/rate", {"rate_kbps": rate})
    assert (status, body["error"]["field"]) == (400, "rate_kbps")
    assert window.manager.plan_of(one.id).rate_kbps == 900


async def test_what_the_site_fixed_cannot_be_changed(window: Window, client: aiohttp.ClientSession) -> None:
    spec = {"target_rate_cap_kbps": 5_000, "rate_policy_allowed": "fair", "target_rate_kbps": 3_000}
    one = await window.manager.submit(request(HOLDS, rate_kbps=3_000, spec=spec))
    rate = f"/api/transfers/{one.id}/rate"
    choice = (await get(client, f"/api/transfers/{one.id}"))["rate_choice"]
    assert choice == {"locked": False, "cap_kbps": 5_000, "policy": "fair", "policies": ["low", "fair"]}
    for body in ({"rate_kbps": 6_000}, {"rate_kbps": None}, {"rate_policy": "high"}, {"rate_policy": 7}, {}):
        assert (await post(client, rate, body))[0] == 400, body
    status, view = await post(client, rate, {"rate_policy": "low"})
    assert (status, view["rate_choice"]["policy"], view["rate_limit_kbps"]) == (200, "low", 3_000)
    assert one.spec["rate_policy"] == "low"
    fixed = {"lock_rate_policy": True, "lock_target_rate_kbps": "yes"}
    other = await window.manager.submit(request(HOLDS, spec=fixed))
    choice = (await get(client, f"/api/transfers/{other.id}"))["rate_choice"]
    assert (choice["locked"], choice["policies"]) == (True, [])
    for body in ({"rate_kbps": 10}, {"rate_policy": "low"}):
        assert (await post(client, f"/api/transfers/{other.id}/rate", body))[0] == 409, body


async def test_all_that_completed_is_cleared_in_one_call(
    window: Window, client: aiohttp.ClientSession
) -> None:
    done = [await window.manager.submit(request(COMPLETES)) for _ in range(3)]
    for one in done:
        await reaches(one, Status.COMPLETED)
    failed, running = [await window.manager.submit(request(script)) for script in (FAILS, HOLDS)]
    await reaches(failed, Status.FAILED)
    assert await post(client, "/api/transfers/clear") == (200, {"removed": 3})
    left = (await get(client, "/api/transfers"))["transfers"]
    assert [one["id"] for one in left] == [running.id, failed.id]
    assert await post(client, "/api/transfers/clear") == (200, {"removed": 0})


async def test_show_in_folder_gets_the_path_of_the_transfer(
    window: Window, client: aiohttp.ClientSession
) -> None:
    one = await window.manager.submit(request(HOLDS, explorer_path="/d/a\udcff"))
    assert (await post(client, f"/api/transfers/{one.id}/reveal"))[0] == 204
    assert window.revealed == ["/d/a\udcff"]
    other = await window.manager.submit(request(HOLDS))
    assert (await post(client, f"/api/transfers/{other.id}/reveal"))[0] == 404


def test_every_error_of_a_transfer_comes_with_advice() -> None:
    def below(kind: type[ConnectHelperError]) -> set[type[ConnectHelperError]]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    shown_as_skipped = {"special_file", "link"}  # of single files; they end no transfer
    grouping = {"login_error", "target_error", "content_error"}
    slugs = {kind.code for kind in below(TransferError)}
    assert slugs - set(ADVICE) - shown_as_skipped - grouping <= {"internal"}


class Events:
    """Reads a stream of events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def next(self, name: str) -> Any:
        """The data of the next event of that name."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                lines = [await self._answer.content.readline() for _ in range(2)]
                if lines[0].startswith(b":"):
                    continue
                end = await self._answer.content.readline()
                assert end == b"\n"
                if lines[0] == f"event: {name}\n".encode():
                    return json.loads(lines[1].removeprefix(b"data: "))


async def test_the_stream_tells_of_changes(window: Window, client: aiohttp.ClientSession) -> None:
    async with client.get("/api/events") as answer:
        events = Events(answer)
        one = await window.manager.submit(request(HOLDS))
        seen = await events.next("transfer")
        assert seen["transfers"][0]["id"] == one.id
        while seen["transfers"][0]["status"] != "running":
            seen = await events.next("transfer")
        assert seen["counts"]["running"] == 1
        await window.manager.remove(one.id)
        assert await events.next("removed") == {"ids": [one.id]}
        assert (await events.next("transfer"))["counts"]["all"] == 0
        window.preferences.change({"concurrent_transfers": 7})
        assert (await events.next("preferences"))["values"]["concurrent_transfers"] == 7
        window.sites.remember_host("https://a.example", "b.example", 22)
        assert (await events.next("sites"))["sites"][0]["origin"] == "https://a.example"


async def test_changes_of_one_transfer_melt_together(window: Window, client: aiohttp.ClientSession) -> None:
    async with client.get("/api/events") as answer:
        events = Events(answer)
        one = await window.manager.submit(request(HOLDS))
        for rate in range(100, 400):
            await window.manager.set_rate(one.id, rate, {"target_rate_kbps": rate})
        batches = 0
        while True:
            batch = await events.next("transfer")
            batches += 1
            assert [entry["id"] for entry in batch["transfers"]] == [one.id]
            if batch["transfers"][0]["token"] >= one.iteration_token:
                break
        assert batches < 60


async def test_a_closed_stream_leaves_nothing_behind(window: Window) -> None:
    before = asyncio.all_tasks()
    async with window.client() as client, client.get("/api/events") as answer:
        await answer.content.readline()
    await until(lambda: {task.get_name() for task in asyncio.all_tasks() - before} == set(), "tasks end")


async def test_streams_are_bounded(
    window: Window, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.api.ui_stream.STREAMS_LIMIT", 1)
    async with client.get("/api/events"), client.get("/api/events") as second:
        assert second.status == 429
        assert second.headers["Retry-After"] == "10"
    async with client.get("/api/transfers") as answer:
        assert answer.status == 200
