"""The page's script, for pages that take it from the helper rather than from their own site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from connect_helper.settings import web_folder

_FILES: Final = {
    "connect.js": "text/javascript; charset=utf-8",
    "connect.d.ts": "text/plain; charset=utf-8",
}


def script_routes() -> list[web.RouteDef]:
    """`/sdk/connect.js` and its types: public files, the same for everybody."""
    return [web.get(f"/sdk/{name}", _serve(name, kind)) for name, kind in _FILES.items()]


def _serve(name: str, kind: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        # Any site may load it with a plain script tag.
        headers = {"Cross-Origin-Resource-Policy": "cross-origin", "Content-Type": kind}
        return web.FileResponse(web_folder() / "sdk" / name, headers=headers)

    return serve
