"""A page on an origin of its own that speaks the desktop protocol with an independent JSON-RPC client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Page

from tests.support.official import World

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "node_modules/json-rpc-2.0/dist"
PAGES = ROOT / "tests/clients"
WAIT_MS = 30_000
APP = "desktop-app"


def library_script() -> str:
    """json-rpc-2.0 for a page: the modules of the package as they are, with the few lines that join them."""
    if not LIBRARY.exists():
        raise FileNotFoundError("json-rpc-2.0 is not installed. Run: npm ci")
    modules = ",\n".join(
        f"{json.dumps(f'./{path.stem}')}: function (exports, require, module) {{\n{path.read_text()}\n}}"
        for path in sorted(LIBRARY.glob("*.js"))
    )
    return f"""(() => {{
const modules = {{{modules}}};
const loaded = {{}};
function require(name) {{
  if (!loaded[name]) {{
    loaded[name] = {{ exports: {{}} }};
    modules[name](loaded[name].exports, require, loaded[name]);
  }}
  return loaded[name].exports;
}}
window.jsonRpc2 = require("./index");
}})();
"""


@asynccontextmanager
async def serve_rpc_site() -> AsyncIterator[str]:
    """Serve the page on a free port; yields the origin. Each site is another origin to the helper."""
    script = library_script()

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGES / "rpc_page.html")

    async def page_script(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGES / "rpc_page.js")

    async def library(_: web.Request) -> web.Response:
        return web.Response(text=script, content_type="text/javascript")

    app = web.Application()
    app.add_routes(
        [web.get("/", page), web.get("/page.js", page_script), web.get("/json-rpc-2.0.js", library)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class RpcBrowserPage:
    """The page in the browser, and the test's hand inside it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.session: dict[str, Any] = {}

    async def open(self) -> None:
        """Load the page and wait until its session runs."""
        await self.page.goto(self.origin)
        self.session = await self.page.evaluate("id => client.init(id)", APP)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method: {"value": ...} or {"error": {"code", "message", "data"}}."""
        named = {"app_id": APP, **params}
        answer: dict[str, Any] = await self.page.evaluate("call => client.call(...call)", [method, named])
        return answer

    async def call(self, method: str, **params: Any) -> Any:
        """The result of a call that is to succeed."""
        answer = await self.ask(method, **params)
        assert "value" in answer, answer
        return answer["value"]

    async def status(self, transfer_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until news brought the transfer to one of `statuses`; its newest object."""
        await self.page.wait_for_function(
            "([id, words]) => words.includes(client.transfer(id)?.transfer.status)",
            arg=[transfer_id, statuses],
            timeout=WAIT_MS,
        )
        transfer: dict[str, Any] = await self.page.evaluate("id => client.transfer(id).transfer", transfer_id)
        return transfer

    async def seen(self, transfer_id: str) -> list[str]:
        """Every status the news told of, in order."""
        seen: list[str] = await self.page.evaluate("id => client.transfer(id).seen", transfer_id)
        return seen


@asynccontextmanager
async def rpc_page(world: World, **options: Any) -> AsyncIterator[RpcBrowserPage]:
    """A page on an origin no other page had, connected to the helper. `options` are Playwright's own."""
    async with serve_rpc_site() as origin:
        context = await world.browser.new_context(**options)
        try:
            opened = RpcBrowserPage(await context.new_page(), origin)
            await opened.open()
            yield opened
        finally:
            await context.close()
