"""What a hostile page can do in a real browser: nothing happens, nothing leaks.

Each attack must have reached the helper and been refused by it (the browser saw the answer's status), and
afterwards no window was opened, no transfer exists and no file moved. The last tests show that the same
requests, made by a page the user agreed to, do have an effect: so the absence of one means something.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.helper import Helper
from tests.support.hostile import Answers, fetch, serve_empty_pages
from tests.support.official import OfficialPage, World
from tests.support.person import AtThePages

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE_NAMES = ("rebind.example", "*.evil.example")
SECRET = "the content of a file nobody but the first page was given"


@dataclass(frozen=True, slots=True)
class Scene:
    """A helper, a page the user trusts with one file and one server, and a hostile one."""

    world: World
    victim: OfficialPage  # finished one upload
    granted: Path  # the file the user gave to the victim
    transfer_id: str
    hostile_origin: str

    @property
    def helper(self) -> Helper:
        return self.world.helper

    def spec(self) -> dict[str, Any]:
        """A start that the user agreed to, had the victim made it."""
        stolen = str(self.world.server.root / "stolen")
        return self.world.spec(
            "send", {"source": str(self.granted)}, destination_root=stolen, create_dir=True
        )

    def start_body(self) -> str:
        """The body of the start call, with the victim's app_id."""
        settings = {"app_id": self.victim.app_id}
        return json.dumps(
            {"transfer_specs": [{"transfer_spec": self.spec()}], "aspera_connect_settings": settings}
        )

    def url(self, path: str) -> str:
        return f"{self.helper.base_url}/v5/connect/{path}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        home = tmp_path_factory.mktemp("home")
        world = await stack.enter_async_context(World.running(home, hosts=HOSTILE_NAMES))
        hostile_origin = await stack.enter_async_context(serve_empty_pages())
        victim = await stack.enter_async_context(world.page())
        granted = world.helper.user_home / "diary.txt"
        granted.write_text(SECRET)
        person = AtThePages(world.helper, world.browser)
        await asyncio.gather(victim.callbacks("showSelectFileDialog", {}, position=0), person.choose(granted))
        spec = world.spec("send", {"source": str(granted)}, destination_root=str(world.server.root))
        request_id = await victim.start(spec)
        await person.allow(always=True)
        info = await victim.status(request_id, "completed", "failed")
        assert info["status"] == "completed", info["error_desc"]
        yield Scene(world, victim, granted, info["uuid"], hostile_origin)


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_happens(scene: Scene) -> AsyncIterator[None]:
    """Afterwards all is as it was: windows, files at both ends, and what the victim sees of its transfers."""
    before = await _state(scene)
    yield
    assert await _state(scene) == before


async def _state(scene: Scene) -> dict[str, Any]:
    listed = await scene.victim.callbacks("getAllTransfers", 0, position=0)
    ignored = {"iteration_token"}
    return {
        "windows": scene.helper.addresses(),
        "server": sorted(str(path) for path in scene.world.server.root.rglob("*")),
        "downloads": sorted(str(path) for path in scene.helper.downloads.rglob("*")),
        "transfers": {key: value for key, value in listed["value"].items() if key not in ignored},
    }


@pytest_asyncio.fixture(loop_scope="module")
async def hostile(scene: Scene) -> AsyncIterator[Page]:
    """An empty page on another origin than the victim's."""
    context = await scene.world.browser.new_context()
    page = await context.new_page()
    await page.goto(scene.hostile_origin)
    yield page
    await context.close()


def assert_no_leak(scene: Scene, *texts: str) -> None:
    for text in texts:
        for secret in (
            SECRET,
            scene.granted.name,
            scene.transfer_id,
            scene.world.server.client_key.splitlines()[1],
        ):
            assert secret not in text


# Requests no script of a page made ---------------------------------------------------------------


@pytest.mark.usefixtures("nothing_happens")
async def test_a_form_that_posts_a_start_is_refused(scene: Scene, hostile: Page) -> None:
    answers = await Answers.watched(scene.helper.base_url, hostile)
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
        [scene.url("transfers/start"), scene.start_body()],
    )
    assert await answers.of(1) == [("/v5/connect/transfers/start", 403)]


@pytest.mark.usefixtures("nothing_happens")
async def test_images_frames_and_scripts_open_no_window(scene: Scene, hostile: Page) -> None:
    answers = await Answers.watched(scene.helper.base_url, hostile)
    paths = ["windows/about", "windows/preferences", "windows/transfer-manager"]
    await hostile.evaluate(
        """([image, frame, script]) => {
          for (const [tag, source] of [["img", image], ["iframe", frame], ["script", script]]) {
            const element = document.createElement(tag);
            element.src = source;
            document.body.append(element);
          }
        }""",
        [scene.url(path) for path in paths],
    )
    assert await answers.of(3) == [(f"/v5/connect/{path}", 403) for path in sorted(paths)]


@pytest.mark.usefixtures("nothing_happens")
async def test_a_link_into_the_helper_shows_nothing(scene: Scene, hostile: Page) -> None:
    answer = await hostile.goto(scene.url(f"windows/finder/{scene.transfer_id}"))
    assert answer is not None
    assert answer.status == 403
    assert_no_leak(scene, await answer.text())


@pytest.mark.usefixtures("nothing_happens")
async def test_a_no_cors_fetch_does_nothing_and_sees_nothing(scene: Scene, hostile: Page) -> None:
    answers = await Answers.watched(scene.helper.base_url, hostile)
    dialog = scene.url("windows/select-open-file-dialog/")
    for url, body in [
        (scene.url("transfers/start"), scene.start_body()),
        (dialog, json.dumps({"aspera_connect_settings": {"app_id": scene.victim.app_id}})),
        (scene.url("windows/about"), None),
    ]:
        seen = await fetch(hostile, url, body, mode="no-cors")
        # The browser hides the answer, or (Cross-Origin-Resource-Policy) does not even let it in.
        assert seen.get("type") == "opaque" or "failed" in seen
    assert [status for _, status in await answers.of(3)] == [403, 403, 403]


@pytest.mark.usefixtures("nothing_happens")
async def test_a_beacon_starts_nothing(scene: Scene, hostile: Page) -> None:
    answers = await Answers.watched(scene.helper.base_url, hostile)
    sent = await hostile.evaluate(
        "([url, body]) => navigator.sendBeacon(url, body)", [scene.url("transfers/start"), scene.start_body()]
    )
    assert sent
    assert await answers.of(1) == [("/v5/connect/transfers/start", 403)]


@pytest.mark.usefixtures("nothing_happens")
async def test_a_web_socket_is_not_opened(scene: Scene, hostile: Page) -> None:
    for path in ("/", "/v5/connect/transfers/activity", "/v5/connect/info/ping"):
        address = scene.helper.base_url.replace("http", "ws") + path
        ended = await hostile.evaluate(
            """(address) => new Promise((resolve) => {
              const socket = new WebSocket(address);
              socket.onopen = () => resolve("open");
              socket.onclose = () => resolve("closed");
            })""",
            address,
        )
        assert ended == "closed"


# Scripts of a page with an origin of its own -----------------------------------------------------


@pytest.mark.usefixtures("nothing_happens")
async def test_another_origin_gains_nothing_by_the_first_ones_app_id_and_path(
    scene: Scene, hostile: Page
) -> None:
    settings = {"aspera_connect_settings": {"app_id": scene.victim.app_id}}
    path = {**settings, "path": str(scene.granted)}
    attempts: list[tuple[str, dict[str, Any] | str, int]] = [
        ("transfers/start", scene.start_body(), 403),
        ("file/read-as-array-buffer/", path, 403),
        ("file/read-chunk-as-array-buffer/", {**path, "offset": 0, "chunkSize": 10}, 403),
        ("file/checksum/", {**path, "checksumMethod": "md5"}, 403),
        (f"transfers/info/{scene.transfer_id}", settings, 404),
        (f"transfers/stop/{scene.transfer_id}", settings, 404),
        (f"transfers/resume/{scene.transfer_id}", settings, 404),
        (f"transfers/modify/{scene.transfer_id}", {**settings, "target_rate_kbps": 100}, 404),
        (f"transfers/remove/{scene.transfer_id}", settings, 404),
    ]
    for route, body, status in attempts:
        seen = await fetch(hostile, scene.url(route), body if isinstance(body, str) else json.dumps(body))
        assert (route, seen["status"]) == (route, status)
        assert_no_leak(scene, seen["text"])


@pytest.mark.usefixtures("nothing_happens")
async def test_another_origin_is_told_of_no_transfer(scene: Scene, hostile: Page) -> None:
    settings = {"aspera_connect_settings": {"app_id": scene.victim.app_id}, "iteration_token": 0}
    seen = await fetch(hostile, scene.url("transfers/activity"), json.dumps(settings))
    assert json.loads(seen["text"])["transfers"] == []
    assert_no_leak(scene, seen["text"])


@pytest.mark.usefixtures("nothing_happens")
async def test_an_unknown_id_and_a_foreign_one_read_alike(scene: Scene, hostile: Page) -> None:
    body = json.dumps({"aspera_connect_settings": {"app_id": scene.victim.app_id}})
    foreign = await fetch(hostile, scene.url(f"transfers/info/{scene.transfer_id}"), body)
    unknown = await fetch(hostile, scene.url("transfers/info/7b0c1f3e-2a11-4c0e-8a55-0a8f6f1c9e10"), body)
    assert foreign["text"].replace(scene.transfer_id, "ID") == unknown["text"].replace(
        "7b0c1f3e-2a11-4c0e-8a55-0a8f6f1c9e10", "ID"
    )


@pytest.mark.usefixtures("nothing_happens")
async def test_a_look_alike_origin_is_another_origin(scene: Scene, hostile: Page) -> None:
    port = scene.victim.origin.rsplit(":", 1)[1]
    await hostile.goto(f"http://127.0.0.1.evil.example:{port}/page.js")
    body = json.dumps(
        {"aspera_connect_settings": {"app_id": scene.victim.app_id}, "path": str(scene.granted)}
    )
    seen = await fetch(hostile, scene.url("file/read-as-array-buffer/"), body)
    assert seen["status"] == 403
    assert_no_leak(scene, seen["text"])


@pytest.mark.usefixtures("nothing_happens")
async def test_a_frame_without_an_origin_can_only_ping(scene: Scene, hostile: Page) -> None:
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
    assert (await fetch(frame, scene.url("info/ping")))["status"] == 200
    settings = json.dumps({"aspera_connect_settings": {"app_id": scene.victim.app_id}})
    for route, body in [
        ("windows/about", None),
        ("windows/select-open-file-dialog/", settings),
        ("transfers/start", scene.start_body()),
    ]:
        assert (route, (await fetch(frame, scene.url(route), body))["status"]) == (route, 403)


# DNS rebinding -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_happens")
async def test_a_name_that_leads_here_is_not_served(scene: Scene, hostile: Page) -> None:
    there = f"http://rebind.example:{scene.helper.port}"
    answer = await hostile.goto(f"{there}/v5/connect/info/version")
    assert answer is not None
    assert answer.status == 421
    # Now the page's origin is the helper's own address under the hostile name: same-origin, no CORS.
    seen = await fetch(hostile, f"{there}/v5/connect/transfers/start", scene.start_body())
    assert seen["status"] == 421
    assert_no_leak(scene, seen["text"])


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("name", ["rebind.example", "127.0.0.1.evil.example", "localhost.", "[::1]", ""])
async def test_a_foreign_host_header_is_refused_before_anything_else(scene: Scene, name: str) -> None:
    host = f"{name}:{scene.helper.port}" if name else ""
    async with (
        aiohttp.ClientSession() as session,
        session.post(scene.url("transfers/start"), data=scene.start_body(), headers={"Host": host}) as answer,
    ):
        assert answer.status in (400, 421)
        assert "Access-Control-Allow-Origin" not in answer.headers


# Proof that the requests above can have an effect ------------------------------------------------


async def test_the_page_the_user_agreed_to_opens_windows_and_starts_transfers(scene: Scene) -> None:
    page = scene.victim.page
    opened = len(scene.helper.addresses())
    assert (await fetch(page, scene.url("windows/about")))["status"] == 200
    await scene.helper.opened("about")
    assert len(scene.helper.addresses()) == opened + 1

    request_id = await scene.victim.start(scene.spec())
    info = await scene.victim.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    assert (scene.world.server.root / "stolen" / scene.granted.name).read_text() == SECRET
