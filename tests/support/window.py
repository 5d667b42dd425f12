"""The helper's own window on a real port, over a real transfer manager whose workers play scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from playwright.async_api import Browser, ConsoleMessage, Page

from connect_helper.api.brandings import Brandings
from connect_helper.api.extensions import Extensions
from connect_helper.api.listening import bind_first_free
from connect_helper.api.sites import Sites
from connect_helper.api.ui import Control, UiParts, build_ui
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.windows import Windows
from connect_helper.settings import HOME_VARIABLE, Folders, PreferencesStore
from connect_helper.transfers.clock import Clock
from connect_helper.transfers.manager import TransferManager
from tests.support.managing import FAKE_WORKER, Askers

CONTROL_KEY = "control-key-canary-81f0"


@dataclass(slots=True)
class Window:
    """A running window and the parts behind it."""

    address: str
    folders: Folders
    manager: TransferManager
    sites: Sites
    brandings: Brandings
    extensions: Extensions
    preferences: PreferencesStore
    sessions: WindowSessions
    stops: list[str] = field(default_factory=list)  # one entry for each order to stop
    revealed: list[str] = field(default_factory=list)

    def link(self, path: str = "/") -> str:
        """An address that opens `path` signed in, once."""
        return Windows(self.address, self.sessions).address(path)

    def token(self) -> str:
        """The token of a new window."""
        return self.sessions.redeem(self.sessions.issue_code())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client that is signed in."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        async with aiohttp.ClientSession(self.address, headers=headers) as session:
            yield session

    @asynccontextmanager
    async def page(self, browser: Browser, path: str = "/", **options: object) -> AsyncIterator[Page]:
        """A tab showing `path`; fails at the end when the page wrote an error to its console.

        A refused request is one line there, and so is everything the content security policy stops.
        """
        context = await browser.new_context(**options)  # type: ignore[arg-type] # Playwright's own options
        page = await context.new_page()
        with _quiet_console(page):
            await page.goto(self.link(path))
            await page.wait_for_selector("html:not([data-arming])")
            yield page
        await context.close()


@contextmanager
def _quiet_console(page: Page) -> Iterator[None]:
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # The browser notes each refused request; that a refusal is shown well is for the tests.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield
    assert not complaints


@asynccontextmanager
async def open_window(home: Path, *, scripted: bool = True) -> AsyncIterator[Window]:
    """Run a window below `home` until the context is left; `scripted=False` gives it real workers."""
    folders = Folders.from_environment({HOME_VARIABLE: str(home)})
    folders.create()
    preferences = PreferencesStore(folders)
    preferences.change({"concurrent_transfers": 10})
    sites = Sites(folders)
    brandings = Brandings(folders, sites)
    extensions = Extensions(folders)
    sessions = WindowSessions()
    sock = bind_first_free((), fall_back=True)
    port = sock.getsockname()[1]
    manager = TransferManager(
        folders=folders,
        preferences=preferences,
        questions=Askers(),
        clock=Clock(),
        worker_command=FAKE_WORKER if scripted else None,
    )
    async with manager:
        address = f"http://127.0.0.1:{port}"
        window = Window(address, folders, manager, sites, brandings, extensions, preferences, sessions)

        async def note_reveal(path: str) -> None:
            window.revealed.append(path)

        parts = UiParts(
            port=port,
            version="1.2.3",
            pages_address="http://127.0.0.1:33003",
            desktop_address="http://127.0.0.1:33024",
            manager=manager,
            sites=sites,
            brandings=brandings,
            extensions=extensions,
            preferences=preferences,
            folders=folders,
            sessions=sessions,
            control=Control(CONTROL_KEY, lambda: window.stops.append("stop")),
            reveal=note_reveal,
        )
        runner = web.AppRunner(
            build_ui(parts), access_log=None, handler_cancellation=True, shutdown_timeout=2.0
        )
        await runner.setup()
        await web.SockSite(runner, sock).start()
        try:
            yield window
        finally:
            await runner.cleanup()
            sites.close()
