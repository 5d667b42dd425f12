"""The part of the window's API that shows and changes what the user chose: sites and preferences."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from connect_helper.api.bodies import read_object
from connect_helper.api.brandings import Brandings
from connect_helper.api.sites import Sites, SiteView
from connect_helper.api.ui_views import check_preferences, preferences_view, sites_view
from connect_helper.errors import InvalidRequest, NotFound
from connect_helper.settings import PreferencesStore


class ChoicePages:
    """Handlers below /api/sites, /api/grants and /api/preferences."""

    def __init__(self, sites: Sites, brandings: Brandings, preferences: PreferencesStore) -> None:
        self._sites = sites
        self._brandings = brandings
        self._preferences = preferences

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/sites", self.list_sites),
            web.delete("/api/sites/{origin}", self.revoke_site),
            web.delete("/api/sites/{origin}/hosts", self.revoke_hosts),
            web.delete("/api/grants/{id}", self.revoke_grant),
            web.get("/api/preferences", self.show_preferences),
            web.patch("/api/preferences", self.change_preferences),
        ]

    def render_sites(self) -> dict[str, Any]:
        return sites_view(self._sites.overview(), self._brandings.newest)

    def render_preferences(self) -> dict[str, Any]:
        return preferences_view(self._preferences)

    async def list_sites(self, request: web.Request) -> web.Response:
        """What every origin may do."""
        return web.json_response(self.render_sites())

    def _site(self, request: web.Request) -> SiteView:
        origin = request.match_info["origin"]
        for site in self._sites.overview():
            if site.origin == origin:
                return site
        raise NotFound("This site has no permissions any more.")

    async def revoke_site(self, request: web.Request) -> web.Response:
        """Forget everything the origin was allowed, and that it was refused."""
        self._sites.revoke_origin(self._site(request).origin)
        return web.json_response(self.render_sites())

    async def revoke_hosts(self, request: web.Request) -> web.Response:
        """Ask again before the origin reaches `?host&port`, or any host when none is named."""
        site = self._site(request)
        host, port = request.query.get("host"), request.query.get("port", "")
        for trusted in site.hosts:
            if host is None or (trusted.host == host and str(trusted.port) == port):
                self._sites.revoke_host(site.origin, trusted.host, trusted.port)
        return web.json_response(self.render_sites())

    async def revoke_grant(self, request: web.Request) -> web.Response:
        """Take one file or folder back."""
        self._sites.revoke_grant(request.match_info["id"])
        return web.json_response(self.render_sites())

    async def show_preferences(self, request: web.Request) -> web.Response:
        """Values, and what each of them takes."""
        return web.json_response(self.render_preferences())

    async def change_preferences(self, request: web.Request) -> web.Response:
        """Body: the preferences to change, by name. All of them or, with an error, none."""
        changes = await read_object(request)
        check_preferences(changes)
        folder = changes.get("download_folder")
        if folder:
            await asyncio.to_thread(_check_folder, folder)
        self._preferences.change(changes)
        return web.json_response(self.render_preferences())


def _check_folder(text: str) -> None:
    """Raise InvalidRequest, in words for the user, unless files can be put there."""
    field = "download_folder"
    try:
        folder = Path(text).expanduser()
        if not folder.is_absolute():
            raise InvalidRequest("Give the full path of a folder, from the top.", field=field)
        if not folder.exists():
            raise InvalidRequest(
                "There is no such folder. Make it first, or check the spelling.", field=field
            )
        if not folder.is_dir():
            raise InvalidRequest("That is a file, not a folder.", field=field)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidRequest("That folder cannot be used; check the spelling.", field=field) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidRequest("You may not write into that folder.", field=field)
