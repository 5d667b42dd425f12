"""What the helper accepts as the answer of a file picker, whatever its page sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connect_helper.picking.base import DialogRequest
from connect_helper.picking.presence import Patience
from tests.support.desk_pages import DeskWindow, desk_window


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[DeskWindow]:
    patience = Patience(before_yes=0, without_page=0.2)
    async with desk_window(tmp_path / "helper", patience=patience) as running:
        yield running


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    return tmp_path


async def answered(
    window: DeskWindow, request: DialogRequest, body: dict[str, Any]
) -> tuple[int, Sequence[Path] | None]:
    """Send one answer as the page would; the status, and what the asker got, None when it still waits."""
    asking = asyncio.create_task(window.desk.pick(request))
    address, _, code = (await window.next_address()).partition("#code=")
    item = f"{window.base_url}/api/pending/{address.rsplit('/', 1)[1]}"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{window.base_url}/api/session", json={"code": code}) as response:
            headers = {"Authorization": f"Bearer {(await response.json())['token']}"}
        async with session.get(f"{item}/stream", headers=headers) as line:
            await line.content.readline()
            async with session.post(f"{item}/answer", json=body, headers=headers) as response:
                status = response.status
            if status == 204:
                async with asyncio.timeout(5):
                    return status, await asking
            assert not asking.done()
            asking.cancel()
            return status, None


@pytest.mark.parametrize(
    ("kind", "multiple", "names", "status"),
    [
        ("open-file", False, ["one"], 204),
        ("open-file", True, ["two", "one"], 204),
        ("open-file", False, ["one", "two"], 400),
        ("open-file", True, ["folder"], 400),
        ("open-file", True, ["gone"], 400),
        ("open-file", True, [], 400),
        ("open-folder", False, ["folder"], 204),
        ("open-folder", False, ["one"], 400),
        ("save-file", False, ["new"], 204),
        ("save-file", False, ["one"], 409),
        ("save-file", False, ["folder"], 400),
        ("save-file", False, ["gone/new"], 400),
        ("save-file", True, ["new", "newer"], 400),
    ],
)
async def test_an_answer_must_be_what_was_asked_for(
    window: DeskWindow, films: Path, kind: str, multiple: bool, names: list[str], status: int
) -> None:
    request = DialogRequest(kind, "https://a.example", multiple=multiple)  # type: ignore[arg-type]
    paths = [films / name for name in names]
    given = await answered(window, request, {"paths": [str(path) for path in paths]})
    assert given == (status, paths if status == 204 else None)


@pytest.mark.parametrize("paths", ["/one", [1], ["one"], ["\0"], ["/\ud800"], [""], None, ["/x"] * 5_001])
async def test_odd_paths_are_refused(window: DeskWindow, paths: object) -> None:
    request = DialogRequest("open-file", "https://a.example", multiple=True)
    assert await answered(window, request, {"paths": paths}) == (400, None)


async def test_a_cancel_is_an_empty_answer(window: DeskWindow) -> None:
    request = DialogRequest("open-file", "https://a.example")
    assert await answered(window, request, {"cancelled": True}) == (204, [])


async def test_replacing_needs_its_own_word(window: DeskWindow, films: Path) -> None:
    request = DialogRequest("save-file", "https://a.example")
    body = {"paths": [str(films / "one")], "overwrite": True}
    assert await answered(window, request, body) == (204, [films / "one"])


@pytest.mark.parametrize("below", ["", "/stream", "/folder", "/answer"])
async def test_nothing_is_told_without_the_token_of_the_window(window: DeskWindow, below: str) -> None:
    asking = asyncio.create_task(window.desk.pick(DialogRequest("open-file", "https://a.example")))
    item = (
        f"{window.base_url}/api/pending/{(await window.next_address()).partition('#')[0].rsplit('/', 1)[1]}"
    )
    method = "GET" if below in {"", "/stream"} else "POST"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, item + below, json={"path": "/"} if method == "POST" else None) as response,
    ):
        assert response.status == 401
    asking.cancel()
