"""The browser's own question, whether a page of the internet may reach this computer: both of its answers.

The page comes from 127.0.0.1 too, but the browser is told to take its port for a public address. Refused, the
helper must look to the page as if it were not running, and be found when the user changes their mind.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from connect_helper.settings import web_folder
from tests.support.browser import launch
from tests.support.helper import Helper
from tests.support.sdk_site import ScriptedHelper, serve_page

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT_MS = 15_000
PERMISSION = "local-network-access"  # Playwright's name for it and for the names that followed
NAMES = ("local-network-access", "loopback-network")  # the browser's


@dataclass(frozen=True, slots=True)
class Scene:
    """A helper, and a browser that takes one site for public and the other for what it is."""

    helper: Helper
    browser: Browser
    public: str  # an origin
    local: str  # an origin

    @asynccontextmanager
    async def page(self, origin: str, *, allowed: bool | None) -> AsyncIterator[Page]:
        """A page in a profile where the user said yes, no, or (None) nothing yet."""
        context = await self.browser.new_context()
        try:
            page = await context.new_page()
            if allowed:
                await context.grant_permissions([PERMISSION], origin=origin)
            elif allowed is False:
                await self._deny(page, origin)
            await page.goto(origin)
            yield page
        finally:
            await context.close()

    async def _deny(self, page: Page, origin: str) -> None:
        session = await page.context.new_cdp_session(page)
        target = (await session.send("Target.getTargetInfo"))["targetInfo"]
        control = await self.browser.new_browser_cdp_session()
        for name in NAMES:
            answer = {
                "permission": {"name": name},
                "setting": "denied",
                "origin": origin,
                "browserContextId": target["browserContextId"],
            }
            await control.send("Browser.setPermission", answer)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(serve_page())
        local = await stack.enter_async_context(serve_page())
        helper = await stack.enter_async_context(Helper.running(tmp_path_factory.mktemp("home")))
        override = f"--ip-address-space-overrides={public.removeprefix('http://')}=public"
        browser = await stack.enter_async_context(launch(extra_args=[override]))
        yield Scene(helper, browser, public, local)


async def connect(page: Page, port: int) -> None:
    """Start a session that looks for the helper on `port`."""
    await page.evaluate(
        """ports => {
             window.connect = new AW4.Connect({ ports, connectLaunchWaitTimeoutMs: 1500 });
             connect.addEventListener("status", (_, status) => statuses.push(status));
             connect.initSession();
           }""",
        [port],
    )


async def until(page: Page, status: str) -> None:
    await page.wait_for_function("status => connect.getStatus() === status", arg=status, timeout=WAIT_MS)


async def states(page: Page) -> list[str]:
    """What the browser says of its permission, under each of its names."""
    found: list[str] = await page.evaluate(
        """names => Promise.all(
             names.map(async (name) => (await navigator.permissions.query({ name })).state))""",
        list(NAMES),
    )
    return found


async def transfers(page: Page) -> Any:
    """The page's own list, by a POST."""
    return await page.evaluate("connect.getAllTransfers().then((activity) => activity.transfers)")


async def test_a_public_page_the_user_allowed_reaches_the_helper(scene: Scene) -> None:
    async with scene.page(scene.public, allowed=True) as page:
        assert await states(page) == ["granted", "granted"]
        await connect(page, scene.helper.port)
        await until(page, "RUNNING")
        assert await transfers(page) == []


@pytest.mark.parametrize(("allowed", "state"), [(False, "denied"), (None, "prompt")])
async def test_a_refused_public_page_sends_the_helper_nothing_and_sees_no_helper(
    scene: Scene, allowed: bool | None, state: str
) -> None:
    scripted = ScriptedHelper()
    async with scripted.on() as port, scene.page(scene.public, allowed=allowed) as page:
        assert await states(page) == [state, state]
        await connect(page, port)
        await until(page, "FAILED")
        assert await page.evaluate("statuses") == ["INITIALIZING", "RETRYING", "FAILED"]
    assert scripted.seen == []


async def test_a_public_page_finds_the_helper_once_the_user_allows_it(scene: Scene) -> None:
    async with scene.page(scene.public, allowed=False) as page:
        await connect(page, scene.helper.port)
        await until(page, "FAILED")
        await page.context.grant_permissions([PERMISSION], origin=scene.public)
        await until(page, "RUNNING")
        assert await transfers(page) == []


async def test_a_page_of_this_computer_is_not_asked(scene: Scene) -> None:
    async with scene.page(scene.local, allowed=None) as page:
        await connect(page, scene.helper.port)
        await until(page, "RUNNING")
        assert await transfers(page) == []


async def test_the_attribute_the_readme_names_hands_the_permission_to_a_frame(scene: Scene) -> None:
    """What the browser decides of the frame; a permission given by a test would pass over that decision."""
    (attribute,) = re.findall(r'`allow="([^"]*)"`', (web_folder() / "sdk" / "README.md").read_text())
    framed = scene.public.replace("127.0.0.1", "localhost")  # another origin
    async with scene.page(scene.public, allowed=True) as page:
        assert await handed_on(page, framed, attribute) == [True, True]
        assert await handed_on(page, framed, "") == [False, False]


async def handed_on(page: Page, source: str, allow: str) -> list[bool]:
    """Whether a new frame of the page may use the permission, under each of its names."""
    before = len(page.main_frame.child_frames)
    await page.evaluate(
        """([src, allow]) => new Promise((resolve) => {
             const frame = Object.assign(document.createElement("iframe"), { src, allow });
             frame.onload = resolve;
             document.body.append(frame);
           })""",
        [source, allow],
    )
    frame = page.main_frame.child_frames[before]
    assert frame.url.startswith(source)
    allowed: list[bool] = await frame.evaluate(
        "names => names.map((name) => document.featurePolicy.allowsFeature(name))", list(NAMES)
    )
    return allowed
