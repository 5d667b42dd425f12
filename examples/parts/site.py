"""What the examples have in common behind the page: a list of files, transfer specs, and an SSH server.

Without arguments an example starts an SSH server of its own with a few files, and takes it away at the end.
With USER@HOST[:PORT] FOLDER it sends to a server of yours instead; there is no password in its specs, so the
helper asks for it, and no list of files, since only that server knows them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from connect_helper.commands.common import stop_on_signals
from connect_helper.demo.far_end import FarEnd
from connect_helper.demo.site import own_origin_only
from connect_helper.spec.remote_address import parse_address

ROOT: Final = Path(__file__).resolve().parents[2]
# Below the same addresses as in the repository, so that scripts import each other by their relative paths.
SHARED: Final = ("examples/parts", "web/demo", "web/sdk")
TYPES: Final = {".html", ".css", ".js", ".svg"}


@dataclass(frozen=True)
class Server:
    """Where the files are. `root` is the folder of a server of this program's own, None for yours."""

    login: Mapping[str, Any]  # the part of a transfer spec that leads there
    folder: str  # on the server, where uploads go
    root: Path | None = None


def build_site(example: Path, server: Server, files: Mapping[str, Path]) -> web.Application:
    """The site of the example in a folder; `files` are further ones, by their addresses."""
    name = f"examples/{example.name}"
    known = {f"/{name}/": example / "index.html"}
    for folder in (name, *SHARED):
        found = (path for path in (ROOT / folder).iterdir() if path.suffix in TYPES)
        known |= {f"/{folder}/{path.name}": path for path in found}
    known |= files

    async def start(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"/{name}/")

    async def file(request: web.Request) -> web.FileResponse:
        if request.path not in known:
            raise web.HTTPNotFound
        return web.FileResponse(known[request.path])

    async def list_files(_: web.Request) -> web.Response:
        """What can be fetched: {"files": [{"path", "size"}]}, null where the list is not known."""
        found = None if server.root is None else await asyncio.to_thread(_list, server.root)
        return web.json_response({"files": found})

    async def upload_spec(_: web.Request) -> web.Response:
        """A transfer spec without "paths", which the page adds: what the user picked."""
        spec = {**server.login, "direction": "send", "destination_root": server.folder, "create_dir": True}
        return web.json_response(spec)

    async def download_spec(request: web.Request) -> web.Response:
        """{"path"} in, a transfer spec out."""
        path = str((await request.json()).get("path", ""))
        if path not in {one["path"] for one in await asyncio.to_thread(_list, server.root)}:
            raise web.HTTPNotFound(text="There is no such file on the server.")
        return web.json_response({**server.login, "direction": "receive", "paths": [{"source": path}]})

    app = web.Application(middlewares=[own_origin_only], client_max_size=100_000)
    app.add_routes(
        [
            web.get("/", start),
            web.get("/api/files", list_files),
            web.post("/api/upload-spec", upload_spec),
            web.post("/api/download-spec", download_spec),
            web.get("/{path:.+}", file),
        ]
    )
    return app


def _list(root: Path | None) -> list[dict[str, Any]]:
    files = sorted(path for path in root.rglob("*") if path.is_file()) if root else []
    return [
        {"path": f"/{path.relative_to(root).as_posix()}", "size": path.stat().st_size}
        for path in files
        if root and ".partial" not in path.suffixes
    ]


@contextlib.asynccontextmanager
async def own_server() -> AsyncIterator[Server]:
    """An SSH server with three files, in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="connect-helper-example-"))
    try:
        root = folder / "server"
        (root / "Inbox").mkdir(parents=True)
        (root / "Welcome.txt").write_text(
            "This file came from the example's own SSH server.\n", encoding="utf-8"
        )
        (root / "Recording.wav").write_bytes(os.urandom(4_000_000))
        (root / "Film – scene 1.mov").write_bytes(os.urandom(24_000_000))
        async with FarEnd(root) as far_end:
            facts = far_end.facts
            login = {
                "remote_host": facts.host,
                "ssh_port": facts.port,
                "remote_user": facts.user,
                "remote_password": facts.password,
                "sshfp": facts.fingerprint,
            }
            yield Server(login, "/Inbox", root)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def your_server(address: str, folder: str) -> Server:
    """A server that is there already."""
    place = parse_address(f"ssh://{address}")
    return Server({"remote_host": place.host, "ssh_port": place.port, "remote_user": place.user}, folder)


async def _serve(example: Path, files: Mapping[str, Path], given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop.set)
    async with contextlib.AsyncExitStack() as stack:
        server = (
            your_server(given.server, given.folder)
            if given.server
            else await stack.enter_async_context(own_server())
        )
        runner = web.AppRunner(build_site(example, server, files), access_log=None, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", given.port).start()
        port = runner.addresses[0][1]
        print(f"Open http://127.0.0.1:{port}/ with connect-helper running; Ctrl-C ends.", flush=True)
        await stop.wait()


def main(example: Path, files: Mapping[str, Path] | None = None) -> None:
    """Run the example in a folder until Ctrl-C."""
    parser = argparse.ArgumentParser(description="An example page and, unless you name one, its SSH server.")
    parser.add_argument("server", nargs="?", help="USER@HOST[:PORT] of a server of yours")
    parser.add_argument("folder", nargs="?", default="incoming", help="where to send to on that server")
    parser.add_argument("--port", type=int, default=8000, help="port of the page; 0 takes a free one")
    asyncio.run(_serve(example, files or {}, parser.parse_args()))
