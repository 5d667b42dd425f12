"""What the operator may see and do while the server runs: sessions, figures, ending a session.

    GET    /operator/sessions        {"sessions": [SessionReport...], "ended": [SessionReport...]}
    POST   /operator/sessions/{id}/cancel    204
    PUT    /operator/sessions/{id}/rate      {"upload_kbps"|"download_kbps": number or null}
    GET    /metrics                  for Prometheus

On the control socket, which only the server's own account can open, nobody is asked. On the HTTPS and HTTP
ports the caller is an account with `admin = true` (HTTP Basic).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import hdrs, web

from connect_helper.errors import ConnectHelperError, InvalidRequest, NotFound
from connect_helper.server.admission import Admission, LoginRefused
from connect_helper.server.basic_credentials import basic_credentials
from connect_helper.server.configuration import MAX_RATE_KBPS
from connect_helper.server.http.addresses import client_address
from connect_helper.server.http.problems import needs_encryption
from connect_helper.server.metrics import CONTENT_TYPE, Metrics
from connect_helper.server.private_files import FolderUnusable
from connect_helper.server.sessions import Session, Sessions, Way
from connect_helper.server.tokens import looks_like_token

SOCKET_NAME: Final = "control.sock"
_LONGEST_SOCKET: Final = 100  # bytes; the system's limit is little more
_MAX_BODY: Final = 10_000
_WAYS: Final[dict[str, Way]] = {"upload_kbps": "in", "download_kbps": "out"}
Guard = Callable[[web.Request], Awaitable[None]]


class Operating:
    """The handlers, with a guard of the port they are for."""

    def __init__(self, sessions: Sessions, metrics: Metrics, guard: Guard | None = None) -> None:
        self._sessions = sessions
        self._metrics = metrics
        self._guard = guard

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/metrics", self._show_metrics),
            web.get("/operator/sessions", self._list),
            web.post("/operator/sessions/{id}/cancel", self._cancel),
            web.put("/operator/sessions/{id}/rate", self._change_rate),
        ]

    async def _show_metrics(self, request: web.Request) -> web.Response:
        await self._check(request)
        return web.Response(body=self._metrics.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def _list(self, request: web.Request) -> web.Response:
        await self._check(request)
        return web.json_response(
            {
                "sessions": [report.as_json() for report in self._sessions.listing()],
                "ended": [report.as_json() for report in self._sessions.history()],
            }
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        await self._sessions.end_for_good(await self._session(request))
        return web.Response(status=204)

    async def _change_rate(self, request: web.Request) -> web.Response:
        session = await self._session(request)
        for name, kbps in _rates(await request.content.read(_MAX_BODY)).items():
            session.set_rate(_WAYS[name], kbps)
        return web.json_response({name: session.rate(way) for name, way in _WAYS.items()})

    async def _session(self, request: web.Request) -> Session:
        await self._check(request)
        session = self._sessions.get(request.match_info["id"])
        if session is None:
            raise NotFound("There is no such session; it may have ended.")
        return session

    async def _check(self, request: web.Request) -> None:
        if self._guard is not None:
            await self._guard(request)


def _rates(body: bytes) -> dict[str, int | None]:
    try:
        raw: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not JSON.") from error
    if not isinstance(raw, dict) or not raw or raw.keys() - _WAYS.keys():
        raise InvalidRequest(f"Give {' or '.join(_WAYS)}, in kbit/s.")
    for name, kbps in raw.items():
        number = isinstance(kbps, int) and not isinstance(kbps, bool) and 1 <= kbps <= MAX_RATE_KBPS
        if kbps is not None and not number:
            raise InvalidRequest(f"{name}: give a number of kbit/s, or null.", field=name)
    return raw


def admins_only(admission: Admission) -> Guard:
    """Let accounts with `admin` in, by HTTP Basic.

    The guard raises LoginRefused, TooManyRequests, and Problem where the account demands encryption.
    """

    async def guard(request: web.Request) -> None:
        user, password = _basic(request.headers.get(hdrs.AUTHORIZATION, ""))
        if looks_like_token(password):
            raise LoginRefused("a token is no operator's password")
        access = await admission.admit(user, password, client_address(request), "basic")
        if not request.secure and access.account.lowest_cipher != "none":
            raise needs_encryption()
        if not access.account.admin:
            raise LoginRefused("the account is no operator's")

    return guard


def _basic(header: str) -> tuple[str, str]:
    scheme, _, rest = header.partition(" ")
    user, colon, password = (basic_credentials(rest) or "").partition(":")
    if scheme.lower() != "basic" or not colon:
        raise LoginRefused("no user and password")
    return user, password


def control_socket(state: Path) -> Path:
    """Where the control socket of a server with that state folder is. Raises FolderUnusable."""
    path = state / SOCKET_NAME
    if len(bytes(path)) > _LONGEST_SOCKET:
        raise FolderUnusable(
            f"server.state: {state} is too long a path for a socket in it; choose one below "
            f"{_LONGEST_SOCKET - len(SOCKET_NAME)} bytes."
        )
    return path


@web.middleware
async def plain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors on the control socket: {"error": sentence}."""
    try:
        return await handler(request)
    except ConnectHelperError as error:
        return web.json_response({"error": error.user_message}, status=error.http_status)
