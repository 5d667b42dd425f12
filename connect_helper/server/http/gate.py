"""What every request passes and every answer carries: refusals in one form, CORS, inert content.

Pages of any origin may call. They carry their token in a header that no browser adds by itself, so there is
nothing a foreign page could borrow: no cookie is read or set and credentials are never allowed.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion11, hdrs, web

from connect_helper.errors import ConnectHelperError
from connect_helper.server.http.problems import Problem, bad_request, list_unwritable, problem_of
from connect_helper.server.http.tus_headers import TUS_VERSION
from connect_helper.storage.database import is_full

log = logging.getLogger(__name__)

FALLBACK: Final = "/fallback/v1"
UPLOADS: Final = f"{FALLBACK}/uploads"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_EXPOSED: Final = ", ".join(
    (
        *("Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
        *("Tus-Checksum-Algorithm", "Upload-Offset", "Upload-Length", "Upload-Defer-Length"),
        *("Upload-Metadata", "Upload-Concat", "Upload-Expires", "ETag", "Content-Range", "Accept-Ranges"),
        *("Content-Length", "Last-Modified", "Repr-Digest", "Retry-After"),
    )
)
_ALLOWED: Final = ", ".join(
    (
        *("Authorization", "Content-Type", "Range", "If-Range", "If-Match", "If-None-Match"),
        *("Tus-Resumable", "Upload-Length", "Upload-Defer-Length", "Upload-Offset", "Upload-Metadata"),
        *("Upload-Checksum", "Upload-Concat", "Want-Repr-Digest", "X-Requested-With", "X-Request-ID"),
    )
)
# A method in a header would pass filters in front of us that look at the real one (SEC-31).
_OVERRIDES: Final = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into an answer; the outermost middleware."""
    try:
        _check_form(request)
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _translated(request, error)
    except web.RequestPayloadError:
        return bad_request("The body of the request cannot be read.").response()
    except ConnectHelperError as error:
        status = error.http_status if error.http_status != 500 else 400
        log.info("%s %s: %s", request.method, request.match_info.route.name, error.internal_message)
        return Problem(status, error.code, error.user_message).response()
    except OSError as error:
        if isinstance(error, ConnectionError) and _has_gone(request):
            log.info("%s %s: nobody to answer: %s", request.method, request.match_info.route.name, error)
            return _unheard(request)
        if (known := problem_of(error)) is not None:
            return known.response()
        return _incident(request, error)
    except sqlite3.OperationalError as error:
        log.error("%s %s: the list of uploads cannot be kept: %s", request.method, _route(request), error)
        return list_unwritable(full=is_full(error)).response()
    except Exception as error:  # noqa: BLE001 - the outermost edge
        return _incident(request, error)


def _has_gone(request: web.Request) -> bool:
    """Tell whether the client is no longer there: a disk of the network reports broken connections too."""
    return request.transport is None or request.transport.is_closing()


def _unheard(request: web.Request) -> web.Response:
    """What the HTTP library may try to send where the client has gone: raised errors it takes for faults."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@web.middleware
async def no_plain_passwords(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse passwords that came without TLS, before they are looked at: right or wrong, they were seen."""
    scheme = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")[0]
    if not request.secure and scheme.lower() == "basic":
        raise Problem(
            403,
            "passwords_need_https",
            "Passwords are not taken over plain HTTP here. Use HTTPS.",
            closes=True,
        )
    return await handler(request)


def _check_form(request: web.Request) -> None:
    hosts = len(request.headers.getall(hdrs.HOST, ()))
    # One of HTTP/1.0 need not have it, as the health checks of some load balancers.
    few = hosts == 1 or (not hosts and request.version < HttpVersion11)
    if not few or not request.raw_path.startswith(("/", "*")):
        raise Problem(400, "bad_request", "The request must have one Host header and a plain path.")
    if len(request.headers.getall(hdrs.AUTHORIZATION, ())) > 1:
        raise bad_request("The request has more than one Authorization header.")
    if any(name in request.headers for name in _OVERRIDES):
        raise bad_request("The method cannot be given in a header.")


def _translated(request: web.Request, error: web.HTTPException) -> web.Response:
    sentences = {
        404: ("not_found", "There is nothing at this address."),
        405: ("method_not_allowed", "This address does not know that method."),
        413: ("too_large", "The request is too large."),
    }
    reason, sentence = sentences.get(error.status, ("refused", "The request cannot be answered."))
    if not request.path.startswith(f"{FALLBACK}/"):
        reason = error.reason  # the Node API has the words of HTTP there (Node API reference, section 2)
    allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return Problem(error.status, reason, sentence, headers=allow).response()


def _incident(request: web.Request, error: Exception) -> web.Response:
    number = secrets.token_hex(4)
    log.error("incident %s in %s %s", number, request.method, _route(request), exc_info=error)
    return Problem(
        500, "internal", f"The server made a mistake; its log has the details under {number}."
    ).response()


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(no route)"


async def dress(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers that every answer carries; a signal handler of the application."""
    headers = response.headers
    headers["Server"] = "connect-helper"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox; frame-ancestors 'none'"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "no-store")
    if not request.path.startswith(f"{FALLBACK}/"):
        return
    headers["Access-Control-Allow-Origin"] = "*"
    if hdrs.ORIGIN in request.headers:
        headers["Access-Control-Expose-Headers"] = _EXPOSED
    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if request.path.startswith(UPLOADS):
        headers["Tus-Resumable"] = TUS_VERSION


def preflight() -> web.Response:
    """What a browser asks before it lets a page send a header or method out of the ordinary."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": _ALLOWED,
            "Access-Control-Max-Age": "86400",
        },
    )
