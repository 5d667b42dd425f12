"""Folders on a server over HTTP: made with what is missing above them, and given their times."""

from __future__ import annotations

import json
from typing import Any, Final

from connect_helper.errors import TargetError, UnsafeName
from connect_helper.spec.names import display
from connect_helper.transports.http_connection import HttpConnection, reason_of, refusal, short_body

FOLDERS: Final = "/fallback/v1/folders"


async def ask_for_folder(
    http: HttpConnection, path: bytes, told: bytes, *, in_full: bool, mtime_ns: int | None = None
) -> bool:
    """Have a folder made that is missing; tell whether it has the time `mtime_ns` now.

    `told` is what the server hears of `path`: the whole (`in_full`) or what is below the token's destination.
    Raises TargetError.
    """
    try:
        body: dict[str, Any] = {"path": told.decode()}
    except UnicodeDecodeError:
        raise UnsafeName(f"{display(path)} is no UTF-8, which HTTP needs.") from None
    if in_full:
        body["from_docroot"] = True
    if mtime_ns is not None:
        body["mtime_ns"] = mtime_ns
    headers = {"Content-Type": "application/json"}
    async with http.request("POST", FOLDERS, headers=headers, data=json.dumps(body).encode()) as answer:
        if answer.status in (404, 405, 412) and not await reason_of(answer):
            raise TargetError(f"{display(path)}: this server takes files over HTTP, but no folders.")
        if answer.status not in (200, 201):
            raise await refusal(answer, "target", path)
        return mtime_ns is not None and _told_time(await short_body(answer)) == mtime_ns


def _told_time(answer: bytes) -> object:
    try:
        return json.loads(answer)["mtime_ns"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
