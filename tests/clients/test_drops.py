"""Files dragged from a file manager onto a page, by hand: the system shows the drag, and nothing is asked.

Real windows on a virtual screen; the official SDK and our own script in the same page, once more behind the
extension, and a page of the desktop protocol.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page

from connect_helper.settings import web_folder
from tests.support.desktop import Desktop, Spot
from tests.support.extension import ExtensionBrowser
from tests.support.file_manager import FileManager
from tests.support.official import SDK, OfficialPage, World, serve_site
from tests.support.person import AtTheDesktop
from tests.support.rpc_page import RpcBrowserPage, rpc_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN_SCRIPT = web_folder() / "sdk" / "connect.js"
TAKE_DROPS = """() => {
  window.drops = [];
  window.felt = null;
  const target = document.querySelector("#target");
  target.addEventListener("dragover", ({ screenX, screenY }) => (window.felt = [screenX, screenY]));
  target.addEventListener("drop", (event) => {
    window.told = Array.from(event.dataTransfer.files, (file) => file.name);
  });
  client.connect.setDragDropTargets("#target", { drop: true }, (result) => window.drops.push(result));
}"""
TAKE_DROPS_BY_RPC = """() => {
  window.felt = null;
  const target = document.querySelector("#target");
  target.addEventListener("dragover", ({ screenX, screenY }) => (window.felt = [screenX, screenY]));
  client.watchDrops();
}"""
MIDDLE = """() => {
  const box = document.querySelector("#target").getBoundingClientRect();
  const border = (outerWidth - innerWidth) / 2;
  const above = outerHeight - innerHeight - border;
  return [screenX + border + box.x + box.width / 2, screenY + above + box.y + box.height / 2];
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(desktop: Desktop, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A helper and a browser on one desktop. The user's home is on tmpfs, where there is one."""
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path_factory.mktemp("disk")
    with tempfile.TemporaryDirectory(dir=memory) as home:
        async with World.running(Path(home), display=desktop.display, headless=False) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module", params=[SDK, OWN_SCRIPT], ids=["official", "own"])
async def page(world: World, request: pytest.FixtureRequest) -> AsyncIterator[OfficialPage]:
    async with world.page(request.param, no_viewport=True) as opened:
        await opened.page.evaluate(TAKE_DROPS)
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def rpc(world: World) -> AsyncIterator[RpcBrowserPage]:
    async with rpc_page(world, no_viewport=True) as opened:
        await opened.page.evaluate(TAKE_DROPS_BY_RPC)
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def behind_extension(world: World, desktop: Desktop) -> AsyncIterator[OfficialPage]:
    """A page in its default set-up, in a browser whose extension is paired."""
    async with (
        serve_site() as site,
        ExtensionBrowser.running(world.helper, public=[site], display=desktop.display) as chromium,
    ):
        await chromium.pair(AtTheDesktop(desktop, chromium.origin))
        async with chromium.page(site) as opened:
            await opened.page.evaluate(TAKE_DROPS)
            yield opened


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """What the file manager shows."""
    folder = tmp_path / f"to drag {tmp_path.name}"
    folder.mkdir()
    return folder


async def drag(desktop: Desktop, page: OfficialPage, folder: Path, *, everything: bool = False) -> None:
    """Drag the first thing in `folder` onto the page, or everything that is in it."""
    home = folder.with_name("file manager")
    async with FileManager.showing(desktop, folder, home) as manager:
        if everything:
            await manager.select_all()
        await drop(desktop, manager.first_icon, page.page)
        await page.until("window.drops.length > 0")


async def middle(page: Page) -> Spot:
    x, y = await page.evaluate(MIDDLE)
    return Spot(round(x), round(y))


async def drop(desktop: Desktop, start: Spot, page: Page) -> None:
    """Drag what is at `start` onto the page, which has to note where it feels it."""

    async def is_over() -> bool:
        return bool(await page.evaluate("window.felt"))

    async def feels(at: Spot) -> None:
        await page.wait_for_function("at => String(window.felt) === String(at)", arg=list(at))

    await desktop.drag(start, await middle(page), is_over, felt=feels)


async def drag_to_rpc(desktop: Desktop, rpc: RpcBrowserPage, folder: Path) -> list[dict[str, Any]]:
    """Drag the first thing in `folder` onto a page of the desktop protocol; what it is given."""
    await rpc.page.evaluate("window.felt = null; window.dropped = null")
    async with FileManager.showing(desktop, folder, folder.with_name("file manager")) as manager:
        await drop(desktop, manager.first_icon, rpc.page)
        await rpc.page.wait_for_function("window.dropped")
    answer = await rpc.page.evaluate("window.dropped")
    files: list[dict[str, Any]] = answer["value"]["dataTransfer"]["files"]
    return files


async def dropped(page: OfficialPage) -> list[dict[str, Any]]:
    """What the page was given for its last drop."""
    await page.until("window.drops.length > 0")
    files: list[dict[str, Any]] = await page.page.evaluate("drops.at(-1).files.dataTransfer.files")
    return files


async def send(world: World, page: OfficialPage, person: AtTheDesktop, paths: list[str], to: str) -> None:
    target = world.server.root / to
    target.mkdir()
    spec = world.spec("send", *({"source": path} for path in paths), destination_root=str(target))
    request_id = await page.start(spec)
    await person.allow()
    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]


async def test_a_dragged_file_is_given_at_once_and_goes_up(
    world: World, desktop: Desktop, page: OfficialPage, folder: Path
) -> None:
    content = os.urandom(734_003)
    source = folder / "scan 1 ü.tif"
    source.write_bytes(content)
    await drag(desktop, page, folder)
    (file,) = await dropped(page)
    assert (file["name"], file["size"], file["type"]) == (str(source), len(content), "image/tiff")

    await send(world, page, AtTheDesktop(desktop, page.origin), [file["name"]], folder.parent.name)
    assert (world.server.root / folder.parent.name / source.name).read_bytes() == content


async def test_three_dragged_files_are_given_in_the_order_of_the_page(
    world: World, desktop: Desktop, page: OfficialPage, folder: Path
) -> None:
    contents = {f"{name}.bin": os.urandom(size) for name, size in (("a", 10), ("b", 200_000), ("c", 0))}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    await drag(desktop, page, folder, everything=True)
    files = await dropped(page)
    assert sorted(file["name"] for file in files) == [str(folder / name) for name in contents]
    assert [Path(file["name"]).name for file in files] == await page.page.evaluate("window.told")

    paths = [file["name"] for file in files]
    await send(world, page, AtTheDesktop(desktop, page.origin), paths, folder.parent.name)
    for name, content in contents.items():
        assert (world.server.root / folder.parent.name / name).read_bytes() == content


async def test_a_dragged_folder_is_given_with_all_that_is_in_it(
    world: World, desktop: Desktop, page: OfficialPage, folder: Path
) -> None:
    holiday = folder / "holiday.2026"
    (holiday / "day 1").mkdir(parents=True)
    (holiday / "day 1" / "beach.jpg").write_bytes(b"sand")
    (holiday / "notes").write_text("warm")
    await drag(desktop, page, folder)
    (given,) = await dropped(page)
    assert (given["name"], given["type"]) == (str(holiday), "inode/directory")

    await send(world, page, AtTheDesktop(desktop, page.origin), [given["name"]], folder.parent.name)
    arrived = world.server.root / folder.parent.name / holiday.name
    assert (arrived / "day 1" / "beach.jpg").read_bytes() == b"sand"
    assert (arrived / "notes").read_text() == "warm"


async def test_two_drags_one_after_the_other_are_both_given(
    desktop: Desktop, page: OfficialPage, folder: Path
) -> None:
    (folder / "twice.txt").write_text("twice")
    async with FileManager.showing(desktop, folder, folder.with_name("file manager")) as manager:
        for count in (1, 2):
            await page.page.evaluate("window.felt = null")
            await drop(desktop, manager.first_icon, page.page)
            await page.until("count => window.drops.length === count", count)
            assert [file["name"] for file in await dropped(page)] == [str(folder / "twice.txt")]


async def test_a_folder_on_a_file_system_without_blocks_is_given(
    world: World, desktop: Desktop, page: OfficialPage, tmp_path: Path
) -> None:
    folder = world.helper.user_home / f"to drag {tmp_path.name}"
    album = folder / "album.zip"  # of which browsers tell the type of an archive
    album.mkdir(parents=True)
    (album / "beach.jpg").write_bytes(b"sand")
    if folder.is_relative_to("/dev/shm"):
        assert album.stat().st_size % 4_096
    await drag(desktop, page, folder)
    (given,) = await dropped(page)
    assert (given["name"], given["type"]) == (str(album), "inode/directory")


# Other ways from the page to the helper -------------------------------------------------------------


async def test_a_file_dragged_onto_a_page_of_the_desktop_protocol_goes_up(
    world: World, desktop: Desktop, rpc: RpcBrowserPage, folder: Path
) -> None:
    content = os.urandom(734_003)
    source = folder / "scan 1 ü.tif"
    source.write_bytes(content)
    (file,) = await drag_to_rpc(desktop, rpc, folder)
    assert (file["name"], file["size"], file["type"]) == (str(source), len(content), "image/tiff")

    target = world.server.root / folder.parent.name
    spec = world.spec("send", {"source": file["name"]}, destination_root=str(target))
    started, _ = await asyncio.gather(
        rpc.call("start_transfer", transfer_spec=spec, desktop_spec={}),
        AtTheDesktop(desktop, rpc.origin).allow(),
    )
    ended = await rpc.status(started["uuid"], "completed", "failed")
    assert ended["status"] == "completed", ended
    assert (target / source.name).read_bytes() == content


async def test_a_file_dragged_onto_a_page_behind_the_extension_goes_up(
    world: World, desktop: Desktop, behind_extension: OfficialPage, folder: Path
) -> None:
    content = os.urandom(734_003)
    source = folder / "scan 1 ü.tif"
    source.write_bytes(content)
    page = behind_extension
    await drag(desktop, page, folder)
    (file,) = await dropped(page)
    assert (file["name"], file["size"], file["type"]) == (str(source), len(content), "image/tiff")

    await send(world, page, AtTheDesktop(desktop, page.origin), [file["name"]], folder.parent.name)
    assert (world.server.root / folder.parent.name / source.name).read_bytes() == content


# What is made up ------------------------------------------------------------------------------------


KEEP_QUIET = """() => {
  const target = document.querySelector("#target");
  const clean = target.cloneNode(true); // without the listeners that would tell of the drop
  target.replaceWith(clean);
  window.felt = null;
  window.fell = false;
  clean.addEventListener("dragover", (event) => {
    event.preventDefault();
    window.felt = [event.screenX, event.screenY];
  });
  clean.addEventListener("drop", (event) => { event.preventDefault(); window.fell = true; });
}"""
TELL = """(files) => new Promise((success, error) =>
  client.connect.getDroppedFiles({ dataTransfer: { files } }, { success, error }))"""


async def drag_untold(desktop: Desktop, page: OfficialPage, folder: Path) -> None:
    """Drag a file onto a page that keeps the drop to itself."""
    await page.page.evaluate(KEEP_QUIET)
    async with FileManager.showing(desktop, folder, folder.with_name("file manager")) as manager:
        await drop(desktop, manager.first_icon, page.page)
        await page.until("window.fell")


async def tell(page: OfficialPage, name: str, size: int) -> list[str]:
    """Tell the helper of a drop; returns the paths it gives."""
    answer = await page.page.evaluate(TELL, [{"name": name, "size": size, "type": ""}])
    return [file["name"] for file in answer["dataTransfer"]["files"]]


async def asked_about(desktop: Desktop, page: OfficialPage, telling: Awaitable[list[str]]) -> list[str]:
    """What telling of a drop gives when the user cancels the dialog that it has to lead to."""
    given, _ = await asyncio.gather(telling, AtTheDesktop(desktop, page.origin).cancel())
    return given


@pytest.fixture
def secret(folder: Path) -> Path:
    """A file beside the one that is dragged."""
    (folder / "a.txt").write_text("dragged")
    (folder / "secret.txt").write_text("secret")
    return folder / "secret.txt"


async def test_sec_12_other_names_than_those_dragged_lead_to_a_dialog(
    desktop: Desktop, page: OfficialPage, folder: Path, secret: Path
) -> None:
    await drag_untold(desktop, page, folder)
    assert await asked_about(desktop, page, tell(page, secret.name, 6)) == []


async def test_sec_12_a_drop_is_given_once(
    desktop: Desktop, page: OfficialPage, folder: Path, secret: Path
) -> None:
    await drag_untold(desktop, page, folder)
    assert await tell(page, "a.txt", 7) == [str(folder / "a.txt")]
    person = AtTheDesktop(desktop, page.origin)
    again = asyncio.create_task(tell(page, "a.txt", 7))
    await person.deny()  # it was found where the first one was, and is shown
    await person.cancel()
    assert await again == []


async def test_sec_12_a_drop_that_was_given_to_one_origin_is_not_given_to_another(
    desktop: Desktop, page: OfficialPage, folder: Path, secret: Path
) -> None:
    async with serve_site() as origin:
        other = OfficialPage(await page.page.context.new_page(), origin)
        await other.open()
        await page.page.bring_to_front()
        await drag_untold(desktop, page, folder)
        assert await tell(page, "a.txt", 7) == [str(folder / "a.txt")]
        assert await asked_about(desktop, other, tell(other, "a.txt", 7)) == []
        read = await other.callbacks("readAsArrayBuffer", {"path": str(folder / "a.txt")})
        assert read["error"]["error"]["code"] == 403


async def test_sec_12_a_drop_on_the_browser_is_not_given_to_another_program(
    world: World, desktop: Desktop, page: OfficialPage, folder: Path, secret: Path
) -> None:
    """The very words that the page could use, from a program that nothing was dropped on."""
    origin = "https://other.example"
    files = [{"name": "a.txt", "size": 7, "type": ""}]
    body = {"aspera_connect_settings": {"app_id": "x"}, "dataTransfer": {"files": files}}
    await drag_untold(desktop, page, folder)
    async with aiohttp.ClientSession(headers={"Origin": origin}) as session:
        telling = session.post(f"{world.helper.base_url}/v5/connect/file/dropped-files", json=body)
        answer, _ = await asyncio.gather(telling, AtTheDesktop(desktop, origin).cancel())
        assert await answer.json() == {"dataTransfer": {"files": []}}


async def test_sec_12_without_a_drag_the_user_is_asked(
    desktop: Desktop, page: OfficialPage, folder: Path, secret: Path
) -> None:
    assert await asked_about(desktop, page, tell(page, secret.name, 6)) == []


async def test_sec_12_a_page_cannot_fill_a_drag_of_its_own_with_paths(
    desktop: Desktop, page: OfficialPage, secret: Path
) -> None:
    await page.page.evaluate(KEEP_QUIET)
    await page.page.evaluate(
        """(address) => {
          const bait = document.createElement("div");
          bait.style = "width: 300px; height: 200px; background: gold";
          bait.draggable = true;
          bait.addEventListener("dragstart", (event) => {
            event.dataTransfer.setData("text/uri-list", address);
            event.dataTransfer.setData("text/plain", address);
          });
          document.body.append(bait);
        }""",
        secret.as_uri(),
    )
    target = await middle(page.page)
    await drop(desktop, Spot(target.x, target.y + 200), page.page)
    await page.until("window.fell")
    assert await asked_about(desktop, page, tell(page, secret.name, 6)) == []


async def test_a_page_that_outlives_the_helper_is_given_what_is_dragged_then(
    world: World, desktop: Desktop, rpc: RpcBrowserPage, folder: Path
) -> None:
    """The last test here: it ends the helper and starts it again."""
    (folder / "later.txt").write_text("later")
    await world.helper.stop()
    await rpc.page.wait_for_function("client.statuses.at(-1) === 'DISCONNECTED'")
    await world.helper.start()
    await rpc.page.wait_for_function("client.statuses.at(-1) === 'RUNNING'")
    (file,) = await drag_to_rpc(desktop, rpc, folder)
    assert file["name"] == str(folder / "later.txt")
