"""A web application that gives its visitors download tokens: a page, a small service, a transfer server.

    .venv/bin/python examples/token-service/serve.py

sets up a transfer server in a temporary folder, starts it and serves the page. With a server of your own:

    NODE_PASSWORD=... .venv/bin/python examples/token-service/serve.py --node https://HOST:8443 --user web

The page never sees the account's password. It asks this service for one file, by fetch; the service looks
whether its visitor may have it, and gets a token for exactly that file from the server's Node API.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
from aiohttp import web

HERE = Path(__file__).parent
TOKEN_LIFE_S = 600
PUBLIC = PurePosixPath("/public")  # what every visitor may have; a real site asks its own database
COMMAND = Path(sys.executable).with_name("connect-helper")


@dataclass(frozen=True)
class Node:
    """The transfer server, and this service's own account there."""

    url: str
    user: str
    password: str
    ca_file: Path | None = None  # of a certificate that no public authority has signed

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client that is logged in."""
        tls = ssl.create_default_context(cafile=self.ca_file)
        login = aiohttp.encode_basic_auth(self.user, self.password)
        async with aiohttp.ClientSession(
            self.url, headers={"Authorization": login}, connector=aiohttp.TCPConnector(ssl=tls)
        ) as client:
            yield client


class Refused(Exception):
    """The server said no; the text is for the visitor."""


async def page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE / "index.html")


async def script(_: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE.parents[1] / "web" / "sdk" / "connect.js")


class Service:
    """The web application."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._client: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application(client_max_size=10_000)
        app.cleanup_ctx.append(self._connected)
        app.add_routes(
            [
                web.get("/", page),
                web.get("/connect.js", script),
                web.get("/files", self.files),
                web.post("/download-token", self.download_token),
            ]
        )
        return app

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        async with self._node.client() as self._client:
            yield

    async def files(self, request: web.Request) -> web.Response:
        """What the visitor may choose from: [{"path", "size"}]."""
        asked = {"path": str(PUBLIC), "count": 1000, "filters": {"types": ["file"]}}
        found = await self._ask("files/browse", asked)
        return web.json_response([{"path": one["path"], "size": one["size"]} for one in found["items"]])

    async def download_token(self, request: web.Request) -> web.Response:
        """{"path"} in, a transfer spec with a token out."""
        if request.headers.get("Origin") != f"{request.scheme}://{request.host}":
            raise web.HTTPForbidden(text="This service is for its own page.")
        try:
            path = PurePosixPath(str((await request.json())["path"]))
        except (ValueError, KeyError, TypeError):
            raise web.HTTPBadRequest(text='This takes {"path": "..."}.') from None
        if not path.is_relative_to(PUBLIC) or ".." in path.parts:
            raise web.HTTPForbidden(text="That file is not yours to have.")
        wish = {"paths": [{"source": str(path)}], "token_life_seconds": TOKEN_LIFE_S}
        try:
            return web.json_response(await self._spec(wish))
        except Refused as error:
            raise web.HTTPNotFound(text=str(error)) from error

    async def _spec(self, wish: dict[str, Any]) -> dict[str, Any]:
        answer = await self._ask("files/download_setup", {"transfer_requests": [{"transfer_request": wish}]})
        spec: dict[str, Any] = answer["transfer_specs"][0]["transfer_spec"]
        if "error" in spec:
            raise Refused(spec["error"]["user_message"])
        return {**spec, "authentication": "token"}  # so that the helper asks for no password

    async def _ask(self, route: str, body: dict[str, Any]) -> Any:
        assert self._client is not None
        try:
            async with self._client.post(f"/{route}", json=body) as answer:
                if answer.status != 200:
                    raise web.HTTPBadGateway(text="The transfer server refused this service.")
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            print(f"The transfer server cannot be asked: {error}", file=sys.stderr, flush=True)
            raise web.HTTPBadGateway(text="The transfer server cannot be reached.") from error


@contextlib.contextmanager
def own_server(folder: Path) -> Iterator[Node]:
    """A transfer server set up in `folder` and running, with two files to fetch."""
    init = subprocess.run([COMMAND, "server", "init", folder], check=True, capture_output=True, text=True)
    lines = [line.split() for line in init.stdout.splitlines()]
    words = {line[0]: line[1].rstrip(",") for line in lines if len(line) > 1}
    public = folder / "files" / "public"
    public.mkdir()
    (public / "hello.txt").write_text("Hello from the transfer server.\n")
    (public / "noise.bin").write_bytes(os.urandom(20_000_000))
    config = folder / "server.toml"
    server = subprocess.Popen(
        [COMMAND, "server", "run", "--config", config], stdout=subprocess.PIPE, text=True
    )
    try:
        ports = _ports(server)
        url = f"https://127.0.0.1:{ports['https']}"
        yield Node(url, words["account"], words["password"], folder / "certificate.pem")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _ports(server: subprocess.Popen[str]) -> dict[str, str]:
    """What the server says at its start, up to its host key: {"ssh": "33001", ...}."""
    found: dict[str, str] = {}
    assert server.stdout is not None
    for line in server.stdout:
        words = line.split()
        if words[:2] == ["host", "key"]:
            return found
        if words[1:2] == ["port"]:
            found[words[0]] = words[2]
    sys.exit("The transfer server did not start.")


async def serve(node: Node, port: int) -> None:
    """Serve the page until Ctrl-C."""
    runner = web.AppRunner(Service(node).app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    print(f"Open http://127.0.0.1:{port}/ with connect-helper running; Ctrl-C ends.", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="A page that gets download tokens from a service.")
    parser.add_argument("--node", help="address of a transfer server; without it, one is set up for now")
    parser.add_argument("--user", help="account there; its password is read from NODE_PASSWORD")
    parser.add_argument("--ca", type=Path, help="its certificate, if no public authority has signed it")
    parser.add_argument("--port", type=int, default=8000, help="port of this page")
    given = parser.parse_args()
    if given.node:
        node = Node(given.node, given.user or "", os.environ.get("NODE_PASSWORD", ""), given.ca)
        asyncio.run(serve(node, given.port))
        return
    with tempfile.TemporaryDirectory() as folder, own_server(Path(folder) / "server") as node:
        asyncio.run(serve(node, given.port))


if __name__ == "__main__":
    main()
