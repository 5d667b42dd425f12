"""`file` and the select dialogs: what the user picks, and reading it (sections 5.3, 8 and 9)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from connect_helper.api import local_key
from connect_helper.api.bodies import read_object
from connect_helper.api.callers import caller_of
from connect_helper.api.connect.settings import read_settings
from connect_helper.api.content_answer import send_content
from connect_helper.api.dropping import read_dropped
from connect_helper.api.filters import read_filters
from connect_helper.api.gate import connect_error_midway
from connect_helper.api.parts import PARTS
from connect_helper.consent.origins import Scope
from connect_helper.errors import InvalidRequest
from connect_helper.picking.base import DialogKind, DialogRequest
from connect_helper.picking.facts import Picked
from connect_helper.spec.lenient import as_bool, as_int, as_text
from connect_helper.spec.strict_json import JsonObject


async def select_open_file(request: web.Request) -> web.Response:
    return await _select(request, "open-file")


async def select_open_folder(request: web.Request) -> web.Response:
    return await _select(request, "open-folder")


async def select_save_file(request: web.Request) -> web.Response:
    return await _select(request, "save-file")


async def _select(request: web.Request, kind: DialogKind) -> web.Response:
    """Open the dialog; a cancelled one is an empty list. An aborted request closes it and grants nothing."""
    caller = caller_of(request)
    body = await read_object(request)
    app_id = read_settings(body).app_id
    multiple = as_bool(body.get("allowMultipleSelection"), "allowMultipleSelection")
    dialog = DialogRequest(
        kind=kind,
        caller=caller.label,
        title=as_text(body.get("title"), "title") or "",
        suggested_name=as_text(body.get("suggestedName"), "suggestedName") or "",
        multiple=kind != "save-file" and multiple is not False,
        filters=read_filters(body.get("allowedFileTypes")),
    )
    picked = await request.app[PARTS].choosing.choose(caller, app_id, dialog)
    return web.json_response(data_transfer(picked))


def data_transfer(picked: Sequence[Picked]) -> JsonObject:
    """What dialogs and drops answer: `{"dataTransfer": {"files": [...]}}` with absolute paths."""
    return {"dataTransfer": {"files": [_entry(item) for item in picked]}}


def _entry(item: Picked) -> JsonObject:
    changed = item.mtime_ns // 1_000_000_000 if item.mtime_ns else 0
    return {
        "name": item.path,
        "size": item.size,
        "type": item.mime_type or "application/octet-stream",
        "lastModifiedDate": time.asctime(time.localtime(changed)) if changed else "",
        "lastModified": item.mtime_ns // 1_000_000,
    }


async def initialize_drag_drop(request: web.Request) -> web.Response:
    await request.app[PARTS].dropping.prepare(caller_of(request))
    return web.json_response({})


async def dropped_files(request: web.Request) -> web.Response:
    """Everything but a malformed request is answered with a list: page libraries hear of no error here."""
    caller = caller_of(request)
    body = await read_object(request)
    app_id = read_settings(body).app_id
    holder = body.get("dataTransfer")
    dropped = read_dropped(holder.get("files") if isinstance(holder, Mapping) else None, "dataTransfer.files")
    picked = await request.app[PARTS].dropping.find(caller, app_id, dropped)
    return web.json_response(data_transfer(picked))


async def read_as_array_buffer(request: web.Request) -> web.StreamResponse:
    scope, body = await _read_request(request)
    async with request.app[PARTS].reading.content(scope, _path(body)) as content:
        return await send_content(request, content, connect_error_midway)


async def read_chunk_as_array_buffer(request: web.Request) -> web.StreamResponse:
    scope, body = await _read_request(request)
    offset, size = _required_number(body, "offset"), _required_number(body, "chunkSize")
    async with request.app[PARTS].reading.content(scope, _path(body), offset, size) as content:
        return await send_content(request, content, connect_error_midway)


async def checksum(request: web.Request) -> web.Response:
    scope, body = await _read_request(request)
    method = as_text(body.get("checksumMethod"), "checksumMethod") or "md5"
    offset = as_int(body.get("offset"), "offset") or 0
    size = as_int(body.get("chunkSize"), "chunkSize") or 0
    digest = await request.app[PARTS].reading.checksum(scope, _path(body), offset, size, method)
    return web.json_response({"checksumMethod": method, "checksum": digest})


async def _read_request(request: web.Request) -> tuple[Scope, JsonObject]:
    caller = caller_of(request)
    body = await read_object(request)
    app_id = read_settings(body).app_id
    shown = body.get(local_key.FIELD)
    await request.app[PARTS].local_key.give(caller, app_id, shown, [_path(body)])
    return caller.scope(app_id), body


def _path(body: Mapping[str, Any]) -> str:
    path = as_text(body.get("path"), "path", limit=32_768, path=True)
    if path is None:
        raise InvalidRequest("path is missing.", field="path")
    return path


def _required_number(body: Mapping[str, Any], field: str) -> int:
    number = as_int(body.get(field), field)
    if number is None:
        raise InvalidRequest(f"{field} is missing.", field=field)
    return number
