"""The user: answers file dialogs and questions, at the desktop or in the helper's own pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from playwright.async_api import Browser, Locator, Page

from tests.support.desktop import Desktop
from tests.support.helper import Helper

LOOK_S = 1.1  # a yes counts only after a second
PAGE_MS = 15_000
# A browser drops clicks on a page that it has not painted yet; the second frame comes after the first paint.
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Person(Protocol):
    """What a user can do when the helper asks."""

    async def choose(self, path: Path, *, save: bool = False) -> None:
        """Answer the next file dialog with `path`; `save` for a dialog that asks where to save."""
        ...

    async def cancel(self) -> None:
        """Close the next file dialog without choosing."""
        ...

    async def allow(self, *, first: Callable[[str], Awaitable[None]] | None = None) -> str:
        """Say yes to the next question and return its text; `first` gets it, and is done before."""
        ...

    async def deny(self) -> None:
        """Say no to the next question."""
        ...


class AtTheDesktop:
    """Answers windows of the desktop: zenity's dialogs, by keyboard."""

    def __init__(self, desktop: Desktop, caller: str) -> None:
        self._desktop = desktop
        self._dialog = f"^{re.escape(caller)} "  # "http://a.example wants files: ..."
        self._question = f"^{re.escape(caller)}$"

    async def choose(self, path: Path, *, save: bool = False) -> None:
        await self._desktop.choose(self._dialog, path, save=save)

    async def cancel(self) -> None:
        window = await self._desktop.window(self._dialog)
        await self._desktop.key("Escape")
        await self._desktop.gone(window)

    async def allow(self, *, first: Callable[[str], Awaitable[None]] | None = None) -> str:
        await self._desktop.window(self._question)
        text = self._desktop.told()
        if first:
            await first(text)
        await self._press("Right", "Return")
        return text

    async def deny(self) -> None:
        await self._press("Return")  # the focus is on no

    async def always(self) -> None:
        """Say yes for good."""
        await self._press("Left", "Return")

    async def _press(self, *keys: str) -> None:
        window = await self._desktop.window(self._question)
        await asyncio.sleep(LOOK_S)
        await self._desktop.key(*keys)
        await self._desktop.gone(window)


class AtThePages:
    """Answers the helper's own pages, in a window of their own, as soon as the helper opens them."""

    def __init__(self, helper: Helper, browser: Browser) -> None:
        self._helper = helper
        self._browser = browser

    async def choose(self, path: Path, *, save: bool = False) -> None:
        page = await self._open("/pick/")
        await page.locator("#places").get_by_text("Home", exact=True).click()  # it opens where one was last
        below = path.relative_to(self._helper.user_home)
        for folder in below.parts[:-1]:
            await self._row(page, folder).dblclick()
        if save:
            await page.locator("#name").fill(path.name)
        else:
            await self._row(page, path.name).click()
        await page.locator("#choose:enabled").click()
        await self._over(page)

    async def cancel(self) -> None:
        await self.cancel_at(await self._helper.opened("/pick/"))

    async def cancel_at(self, address: str) -> None:
        """Close the file dialog that was opened there."""
        page = await self._show(address)
        await page.locator("#cancel").click()
        await self._over(page)

    async def allow(
        self, *, always: bool = False, first: Callable[[str], Awaitable[None]] | None = None
    ) -> str:
        """Say yes to the next question; `first` gets its text, and is done before."""
        page = await self._open("/ask/")
        if always:
            await page.locator("#remember").check()
        text = await page.locator("main").inner_text()
        if first:
            await first(text)
        await page.locator("#accept:enabled").click()
        await self._over(page)
        return text

    async def deny(self) -> None:
        page = await self._open("/ask/")
        await page.locator("#refuse").click()
        await self._over(page)

    async def sign_in(self, user: str, password: str) -> None:
        """Fill in the form that asks for a user name and a password."""
        page = await self._open("/ask/")
        if await page.locator("#user").is_editable():
            await page.locator("#user").fill(user)
        await page.locator("#secret").fill(password)
        await page.locator("#accept:enabled").click()
        await self._over(page)

    async def _open(self, kind: str) -> Page:
        return await self._show(await self._helper.opened(kind))

    async def _show(self, address: str) -> Page:
        page = await self._browser.new_page()
        page.set_default_timeout(PAGE_MS)
        await page.goto(address)
        await page.locator("#sheet:visible, #question:visible").wait_for()
        await page.locator("html:not([data-arming])").wait_for()
        await page.evaluate(PAINTED)
        return page

    @staticmethod
    def _row(page: Page, name: str) -> Locator:
        return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))

    @staticmethod
    async def _over(page: Page) -> None:
        await page.locator("#over").wait_for()
        await page.context.close()
