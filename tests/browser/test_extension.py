"""The browser extension in real Chromium, with the official SDK in pages that look for it by themselves.

The browser takes the pages for sites of the internet, so that without the extension it would ask the user
before they reach this computer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from connect_helper.api.extensions import PAGE_HEADER
from tests.support.browser import launch, screenshot
from tests.support.extension import WAIT_MS, ExtensionBrowser, code_in, enter_code, try_code
from tests.support.helper import Helper
from tests.support.impostor import Impostor
from tests.support.official import OfficialPage, World, serve_site
from tests.support.person import AtThePages
from tests.support.sshd import SshServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
PROVED_S = 2.5  # longer than a proof counts

# Speaks to the extension as the SDK does, with any words; the answers to one request, in order.
SPEAK = """
  (request) => new Promise((resolve) => {
    const answers = [];
    const listen = ({ data }) => {
      if (data.type !== "AsperaConnectResponse" || data.detail.request_id !== request.request_id) return;
      answers.push(data.detail);
      if (!("body64" in data.detail) || data.detail.complete) {
        removeEventListener("message", listen);
        resolve(answers);
      }
    };
    addEventListener("message", listen);
    document.dispatchEvent(new CustomEvent("AsperaConnectRequest", { detail: request }));
  })
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A helper, an SSH server, a browser whose extension is paired, and the user."""

    helper: Helper
    server: SshServer
    chromium: ExtensionBrowser
    browser: Browser  # the one the helper's own pages open in
    site: str
    other_site: str

    @property
    def person(self) -> AtThePages:
        return AtThePages(self.helper, self.browser)

    @property
    def world(self) -> World:
        return World(self.helper, self.browser, self.server)

    def file(self, name: str, content: bytes) -> Path:
        path = self.helper.user_home / name
        path.write_bytes(content)
        return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        site, other = [await stack.enter_async_context(serve_site()) for _ in range(2)]
        helper = await stack.enter_async_context(Helper.running(tmp_path_factory.mktemp("home")))
        browser = await stack.enter_async_context(launch())
        server = stack.enter_context(SshServer())
        chromium = await stack.enter_async_context(ExtensionBrowser.running(helper, public=[site, other]))
        made = Scene(helper, server, chromium, browser, site, other)
        await chromium.pair(made.person)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def unpaired(scene: Scene) -> AsyncIterator[ExtensionBrowser]:
    """Another browser, whose extension is new."""
    async with ExtensionBrowser.running(scene.helper, public=[scene.site]) as fresh:
        yield fresh


@pytest_asyncio.fixture(loop_scope="module")
async def page(scene: Scene) -> AsyncIterator[OfficialPage]:
    async with scene.chromium.page(scene.site) as opened:
        yield opened


async def speak(page: Page, method: str, uri: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    """One request in the words of the SDK; status and parsed body."""
    request = {"request_id": 7_000_001, "method": method, "uri_reference": uri, "min_version": "", **more}
    (answer,) = await page.evaluate(SPEAK, {**request, "body": "" if body is None else json.dumps(body)})
    return answer["status"], json.loads(answer["body"])


async def grant(page: OfficialPage, person: AtThePages, path: Path) -> str:
    answer, _ = await asyncio.gather(
        page.callbacks("showSelectFileDialog", {}, position=0), person.choose(path)
    )
    (file,) = answer["value"]["dataTransfer"]["files"]
    return str(file["name"])


# Pairing -----------------------------------------------------------------------------------------


async def test_pairing_takes_the_code_that_the_helper_shows(scene: Scene, unpaired: ExtensionBrowser) -> None:
    for scheme in ("light", "dark"):
        popup = await unpaired.popup(color_scheme=scheme)
        await expect(popup.get_by_role("heading", name="Not paired")).to_be_visible()
        await screenshot(popup, f"extension-popup-unpaired-{scheme}")
    window = await unpaired.pairing()
    await window.set_viewport_size({"width": 420, "height": 440})
    for scheme in ("light", "dark"):
        await window.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # a literal in a loop
        await screenshot(window, f"extension-pairing-{scheme}")
    question = await scene.person.allow(first=lambda text: enter_code(window, code_in(text).lower()))
    assert unpaired.origin in question
    await expect(window.get_by_role("heading", name="Paired")).to_be_visible()
    await screenshot(window, "extension-pairing-done")
    for scheme in ("light", "dark"):
        popup = await unpaired.popup(color_scheme=scheme)
        await expect(popup.get_by_role("heading", name="Paired and running")).to_be_visible()
        await screenshot(popup, f"extension-popup-paired-{scheme}")
    async with unpaired.page(scene.site):
        pass  # it is RUNNING


async def test_a_pairing_that_the_user_refuses_leaves_nothing(
    scene: Scene, unpaired: ExtensionBrowser
) -> None:
    window = await unpaired.pairing()
    await scene.person.deny()
    await expect(window.get_by_role("heading", name="Not paired")).to_be_visible()
    await screenshot(window, "extension-pairing-refused")
    assert await window.evaluate("chrome.storage.local.get()") == {}
    assert await window.locator("#code").is_hidden()


async def test_a_yes_in_the_helper_pairs_nothing_without_the_code(
    scene: Scene, unpaired: ExtensionBrowser
) -> None:
    pairings = scene.helper.home / "state" / "extensions.json"
    window = await unpaired.pairing()
    paired = pairings.read_text()
    await scene.person.allow()
    await try_code(window, "222-222")
    await expect(window.get_by_text("That is not the code.")).to_be_visible()
    await screenshot(window, "extension-pairing-wrong")
    for _ in range(2):
        await try_code(window, "222-222")
    await expect(window.get_by_role("heading", name="Not paired")).to_be_visible()
    assert await window.evaluate("chrome.storage.local.get()") == {}
    assert pairings.read_text() == paired


async def test_three_wrong_codes_take_the_question_away(scene: Scene, unpaired: ExtensionBrowser) -> None:
    window = await unpaired.pairing()
    asked = await scene.browser.new_page()
    await asked.goto(await scene.helper.opened("/ask/"))
    await asked.locator("#question").wait_for()
    for _ in range(3):
        await try_code(window, "222-222")
    await asked.locator("#over").wait_for()
    await asked.context.close()
    await expect(window.get_by_role("heading", name="Not paired")).to_be_visible()


async def test_who_only_holds_the_port_is_not_paired_with(scene: Scene, unpaired: ExtensionBrowser) -> None:
    async with helper_replaced(scene) as impostor:
        window = await unpaired.pairing()
        await impostor.told("/extension/pair")  # and it said yes at once
        for _ in range(3):
            await expect(window.locator("#code")).to_be_visible()
            await try_code(window, "222-222")
        await expect(window.get_by_role("heading", name="Not paired")).to_be_visible()
        assert await window.evaluate("chrome.storage.local.get()") == {}
        assert impostor.codes  # it knew the code, and had no window to show it in
        shown = await window.locator("body").inner_text()
        assert not [code for code in impostor.codes if code in shown]


async def test_closing_the_window_takes_the_question_away(scene: Scene, unpaired: ExtensionBrowser) -> None:
    window = await unpaired.pairing()
    asked = await scene.browser.new_page()
    await asked.goto(await scene.helper.opened("/ask/"))
    await asked.locator("#question").wait_for()
    await window.close()
    await asked.locator("#over").wait_for()
    await asked.context.close()


async def test_an_extension_that_is_not_paired_leaves_pages_alone(
    scene: Scene, unpaired: ExtensionBrowser
) -> None:
    before = scene.helper.addresses()
    async with unpaired.page(scene.site, status="EXTENSION_INSTALL") as page:
        await unpaired.badge("!")
        status, body = await speak(page.page, "POST", "/connect/windows/select-open-file-dialog/", {})
        assert status == 401
        assert "pair" in body["error"]["user_message"]
        assert scene.helper.addresses() == before
        await unpaired.pair(scene.person)  # and now the same page, without being loaded again
        await page.until("client.connect.getStatus() === 'RUNNING'")


# What pages are for ------------------------------------------------------------------------------


async def test_a_page_in_the_default_set_up_gets_running(page: OfficialPage) -> None:
    assert (await page.page.evaluate("client.statuses"))[-1] == "RUNNING"
    version = (await page.callbacks("version"))["value"]
    assert version == {"system_wide": False, "version": "4.2.13.820"}
    traffic = await page.page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert not [url for url in traffic if ":33" in url and "/v5/" in url]  # the page itself called nobody


async def test_a_file_goes_up_and_the_badge_counts_it(scene: Scene, page: OfficialPage) -> None:
    content = os.urandom(3 * MIB)
    source = await grant(page, scene.person, scene.file("film.bin", content))
    spec = scene.world.spec("send", {"source": source}, destination_root=str(scene.server.root))
    request_id = await page.start({**spec, "target_rate_kbps": 2_000})
    question = await scene.person.allow()
    assert page.origin in question
    assert "chrome-extension" not in question
    await page.status(request_id, "running")
    await scene.chromium.badge("1")
    popup = await scene.chromium.popup()
    await expect(popup.locator("#transfers")).to_have_text("One transfer runs.")
    await popup.close()
    transfer = (await page.info(request_id))["uuid"]
    await page.callbacks("modifyTransfer", transfer, {"target_rate_kbps": 1_000_000})
    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    assert (scene.server.root / "film.bin").read_bytes() == content
    await scene.chromium.badge("")


async def test_a_file_comes_down(scene: Scene, page: OfficialPage) -> None:
    content = os.urandom(MIB)
    remote = scene.server.root / "result.bin"
    remote.write_bytes(content)
    request_id = await page.start(scene.world.spec("receive", {"source": str(remote)}))
    await scene.person.allow()
    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    assert (scene.helper.downloads / "result.bin").read_bytes() == content


async def test_a_long_answer_comes_in_pieces(scene: Scene, page: OfficialPage) -> None:
    content = os.urandom(5 * MIB + 1)
    path = await grant(page, scene.person, scene.file("picture.bin", content))
    answer = await page.callbacks("readAsArrayBuffer", {"path": path})
    assert base64.b64decode(answer["value"]["data"]) == content
    settings = {"app_id": page.app_id}
    body = json.dumps({"path": path, "aspera_connect_settings": settings})
    read = "/connect/file/read-as-array-buffer/"
    request = {"request_id": 9, "method": "POST", "uri_reference": read, "body": body}
    pieces = await page.page.evaluate(SPEAK, request)
    assert len(pieces) > 10
    assert [piece["complete"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    whole = base64.b64decode("".join(piece["body64"] for piece in pieces))
    assert base64.b64decode(json.loads(whole)["data"]) == content


async def test_a_page_that_goes_away_takes_its_dialog_along(scene: Scene) -> None:
    async with scene.chromium.page(scene.site) as page:
        await page.page.evaluate("void client.connect.showSelectFileDialogPromise({})")
        picker = await scene.browser.new_page()
        await picker.goto(await scene.helper.opened("/pick/"))
        await picker.locator("#sheet").wait_for()
    await picker.locator("#over").wait_for()
    await picker.context.close()


async def test_a_dialog_is_closed_when_the_page_waits_no_longer(scene: Scene, page: OfficialPage) -> None:
    status, body = await speak(
        page.page, "POST", "/connect/windows/select-open-file-dialog/", {}, timeout=500
    )
    assert status == 408
    assert body["error"]["code"] == 408
    await scene.helper.opened("/pick/")


async def test_dialogs_left_open_by_one_site_keep_no_other_from_its_turn(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(scene.chromium.page(site))
            for site in (scene.site, scene.other_site)
        ]
        for _ in range(4):
            await first.page.evaluate("void client.connect.showSelectFileDialogPromise({})")
        opened = [await scene.helper.opened("/pick/") for _ in range(2)]
        spec = scene.world.spec("receive", {"source": str(scene.server.root / "nothing.bin")})
        request_id = await second.start(spec)
        question = await scene.person.allow()
        assert second.origin in question
        await second.status(request_id, "failed")
        await second.page.evaluate("void client.connect.showSelectFileDialogPromise({})")
        await scene.person.cancel()  # the second site's: it did not queue behind two of the first
        await scene.person.cancel_at(opened[0])
        await scene.helper.opened("/pick/")  # the first site's third


async def test_dialogs_left_open_keep_no_page_waiting(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        pages = [
            await stack.enter_async_context(scene.chromium.page(site))
            for site in (scene.site, scene.other_site)
        ]
        for page in pages:
            for _ in range(4):
                await page.page.evaluate("void client.connect.showSelectFileDialogPromise({})")
        opened = [await scene.helper.opened("/pick/") for _ in range(4)]
        for page in pages:
            assert "value" in await page.promise("version")
        await scene.person.cancel_at(opened[0])
        await scene.helper.opened("/pick/")  # the next one has its turn


# The helper goes and comes -----------------------------------------------------------------------


async def test_a_page_survives_the_helpers_end_and_nobody_else_gets_the_key(
    scene: Scene, page: OfficialPage
) -> None:
    port = scene.helper.port
    await scene.helper.stop()
    await page.until("client.statuses.includes('FAILED')")
    popup = await scene.chromium.popup(color_scheme="dark")
    await expect(popup.get_by_role("heading", name="The helper is not running")).to_be_visible()
    await screenshot(popup, "extension-popup-stopped-dark")
    async with Impostor.at(port) as impostor:
        await expect(popup.get_by_role("heading", name="Not paired")).to_be_visible(timeout=WAIT_MS)
        await impostor.told("/extension/hello")
    secret = (await popup.evaluate("chrome.storage.local.get()"))["pairing"]["secret"]
    assert not [call for call in impostor.calls if secret in call.everything]
    assert {call.path for call in impostor.calls} <= {"/extension/hello", "/v5/connect/info/ping"}
    await scene.helper.start()
    await page.until("client.connect.getStatus() === 'RUNNING'")
    await expect(popup.get_by_role("heading", name="Paired and running")).to_be_visible()
    await popup.close()
    assert "value" in await page.promise("version")
    assert "value" in await page.callbacks("getAllTransfers", 0, position=0)


@asynccontextmanager
async def helper_replaced(scene: Scene) -> AsyncIterator[Impostor]:
    """The helper ended, and another program holds its port."""
    port = scene.helper.port
    await scene.helper.stop()
    try:
        async with Impostor.at(port) as impostor:
            yield impostor
    finally:
        await scene.helper.start()


async def test_what_a_page_says_is_for_the_helper_that_proved_itself_a_moment_ago(scene: Scene) -> None:
    """The page's passwords go to nobody who took the port while no request told of the helper's end."""
    page = await scene.chromium.context.new_page()
    await page.goto(scene.site)  # which asks nothing by itself
    assert (await speak(page, "GET", "/connect/info/ping"))[0] == 200
    await asyncio.sleep(PROVED_S)  # the badge has looked, too
    async with helper_replaced(scene) as impostor:
        await asyncio.sleep(PROVED_S)  # now no proof counts any more
        password = "the password of the page"
        body = {"transfer_specs": [{"transfer_spec": {"remote_password": password}}]}
        request = {"request_id": 5, "method": "POST", "uri_reference": "/connect/transfers/start"}
        answers = await page.evaluate(SPEAK, {**request, "body": json.dumps(body)})
        assert answers[0]["status"] == 401
        await impostor.told("/extension/hello")
        assert not [call for call in impostor.calls if password in call.everything]
    await page.close()


# Hostile pages -----------------------------------------------------------------------------------


async def test_another_page_has_nothing_of_the_first_ones(scene: Scene, page: OfficialPage) -> None:
    path = await grant(page, scene.person, scene.file("diary.txt", b"private"))
    stolen = {"path": path, "aspera_connect_settings": {"app_id": page.app_id}}
    claims = {"origin": page.origin, "headers": {PAGE_HEADER: page.origin}, "sender": page.origin}
    read = "/connect/file/read-as-array-buffer/"
    assert (await speak(page.page, "POST", read, stolen))[0] == 200
    hostile = await scene.chromium.context.new_page()
    await hostile.goto(scene.other_site)
    status, body = await speak(hostile, "POST", read, stolen, **claims)
    assert (status, body["error"]["user_message"]) == (403, "Choose the file again.")
    await hostile.close()


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("POST", "/connect/../../extension/status"),
        ("POST", "/connect/%2e%2e/%2e%2e/extension/status"),
        ("POST", "/connect/..\\..\\extension/status"),
        ("POST", "/extension/status"),
        ("GET", "@evil.example/connect/info/ping"),
        ("GET", "//evil.example/connect/info/ping"),
        ("GET", "/connect/info/ping?x"),
        ("DELETE", "/connect/info/ping"),
        ("OPTIONS", "/connect/info/ping"),
    ],
)
async def test_only_the_pages_own_routes_are_carried(page: OfficialPage, method: str, uri: str) -> None:
    assert (await speak(page.page, method, uri))[0] == 400


async def test_a_frame_without_an_origin_is_nobody(scene: Scene, page: OfficialPage) -> None:
    async with page.page.expect_event("frameattached") as attaching:
        await page.page.evaluate(
            """() => {
              const frame = document.createElement("iframe");
              frame.sandbox = "allow-scripts";
              frame.src = location.origin;
              document.body.append(frame);
            }"""
        )
    frame = await attaching.value
    await frame.wait_for_load_state()
    messages = await frame.evaluate(
        """async () => {
          const seen = [];
          addEventListener("message", ({ data }) => seen.push(data));
          document.dispatchEvent(new CustomEvent("AsperaConnectCheck", {}));
          for (const uri_reference of ["/connect/info/ping", "/connect/windows/about"]) {
            const detail = { request_id: uri_reference, method: "GET", uri_reference, body: "" };
            document.dispatchEvent(new CustomEvent("AsperaConnectRequest", { detail }));
          }
          const { promise, resolve } = Promise.withResolvers();
          setTimeout(resolve, 2000);
          await promise;
          return seen;
        }"""
    )
    assert messages == []  # refused, and in a way that not even that is told to a foreign origin
    status, _ = await speak(page.page, "GET", "/connect/info/ping")
    assert status == 200


async def test_forged_headers_and_forged_answers_gain_nothing(scene: Scene, page: OfficialPage) -> None:
    before = scene.helper.addresses()
    hostile = await scene.chromium.context.new_page()
    await hostile.goto(scene.other_site)
    await scene.chromium.context.grant_permissions(["local-network-access"], origin=scene.other_site)
    forged = """async ([url, page]) => {
      const tries = [
        { "Connect-Helper-Page": page },
        { "Connect-Helper-Page": page, Authorization: "Bearer x" },
        { "Connect-Helper-Page": page, Origin: "chrome-extension://abc", "Sec-Fetch-Site": "none" },
      ];
      return Promise.all(tries.map(async (headers) => {
        const answer = await fetch(url, { method: "POST", headers, body: "{}" });
        return [answer.status, (await answer.json()).error.internal_message];
      }));
    }"""
    url = f"{scene.helper.base_url}/v5/connect/windows/select-open-file-dialog/"
    assert await hostile.evaluate(forged, [url, page.origin]) == [[401, "not_paired"]] * 3
    asks = """async (url) => {
      const body = JSON.stringify({ commitment: "a".repeat(64) });
      return (await fetch(url, { method: "POST", body })).status;
    }"""
    assert await hostile.evaluate(asks, f"{scene.helper.base_url}/extension/pair/begin") == 403
    # What the hostile page says in the extension's name, only that page hears.
    await hostile.evaluate(
        """() => {
          const detail = { request_id: 10000, status: 200, body: '{"version": "0.0.1"}' };
          postMessage({ type: "AsperaConnectResponse", detail }, "*");
          const why = { detail: "No such native application" };
          document.dispatchEvent(new CustomEvent("AsperaConnectDisconnect", why));
        }"""
    )
    assert (await page.callbacks("version"))["value"]["version"] == "4.2.13.820"
    assert scene.helper.addresses() == before
    await hostile.close()


async def test_a_local_program_cannot_pass_for_the_extension(scene: Scene, page: OfficialPage) -> None:
    headers = {"Origin": scene.chromium.origin, PAGE_HEADER: page.origin, "Authorization": "Bearer guess"}
    url = f"{scene.helper.base_url}/v5/connect/windows/select-open-file-dialog/"
    async with aiohttp.ClientSession() as session, session.post(url, headers=headers, data="{}") as answer:
        assert answer.status == 401


async def test_a_page_that_floods_is_told_to_wait_and_others_are_not(
    scene: Scene, page: OfficialPage
) -> None:
    hostile = await scene.chromium.context.new_page()
    await hostile.goto(scene.other_site)
    statuses = await hostile.evaluate(
        f"""async () => {{
          const speak = {SPEAK};
          const all = Array.from({{ length: 300 }}, (_, index) =>
            speak({{ request_id: index, method: "GET", uri_reference: "/connect/info/ping", body: "" }}));
          return (await Promise.all(all)).map(([answer]) => answer.status);
        }}"""
    )
    assert set(statuses) == {200, 429}
    assert "value" in await page.promise("version")
    await hostile.close()


# The end -----------------------------------------------------------------------------------------


async def test_an_extension_removed_by_the_user_carries_nothing_more(
    scene: Scene, unpaired: ExtensionBrowser
) -> None:
    await unpaired.pair(scene.person)
    async with unpaired.page(scene.site) as page:
        popup = await unpaired.popup()
        await popup.locator("#open").click()
        window = await scene.browser.new_page()
        address = await scene.helper.opened("/#code")
        await window.goto(address.replace("/#code", "/sites#code"))
        await window.wait_for_selector("html:not([data-arming])")  # clicks count after a second
        rows = window.locator("#extensions li")
        await expect(rows.last).to_contain_text(unpaired.origin)
        await screenshot(window, "sites-extensions")
        count = await rows.count()
        await rows.last.get_by_role("button").click()
        await window.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(rows).to_have_count(count - 1)
        await window.context.close()
        status, _ = await speak(page.page, "POST", "/connect/windows/select-open-file-dialog/", {})
        assert status == 401
        popup = await unpaired.popup()
        await expect(popup.get_by_role("heading", name="Not paired")).to_be_visible()
