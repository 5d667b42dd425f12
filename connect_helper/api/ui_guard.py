"""What stands before every answer of the helper's own window: headers, Host, fetch metadata, token, errors.

The window has a port, and so an origin, of its own; pages of other origins have no business here at all.
No answer carries a CORS header. A page of ours proves itself by its token, the command line by the
control key; neither is a cookie.
"""

from __future__ import annotations

import hmac
import logging
import uuid
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from connect_helper.api.gate import Gate
from connect_helper.api.peers import require_own_account
from connect_helper.api.ui_session import SignedOut, WindowSessions
from connect_helper.errors import ConnectHelperError, InvalidRequest, Refused, TooManyRequests

log = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_API: Final = "/api/"
_SESSION: Final = "/api/session"
_CONTROL: Final = "/api/control/"
_SENTENCES: Final = {
    404: ("not_found", "There is nothing at this address."),
    405: ("wrong_method", "This address does not take that method."),
    413: ("too_large", "The request is too large."),
}


class Guard:
    """The middlewares for one address."""

    def __init__(self, port: int, sessions: WindowSessions, control_key: str) -> None:
        self._gate = Gate(port=port)
        self._sessions = sessions
        self._control_key = control_key

    def middlewares(self) -> list[Middleware]:
        """Outermost first."""
        return [self.check_host, shape_errors, self.admit]

    @web.middleware
    async def check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what is not addressed to exactly this port of this computer, as the gate for pages does."""
        return await self._gate.check_host(request, handler)

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to its handler.

        Raises Refused for what another origin or another account sends, SignedOut without a valid token.
        """
        if request.path.startswith(_API) or request.method not in {"GET", "HEAD"}:
            _refuse_foreign(request)
        if request.path.startswith(_CONTROL):
            await require_own_account(request.transport)
            self._require_control_key(request)
        elif request.path == _SESSION:
            await require_own_account(request.transport)
        elif request.path.startswith(_API):
            self._sessions.require(_bearer(request))
        return await handler(request)

    def _require_control_key(self, request: web.Request) -> None:
        # A browser never needs this key, so no request that a browser made may use it.
        if "Origin" in request.headers or _fetch_metadata(request):
            raise Refused("Only the command line may call this address.")
        if not hmac.compare_digest(_bearer(request).encode(), self._control_key.encode()):
            raise SignedOut("The control key is not that of this run.")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: headers of every answer, streams, files and refusals included."""
    response.headers.update(HEADERS)
    response.headers.setdefault(
        "Cache-Control", "no-store" if request.path.startswith(_API) else "no-cache, private"
    )


def _bearer(request: web.Request) -> str:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.isascii():
        raise SignedOut("This window is not signed in. Open a new one: connect-helper open.")
    return secret.strip()


def _fetch_metadata(request: web.Request) -> bool:
    return any(name.lower().startswith("sec-fetch-") for name in request.headers)


def _refuse_foreign(request: web.Request) -> None:
    """Scripts of our own origin, and programs that are no browser, may call; nothing else."""
    origins = request.headers.getall("Origin", [])
    own = f"http://{request.headers['Host']}"  # exact: check_host saw to it
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if any(origin != own for origin in origins) or len(origins) > 1 or site != "same-origin":
        raise Refused("Only the helper's own window may call this address.")


@web.middleware
async def shape_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into `{"error": {"code", "user_message"}}`, with `field` when one is to blame."""
    try:
        return await handler(request)
    except ConnectHelperError as error:
        return _error_response(error)
    except web.HTTPException as error:
        slug, sentence = _SENTENCES.get(error.status, ("bad_request", "The request cannot be served."))
        response = error_body(error.status, slug, sentence)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except ConnectionResetError:  # the window was closed in the middle of an answer
        raise
    except Exception as error:
        incident = uuid.uuid4().hex[:12]
        # Only the kind of the error: its text may hold values of the request.
        log.error("incident %s in %s: %s", incident, request.method, type(error).__name__)
        log.debug("incident %s", incident, exc_info=True)
        return error_body(500, "internal", f"Something went wrong in the helper (incident {incident}).")


def _error_response(error: ConnectHelperError) -> web.Response:
    field = error.field if isinstance(error, InvalidRequest) else ""
    response = error_body(error.http_status, error.code, error.user_message, field)
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def error_body(status: int, code: str, user_message: str, field: str = "") -> web.Response:
    """An error as our own pages read it."""
    error = {"code": code, "user_message": user_message}
    if field:
        error["field"] = field
    return web.json_response({"error": error}, status=status)
