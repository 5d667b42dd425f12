"""The helper's own window: its pages, their files and the API behind them, on a port and origin of its own.

Pages are shells without private data; their scripts fetch that with a token got from a one-time code.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp_jinja2
import jinja2
from aiohttp import web

from connect_helper.api.bodies import BODY_LIMIT, read_object
from connect_helper.api.brandings import Brandings
from connect_helper.api.extensions import Extensions
from connect_helper.api.reveal import reveal
from connect_helper.api.sites import Sites
from connect_helper.api.ui_choices import ChoicePages
from connect_helper.api.ui_extensions import ExtensionPages
from connect_helper.api.ui_files import FilePages
from connect_helper.api.ui_guard import Guard, add_headers
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.ui_stream import Feed
from connect_helper.api.ui_transfers import Reveal, TransferPages
from connect_helper.api.ui_views import counts_view
from connect_helper.errors import InvalidRequest
from connect_helper.settings import Folders, PreferencesStore, web_folder
from connect_helper.transfers.manager import TransferManager

log = logging.getLogger(__name__)

DEFAULT_PORT: Final = 33030
# Not left to the system's table: with "nosniff", a wrong type means a page without script or style.
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGES: Final = {
    "/": "activity",
    "/activity/{id}": "transfer",
    "/sites": "sites",
    "/preferences": "preferences",
    "/preferences/{section:general|transfers|bandwidth|network|security}": "preferences",
    "/about": "about",
}


@dataclass(frozen=True, slots=True, repr=False)
class Control:
    """What the command line may do to the running helper. No repr: it holds the control key."""

    key: str
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class UiParts:
    """Everything the window stands on."""

    port: int  # of the window itself, bound already
    version: str
    pages_address: str  # where web pages reach the helper: "http://127.0.0.1:33003"
    desktop_address: str  # the same for pages of the newer SDK; "" when they cannot
    manager: TransferManager
    sites: Sites
    brandings: Brandings
    extensions: Extensions
    preferences: PreferencesStore
    folders: Folders
    sessions: WindowSessions
    control: Control
    more_routes: Iterable[web.AbstractRouteDef] = ()  # pickers and questions
    reveal: Reveal = field(default=reveal)


def build_ui(parts: UiParts) -> web.Application:
    """Put the window together. Its streams end when the application shuts down."""
    guard = Guard(parts.port, parts.sessions, parts.control.key)
    app = web.Application(middlewares=guard.middlewares(), client_max_size=BODY_LIMIT)
    app.on_response_prepare.append(add_headers)
    loader = jinja2.FileSystemLoader(web_folder() / "helper" / "templates")
    aiohttp_jinja2.setup(app, loader=loader, undefined=jinja2.StrictUndefined, auto_reload=False)
    transfers = TransferPages(parts.manager, parts.reveal)
    choices = ChoicePages(parts.sites, parts.brandings, parts.preferences)
    extensions = ExtensionPages(parts.extensions)
    feed = _build_feed(parts, transfers, choices, extensions)
    app.on_shutdown.append(_ending(feed))
    own, files = _OwnPages(parts), FilePages(parts.manager)
    app.add_routes(
        [*own.routes(), *transfers.routes(), *files.routes(), *choices.routes(), *extensions.routes()]
    )
    app.add_routes(parts.more_routes)
    app.add_routes([web.get("/api/events", feed.serve)])
    app.add_routes([web.get("/assets/{path:.+}", _assets(web_folder() / "helper"))])
    return app


def _build_feed(
    parts: UiParts, transfers: TransferPages, choices: ChoicePages, extensions: ExtensionPages
) -> Feed:
    topics = {
        "preferences": choices.render_preferences,
        "sites": choices.render_sites,
        "extensions": extensions.render,
    }
    feed = Feed(parts.manager, topics, transfers.render)
    parts.preferences.on_change(lambda _: feed.announce("preferences"))
    parts.sites.on_change(lambda: feed.announce("sites"))
    parts.extensions.on_change(lambda: feed.announce("extensions"))
    return feed


def _ending(feed: Feed) -> Callable[[web.Application], Any]:
    async def end_streams(_: web.Application) -> None:
        feed.close()

    return end_streams


class _OwnPages:
    """The shells, the change of a code for a token, and what the command line asks."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(path, _shell(page)) for path, page in _PAGES.items()),
            web.post("/api/session", self.open_session),
            web.get("/api/about", self.about),
            web.post("/api/control/code", self.issue_code),
            web.post("/api/control/status", self.status),
            web.post("/api/control/stop", self.stop),
        ]

    async def open_session(self, request: web.Request) -> web.Response:
        """Body `{"code"}`; answer `{"token"}`. The code works once."""
        code = (await read_object(request)).get("code")
        if not isinstance(code, str):
            raise InvalidRequest("code: a text is needed.", field="code")
        return web.json_response({"token": self._parts.sessions.redeem(code)})

    async def about(self, request: web.Request) -> web.Response:
        """Version, addresses and folders, for people who look into trouble."""
        folders = self._parts.folders
        return web.json_response(
            {
                "version": self._parts.version,
                "pages_address": self._parts.pages_address,
                "desktop_address": self._parts.desktop_address,
                "window_address": f"http://127.0.0.1:{self._parts.port}",
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.release()}",
                "program": sys.executable,
                "folders": {
                    "preferences": str(folders.config),
                    "state": str(folders.state),
                    "log": str(folders.logs),
                    "downloads": str(self._parts.preferences.download_folder),
                },
            }
        )

    async def issue_code(self, request: web.Request) -> web.Response:
        """A one-time code for a window the command line is about to open."""
        return web.json_response({"code": self._parts.sessions.issue_code()})

    async def status(self, request: web.Request) -> web.Response:
        """Version, addresses and how many transfers there are, by group."""
        return web.json_response(
            {
                "version": self._parts.version,
                "pages": self._parts.pages_address,
                "desktop": self._parts.desktop_address,
                "window": f"http://127.0.0.1:{self._parts.port}",
                "transfers": counts_view(self._parts.manager.counts()),
            }
        )

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """End the helper, as SIGTERM does."""
        log.info("asked to stop by the command line")
        response = web.json_response({"stopping": True})
        await response.prepare(request)
        await response.write_eof()  # first: the stop closes the connection the answer travels on
        self._parts.control.stop()
        return response


def _shell(page: str) -> Callable[[web.Request], Any]:
    context = {"page": "activity" if page == "transfer" else page}  # which entry of the menu is marked

    async def handler(request: web.Request) -> web.Response:
        return aiohttp_jinja2.render_template(f"{page}.html", request, context)

    return handler


def _assets(folder: Path) -> Callable[[web.Request], Any]:
    """Handler for the window's scripts, styles and pictures: exactly the files there are now."""
    known: Mapping[str, Path] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TYPES and "templates" not in path.relative_to(folder).parts
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        path = known.get(request.match_info["path"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Type": _TYPES[path.suffix]})

    return handler
