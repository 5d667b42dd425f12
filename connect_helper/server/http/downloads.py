"""Files by GET and HEAD: ranges, strong tags, If-Range, digests (RFC 9110 sections 8.8, 13 and 14; RFC 9530).

A file that changes while it is sent is broken off before its last byte, so that no client takes a mixture of
two versions for a whole file (REL-4).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web

from connect_helper.server.access import Operation
from connect_helper.server.http.callers import Caller, caller_of
from connect_helper.server.http.digests import Digests, TooManyDigests, repr_digest, wanted_digest
from connect_helper.server.http.etags import etag_of, same_content, settles_in_ns
from connect_helper.server.http.gate import FALLBACK, preflight
from connect_helper.server.http.problems import Problem, not_found
from connect_helper.server.http.ranges import (
    ByteRange,
    Unsatisfiable,
    names_tag,
    range_applies,
    requested_range,
)
from connect_helper.server.http.sending import Sender
from connect_helper.server.http.threads import acquired, in_thread
from connect_helper.storage.docpath import DocPath, parse

FILES: Final = f"{FALLBACK}/files"
ANY_PATH: Final = "/{path:(?s:.*)}"  # of a route: names may hold line breaks, too
SETTLING_LOOKS: Final = 3  # a file that is written to all the time never settles, and is cut off at its end


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file opened for reading, as it was then."""

    path: DocPath
    handle: int
    facts: os.stat_result

    @property
    def size(self) -> int:
        """Bytes."""
        return self.facts.st_size

    def unchanged(self) -> bool:
        """Whether the file is still the version it was; blocking."""
        return same_content(self.facts, os.fstat(self.handle))


@asynccontextmanager
async def opened(disk: Executor, caller: Caller, path: DocPath) -> AsyncIterator[OpenFile]:
    """A file open for reading, whose tag is final if it is not written to all the time."""
    handle = await acquired(disk, partial(caller.docroot.open_read, path), os.close)
    try:
        facts = await in_thread(disk, partial(os.fstat, handle))
        for _ in range(SETTLING_LOOKS):
            if not (wait_ns := settles_in_ns(facts, time.time_ns())):
                break
            await asyncio.sleep(wait_ns / 1e9)
            facts = await in_thread(disk, partial(os.fstat, handle))
        yield OpenFile(path, handle, facts)
    finally:
        os.close(handle)


class Downloads:
    """The routes below `/fallback/v1/files`."""

    def __init__(self, disk: Executor, digests: Digests, *, idle_s: float = 60.0) -> None:
        self._disk = disk
        self._idle_s = idle_s
        self._digests = digests

    def routes(self) -> list[web.RouteDef]:
        """GET and HEAD of one file."""
        one = FILES + ANY_PATH
        return [
            web.options(one, _preflight),
            web.get(one, self.get, name="download", allow_head=False),
            web.head(one, self.get, name="download-head"),
        ]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file, a part of it, or the facts alone."""
        caller = caller_of(request)
        path = parse(requested_path(request, FILES))
        if not caller.access.allows(Operation.READ, path):
            raise not_found()
        async with opened(self._disk, caller, path) as file:
            etag = etag_of(file.facts)
            headers = await self._headers(request, caller, file, etag)
            if _not_modified(request, file, etag):
                return web.Response(status=304, headers=headers)
            part = _part(request, file.size, etag)
            response = _response(headers, part, file.size)
            if request.method == hdrs.METH_HEAD:
                await response.prepare(request)
                return response
            await self._send(request, caller, file, part or ByteRange(0, file.size), response)
            return response

    async def _headers(
        self, request: web.Request, caller: Caller, file: OpenFile, etag: str
    ) -> dict[str, str]:
        headers = {
            "ETag": etag,
            "Last-Modified": formatdate(_modified_s(file), usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Disposition": "attachment",
            "Cache-Control": "private, no-cache",
        }
        if wanted_digest(request):
            wanted = partial(still_there, request)
            try:
                digest = await self._digests.of(caller.who, file.handle, etag, file.size, wanted)
            except TooManyDigests:
                if request.method == hdrs.METH_HEAD:  # perhaps all that was asked for
                    raise
            else:
                headers["Repr-Digest"] = repr_digest(digest)
        return headers

    async def _send(
        self,
        request: web.Request,
        caller: Caller,
        file: OpenFile,
        part: ByteRange,
        response: web.StreamResponse,
    ) -> None:
        sender = Sender(request, response, self._disk, pace=caller.pace_out, idle_s=self._idle_s)
        fetch = caller.session.fetch(file.path, file.facts)
        fetch.handed(part.start, part.start)
        try:
            await response.prepare(request)
            await sender.send(file.handle, part.start, part.length, file.unchanged)
        except BaseException:
            fetch.handed(part.start, part.start + sender.handed)
            fetch.broke_off()
            raise
        fetch.handed(part.start, part.end)
        fetch.finished()


async def _preflight(request: web.Request) -> web.Response:
    return preflight()


def still_there(request: web.Request) -> bool:
    """Tell whether the client still waits for its answer."""
    return request.transport is not None and not request.transport.is_closing()


def requested_path(request: web.Request, below: str) -> bytes:
    """The path in the address after `below`, percent signs undone: bytes, since names need not be UTF-8."""
    raw = request.raw_path.partition("?")[0]
    return unquote_to_bytes(raw.removeprefix(below)).lstrip(b"/")


def check_version(request: web.Request, file: OpenFile, etag: str) -> None:
    """Judge If-Match, without it If-Unmodified-Since (RFC 9110, section 13.2.2). Raises Problem (412)."""
    if_match = request.headers.get(hdrs.IF_MATCH)
    if if_match is not None:
        if not names_tag(if_match, etag):
            raise another_version(etag)
        return
    since = request.if_unmodified_since  # None, too, for what is no date
    if since is not None and _modified_s(file) > since.timestamp():
        raise another_version(etag)


def _modified_s(file: OpenFile) -> int:
    """When the file was modified, in whole seconds since 1970 as Last-Modified tells them."""
    return max(0, int(file.facts.st_mtime))


def another_version(etag: str) -> Problem:
    """The file is not, or no longer, the one that was meant; `etag` is that of the file there is."""
    return Problem(412, "changed", "The file is not the version that was asked for.", headers={"ETag": etag})


def _not_modified(request: web.Request, file: OpenFile, etag: str) -> bool:
    """Judge the conditions of the request, but If-Range. Raises Problem (412)."""
    check_version(request, file, etag)
    if_none_match = request.headers.get(hdrs.IF_NONE_MATCH)
    return if_none_match is not None and names_tag(if_none_match, etag)


def _part(request: web.Request, size: int, etag: str) -> ByteRange | None:
    """The range to send, None for the whole. Raises Problem (416)."""
    if request.method != hdrs.METH_GET or not range_applies(request.headers.get(hdrs.IF_RANGE), etag):
        return None
    try:
        return requested_range(request.headers.get(hdrs.RANGE), size)
    except Unsatisfiable:
        raise too_short(size, etag) from None


def too_short(size: int, etag: str) -> Problem:
    """The file, of `size` bytes, does not have what was asked for."""
    return Problem(
        416,
        "range_not_satisfiable",
        "The file is shorter than the part that was asked for.",
        headers={"Content-Range": f"bytes */{size}", "ETag": etag},
    )


def _response(headers: dict[str, str], part: ByteRange | None, size: int) -> web.StreamResponse:
    status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
    response = web.StreamResponse(status=status, headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = size if part is None else part.length
    if part is not None:
        response.headers[hdrs.CONTENT_RANGE] = part.content_range(size)
    return response
