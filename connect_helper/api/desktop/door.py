"""The way in: `POST /` for single calls, a WebSocket on the same address, errors in JSON-RPC (section 1).

Errors travel under HTTP status 200, since clients drop the body of any other. Exceptions are callers that
are refused before anything of the call is looked at: another host (421), another account, or no script (403).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from connect_helper.api.beside import beside
from connect_helper.api.bodies import BODY_LIMIT, READ_LIMIT_S
from connect_helper.api.callers import CALLER, opens_a_socket
from connect_helper.api.content_answer import send_content
from connect_helper.api.desktop.answering import answer_call
from connect_helper.api.desktop.calls import DesktopParts, Streamed
from connect_helper.api.desktop.messages import (
    BadCall,
    Call,
    Id,
    InvalidCall,
    NoJson,
    NoSuchMethod,
    around_result,
    bug,
    failure,
    failure_midway,
    id_at_the_start,
    parse_call,
)
from connect_helper.api.desktop.sockets import Sockets
from connect_helper.api.gate import Gate, Problem
from connect_helper.errors import ConnectHelperError, Refused, TooLarge

JSON_TYPE: Final = "application/json"
REFUSED_LIMIT: Final = 8 * 1024  # bytes read of a call that is refused anyway
PARTS: Final = web.AppKey("desktop_parts", DesktopParts)
SOCKETS: Final = web.AppKey("sockets", Sockets)


def build_desktop_face(parts: DesktopParts, port: int) -> web.Application:
    """The application that pages of the newer SDK talk to, behind the gate."""
    gate = Gate(port, methods="POST, OPTIONS", shape=rpc_error)
    app = web.Application(middlewares=gate.middlewares())
    app[PARTS] = parts
    app[SOCKETS] = Sockets(parts, gate)
    app.cleanup_ctx.append(_tell_sockets)
    app.on_shutdown.append(_close_sockets)
    app.add_routes([web.post("/", post), web.get("/", get)])
    return app


async def _tell_sockets(app: web.Application) -> AsyncIterator[None]:
    """Have changes of transfers reach the sockets for as long as they are served."""
    with app[PARTS].shared.manager.subscribe() as changes:
        async with beside(app[SOCKETS].run(changes), "news for sockets"):
            yield


async def _close_sockets(app: web.Application) -> None:
    await app[SOCKETS].close()


async def get(request: web.Request) -> web.StreamResponse:
    """The handshake of a WebSocket; no other GET is served."""
    if not web.WebSocketResponse().can_prepare(request).ok:
        raise NoSuchMethod("Calls are made by POST or over a WebSocket.")
    return await request.app[SOCKETS].serve(request)


async def post(request: web.Request) -> web.StreamResponse:
    """One call."""
    try:
        call = await _read_call(request)
    except BadCall as bad:
        return _json(failure(bad.id, bad.error))
    answer = await answer_call(request.app[PARTS], request[CALLER], call)
    if isinstance(answer, Streamed):
        return await _stream(request, call, answer)
    return _json(answer) if call.expects_answer else web.Response(status=204)


async def _read_call(request: web.Request) -> Call:
    """Raises BadCall."""
    body, whole = await _read(request)
    if not whole:
        sentence = f"A call may have {BODY_LIMIT // 1024} KiB and must arrive within {READ_LIMIT_S:.0f} s."
        raise BadCall(TooLarge(sentence), id_at_the_start(body))
    call = parse_call(body)
    if request.content_type != JSON_TYPE:
        # A page can send other types without asking the browser first.
        raise BadCall(InvalidCall(f"Send calls as {JSON_TYPE}."), call.id)
    return call


async def _read(request: web.Request, limit: int = BODY_LIMIT) -> tuple[bytes, bool]:
    """The body, and whether that is all of it: it is read as far as `limit` bytes and the time allow.

    Raises BadCall when it is no body at all, such as one that is said to be compressed and is not.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            async for piece in request.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    return b"".join(pieces), False
    except TimeoutError:
        return b"".join(pieces), False
    except web.RequestPayloadError:
        raise BadCall(NoJson("The body of the call cannot be read.")) from None
    return b"".join(pieces), True


async def _stream(request: web.Request, call: Call, streamed: Streamed) -> web.StreamResponse:
    """Send a file's content inside the answer; an error in the middle is told at its end."""
    before, after = around_result(call.id)
    try:
        async with streamed.content as content:
            return await send_content(
                request, content, failure_midway, before=before.encode(), after=after.encode()
            )
    except ConnectHelperError as error:
        return _json(failure(call.id, error))


async def rpc_error(request: web.Request, problem: Problem) -> web.Response:
    """What the gate, or the lack of a route, says in the words of this face."""
    call_id = await _id_of(request)
    if isinstance(problem.error, Refused):
        # Status 403: a page that looks for its own user's helper goes on to the next port.
        return _json(failure(call_id, InvalidCall(problem.user_message)), status=403)
    if problem.error is not None:
        # A handshake can only fail by its status.
        status = problem.status if opens_a_socket(request) else 200
        return _json(failure(call_id, problem.error), status=status)
    if problem.status >= 500:
        return _json(bug(call_id, problem.user_message))
    return _json(failure(call_id, NoSuchMethod(problem.user_message)))


async def _id_of(request: web.Request) -> Id:
    """The id of a call that is refused unread, without which the page would wait for ever.

    Of a large call only the beginning is looked at: refusing it must cost less than answering.
    """
    if request.method != "POST" or request.content.at_eof():
        return None
    try:
        body, whole = await _read(request, REFUSED_LIMIT)
        return parse_call(body).id if whole else id_at_the_start(body)
    except BadCall as bad:
        return bad.id


def _json(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type=JSON_TYPE)
