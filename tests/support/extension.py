"""A Chromium with our extension in it, and what its user does with the extension."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from playwright.async_api import BrowserContext, Page, Worker

from connect_helper.settings import web_folder
from tests.support.browser import PLACE_ON_SCREEN, launch_with_extension
from tests.support.helper import Helper
from tests.support.official import OfficialPage, others_hidden
from tests.support.person import Person

FOLDER = web_folder() / "extension"
WAIT_MS = 30_000
BADGE_SHOWS = """async (text) => {
  while (await chrome.action.getBadgeText({}) !== text) await new Promise((next) => setTimeout(next, 100));
}"""


CODE = re.compile(r"\b[2-9A-HJ-NP-Z]{3}-[2-9A-HJ-NP-Z]{3}\b")


def code_in(question: str) -> str:
    """The code that the helper shows in its question."""
    (code,) = CODE.findall(question)
    return str(code)


async def enter_code(window: Page, code: str) -> None:
    """Type a code into the pairing window, which takes it."""
    await try_code(window, code)
    await window.get_by_role("heading", name="The code is right").wait_for()


async def try_code(window: Page, code: str) -> None:
    """Type a code into the pairing window."""
    await window.locator("#code").fill(code)
    await window.get_by_role("button", name="Continue").click()


@dataclass(frozen=True, slots=True)
class ExtensionBrowser:
    """The browser. Its popup and pairing window are opened as tabs: there is no toolbar to open them from."""

    context: BrowserContext
    worker: Worker
    origin: str  # "chrome-extension://..."

    @classmethod
    @asynccontextmanager
    async def running(
        cls, helper: Helper, *, public: Sequence[str] = (), display: str | None = None
    ) -> AsyncIterator[ExtensionBrowser]:
        """Start it; `public` are origins on this computer that it is to take for sites of the internet.

        With a `display` it has a window at the left of that.
        """
        spaces = ",".join(f"{origin.removeprefix('http://')}=public" for origin in public)
        arguments = [f"--ip-address-space-overrides={spaces}"] if spaces else []
        arguments += PLACE_ON_SCREEN if display else ()
        async with launch_with_extension(
            FOLDER, display=display, hosts=others_hidden(helper), extra_args=arguments
        ) as context:
            workers = context.service_workers
            worker = workers[0] if workers else await context.wait_for_event("serviceworker")
            yield cls(context, worker, worker.url.removesuffix("/background.js"))

    async def popup(self, **media: str) -> Page:
        """The popup, in a tab of the popup's size."""
        page = await self.context.new_page()
        page.set_default_timeout(WAIT_MS)
        await page.set_viewport_size({"width": 300, "height": 240})
        await page.emulate_media(**media)  # type: ignore[arg-type] # Playwright's own options
        await page.goto(f"{self.origin}/popup.html")
        return page

    async def pairing(self) -> Page:
        """Press "Pair" in the popup; the window that opens, once it asks for the code."""
        popup = await self.popup()
        async with self.context.expect_page() as opening:
            await popup.locator("#pair").click()
        window = await opening.value
        window.set_default_timeout(WAIT_MS)
        await window.locator("#code").filter(visible=True).wait_for()
        return window

    async def pair(self, person: Person) -> None:
        """Pair it with the helper, the person agreeing."""
        window = await self.pairing()
        await person.allow(first=lambda question: enter_code(window, code_in(question)))
        await window.get_by_role("heading", name="Paired").wait_for()
        await window.close()

    @asynccontextmanager
    async def page(self, origin: str, *, status: str = "RUNNING") -> AsyncIterator[OfficialPage]:
        """A page with the official SDK in its default set-up."""
        opened = OfficialPage(await self.context.new_page(), origin)
        try:
            await opened.open(by_extension=True, status=status)
            yield opened
        finally:
            await opened.page.close()

    async def badge(self, text: str) -> None:
        """Wait until the toolbar shows this."""
        page = await self.context.new_page()
        try:
            await page.goto(f"{self.origin}/look.css")
            async with asyncio.timeout(WAIT_MS / 1000):
                await page.evaluate(BADGE_SHOWS, text)
        finally:
            await page.close()
