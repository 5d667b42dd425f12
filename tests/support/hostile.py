"""A site of empty pages to attack from, and what a browser and a script in the page see of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from playwright.async_api import Frame, Page


class Answers:
    """What the helper answered to requests of a page, also where the browser hid the answer from the page."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._paths: dict[str, str] = {}  # by the browser's id of the request
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()

    @classmethod
    async def watched(cls, base: str, page: Page) -> Answers:
        """Watch the page's traffic to `base` ("http://127.0.0.1:33003") from now on."""
        answers = cls(base)
        session = await page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", answers._sent)
        session.on("Network.responseReceivedExtraInfo", answers._answered)
        await session.send("Network.enable")
        return answers

    def _sent(self, event: dict[str, Any]) -> None:
        url = event["request"]["url"]
        if url.startswith(self._base):
            self._paths[event["requestId"]] = url.removeprefix(self._base)
            self._changed.set()

    def _answered(self, event: dict[str, Any]) -> None:
        self._statuses[event["requestId"]] = event["statusCode"]
        self._changed.set()

    async def of(self, count: int) -> list[tuple[str, int]]:
        """Wait until `count` requests were answered; their paths and statuses, sorted."""
        async with asyncio.timeout(15):
            while len(self._paths.keys() & self._statuses.keys()) < count:
                self._changed.clear()
                await self._changed.wait()
        return sorted((path, self._statuses[known]) for known, path in self._paths.items())


async def serve_page(request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html><title>Win a prize</title><p>Hello", content_type="text/html")


@asynccontextmanager
async def serve_empty_pages() -> AsyncIterator[str]:
    """A site of nothing but an empty page; the tests put the attacks into it. Yields its origin."""
    app = web.Application()
    app.router.add_get("/{any:.*}", serve_page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


FETCH = """async ([url, method, body, mode]) => {
  try {
    const answer = await fetch(url, { method, body: body ?? undefined, mode });
    const text = answer.type === "opaque" ? "" : await answer.text();
    return { type: answer.type, status: answer.status, text };
  } catch (error) {
    return { failed: String(error) };
  }
}"""


async def fetch(
    page: Page | Frame, url: str, body: str | None = None, *, method: str | None = None, mode: str = "cors"
) -> dict[str, Any]:
    """What a script in the page gets to see of an answer."""
    verb = method or ("GET" if body is None else "POST")
    seen: dict[str, Any] = await page.evaluate(FETCH, [url, verb, body, mode])
    return seen
