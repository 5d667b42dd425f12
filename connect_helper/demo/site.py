"""The demo's example site: a page, a list of what the server holds, and transfer specs.

This is what a site of one's own does: its server knows the SSH server and writes the transfer spec, the
page hands the spec to the helper. It answers its own origin only. It holds no state but the server's facts.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connect_helper.demo.far_end import ServerFacts
from connect_helper.settings import web_folder

SERVER: Final = web.AppKey("server", ServerFacts)
HELPER_PORT: Final = web.AppKey("helper_port", int)  # 0: the page looks on all usual ports

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:*; frame-src fasp: aspera:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

routes = web.RouteTableDef()


class SpecRequest(BaseModel):
    """What the page asks a transfer spec for. Paths are the server's, "/"-separated, "/" is its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = "/"  # upload: where to
    paths: tuple[str, ...] = Field((), max_length=10_000)  # download: what
    target_rate_kbps: int | None = Field(None, ge=8, le=100_000_000)  # kbit/s


def build_site(server: ServerFacts, *, helper_port: int = 0) -> web.Application:
    """The site's application for one SSH server."""
    site = web.Application(middlewares=[own_origin_only], client_max_size=2 * 1024 * 1024)
    site[SERVER] = server
    site[HELPER_PORT] = helper_port
    site.add_routes(routes)
    folder = web_folder()
    site.router.add_get("/", _file(folder / "demo" / "index.html"))
    site.router.add_get("/sdk/connect.js", _file(folder / "sdk" / "connect.js"))
    site.router.add_static("/demo/", folder / "demo")
    return site


def _file(path: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    async def answer(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    return answer


@web.middleware
async def own_origin_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Other pages, and names that were made to point here, get nothing: a spec holds the password."""
    _, port = request.transport.get_extra_info("sockname")[:2] if request.transport else ("", 0)
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    if request.headers.getall("Host", []) not in [[host] for host in hosts]:
        raise web.HTTPMisdirectedRequest
    origin = request.headers.get("Origin")
    elsewhere = (origin is not None and origin.removeprefix("http://") not in hosts) or (
        request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    )
    # Following a link to the page is fine; anything else from elsewhere is not.
    if elsewhere and (request.method, request.path) != ("GET", "/"):
        raise web.HTTPForbidden
    try:
        answer = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_HEADERS)
        raise
    answer.headers.update(_HEADERS)
    return answer


@routes.get("/api/server")
async def tell_server(request: web.Request) -> web.Response:
    """`{"host", "port", "user", "helper_port"}`; no password."""
    server = request.app[SERVER]
    facts = {"host": server.host, "port": server.port, "user": server.user}
    return web.json_response({**facts, "helper_port": request.app[HELPER_PORT]})


@routes.get("/api/files")
async def list_files(request: web.Request) -> web.Response:
    """`{"entries": [{"name", "path", "kind": "file"|"folder", "size", "changed"}]}`, folders first.

    `size` in bytes, `changed` in milliseconds since 1970. 404 for what is no folder.
    """
    folder = _below(request.app[SERVER].root, request.query.get("folder", "/"))
    try:
        entries = await asyncio.to_thread(_entries, folder, request.query.get("folder", "/"))
    except OSError:
        raise web.HTTPNotFound(text="There is no such folder on the server.") from None
    return web.json_response({"entries": entries})


@routes.post("/api/upload-spec")
async def upload_spec(request: web.Request) -> web.Response:
    """A transfer spec for sending into `folder`; the page adds the paths the user picks."""
    wish = await _wish(request)
    server = request.app[SERVER]
    _below(server.root, wish.folder)
    spec = _login(server) | {"direction": "send", "destination_root": wish.folder, "create_dir": True}
    return web.json_response({"transfer_spec": spec | _rate(wish)})


@routes.post("/api/download-spec")
async def download_spec(request: web.Request) -> web.Response:
    """A transfer spec for fetching `paths`. 400 without any."""
    wish = await _wish(request)
    server = request.app[SERVER]
    if not wish.paths:
        raise web.HTTPBadRequest(text="Choose something to download first.")
    for path in wish.paths:
        _below(server.root, path)
    paths = [{"source": path} for path in wish.paths]
    spec = _login(server) | {"direction": "receive", "paths": paths}
    return web.json_response({"transfer_spec": spec | _rate(wish)})


async def _wish(request: web.Request) -> SpecRequest:
    try:
        return SpecRequest.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "The request"
        raise web.HTTPBadRequest(text=f"{where}: {first['msg']}.") from error


def _login(server: ServerFacts) -> dict[str, object]:
    """The part of a spec that says where to connect and how the server proves itself."""
    return {
        "remote_host": server.host,
        "ssh_port": server.port,
        "remote_user": server.user,
        "remote_password": server.password,
        "sshfp": server.fingerprint,
    }


def _rate(wish: SpecRequest) -> dict[str, object]:
    return {} if wish.target_rate_kbps is None else {"target_rate_kbps": wish.target_rate_kbps}


def _below(root: Path, path: str) -> Path:
    """The place of a server path; 400 for one that is not a plain way down from "/"."""
    names = [name for name in path.split("/") if name]
    if not path.startswith("/") or "\0" in path or any(name in (".", "..") for name in names):
        raise web.HTTPBadRequest(text="That is no path of this server.")
    return root.joinpath(*names)


def _entries(folder: Path, shown: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            facts = entry.stat(follow_symlinks=False)
            is_folder = stat.S_ISDIR(facts.st_mode)
            found.append(
                {
                    "name": entry.name,
                    "path": f"{shown.rstrip('/')}/{entry.name}",
                    "kind": "folder" if is_folder else "file",
                    "size": 0 if is_folder else facts.st_size,
                    "changed": int(facts.st_mtime * 1000),
                }
            )
    found.sort(key=lambda one: (one["kind"] == "file", str(one["name"]).casefold()))
    return found
