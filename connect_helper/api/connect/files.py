"""`file` and the select dialogs: what the user picks, and reading it (sections 5.3, 8 and 9)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from connect_helper.api.bodies import JsonObject, read_object
from connect_helper.api.callers import Caller, caller_of
from connect_helper.api.connect.settings import read_settings
from connect_helper.api.content_answer import send_content
from connect_helper.api.parts import PARTS
from connect_helper.consent.origins import Scope
from connect_helper.errors import InvalidRequest, RequestError
from connect_helper.picking.base import DialogKind, DialogRequest, FileFilter
from connect_helper.picking.facts import Picked
from connect_helper.spec.lenient import as_bool, as_int, as_text
from connect_helper.spec.names import page_text

log = logging.getLogger(__name__)


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


def read_filters(value: Any) -> tuple[FileFilter, ...]:
    """FileFilters of section 8: `[{"filter_name": "Images", "extensions": ["png"]}]`.

    A filter is a convenience: one that cannot be read shows everything rather than no dialog.
    """
    entries = value if isinstance(value, list) else []
    filters = (_filter(entry) for entry in entries if isinstance(entry, Mapping))
    return tuple(entry for entry in filters if entry.extensions)


def _filter(entry: Mapping[str, Any]) -> FileFilter:
    name, extensions = entry.get("filter_name"), entry.get("extensions")
    listed = extensions if isinstance(extensions, list) else []
    return FileFilter(
        name if isinstance(name, str) else "", tuple(item for item in listed if isinstance(item, str))
    )


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
    """Nothing to start: a drop is proved by the dialog that `dropped_files` opens."""
    request.app[PARTS].ladder.may_watch_drags(caller_of(request))
    return web.json_response({})


async def dropped_files(request: web.Request) -> web.Response:
    """Ask the user to find what was dropped: a page can post any names, so they prove nothing.

    Page libraries have no error callback here, so everything but a malformed request is answered with
    a list, an empty one when the user declines or may not be asked.
    """
    caller = caller_of(request)
    body = await read_object(request)
    app_id = read_settings(body).app_id
    dropped = _dropped(body)
    try:
        picked = await _find_dropped(request, caller, app_id, dropped)
    except RequestError as error:
        log.info("a drop of %s was not answered with files: %s", caller.origin, error.code)
        picked = []
    return web.json_response(data_transfer(picked))


def _dropped(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    holder = body.get("dataTransfer")
    entries = holder.get("files") if isinstance(holder, Mapping) else None
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InvalidRequest("dataTransfer.files must be a list of objects.", field="dataTransfer")
    return entries


async def _find_dropped(
    request: web.Request, caller: Caller, app_id: str, dropped: Sequence[Mapping[str, Any]]
) -> Sequence[Picked]:
    if not dropped:
        return []
    parts = request.app[PARTS]
    parts.ladder.may_report_drop(caller)
    names = [name if isinstance(name := entry.get("name"), str) else "" for entry in dropped]
    shown = ", ".join(page_text(name, 40) for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    dialog = DialogRequest(
        kind="open-folder" if all(_looks_like_folder(entry) for entry in dropped) else "open-file",
        caller=caller.label,
        title=f"Find what you dropped: {shown}{more}",
        multiple=len(names) > 1,
    )
    picked = await parts.choosing.choose(caller, app_id, dialog)
    order = {name: position for position, name in enumerate(names)}
    return sorted(picked, key=lambda item: order.get(item.path.rsplit("/", 1)[-1], len(order)))


def _looks_like_folder(entry: Mapping[str, Any]) -> bool:
    """Browsers give folders no type, and 0 or a block size as size; names with an ending are files."""
    size, name = entry.get("size"), entry.get("name")
    block = not size or (isinstance(size, int) and size % 4096 == 0)
    return not entry.get("type") and block and isinstance(name, str) and "." not in name.strip(".")


async def read_as_array_buffer(request: web.Request) -> web.StreamResponse:
    scope, body = await _read_request(request)
    async with request.app[PARTS].reading.content(scope, _path(body)) as content:
        return await send_content(request, content)


async def read_chunk_as_array_buffer(request: web.Request) -> web.StreamResponse:
    scope, body = await _read_request(request)
    offset, size = _required_number(body, "offset"), _required_number(body, "chunkSize")
    async with request.app[PARTS].reading.content(scope, _path(body), offset, size) as content:
        return await send_content(request, content)


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
    return caller.scope(read_settings(body).app_id), body


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
