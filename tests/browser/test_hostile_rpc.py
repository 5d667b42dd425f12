"""What a hostile page can do to the desktop face in a real browser: nothing happens, nothing leaks.

As in test_hostile_page.py, attacks must have reached the helper; the last test makes the same calls from the
page the user agreed to, and they have an effect.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Frame, Page

from tests.support.hostile import Answers, fetch, serve_empty_pages
from tests.support.official import World
from tests.support.person import AtThePages
from tests.support.rpc_page import APP, RpcBrowserPage, rpc_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE_NAMES = ("rebind.example", "*.evil.example")
SECRET = "the content of a file nobody but the first page was given"
ADDRESS = "http://127.0.0.1:33024"


@dataclass(frozen=True, slots=True)
class Scene:
    """A helper, a page the user trusts with one file and one server, and a hostile one."""

    world: World
    victim: RpcBrowserPage  # finished one upload
    granted: Path  # the file the user gave to the victim
    transfer_id: str
    hostile_origin: str

    def call(self, method: str, **params: Any) -> str:
        """A call as the victim would make it."""
        named = {"app_id": APP, **params}
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": named})

    def start(self) -> str:
        """A start that the user agreed to, had the victim made it."""
        stolen = str(self.world.server.root / "stolen")
        spec = self.world.spec(
            "send", {"source": str(self.granted)}, destination_root=stolen, create_dir=True
        )
        return self.call("start_transfer", transfer_spec=spec, desktop_spec={})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        home = tmp_path_factory.mktemp("home")
        world = await stack.enter_async_context(World.running(home, hosts=HOSTILE_NAMES))
        hostile_origin = await stack.enter_async_context(serve_empty_pages())
        victim = await stack.enter_async_context(rpc_page(world))
        granted = world.helper.user_home / "diary.txt"
        granted.write_text(SECRET)
        person = AtThePages(world.helper, world.browser)
        await asyncio.gather(victim.call("show_file_dialog", options={}), person.choose(granted))
        spec = world.spec("send", {"source": str(granted)}, destination_root=str(world.server.root))
        started, _ = await asyncio.gather(
            victim.call("start_transfer", transfer_spec=spec, desktop_spec={}), person.allow(always=True)
        )
        ended = await victim.status(started["uuid"], "completed", "failed")
        assert ended["status"] == "completed", ended
        yield Scene(world, victim, granted, started["uuid"], hostile_origin)


@pytest_asyncio.fixture(loop_scope="module")
async def hostile(scene: Scene) -> AsyncIterator[Page]:
    """An empty page on another origin than the victim's."""
    context = await scene.world.browser.new_context()
    page = await context.new_page()
    await page.goto(scene.hostile_origin)
    yield page
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_happens(scene: Scene) -> AsyncIterator[None]:
    """Afterwards all is as it was: windows, files at both ends, and what the victim sees of its transfers."""
    before = await _state(scene)
    yield
    assert await _state(scene) == before


async def _state(scene: Scene) -> dict[str, Any]:
    return {
        "windows": scene.world.helper.addresses(),
        "server": sorted(str(path) for path in scene.world.server.root.rglob("*")),
        "downloads": sorted(str(path) for path in scene.world.helper.downloads.rglob("*")),
        "transfers": await scene.victim.call("get_all_transfers"),
    }


def assert_no_leak(scene: Scene, *texts: str) -> None:
    for text in texts:
        for secret in (SECRET, scene.granted.name, scene.transfer_id):
            assert secret not in text


RPC = """async ([url, body]) => {
  try {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(url, { method: "POST", body, headers });
    return { status: answer.status, text: await answer.text() };
  } catch (error) {
    return { failed: String(error) };
  }
}"""


async def rpc(page: Page | Frame, body: str, url: str = f"{ADDRESS}/") -> dict[str, Any]:
    """What a script in the page gets to see of the answer to a call made as the SDK makes it."""
    seen: dict[str, Any] = await page.evaluate(RPC, [url, body])
    return seen


SOCKET = """(appId) => new Promise((resolve) => {
  const came = [];
  window.came = came;
  const socket = new WebSocket("ws://127.0.0.1:33024/");
  socket.onopen = () => socket.send(JSON.stringify(
    { jsonrpc: "2.0", method: "subscribe_transfer_activity", params: [appId], id: 1 }));
  socket.onmessage = ({ data }) => { came.push(data); resolve("subscribed"); };
  socket.onclose = () => resolve("closed");
})"""


@pytest.mark.usefixtures("nothing_happens")
async def test_a_form_a_beacon_and_a_no_cors_fetch_start_nothing(scene: Scene, hostile: Page) -> None:
    answers = await Answers.watched(ADDRESS, hostile)
    seen = await fetch(hostile, f"{ADDRESS}/", scene.start(), mode="no-cors")
    assert seen.get("type") == "opaque" or "failed" in seen
    assert await hostile.evaluate(
        "([url, body]) => navigator.sendBeacon(url, body)", [f"{ADDRESS}/", scene.start()]
    )
    await hostile.evaluate(
        """([url, body]) => {
          const form = document.createElement("form");
          Object.assign(form, { method: "post", action: url, enctype: "text/plain", target: "sink" });
          const field = document.createElement("input");
          const cut = body.indexOf(":") + 1;       // enctype text/plain sends name=value as it is
          field.name = body.slice(0, cut) + '"';
          field.value = '",' + body.slice(1);
          form.append(field);
          const frame = document.createElement("iframe");
          frame.name = "sink";
          document.body.append(frame, form);
          form.submit();
        }""",
        [f"{ADDRESS}/", scene.start()],
    )
    assert await answers.of(3) == [("/", 403)] * 3


@pytest.mark.usefixtures("nothing_happens")
async def test_text_that_needs_no_preflight_is_no_call(scene: Scene, hostile: Page) -> None:
    for call in (scene.start(), scene.call("show_about"), scene.call("show_file_dialog", options={})):
        seen = await fetch(hostile, f"{ADDRESS}/", call)
        assert json.loads(seen["text"])["error"]["code"] == -32600
        assert_no_leak(scene, seen["text"])


@pytest.mark.usefixtures("nothing_happens")
async def test_another_origin_gains_nothing_by_the_first_ones_app_id_path_and_id(
    scene: Scene, hostile: Page
) -> None:
    path = {"request": {"path": str(scene.granted), "offset": 0, "chunkSize": 10}}
    named = {"transfer_id": scene.transfer_id, "transfer_spec": {"target_rate_kbps": 100}}
    attempts = [
        (scene.start(), -32004),
        *((scene.call(method, **path), -32004) for method in (
            "read_as_array_buffer", "read_chunk_as_array_buffer", "get_checksum", "read_directory")),
        *((scene.call(method, **named), -32001) for method in (
            "get_transfer", "get_files_list", "stop_transfer", "resume_transfer", "modify_transfer",
            "remove_transfer", "show_directory", "show_transfer_monitor")),
    ]  # fmt: skip
    for call, code in attempts:
        seen = await rpc(hostile, call)
        assert (json.loads(call)["method"], seen["status"]) == (json.loads(call)["method"], 200)
        assert json.loads(seen["text"])["error"]["code"] == code, call
        assert_no_leak(scene, seen["text"])
    seen = await rpc(hostile, scene.call("get_all_transfers"))
    assert json.loads(seen["text"])["result"] == []


async def test_a_socket_of_another_origin_is_told_of_no_transfer(scene: Scene, hostile: Page) -> None:
    assert await hostile.evaluate(SOCKET, APP) == "subscribed"
    spec = scene.world.spec(
        "send", {"source": str(scene.granted)}, destination_root=str(scene.world.server.root)
    )
    started = await scene.victim.call("start_transfer", transfer_spec=spec, desktop_spec={})
    await scene.victim.status(started["uuid"], "completed")
    came = await hostile.evaluate("window.came")
    assert [json.loads(one)["id"] for one in came] == [1]
    assert_no_leak(scene, *came)


@pytest.mark.usefixtures("nothing_happens")
async def test_a_frame_without_an_origin_gets_no_socket_and_owns_nothing(scene: Scene, hostile: Page) -> None:
    await hostile.evaluate(
        """() => new Promise((resolve) => {
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts";
          frame.srcdoc = "<p>sandboxed";
          frame.onload = resolve;
          document.body.append(frame);
        })"""
    )
    frame = hostile.frames[1]
    assert await frame.evaluate(SOCKET, APP) == "closed"
    for call in (scene.call("get_all_transfers"), scene.call("show_about"), scene.start()):
        assert json.loads((await rpc(frame, call))["text"])["error"]["code"] == -32600


@pytest.mark.usefixtures("nothing_happens")
async def test_a_name_that_leads_here_is_not_served(scene: Scene, hostile: Page) -> None:
    there = "http://rebind.example:33024"
    answer = await hostile.goto(f"{there}/")
    assert answer is not None
    assert answer.status == 421
    # Now the page's origin is this address under the hostile name: same-origin, no CORS, no preflight.
    seen = await rpc(hostile, scene.start(), f"{there}/")
    assert seen["status"] == 421
    socket = SOCKET.replace("127.0.0.1", "rebind.example")
    assert await hostile.evaluate(socket, APP) == "closed"


async def test_the_page_the_user_agreed_to_opens_windows_and_starts_transfers(scene: Scene) -> None:
    page = scene.victim.page
    opened = len(scene.world.helper.addresses())
    assert json.loads((await rpc(page, scene.call("show_about")))["text"])["result"] is None
    await scene.world.helper.opened("about")
    assert len(scene.world.helper.addresses()) == opened + 1
    started = json.loads((await rpc(page, scene.start()))["text"])["result"]
    assert (await scene.victim.status(started["uuid"], "completed", "failed"))["status"] == "completed"
    assert (scene.world.server.root / "stolen" / scene.granted.name).read_text() == SECRET
