"""Our page script with the real helper and a stock SSH server: what a page does from dialog to receipt.

The page is on an origin of its own; dialogs and questions are answered in the helper's own pages.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.official import World
from tests.support.person import AtThePages
from tests.support.sdk_site import serve_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
WAIT_MS = 30_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World.running(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def person(world: World) -> AtThePages:
    return AtThePages(world.helper, world.browser)


@pytest_asyncio.fixture(loop_scope="module")
async def page(world: World) -> AsyncIterator[Page]:
    """A page that knows every transfer's states, in the order it heard of them."""
    async with serve_page() as origin:
        context = await world.browser.new_context()
        page = await context.new_page()
        await page.goto(origin)
        await page.evaluate(
            """() => {
                 window.connect = new AW4.Connect({ dragDropEnabled: true, minVersion: "4.0" });
                 window.latest = {};
                 window.heard = [];
                 connect.addEventListener("transfer", (_, { transfers }) => {
                   for (const info of transfers) {
                     latest[info.uuid] = info;
                     if (heard.at(-1) !== info.status) heard.push(info.status);
                   }
                 });
                 connect.initSession();
               }"""
        )
        await page.wait_for_function("connect.getStatus() === 'RUNNING'", timeout=WAIT_MS)
        yield page
        await context.close()


async def together(call: Awaitable[Any], *user: Awaitable[Any]) -> Any:
    """Await a call of the page while the user answers what it leads to; returns the call's answer."""
    answer, *_ = await asyncio.gather(call, *user)
    return answer


async def ask(page: Page, call: str, argument: Any = None) -> dict[str, Any]:
    """Await a promise in the page: {"value": ...} or {"error": what it was rejected with}."""
    answer: dict[str, Any] = await page.evaluate(
        f"(given) => {call}.then((value) => ({{ value }}), (error) => ({{ error }}))", argument
    )
    return answer


async def start(page: Page, spec: dict[str, Any], settings: dict[str, Any] | None = None) -> dict[str, Any]:
    return await ask(page, "connect.startTransferPromise(...given)", [spec, settings or {}])


def uuid_of(answer: dict[str, Any]) -> str:
    return str(answer["value"]["transfer_specs"][0]["uuid"])


async def until(page: Page, uuid: str, status: str) -> dict[str, Any]:
    """Wait until the page heard that the transfer has this status; returns what it heard."""
    await page.wait_for_function(
        "([uuid, status]) => latest[uuid]?.status === status", arg=[uuid, status], timeout=WAIT_MS
    )
    info: dict[str, Any] = await page.evaluate("uuid => latest[uuid]", uuid)
    return info


def local_file(world: World, name: str, size: int) -> Path:
    path = world.helper.user_home / name
    path.write_bytes(os.urandom(size))
    return path


async def pick(page: Page, person: AtThePages, path: Path) -> str:
    dialog = ask(page, "connect.showSelectFileDialogPromise()")
    answer = await together(dialog, person.choose(path))
    return str(answer["value"]["dataTransfer"]["files"][0]["name"])


async def test_a_picked_file_arrives_whole_and_the_page_sees_it_finish(
    world: World, page: Page, person: AtThePages
) -> None:
    source = local_file(world, "film.bin", 5 * MIB)
    name = await pick(page, person, source)
    assert name == str(source)
    spec = world.spec("send", {"source": name}, destination_root=str(world.server.root))
    answer = await together(start(page, spec), person.allow())
    info = await until(page, uuid_of(answer), "completed")
    assert (world.server.root / "film.bin").read_bytes() == source.read_bytes()
    assert (info["bytes_written"], info["percentage"], info["error_code"]) == (5 * MIB, 1, 0)
    assert info["aspera_connect_settings"]["back_link"].startswith("http://127.0.0.1:")
    heard = await page.evaluate("heard")
    assert heard[-1] == "completed"
    found = await ask(page, "connect.getTransfer(given)", uuid_of(answer))
    assert found["value"]["transfer_info"]["status"] == "completed"
    await ask(page, "connect.removeTransfer(given)", uuid_of(answer))
    await until(page, uuid_of(answer), "removed")


async def test_a_download_goes_into_the_folder_the_user_chose(
    world: World, page: Page, person: AtThePages
) -> None:
    content = os.urandom(3 * MIB)
    (world.server.root / "from far.bin").write_bytes(content)
    folder = world.helper.user_home / "Chosen"
    folder.mkdir()
    dialog = ask(page, "connect.showSelectFolderDialogPromise({ allowMultipleSelection: false })")
    chosen = await together(dialog, person.choose(folder))
    into = chosen["value"]["dataTransfer"]["files"][0]["name"]
    spec = world.spec("receive", {"source": str(world.server.root / "from far.bin")}, destination_root=into)
    settings = {"use_absolute_destination_path": True, "return_files": False}
    answer = await together(start(page, spec, settings), person.allow())
    info = await until(page, uuid_of(answer), "completed")
    assert (folder / "from far.bin").read_bytes() == content
    assert "files" not in info


async def test_a_transfer_is_stopped_and_resumed_by_the_page(
    world: World, page: Page, person: AtThePages
) -> None:
    source = local_file(world, "long.bin", 8 * MIB)
    name = await pick(page, person, source)
    spec = world.spec(
        "send", {"source": name}, destination_root=str(world.server.root), target_rate_kbps=4000
    )
    uuid = uuid_of(await together(start(page, spec), person.allow(always=True)))
    await page.wait_for_function("uuid => latest[uuid]?.bytes_written > 0", arg=uuid, timeout=WAIT_MS)
    assert await ask(page, "connect.stopTransfer(given)", uuid) == {"value": {}}
    await until(page, uuid, "cancelled")
    assert not (world.server.root / "long.bin").exists()
    resumed = await ask(page, "connect.resumeTransfer(given)", uuid)
    assert resumed["value"]["transfer_spec"]["uuid"] == uuid
    await until(page, uuid, "running")
    assert "error" not in await ask(page, "connect.modifyTransfer(given, { target_rate_kbps: 800000 })", uuid)
    await until(page, uuid, "completed")
    assert (world.server.root / "long.bin").read_bytes() == source.read_bytes()


async def test_the_page_reads_what_it_was_given_and_nothing_else(
    world: World, page: Page, person: AtThePages
) -> None:
    source = local_file(world, "small.bin", 1000)
    secret = local_file(world, "secret.bin", 10)
    name = await pick(page, person, source)
    whole = await ask(page, "connect.readAsArrayBuffer({ path: given })", name)
    chunk = await ask(page, "connect.readChunkAsArrayBuffer({ path: given, offset: 0, chunkSize: 7 })", name)
    digest = await ask(page, "connect.getChecksum({ path: given, checksumMethod: 'sha256' })", name)
    refused = await ask(page, "connect.readAsArrayBuffer({ path: given })", str(secret))
    assert base64.b64decode(whole["value"]["data"]) == source.read_bytes()
    assert base64.b64decode(chunk["value"]["data"]) == source.read_bytes()[:7]
    assert digest["value"]["checksum"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert refused["error"]["error"]["code"] == 403


async def test_a_refusal_and_a_cancelled_dialog_reach_the_page(
    world: World, page: Page, person: AtThePages
) -> None:
    cancelled = await together(ask(page, "connect.showSaveFileDialogPromise()"), person.cancel())
    assert cancelled == {"value": {"dataTransfer": {"files": []}}}
    spec = world.spec("receive", {"source": "/etc/hostname"})
    refused = await together(start(page, spec), person.deny())
    assert refused["error"]["error"]["code"] == 403
    assert refused["error"]["error"]["user_message"]


async def test_a_dropped_file_is_found_by_the_user_and_can_be_sent(
    world: World, page: Page, person: AtThePages
) -> None:
    source = local_file(world, "dropped.bin", 4321)
    drop = page.evaluate(
        """({ name, size, lastModified }) => new Promise((resolve) => {
             connect.setDragDropTargets("#target", {}, ({ files, error }) => resolve(files ?? error));
             const bag = new DataTransfer();
             bag.items.add(new File([new Uint8Array(size)], name, { lastModified }));
             const event = new DragEvent("drop", { dataTransfer: bag, bubbles: true, cancelable: true });
             document.querySelector("#target").dispatchEvent(event);
           })""",
        {"name": source.name, "size": 4321, "lastModified": int(source.stat().st_mtime * 1000)},
    )
    files = (await together(drop, person.choose(source)))["dataTransfer"]["files"]
    assert [(file["name"], file["size"]) for file in files] == [(str(source), 4321)]


async def test_a_helper_that_was_killed_is_found_again_and_knows_the_transfers(
    world: World, page: Page, person: AtThePages
) -> None:
    (world.server.root / "before.bin").write_bytes(b"before the kill")
    spec = world.spec("receive", {"source": str(world.server.root / "before.bin")})
    uuid = uuid_of(await together(start(page, spec), person.allow()))
    await until(page, uuid, "completed")
    await world.helper.kill()
    await page.wait_for_function("connect.getStatus() === 'RETRYING'", timeout=WAIT_MS)
    waiting = asyncio.create_task(ask(page, "connect.getTransfer(given)", uuid), name="asked meanwhile")
    await world.helper.start()
    answer = await waiting
    assert answer["value"]["transfer_info"]["status"] == "completed"
    assert await page.evaluate("connect.getStatus()") == "RUNNING"
