"""The pages that stand in for dialogs: the file picker and the question, and what their scripts ask for.

Each works for one pending item of the desk, known by its id. Paths travel in bodies, never in addresses:
names that are no UTF-8 (lone surrogates in JSON) do not survive in a URL.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp_jinja2
from aiohttp import web

from connect_helper.api.bodies import read_object
from connect_helper.errors import InvalidRequest, NotFound, Refused, WrongState
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.desk import Asked, Desk, Pending, Reply
from connect_helper.picking.folders import check_name, full_path, list_folder, make_folder, places
from connect_helper.picking.wording import (
    caller_text,
    clean_filters,
    question_lines,
    request_wants,
    suggested_name,
)
from connect_helper.spec.names import display, page_text

PING_S: Final = 10.0
LOOK_S: Final = 0.5  # how soon a closed window is noticed
PATHS_LIMIT: Final = 5_000  # so many paths fit into a body of 1 MiB
SECRET_LIMIT: Final = 4_096  # characters

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(desk: Desk) -> web.RouteTableDef:
    """All routes; who may call them is settled by the middlewares of the window's application."""
    table = web.RouteTableDef()
    pages = PickingPages(desk)
    table.get("/pick/{id}")(_shell("picker.html"))
    table.get("/ask/{id}")(_shell("question.html"))
    table.get("/api/pending/{id}")(pages.describe)
    table.get("/api/pending/{id}/stream")(pages.stream)
    table.post("/api/pending/{id}/folder")(pages.list_folder)
    table.post("/api/pending/{id}/new-folder")(pages.new_folder)
    table.post("/api/pending/{id}/answer")(pages.answer)
    return table


def _shell(template: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return aiohttp_jinja2.render_template(template, request, {"page": ""})

    return handler


class PickingPages:
    """Handlers for the picker and question pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def _pending(self, request: web.Request) -> Pending:
        return self._desk.find(request.match_info["id"])

    def _dialog(self, request: web.Request) -> DialogRequest:
        asked = self._pending(request).asked
        if not isinstance(asked, DialogRequest):
            raise NotFound("This is a question; it has no folders.")
        return asked

    async def describe(self, request: web.Request) -> web.Response:
        """What is asked, as `describe_dialog` (with `start` and `places`) or `describe_question` shape it."""
        asked = self._pending(request).asked
        if not isinstance(asked, DialogRequest):
            return web.json_response(describe_question(asked))
        recent = self._desk.recent_folders
        known = await asyncio.to_thread(places, recent)
        start = str(asked.start_folder) if asked.start_folder else (recent[0] if recent else known[0]["path"])
        return web.json_response({**describe_dialog(asked), "start": start, "places": known})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Tells the desk that a page is there, and the page when it is over (`event: over`)."""
        pending = self._pending(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        with self._desk.page_present(pending):
            try:
                await _hold(request, response, pending)
            except ConnectionResetError:
                return response  # the window was closed
        return response

    async def list_folder(self, request: web.Request) -> web.Response:
        """Body `{"path"}`; answer as `Listing.as_json`."""
        self._dialog(request)
        path = _text(await read_object(request), "path")
        body = await asyncio.to_thread(_listing_json, path)
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def new_folder(self, request: web.Request) -> web.Response:
        """Body `{"path", "name"}`; answer `{"path"}` of the folder made."""
        asked = self._dialog(request)
        if asked.kind == "open-file":
            raise WrongState("A new folder is of no use for opening files.")
        body = await read_object(request)
        made = await asyncio.to_thread(make_folder, _text(body, "path"), _text(body, "name"))
        return web.json_response({"path": made})

    async def answer(self, request: web.Request) -> web.Response:
        """The user's answer; 204. A body without the fields below, `{"cancelled": true}`, is a no.

        Picker: `{"paths": [...]}`, or to save `{"paths": [PATH], "overwrite": bool}` (409 `wrong_state` when
        the file exists and `overwrite` is not true). Question: `{"accepted": bool, "remember": bool}`.
        Credentials: `{"user", "secret"}`.
        """
        pending = self._pending(request)
        reply = await self._reply(pending.asked, await read_object(request))
        self._desk.settle(pending, reply)
        return web.Response(status=204)

    async def _reply(self, asked: Asked, body: dict[str, Any]) -> Reply:
        if body.get("cancelled") is True:
            return None
        if isinstance(asked, Question):
            accepted = body.get("accepted") is True
            remember = accepted and bool(asked.remember) and body.get("remember") is True
            return Answer(accepted, remember)
        if isinstance(asked, CredentialsQuestion):
            return _credentials(asked, body)
        paths = _paths(asked, body)
        overwrite = body.get("overwrite") is True
        await asyncio.to_thread(_check_choice, asked, paths, overwrite=overwrite)
        if asked.kind == "open-folder":
            await asyncio.to_thread(self._check_folders, paths)
        return [Path(path) for path in paths]

    def _check_folders(self, paths: list[str]) -> None:
        for path in paths:
            if reason := self._desk.refuse_folder(os.path.realpath(path)):
                raise Refused(f"This folder cannot be given to a page: {reason}. Choose a folder inside it.")


async def _hold(request: web.Request, response: web.StreamResponse, pending: Pending) -> None:
    """Keep the line open until it is over or the window is closed."""
    loop = asyncio.get_running_loop()
    await response.write(b": here\n\n")
    next_ping = loop.time() + PING_S
    while not pending.reply.done():
        await asyncio.wait({pending.reply}, timeout=LOOK_S)
        if request.transport is None or request.transport.is_closing():
            return
        if loop.time() >= next_ping:
            next_ping = loop.time() + PING_S
            await response.write(b": ping\n\n")
    await response.write(b'event: over\ndata: {"over": true}\n\n')


def describe_dialog(asked: DialogRequest) -> dict[str, Any]:
    """A file dialog as the picker page shows it."""
    return {
        "kind": asked.kind,
        "caller": caller_text(asked.caller),
        "wants": request_wants(asked),
        "title": page_text(asked.title),
        "multiple": asked.multiple and asked.kind != "save-file",
        "suggested_name": suggested_name(asked),
        "filters": [
            {"name": entry.name, "extensions": list(entry.extensions)}
            for entry in clean_filters(asked.filters)
        ],
    }


def describe_question(asked: Question | CredentialsQuestion) -> dict[str, Any]:
    """A question as its page shows it."""
    heading, *details = question_lines(asked.heading, asked.details if isinstance(asked, Question) else ())
    common = {"caller": caller_text(asked.caller), "heading": heading, "details": details}
    if isinstance(asked, CredentialsQuestion):
        user = None if asked.user is None else page_text(asked.user, limit=200)
        return {**common, "kind": "credentials", "user": user, "secret_label": page_text(asked.secret_label)}
    return {
        **common,
        "kind": "question",
        "accept": page_text(asked.accept),
        "refuse": page_text(asked.refuse),
        "remember": page_text(asked.remember, limit=200),
    }


def _credentials(asked: CredentialsQuestion, body: dict[str, Any]) -> Credentials:
    user = asked.user if asked.user is not None else _text(body, "user").strip()
    secret = body.get("secret")
    if not user:
        raise InvalidRequest("Type a user name.", field="user")
    if not isinstance(secret, str) or len(secret) > SECRET_LIMIT or len(user) > SECRET_LIMIT:
        raise InvalidRequest("Type it again: it is missing or too long.", field="secret")
    return Credentials(user, secret)


def _paths(asked: DialogRequest, body: dict[str, Any]) -> list[str]:
    paths = body.get("paths")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise InvalidRequest("paths: a list of texts is needed.", field="paths")
    if not paths or len(paths) > PATHS_LIMIT:
        raise InvalidRequest(f"Choose between 1 and {PATHS_LIMIT:,} items.", field="paths")
    if len(paths) > 1 and (not asked.multiple or asked.kind == "save-file"):
        raise InvalidRequest("Choose one only.", field="paths")
    return [full_path(path) for path in paths]


def _check_choice(asked: DialogRequest, paths: list[str], *, overwrite: bool) -> None:
    """Raise InvalidRequest or WrongState when a path is not of the kind that was asked for."""
    if asked.kind == "save-file":
        _check_new(Path(paths[0]), overwrite=overwrite)
        return
    wanted = os.path.isdir if asked.kind == "open-folder" else os.path.isfile
    for path in paths:
        if not wanted(path):
            what = "a folder" if asked.kind == "open-folder" else "a file"
            raise InvalidRequest(f"{display(Path(path).name)} is not {what}, or is gone.", field="paths")


def _check_new(target: Path, *, overwrite: bool) -> None:
    check_name(target.name)
    if not target.parent.is_dir():
        raise InvalidRequest("The folder to save into is not there any more.", field="paths")
    if target.is_dir():
        raise InvalidRequest(f"{display(target.name)} is a folder. Type another name.", field="name")
    if target.exists() and not overwrite:
        raise WrongState(f"There already is a file named {display(target.name)}.")


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}: a text is needed.", field=name)
    return value


def _listing_json(path: str) -> bytes:
    """In the thread that lists: 50,000 entries are some megabytes of JSON."""
    return json.dumps(list_folder(path).as_json(), separators=(",", ":")).encode("ascii")
