"""The routes of the Node API (reference, sections 3 to 6).

    node = NodeApi(admission, sessions, settings)
    app = build_app(parts, more_routes=node.routes(), descriptions=[NODE_OPERATIONS])

Every request but `ping` brings name and password of an account and acts in that account's folder.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from connect_helper.errors import UnsafePath
from connect_helper.server.admission import Admission
from connect_helper.server.http.downloads import still_there
from connect_helper.server.http.node import bodies, changing, looking
from connect_helper.server.http.node.callers import Caller, identify
from connect_helper.server.http.node.faults import fault_of
from connect_helper.server.http.node.hosts import host_of, origin_of
from connect_helper.server.http.node.listings import Listings
from connect_helper.server.http.node.operations import TransferDesk
from connect_helper.server.http.node.settings import WSS_PORT, NodeSettings
from connect_helper.server.http.node.setup import Desk, refused_sync
from connect_helper.server.http.threads import disk_threads
from connect_helper.server.sessions import Sessions
from connect_helper.server.tokens import Direction
from connect_helper.server.turns import Turns
from connect_helper.storage.docpath import parse
from connect_helper.version import __version__

Answerer = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
_CONTENTS_BEGIN: Final = "/files/"
_CONTENTS_END: Final = "/contents"
AT_ONCE: Final = 4  # requests of one account that are at the disk: others must find threads, too
LONG_AT_ONCE: Final = 2  # of those, searches and removals: they may take many seconds


class NodeApi:
    """The handlers. `settings` may be replaced while they run; close it when no request runs any more."""

    def __init__(self, admission: Admission, sessions: Sessions, settings: NodeSettings) -> None:
        self.settings = settings
        self._admission = admission
        self._disk = disk_threads()
        self._turns, self._long = Turns(AT_ONCE), Turns(LONG_AT_ONCE)
        self.sessions = sessions
        self._transfers = TransferDesk(sessions, lambda: self.settings)
        self._listings = Listings()

    def close(self) -> None:
        """End the threads for the disk."""
        self._disk.shutdown(wait=True)

    def routes(self) -> list[web.AbstractRouteDef]:
        """All routes. No redirect is ever answered: clients do not follow any."""
        posts: dict[str, Answerer] = {
            "browse": self._browse,
            "search": self._search,
            "info": self._file_info,
            "create": self._create,
            "delete": self._delete,
            "rename": self._rename,
            "upload_setup": partial(self._setup, "send"),
            "download_setup": partial(self._setup, "receive"),
            "sync_setup": self._sync_setup,
        }
        return [
            web.get("/ping", ping),
            web.get("/", self._known(self._base)),
            web.get("/info", self._known(self._info)),
            *(web.post(f"/files/{word}", self._known(act)) for word, act in posts.items()),
            web.get(r"/files/{path:[^/]+}/contents", self._known(self._contents)),
            web.post("/space", self._known(self._space)),
            *self._transfers.routes(self._known),
        ]

    def _known(self, answer: Answerer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """A handler that first asks who calls."""

        async def handler(request: web.Request) -> web.StreamResponse:
            caller = await identify(request, self._admission, self._disk, self._turns)
            try:
                return await answer(request, caller)
            except UnsafePath as error:
                raise fault_of(error) from error

        return handler

    async def _base(self, request: web.Request, caller: Caller) -> web.Response:
        url = f"{origin_of(request)}/"
        return web.json_response({"apis": [{"name": "node", "version": __version__, "url": url}]})

    async def _info(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(node_info(self.settings, caller.account.name))

    async def _browse(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Browse, caller.disk)
        return web.json_response(
            await caller.on_disk(looking.browse, asked, self._listings, **self._limits(request))
        )

    async def _search(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Browse, caller.disk)
        async with self._long.of(caller.account.name):
            found = await caller.on_disk(looking.search, asked, **self._limits(request))
        return web.json_response(found)

    def _limits(self, request: web.Request) -> dict[str, Any]:
        return {
            "max_count": self.settings.max_response_entries,
            "limit_s": self.settings.max_response_s,
            "wanted": partial(still_there, request),
        }

    async def _file_info(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Paths, caller.disk)
        return web.json_response({"paths": await caller.on_disk(looking.info, asked.paths)})

    async def _space(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Paths, caller.disk)
        return web.json_response({"paths": await caller.on_disk(looking.space, asked.paths)})

    async def _create(self, request: web.Request, caller: Caller) -> web.Response:
        most = self.settings.max_file_create_kb * 1024
        # Contents come as base64, a third longer, and beside them there are names.
        asked = await bodies.read(
            request, bodies.NewPaths, caller.disk, limit=max(bodies.BODY_LIMIT, most * 3 // 2)
        )
        keep_free = self.settings.keep_free_percent / 100
        made = await caller.on_disk(changing.create, asked.paths, max_bytes=most, keep_free=keep_free)
        return web.json_response({"paths": made})

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Paths, caller.disk)
        async with self._long.of(caller.account.name):
            removed = await caller.on_disk(changing.delete, asked.paths)
        return web.json_response({"paths": removed})

    async def _rename(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Renamings, caller.disk)
        return web.json_response({"paths": await caller.on_disk(changing.rename, asked.paths)})

    async def _contents(self, request: web.Request, caller: Caller) -> web.Response:
        # The path as it came: decoded earlier, a %2F would be a separator of the address.
        raw = request.raw_path.partition("?")[0]
        coded = raw.removeprefix(_CONTENTS_BEGIN).removesuffix(_CONTENTS_END)
        path = parse(unquote_to_bytes(coded.replace("+", " ")))
        data = await caller.on_disk(looking.contents, path)
        return web.Response(body=data, content_type="application/octet-stream")

    async def _setup(self, direction: Direction, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Setup, caller.disk)
        host = host_of(request, self.settings.server_name)
        desk = Desk(self.settings, self._admission.keyring.issue, host)
        wishes = [item.transfer_request for item in asked.transfer_requests]
        token_s_view = replace(caller, follow_links=False)
        return web.json_response(
            {"transfer_specs": await token_s_view.on_disk(desk.answer, direction, wishes)}
        )

    async def _sync_setup(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Setup, caller.disk)
        wishes = [item.transfer_request for item in asked.transfer_requests]
        return web.json_response({"transfer_specs": refused_sync(wishes)})


async def ping(_: web.Request) -> web.Response:
    """200 and an empty body, without a login: clients tell a node by it (section 4.1)."""
    return web.Response()


def node_info(settings: NodeSettings, user: str) -> dict[str, Any]:
    """The answer of `info` (section 4.2). The docroot's place on the disk is nobody's business."""
    now = datetime.fromtimestamp(time.time(), UTC).replace(microsecond=0, tzinfo=None)
    abilities: dict[str, bool] = {
        "symbolic_links": True,
        "move_file": True,
        "move_directory": True,
        "sync": False,
        "watchfolder": False,
        "filelock": False,
        "page": False,
    }
    chosen: dict[str, Any] = {
        "content_protection_required": False,
        "content_protection_strong_pass_required": False,
        "ssh_fingerprint": settings.sshfp,
        "wss_enabled": False,
        "wss_port": WSS_PORT,
    }
    return {
        "application": "node",
        **({"name": settings.server_name} if settings.server_name else {}),
        "version": __version__,
        "current_time": now.isoformat() + "Z",
        "transfer_user": user,
        "docroot": "file:////",
        "node_id": settings.node_id,
        "cluster_id": settings.node_id,
        "transfer_activity_reporting": "yes",
        "capabilities": [{"name": name, "value": value} for name, value in abilities.items()],
        "settings": [{"name": name, "value": value} for name, value in chosen.items()],
    }
