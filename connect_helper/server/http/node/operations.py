"""`ops/transfers`: list, show, change, cancel the sessions of the caller's account (reference, section 6).

An administrator's account sees all. What belongs to others does not exist.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from connect_helper.server.http.node import bodies
from connect_helper.server.http.node.callers import Caller
from connect_helper.server.http.node.entries import time_text
from connect_helper.server.http.node.faults import fault, malformed
from connect_helper.server.http.node.hosts import address_of, host_of, origin_of
from connect_helper.server.http.node.listing import moment
from connect_helper.server.http.node.settings import NodeSettings
from connect_helper.server.http.node.transfers import (
    Here,
    Seen,
    chosen,
    rates_over_time,
    start_spec,
    token_of,
    transfer,
)
from connect_helper.server.http.problems import Problem
from connect_helper.server.sessions import Session, Sessions

MAX_FILES: Final = 1000
MAX_TRANSFERS: Final = 1000
_LONGEST_S: Final = 3600.0
_MOST_DIGITS: Final = 19  # more is no number that anybody means
Answerer = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
Guard = Callable[[Answerer], Callable[[web.Request], Awaitable[web.StreamResponse]]]


class TransferDesk:
    """The handlers below `ops/transfers`."""

    def __init__(self, sessions: Sessions, settings: Callable[[], NodeSettings]) -> None:
        self._sessions = sessions
        self._settings = settings

    def routes(self, guard: Guard) -> list[web.AbstractRouteDef]:
        """The routes; `guard` makes a handler that knows its caller. CANCEL arrives as DELETE."""
        one = "/ops/transfers/{id:[0-9A-Za-z_-]{1,64}}"
        return [
            web.get("/ops/transfers", guard(self._list)),
            web.post("/ops/transfers", guard(self._start)),
            web.get("/ops/transfers/bandwidth", guard(self._bandwidth)),
            web.get(one, guard(self._show)),
            web.put(one, guard(self._change)),
            web.delete(one, guard(self._cancel)),
        ]

    def _all_seen(self, caller: Caller) -> Iterator[Seen]:
        for report, files in self._sessions.with_files():
            if caller.account.admin or report.account == caller.account.name:
                yield Seen(report, files)

    def _seen(self, request: web.Request, caller: Caller) -> Seen:
        wanted = request.match_info["id"]
        for seen in self._all_seen(caller):
            if seen.report.id == wanted:
                return seen
        raise fault(404, "There is no such transfer.")

    def _running(self, request: web.Request, caller: Caller) -> tuple[Seen, Session]:
        """A transfer that goes on. Raises Problem: 404 when there is none, 400 when it is over."""
        seen = self._seen(request, caller)
        session = self._sessions.get(seen.report.id)
        if session is None or session.cancelled:
            raise malformed("The transfer is over.")
        return seen, session

    def _here(self, request: web.Request) -> Here:
        settings = self._settings()
        host = host_of(request, settings.server_name)
        return Here(host, address_of(request), settings.ssh_port, settings.node_id)

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        query = _given(request)
        found = chosen(self._all_seen(caller), query)
        count = min(_number(query.get("count"), "count", MAX_TRANSFERS), MAX_TRANSFERS)
        max_files = min(_number(query.get("max_items"), "max_items", MAX_FILES), MAX_FILES)
        page, now = found[:count], time.time()
        view, here = query.get("view"), self._here(request)
        body = await asyncio.to_thread(_told, page, now, here=here, max_files=max_files, view=view)
        more = {}
        if len(found) > count > 0:
            again = urlencode({**query, "iteration_token": token_of(page[-1])})
            more["Link"] = f'<{origin_of(request)}{request.path}?{again}>; rel="next"'
        return web.json_response(body, headers=more)

    async def _show(self, request: web.Request, caller: Caller) -> web.Response:
        seen = self._seen(request, caller)
        return web.json_response(transfer(seen, time.time(), here=self._here(request), max_files=MAX_FILES))

    async def _start(self, request: web.Request, caller: Caller) -> web.Response:
        raise fault(
            501, "This server starts no transfers of its own. Ask for an upload or download with the client."
        )

    async def _change(self, request: web.Request, caller: Caller) -> web.Response:
        asked = await bodies.read(request, bodies.Change, caller.disk)
        seen, session = self._running(request, caller)
        _refuse_what_is_fixed(asked)
        if asked.status in ("canceled", "cancelled", "stopped"):
            await self._sessions.end_for_good(session)
        elif asked.target_rate_kbps is not None:
            # 0 lifts the limit that was set, as far as the cap of account and token.
            rate = asked.target_rate_kbps or None
            for way in ("in", "out") if seen.report.direction is None else (_way(seen),):
                session.set_rate("in" if way == "in" else "out", rate)
        return web.json_response(start_spec(self._seen(request, caller), self._here(request)))

    async def _cancel(self, request: web.Request, caller: Caller) -> web.Response:
        await self._sessions.end_for_good(self._running(request, caller)[1])
        return web.Response(status=204)

    async def _bandwidth(self, request: web.Request, caller: Caller) -> web.Response:
        now = time.time()
        query = _given(request)
        duration = min(_number(query.get("duration"), "duration", 600), _LONGEST_S)
        start = now - duration
        if "start_time" in query:
            start = moment(query["start_time"], "start_time")
        end = min(start + duration, now)
        ways = {"receive": ("out", 2), "send": ("in", 1)}
        body: dict[str, Any] = {
            "current_time": time_text(now),
            "start_time": time_text(start),
            "end_time": time_text(end),
        }
        for direction, (_, column) in ways.items():
            body[direction] = self._curves(caller, column, start, end)
        return web.json_response(body)

    def _curves(self, caller: Caller, column: int, start: float, end: float) -> dict[str, Any]:
        curves = []
        for seen in self._all_seen(caller):
            session = self._sessions.get(seen.report.id)
            data = rates_over_time(session.samples, column, start, end) if session is not None else []
            if any(point["rate"] for point in data):
                highest = max(point["rate"] for point in data)
                last = data[-1]["time"]
                curves.append({"id": seen.report.id, "data": data, "last_time": last, "max_rate": highest})
        return {"transfers": curves, "max_left": 0, "min_right": round(max(end - start, 0.0), 3)}


def _told(
    page: Sequence[Seen], now: float, *, here: Here, max_files: int, view: str | None
) -> list[dict[str, Any]]:
    """The transfer objects, with at most `max_files` files in all of them together."""
    body = []
    for seen in page:
        body.append(transfer(seen, now, here=here, max_files=max_files, view=view))
        max_files -= len(body[-1].get("files", ()))
    return body


def _way(seen: Seen) -> str:
    return "in" if seen.direction == "send" else "out"


def _refuse_what_is_fixed(asked: bodies.Change) -> None:
    """What a server cannot change in a client's transfer is refused, not forgotten. Raises Problem 400."""
    words = ("canceled", "cancelled", "stopped", "running", "resume", None)
    refused: dict[str, bool] = {
        "A transfer that a client runs can be slowed down or canceled here, not paused.": asked.status
        not in words,
        "There are no minimum rates.": bool(asked.min_rate_kbps),
        "The rate policy is the client's and is not changed here.": asked.rate_policy
        not in ("fair", "regular", None),
    }
    for sentence, wrong in refused.items():
        if wrong:
            raise malformed(sentence)


def _given(request: web.Request) -> dict[str, str]:
    """The query; of a name given twice the first, and nothing that a form left empty."""
    first = {name: request.query[name] for name in request.query}
    return {name: text for name, text in first.items() if text}


def _number(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise _bad_number(name)
    return int(text)


def _bad_number(name: str) -> Problem:
    return malformed(f"{name}: not a number.")
