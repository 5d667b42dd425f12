"""Sessions that a page began by launching the helper (desktop reference, section 1.1 and 4.1).

Where several people use one computer, each runs a helper of their own, on a port of its own. A page that
minds this makes up a session id, hands it over by opening `aspera://initialize?app_id=...&session_id=...`,
which starts the helper of the person in front of the screen, and then looks for the port whose helper knows
that id. So an id is good only when it came by such a launch, never from the page's own call.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from aiohttp import web

from connect_helper.api.bodies import read_object
from connect_helper.spec.lenient import required_text

KEPT: Final = 256


class LaunchedSessions:
    """The ids launched last."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, app_id: str, session_id: str) -> None:
        """A launch of this user named them."""
        self._known[app_id, session_id] = None
        self._known.move_to_end((app_id, session_id))
        if len(self._known) > KEPT:
            self._known.popitem(last=False)

    def route(self) -> web.RouteDef:
        """How the command that a launch link starts hands an id over, among the control routes."""
        return web.post("/api/control/launched", self._launched)

    async def _launched(self, request: web.Request) -> web.Response:
        """Body `{"app_id", "session_id"}`."""
        body = await read_object(request)
        self.add(required_text(body, "app_id"), required_text(body, "session_id"))
        return web.json_response({})

    def knows(self, app_id: str, session_id: str) -> bool:
        return (app_id, session_id) in self._known
