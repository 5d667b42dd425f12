"""The part of the window's API that lists paired browser extensions and removes them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from connect_helper.api.extensions import Extensions
from connect_helper.spec.names import display


class ExtensionPages:
    """Handlers below /api/extensions."""

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/extensions", self.list_extensions),
            web.delete("/api/extensions/{id}", self.remove),
        ]

    def render(self) -> dict[str, Any]:
        """`{"extensions": [{"id", "origin", "browser", "since"}]}`, the oldest first."""
        return {
            "extensions": [
                {
                    "id": one.id,
                    "origin": display(one.origin),
                    "browser": display(one.browser),
                    "since": one.since,
                }
                for one in self._extensions.all()
            ]
        }

    async def list_extensions(self, request: web.Request) -> web.Response:
        """Every browser extension whose word for a page counts."""
        return web.json_response(self.render())

    async def remove(self, request: web.Request) -> web.Response:
        """Take its word no more, from the next request on."""
        self._extensions.remove(request.match_info["id"])
        return web.json_response(self.render())
