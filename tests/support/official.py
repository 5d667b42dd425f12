"""A page on an origin of its own that uses the official Connect SDK, and the test's hand inside it.

`World` holds what such a page needs around it: the helper, a browser and a server to transfer with.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Browser, Page

from tests.support.browser import PLACE_ON_SCREEN, launch
from tests.support.helper import PORTS, Helper
from tests.support.sshd import SshServer

ROOT = Path(__file__).parents[2]
SDK = ROOT / "node_modules/@ibm-aspera/connect-sdk-js/dist/js/connect-sdk.js"
PAGES = ROOT / "tests/clients"
WAIT_MS = 30_000

Answer = dict[str, Any]  # {"value": ...}, {"error": the error object} or {"thrown": text}


@asynccontextmanager
async def serve_site(script: Path = SDK) -> AsyncIterator[str]:
    """Serve the page on a free port; yields the origin. Each site is another origin to the helper.

    `script` is what the page takes for the SDK.
    """
    if not script.exists():
        raise FileNotFoundError("The official SDK is not installed. Run: npm ci")
    files = {"/": PAGES / "page.html", "/page.js": PAGES / "page.js", "/connect-sdk.js": script}

    async def serve(request: web.Request) -> web.FileResponse:
        return web.FileResponse(files[request.path])

    app = web.Application()
    app.add_routes([web.get(path, serve) for path in files])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class OfficialPage:
    """The page in the browser. Method names and argument orders are the SDK's own."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.app_id = ""

    async def open(self, *, app_id: str = "", by_extension: bool = False, status: str = "RUNNING") -> None:
        """Load the page and wait until the SDK has found the helper, or has another `status`.

        `by_extension` loads it in the SDK's default set-up, with its installer object.
        """
        await self.page.goto(f"{self.origin}/?installer" if by_extension else self.origin)
        session = await self.page.evaluate("id => client.init(id)", app_id)
        self.app_id = session["app_id"]
        await self.until("status => client.connect.getStatus() === status", status)

    async def until(self, condition: str, argument: Any = None, *, within_ms: float = WAIT_MS) -> None:
        """Wait until the script expression (a function of `argument`, or plain) is true."""
        await self.page.wait_for_function(condition, arg=argument, timeout=within_ms)

    async def promise(self, method: str, *values: Any) -> Answer:
        """Call a method and await its promise."""
        answer: Answer = await self.page.evaluate("call => client.promise(...call)", [method, *values])
        return answer

    async def callbacks(self, method: str, *values: Any, position: int | None = None) -> Answer:
        """Call a method with callbacks at `position` among its arguments, last by default."""
        at = len(values) if position is None else position
        answer: Answer = await self.page.evaluate("call => client.callbacks(...call)", [method, at, *values])
        return answer

    async def start(self, spec: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> str:
        """Call startTransfer; returns the request_id the SDK gave at once."""
        request_id: str = await self.page.evaluate(
            "([spec, settings]) => client.start(spec, settings)", [dict(spec), dict(settings or {})]
        )
        return request_id

    async def start_answer(self, request_id: str) -> Answer:
        """Wait for the callback of startTransfer."""
        await self.until("id => Object.keys(client.started(id)).length > 0", request_id)
        answer: Answer = await self.page.evaluate("id => client.started(id)", request_id)
        return answer

    async def status(self, request_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until events brought the transfer to one of `statuses`; returns its TransferInfo."""
        await self.until(
            "([id, words]) => words.includes(client.transfer(id)?.info.status)", [request_id, statuses]
        )
        return await self.info(request_id)

    async def info(self, request_id: str) -> dict[str, Any]:
        """The newest TransferInfo that events brought."""
        info: dict[str, Any] = await self.page.evaluate("id => client.transfer(id).info", request_id)
        return info

    async def seen(self, request_id: str) -> list[str]:
        """Every status the events told of, in order."""
        seen: list[str] = await self.page.evaluate("id => client.transfer(id).seen", request_id)
        return seen


@dataclass(frozen=True, slots=True)
class World:
    """Everything on the user's side of the screen, and a stock SSH server."""

    helper: Helper
    browser: Browser
    server: SshServer

    @classmethod
    @asynccontextmanager
    async def running(
        cls, home: Path, *, display: str | None = None, hosts: Sequence[str] = (), headless: bool = True
    ) -> AsyncIterator[World]:
        """Start all of it. With a `display` the helper asks there, otherwise in its own pages.

        `hosts` are names that lead the browser to 127.0.0.1. A browser that is not `headless` has its window
        at the left of the display.
        """
        async with AsyncExitStack() as stack:
            helper = await stack.enter_async_context(Helper.running(home, display=display))
            browser = await stack.enter_async_context(
                launch(
                    headless=headless,
                    display=None if headless else display,
                    hosts=others_hidden(helper) | dict.fromkeys(hosts, "127.0.0.1"),
                    extra_args=() if headless else PLACE_ON_SCREEN,
                )
            )
            server = stack.enter_context(SshServer())
            yield cls(helper, browser, server)

    def spec(self, direction: str, *paths: dict[str, str], **more: Any) -> dict[str, Any]:
        """A transfer spec as the site's server would make it, which knows its SSH server's key."""
        return {
            "direction": direction,
            "remote_host": self.server.host,
            "ssh_port": self.server.port,
            "remote_user": self.server.user,
            "ssh_private_key": self.server.client_key,
            "sshfp": sha256_of(self.server.host_key_line),
            "paths": list(paths),
            **more,
        }

    @asynccontextmanager
    async def page(self, script: Path = SDK, **options: Any) -> AsyncIterator[OfficialPage]:
        """A page on an origin no other page had, connected to the helper. `options` are Playwright's own."""
        async with serve_site(script) as origin:
            context = await self.browser.new_context(**options)
            try:
                opened = OfficialPage(await context.new_page(), origin)
                await opened.open()
                yield opened
            finally:
                await context.close()


def sha256_of(key_line: str) -> str:
    """SHA-256 of a host key ("type base64") in hex, as `sshfp` has it."""
    return hashlib.sha256(base64.b64decode(key_line.split()[1])).hexdigest()


def others_hidden(helper: Helper) -> dict[str, str]:
    """Name rules that hide whatever else answers on the ports pages search.

    The SDK takes the lowest port that answers; another helper of this machine must not win.
    """
    return {f"127.0.0.1:{port}": "127.0.0.1:9" for port in PORTS if port != helper.port}
