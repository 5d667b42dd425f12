"""A page of another origin that uses our own script, and a helper whose faults a test decides.

`ScriptedHelper` is for what a real helper does not do on demand: staying silent, dropping a connection
in the middle of a request, being too old. What the real one can do is tested with the real one.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from connect_helper.settings import web_folder

PAGE = """<!doctype html><meta charset="utf-8"><title>A page</title>
<script>
window.statuses = []; window.launches = 0;
new MutationObserver((changes) => {
  for (const change of changes)
    for (const node of change.addedNodes) if (node.src === "fasp://initialize") window.launches += 1;
}).observe(document, { childList: true, subtree: true });
</script>
<script src="/connect.js"></script>
<body><div id="target" style="width:200px;height:100px">Drop here</div></body>
"""

SILENT: Any = object()  # an answer that never comes
DROPPED: Any = object()  # the connection is cut instead of an answer


@asynccontextmanager
async def serve_page() -> AsyncIterator[str]:
    """Serve the page on a free port; yields its origin."""
    app = web.Application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(web_folder() / "sdk" / "connect.js")

    app.add_routes([web.get("/", page), web.get("/connect.js", script)])
    async with _serving(app, 0) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _serving(app: web.Application, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str  # below /v5/connect/
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float  # the loop's clock, s


@dataclass
class ScriptedHelper:
    """Answers by `answers`: path below /v5/connect/ to a JSON object, a function of the body, or a list of
    such, used up one by one; (status, text) answers raw; SILENT and DROPPED are no answer at all."""

    version: str = "4.2.13.820"
    answers: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def on(self, port: int = 0) -> AsyncIterator[int]:
        """Listen, on a free port by default; yields the port. It can be entered again after it ended."""
        app = web.Application()
        app.router.add_route("*", "/v5/connect/{path:.*}", self._answer)
        async with _serving(app, port) as bound:
            yield bound

    def requests(self, path: str) -> list[Seen]:
        return [one for one in self.seen if one.path == path]

    async def until(self, condition: Callable[[], bool], *, within_s: float = 10) -> None:
        """Wait until a request makes the condition true."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        text = await request.text()
        now = asyncio.get_running_loop().time()
        body = json.loads(text) if text else {}
        self.seen.append(Seen(request.method, path, dict(request.headers), body, now))
        async with self.changed:
            self.changed.notify_all()
        answer = self._next(path, body)
        if answer is SILENT:
            await asyncio.Event().wait()
        if answer is DROPPED:
            assert request.transport is not None
            request.transport.abort()
            answer = {}
        status, text = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
        headers = {"Access-Control-Allow-Origin": request.headers.get("Origin", "*")}
        return web.Response(status=status, text=text, content_type="application/json", headers=headers)

    def _next(self, path: str, body: dict[str, Any]) -> Any:
        known = {"info/version": {"version": self.version, "system_wide": False}}
        answer = self.answers.get(path, known.get(path, {}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        return answer(body) if callable(answer) else answer


@asynccontextmanager
async def silent_port() -> AsyncIterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
