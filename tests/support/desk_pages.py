"""The helper's real window with a desk of its own, for tests of the picker and question pages."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from connect_helper.api.brandings import Brandings
from connect_helper.api.extensions import Extensions
from connect_helper.api.host_key_questions import HostKeyQuestions
from connect_helper.api.sites import Sites
from connect_helper.api.ui import Control, UiParts, build_ui
from connect_helper.api.ui_picking import routes
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.windows import Windows
from connect_helper.picking.desk import Desk
from connect_helper.picking.presence import DEFAULT_PATIENCE, Patience
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.manager import TransferManager
from connect_helper.transports.known_hosts import KnownHosts


@dataclass(slots=True)
class DeskWindow:
    """A running window; `opened` gets the address of every page the desk wants shown."""

    desk: Desk
    base_url: str
    windows: Windows
    opened: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def next_address(self) -> str:
        """The address of the next page, signed in by its code."""
        async with asyncio.timeout(10):
            return await self.opened.get()


@asynccontextmanager
async def desk_window(
    home: Path,
    *,
    patience: Patience = DEFAULT_PATIENCE,
    refuse_folder: Callable[[str], str | None] = lambda path: None,
) -> AsyncIterator[DeskWindow]:
    """Serve the window until the context is left. Its folders are below `home`."""
    folders = Folders.from_environment({"CONNECT_HELPER_HOME": str(home)})
    folders.create()
    opened: asyncio.Queue[str] = asyncio.Queue()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    sessions = WindowSessions()
    windows = Windows(f"http://127.0.0.1:{port}", sessions)

    async def open_page(path: str) -> None:
        opened.put_nowait(windows.address(path))

    desk = Desk(open_page, patience=patience, refuse_folder=refuse_folder)
    preferences = PreferencesStore(folders)
    sites = Sites(folders)
    questions = HostKeyQuestions(desk, KnownHosts(folders))
    async with TransferManager(folders=folders, preferences=preferences, questions=questions) as manager:
        app = build_ui(
            UiParts(
                port=port,
                version="0",
                pages_address="http://127.0.0.1:33003",
                desktop_address="http://127.0.0.1:33024",
                manager=manager,
                sites=sites,
                brandings=Brandings(folders, sites),
                extensions=Extensions(folders),
                preferences=preferences,
                folders=folders,
                sessions=sessions,
                control=Control("control key of this test", lambda: None),
                more_routes=routes(desk),
            )
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.SockSite(runner, sock).start()
        try:
            yield DeskWindow(desk, f"http://127.0.0.1:{port}", windows, opened)
        finally:
            await runner.cleanup()
            sites.close()
