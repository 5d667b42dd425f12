"""`info` and `update`: is the helper there, which version, can a server be reached."""

from __future__ import annotations

from aiohttp import web

from connect_helper.api.bodies import read_object
from connect_helper.api.callers import caller_of
from connect_helper.api.parts import PARTS
from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_text


async def ping(request: web.Request) -> web.Response:
    return web.json_response({})


async def version(request: web.Request) -> web.Response:
    reported = request.app[PARTS].preferences.current.reported_version
    return web.json_response({"system_wide": False, "version": reported})


async def require_update(request: web.Request) -> web.Response:
    """Says whether our version is enough. Never fetches anything, whatever `sdk_location` says."""
    body = await read_object(request)
    reported = request.app[PARTS].preferences.current.reported_version
    wanted = as_text(body.get("min_version"), "min_version") or ""
    if not is_enough(reported, wanted):
        raise InvalidRequest(
            f"This page asks for version {wanted[:40]}; this helper answers as {reported}. "
            "Update connect-helper.",
            field="min_version",
        )
    return web.json_response({"version": reported})


def is_enough(reported: str, wanted: str) -> bool:
    """Compare dot-separated numbers over the components both have; others are dropped (section 2.2)."""
    have = [int(part) for part in reported.split(".") if part.isdecimal()]
    want = [int(part[:9]) for part in wanted.split(".") if part.isdecimal()]
    shared = min(len(have), len(want))
    return have[:shared] >= want[:shared]


async def ports(request: web.Request) -> web.Response:
    caller = caller_of(request)
    await request.app[PARTS].probing.port(caller, await read_object(request))
    return web.json_response({})


async def authenticate(request: web.Request) -> web.Response:
    caller = caller_of(request)
    await request.app[PARTS].probing.login(caller, await read_object(request))
    return web.json_response({})
