"""The part of the window's API that shows the files of a transfer, by page, and hands them out whole."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection
from typing import Any, Final

from aiohttp import web

from connect_helper.api.ui_transfers import PAGE_SIZE, page_size
from connect_helper.api.ui_views import file_words, files_view
from connect_helper.errors import InvalidRequest
from connect_helper.transfers.entry import Listed
from connect_helper.transfers.file_rows import STATES
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import Status

_SHOWN: Final[dict[str, Collection[str]]] = {"all": STATES, **{state: (state,) for state in STATES}}
_COLUMNS: Final = (
    "path",
    "remote_path",
    "bytes_expected",
    "bytes_written",
    "state",
    "proof",
    "digest",
    "code",
    "error_code",
    "message",
)
# A spreadsheet takes a cell that begins so for a formula, also behind blanks; the full-width twins count.
_FORMULA: Final = re.compile(r"\s*[=+\-@＝＋－＠]")


class FilePages:
    """Handlers below /api/transfers/{id}/files."""

    def __init__(self, manager: TransferManager) -> None:
        self._manager = manager

    def routes(self) -> list[web.RouteDef]:
        files = "/api/transfers/{id}/files"
        return [
            web.get(files, self.page),
            web.get(f"{files}.csv", self.as_csv),
            web.get(f"{files}.json", self.as_json),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """GET ?limit&before&show: newest first.

        `before` is what the answer before said; `show` one of all, running, done, skipped, failed.
        """
        limit = page_size(request.query.get("limit", str(PAGE_SIZE)))
        show = request.query.get("show", "all")
        if show not in _SHOWN:
            raise InvalidRequest("show: choose all, running, done, skipped or failed.", field="show")
        before = _place(request.query.get("before", ""))
        listed = await self._listed(request)
        page = await self._manager.files(listed, _SHOWN[show], before=before, limit=limit)
        return web.json_response(files_view(page, live=_live(listed)))

    async def _listed(self, request: web.Request) -> Listed:
        return await self._manager.look(request.match_info["id"], exact_first=True)

    async def as_csv(self, request: web.Request) -> web.StreamResponse:
        """Every file, one a line; UTF-8 with a mark, as spreadsheets want it.

        Bytes of a name that are no UTF-8 read \\udcXX. Cells that a spreadsheet would take for a formula
        begin with an apostrophe.
        """
        listed = await self._listed(request)
        response = await _begin(request, listed, "csv", "text/csv; charset=utf-8")
        await response.write(b"\xef\xbb\xbf" + _lines([_COLUMNS]))
        live = _live(listed)
        async for reports in self._manager.every_file(listed):
            await response.write(_lines([_cells(report, live=live) for report in reports]))
        await response.write_eof()
        return response

    async def as_json(self, request: web.Request) -> web.StreamResponse:
        """`{"transfer": {...}, "files": [...]}` with every file; names as they are, escapes in ASCII."""
        listed = await self._listed(request)
        response = await _begin(request, listed, "json", "application/json")
        await response.write(b'{"transfer": ' + _dump(_heading(listed)) + b', "files": [')
        between = b"\n"
        live = _live(listed)
        async for reports in self._manager.every_file(listed):
            values = [dict(zip(_COLUMNS, _values(report, live=live), strict=True)) for report in reports]
            await response.write(between + b",\n".join(_dump(value) for value in values))
            between = b",\n"
        await response.write(b"\n]}\n")
        await response.write_eof()
        return response


def _live(listed: Listed) -> bool:
    return listed.transfer.status is Status.RUNNING


def _place(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidRequest("before: a number from the answer before.", field="before")
    return int(text)


async def _begin(request: web.Request, listed: Listed, ending: str, kind: str) -> web.StreamResponse:
    """The head of a file to keep. Its name is ours: titles come from pages."""
    name = f"transfer-{re.sub('[^0-9A-Za-z-]', '', listed.transfer.id)[:40]}.{ending}"
    headers = {"Content-Type": kind, "Content-Disposition": f'attachment; filename="{name}"'}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    return response


def _heading(listed: Listed) -> dict[str, Any]:
    one = listed.transfer
    return {
        "id": one.id,
        "title": one.title,
        "direction": one.direction,
        "host": one.host,
        "port": one.port,
        "user": one.user,
        "status": one.status.value,
        "bytes_expected": one.bytes_expected,
        "bytes_written": one.bytes_written,
        "added_at": one.add_time,
        "started_at": one.start_time,
        "ended_at": one.end_time,
        "error_code": one.error_code,
        "error": one.error_desc,
    }


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode("ascii")


def _values(report: FileReport, *, live: bool) -> list[str | int]:
    """What stands in the columns."""
    return [
        report.path,
        report.remote_path,
        report.bytes_expected,
        report.bytes_written,
        file_words(report, live=live),
        report.proof,
        report.digest,
        report.code,
        report.error_code,
        report.message,
    ]


def _cells(report: FileReport, *, live: bool) -> list[str | int]:
    return [_harmless(value) for value in _values(report, live=live)]


def _harmless(value: str | int) -> str | int:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _lines(rows: Collection[Collection[str | int]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
