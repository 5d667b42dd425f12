"""Folders on a server over HTTP: made with what is missing above them, and given their times."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiohttp

from connect_helper.errors import TargetError, UnsafeName
from connect_helper.spec.names import display
from connect_helper.transports.http_connection import HttpConnection, reason_of, refusal, short_body

_log = logging.getLogger(__name__)

FOLDERS: Final = "/fallback/v1/folders"
_NOTHING: Final = object()  # said of the time: by servers that do not set it again, or take no folders


async def make_folder(http: HttpConnection, path: bytes, told: bytes, *, in_full: bool) -> None:
    """Have a folder made that is missing.

    `told` is what the server hears of `path`: the whole (`in_full`) or what is below the token's destination.
    Raises TargetError, and what else a refusal means.
    """
    async with _asked(http, path, told, in_full=in_full) as answer:
        if answer.status in (404, 405, 412) and not await reason_of(answer):
            raise TargetError(f"{display(path)}: this server takes files over HTTP, but no folders.")
        if answer.status not in (200, 201):
            raise await refusal(answer, "target", path)


async def set_folder_time(
    http: HttpConnection, path: bytes, told: bytes, mtime_ns: int, *, in_full: bool
) -> bool | None:
    """Give a folder its time, the last thing done to it; tell whether it has it now. See `make_folder`.

    None: nor will any other folder, for the server knows nothing of their times, or no longer the token.

    No refusal is an error, not even one that would be gone later: what was to be sent is there.
    Raises UnsafeName, ConnectError.
    """
    async with _asked(http, path, told, in_full=in_full, mtime_ns=mtime_ns) as answer:
        if answer.status in (200, 201):
            told_time = _told_time(await short_body(answer))
            return None if told_time is _NOTHING else told_time == mtime_ns
        error = await refusal(answer, "target", path)
        _log.info("%s keeps its own time: %s", display(path), error.internal_message)
        return None if answer.status in (401, 405) else False


def _asked(
    http: HttpConnection, path: bytes, told: bytes, *, in_full: bool, **more: int
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    try:
        body: dict[str, Any] = {"path": told.decode(), **more}
    except UnicodeDecodeError:
        raise UnsafeName(f"{display(path)} is no UTF-8, which HTTP needs.") from None
    if in_full:
        body["from_docroot"] = True
    headers = {"Content-Type": "application/json"}
    return http.request("POST", FOLDERS, headers=headers, data=json.dumps(body).encode())


def _told_time(answer: bytes) -> object:
    """The time that was set, None where that folder kept its own, or `_NOTHING`."""
    try:
        return json.loads(answer)["mtime_ns"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _NOTHING
