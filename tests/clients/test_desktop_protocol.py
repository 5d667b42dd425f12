"""An independent JSON-RPC client (json-rpc-2.0 from npm) and the browser's WebSocket, in real Chromium.

The page begins its session in the order of the newer Aspera SDK (desktop reference, section 1.5). Dialogs
and questions are answered in the helper's own pages; the far end is a stock OpenSSH server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.official import World
from tests.support.person import AtThePages
from tests.support.rpc_page import APP, RpcBrowserPage, rpc_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024


@pytest_asyncio.fixture(loop_scope="module")
async def page(world: World) -> AsyncIterator[RpcBrowserPage]:
    async with rpc_page(world) as opened:
        yield opened


async def together(call: Awaitable[Any], *user: Awaitable[Any]) -> Any:
    """Await a call of the page while the user answers what it leads to; returns the call's answer."""

    async def answer() -> None:
        for step in user:
            await step

    result, _ = await asyncio.gather(call, answer())
    return result


def make_file(world: World, name: str, content: bytes) -> Path:
    path = world.helper.user_home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def grant(page: RpcBrowserPage, person: AtThePages, path: Path) -> str:
    result = await together(page.call("show_file_dialog", options={}), person.choose(path))
    (file,) = result["dataTransfer"]["files"]
    return str(file["name"])


def png(width: int, height: int) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


async def test_the_session_gets_running_and_finds_every_capability(page: RpcBrowserPage) -> None:
    assert await page.page.evaluate("client.statuses") == ["INITIALIZING", "RUNNING"]
    assert page.session["info"] == {"version": "1.0.20"}
    assert page.session["drops"] is True
    capabilities = {
        *("read_as_array_buffer", "read_chunk_as_array_buffer", "get_checksum", "show_about"),
        *("open_preferences", "show_transfer_manager", "show_transfer_monitor", "authenticate"),
        *("test_ssh_ports", "show_save_file_dialog", "read_directory", "get_files_list", "update_branding"),
        *("show_directory", "modify_transfer", "resume_transfer"),
    }
    assert capabilities <= set(page.session["methods"])


async def test_dialogs_answer_what_was_chosen_or_that_they_were_closed(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    path = make_file(world, "scans/scan 1.png", b"x" * 1234)
    options = {"title": "Pick scans", "filters": [{"name": "Images", "extensions": ["png"]}]}
    result = await together(page.call("show_file_dialog", options=options), person.choose(path))
    assert result["dataTransfer"]["files"] == [
        {
            "name": str(path),
            "size": 1234,
            "type": "image/png",
            "lastModified": path.stat().st_mtime_ns // 10**6,
        }
    ]
    result = await together(page.call("show_folder_dialog", options={}), person.choose(path.parent))
    assert result["dataTransfer"]["files"][0]["type"] == "inode/directory"
    for method in ("show_file_dialog", "show_folder_dialog", "show_save_file_dialog"):
        answer = await together(page.ask(method, options={}), person.cancel())
        assert answer["error"]["code"] == -32002
        assert answer["error"]["message"]


async def test_a_file_goes_up_and_comes_down_with_news_until_completed(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    content = os.urandom(3 * MIB)
    source = await grant(page, person, make_file(world, "film.bin", content))
    spec = world.spec("send", {"source": source}, destination_root=str(world.server.root))
    started = await together(
        page.call("start_transfer", transfer_spec=spec, desktop_spec={"allow_dialogs": True}),
        person.allow(always=True),
    )
    ended = await page.status(started["uuid"], "completed", "failed")
    assert ended["status"] == "completed", ended
    assert (world.server.root / "film.bin").read_bytes() == content
    assert set(await page.seen(started["uuid"])) <= {"queued", "initiating", "running", "completed"}
    assert ended["percentage"] == 1
    assert world.server.client_key.splitlines()[1] not in repr(started)

    spec = world.spec("receive", {"source": str(world.server.root / "film.bin")}, destination_root="down")
    started = await page.call("start_transfer", transfer_spec=spec, desktop_spec={})
    ended = await page.status(started["uuid"], "completed", "failed")
    assert ended["status"] == "completed", ended
    assert (world.helper.downloads / "down" / "film.bin").read_bytes() == content

    files = await page.call("get_files_list", transfer_id=started["uuid"])
    assert (files["total_count"], files["entries"][0]["status"]) == (1, "finished")
    await page.call("remove_transfer", transfer_id=started["uuid"])
    await page.status(started["uuid"], "removed")
    assert "transferRemoved" in await page.page.evaluate("client.news")


async def test_a_download_goes_where_the_save_dialog_said(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    (world.server.root / "draft.txt").write_text("saved elsewhere")
    target = world.helper.user_home / "final.txt"
    result = await together(
        page.call("show_save_file_dialog", options={"suggestedName": "draft.txt"}),
        person.choose(target, save=True),
    )
    chosen = Path(result["dataTransfer"]["files"][0]["name"])
    paths = {"source": str(world.server.root / "draft.txt"), "destination": chosen.name}
    spec = world.spec("receive", paths, destination_root=str(chosen.parent))
    wishes = {"use_absolute_destination_path": True}
    started = await together(
        page.call("start_transfer", transfer_spec=spec, desktop_spec=wishes), person.allow()
    )
    assert (await page.status(started["uuid"], "completed", "failed"))["status"] == "completed"
    assert target.read_text() == "saved elsewhere"


async def test_a_refused_transfer_reaches_the_page_with_its_number(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    spec = world.spec("receive", {"source": str(world.server.root / "x")})
    answer = await together(page.ask("start_transfer", transfer_spec=spec, desktop_spec={}), person.deny())
    assert answer["error"]["code"] == -32003
    assert answer["error"]["message"]
    assert await page.call("get_all_transfers") == []


async def test_a_picture_is_read_and_shown_and_its_checksum_holds(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    picture = png(64, 48)
    path = await grant(page, person, make_file(world, "grey.png", picture))
    read = await page.call("read_as_array_buffer", request={"path": path})
    assert await page.page.evaluate("answer => client.preview(answer)", read) == [64, 48]
    first = await page.call("read_chunk_as_array_buffer", request={"path": path, "offset": 0, "chunkSize": 8})
    assert base64.b64decode(first["data"]) == picture[:8]
    found = await page.call("get_checksum", request={"path": path, "checksumMethod": "sha256"})
    assert found["checksum"] == hashlib.sha256(picture).hexdigest()


async def test_what_is_dropped_on_the_page_is_found_with_the_users_help(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    path = make_file(world, "dropped.txt", b"dropped")
    drop = """({ name, content, time }) => {
      client.watchDrops();
      const data = new DataTransfer();
      data.items.add(new File([content], name, { lastModified: time, type: "text/plain" }));
      const dropped = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector("#target").dispatchEvent(dropped);
    }"""
    dropped = {"name": path.name, "content": "dropped", "time": path.stat().st_mtime * 1000}
    await together(page.page.evaluate(drop, dropped), person.choose(path))
    await page.page.wait_for_function("window.dropped")
    answer = await page.page.evaluate("window.dropped")
    (file,) = answer["value"]["dataTransfer"]["files"]
    assert (file["name"], file["size"], file["type"]) == (str(path), 7, "text/plain")


async def test_a_folder_is_listed(world: World, page: RpcBrowserPage, person: AtThePages) -> None:
    make_file(world, "album/deep/two.tif", b"22")
    folder = make_file(world, "album/one.tif", b"1").parent
    await together(page.call("show_folder_dialog", options={}), person.choose(folder))
    request = {"path": str(folder), "filters": {"type": "file", "namePattern": "*.tif"}}
    result = await page.call("read_directory", request=request)
    assert [(one["relativePath"], one["size"]) for one in result["entries"]] == [
        ("deep/two.tif", 2),
        ("one.tif", 1),
    ]


async def test_windows_and_the_branding_of_a_site_are_shown(
    world: World, page: RpcBrowserPage, person: AtThePages
) -> None:
    await grant(page, person, make_file(world, "any.txt", b"any"))
    theme = {"g10": {"headerBackground": "#102030"}, "g100": {"headerBackground": "#fff000"}}
    await page.call("update_branding", branding={"id": "acme", "name": "Acme <b>Ltd</b>", "theme": theme})
    assert await page.call("show_about") is None
    window = await world.browser.new_page()
    await window.goto(await world.helper.opened("/about"))
    await window.get_by_text("http://127.0.0.1:33024").wait_for()
    await window.goto(f"{window.url.split('/about')[0]}/sites")
    card = window.locator(".site").filter(has_text=page.origin)
    await card.get_by_text("Acme <b>Ltd</b>", exact=True).wait_for()
    spots = card.locator(".swatches:visible .swatch")
    assert await spots.count() == 1
    assert await spots.first.evaluate("spot => getComputedStyle(spot).backgroundColor") == "rgb(16, 32, 48)"
    await window.close()


async def test_a_program_with_a_web_socket_of_its_own_is_told_of_its_transfers(
    world: World, person: AtThePages
) -> None:
    """No browser: another WebSocket client, that sends no Origin."""
    spec = world.spec("receive", {"source": str(world.server.root / "missing.bin")})
    async with aiohttp.ClientSession() as http, http.ws_connect("ws://127.0.0.1:33024/") as ws:
        await ws.send_json(
            {"jsonrpc": "2.0", "id": 1, "method": "subscribe_transfer_activity", "params": [APP]}
        )
        assert (await ws.receive_json(timeout=30))["id"] == 1
        call = {"app_id": APP, "transfer_spec": spec, "desktop_spec": {}}
        await ws.send_json({"jsonrpc": "2.0", "id": 2, "method": "start_transfer", "params": call})
        await person.allow()
        answers = [await ws.receive_json(timeout=30)]
        while "error_desc" not in repr(answers[-1]):
            answers.append(await ws.receive_json(timeout=30))
    started = next(answer["result"] for answer in answers if answer.get("id") == 2)
    news = answers[-1]["params"]["result"]
    assert (news["type"], news["data"]["uuid"]) == ("transferUpdated", started["uuid"])
    assert news["data"]["status"] == "failed"


async def test_a_page_comes_back_when_the_helper_does(world: World, page: RpcBrowserPage) -> None:
    """The last test here: it ends the helper and starts it again."""
    await world.helper.stop()
    await page.page.wait_for_function("client.statuses.at(-1) === 'DISCONNECTED'")
    await world.helper.start()
    await page.page.wait_for_function("client.statuses.at(-1) === 'RUNNING'")
    assert await page.call("get_all_transfers") == []
