"""What lies below a folder, told line by line while the disk is read: a million files fit in no answer.

`GET /fallback/v1/manifest?path=P` answers with NDJSON, each line one of

    {"path": "a/b.bin", "type": "file", "size": 5, "mtime_ns": 1, "etag": "\\"...\\""}
    {"path": "a", "type": "directory", "mtime_ns": 1}
    {"path": "a/locked", "type": "unreadable"}
    {"end": true, "files": 1, "bytes": 5, "directories": 1, "skipped": 0}

`path` is relative to P, empty when P is a file itself; a name that is not UTF-8 comes as `path_base64`.
Folders come before what is in them. `skipped` counts links not followed, devices, pipes and sockets, and
files that this caller may not read. Without its last line the list is not whole. A client that takes nothing
of it for as long as the idle limit says is cut off.
"""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from connect_helper.server.access import Access, Operation
from connect_helper.server.http.callers import Caller, caller_of
from connect_helper.server.http.etags import etag_of
from connect_helper.server.http.gate import FALLBACK, preflight
from connect_helper.server.http.problems import bad_request, denied, not_found
from connect_helper.server.http.threads import in_thread
from connect_helper.server.turns import Turns
from connect_helper.storage.docpath import DocPath, UnsafePath, parse
from connect_helper.storage.docroot import Docroot, Entry

MANIFEST: Final = f"{FALLBACK}/manifest"
BATCH: Final = 500  # lines made at a time
STEP: Final = 64 * 1024  # bytes handed over at a time, each within the idle limit
AT_ONCE: Final = 2  # batches made for the same token or network: each keeps a core from everybody else
Line = dict[str, Any]


class Manifests:
    """The route of the list."""

    def __init__(self, disk: Executor, *, idle_s: float = 60.0) -> None:
        self._disk = disk
        self._idle_s = idle_s
        self._turns = Turns(AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """GET, and a browser's question before it."""
        return [
            web.options(MANIFEST, _preflight),
            web.get(MANIFEST, self.get, name="manifest", allow_head=False),
        ]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Stream the list."""
        caller = caller_of(request)
        root = parse(_asked_path(request))
        if not caller.access.visible(root):
            raise not_found()
        facts = await in_thread(self._disk, partial(caller.docroot.stat, root))
        if stat.S_ISDIR(facts.st_mode) and not self._may_list(caller.access, root):
            raise denied()
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        lines = Walk(caller.docroot, caller.access, root).lines(facts.st_mode)
        await response.prepare(request)
        try:
            while batch := await self._next(caller, lines):
                await self._write(response, batch)
            async with asyncio.timeout(self._idle_s):
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client takes no lines") from None
        return response

    @staticmethod
    def _may_list(access: Access, root: DocPath) -> bool:
        """The list is for fetching: to one who may fetch nothing it would say that there is nothing."""
        return access.may_receive and access.allows(Operation.LIST, root)

    async def _next(self, caller: Caller, lines: Iterator[Line]) -> bytes:
        async with self._turns.of(caller.who):
            return await in_thread(self._disk, partial(_batch, lines))

    async def _write(self, response: web.StreamResponse, batch: bytes) -> None:
        view = memoryview(batch)
        for start in range(0, len(view), STEP):
            async with asyncio.timeout(self._idle_s):
                await response.write(view[start : start + STEP])


async def _preflight(request: web.Request) -> web.Response:
    return preflight()


def _asked_path(request: web.Request) -> bytes:
    """The value of `path` as bytes; "+" is a plus, as clients that quote with %20 expect."""
    for pair in request.raw_path.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if name == "path":
            return unquote_to_bytes(value).lstrip(b"/")
    raise bad_request('The address must say which folder: "?path=...".')


def _batch(lines: Iterator[Line]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in islice(lines, BATCH))


class Walk:
    """Goes through a folder, or looks at one file. Blocking."""

    def __init__(self, docroot: Docroot, access: Access, root: DocPath) -> None:
        self._docroot = docroot
        self._access = access
        self._root = root
        self._files = self._bytes = self._folders = self._skipped = 0

    def lines(self, mode: int) -> Iterator[Line]:
        """All lines, the last one included; `mode` is that of the root."""
        if stat.S_ISDIR(mode):
            yield from self._below_root()
        elif self._access.allows(Operation.STAT, self._root):  # who sends must see what is there already
            yield from self._file(self._root)
        yield {
            "end": True,
            "files": self._files,
            "bytes": self._bytes,
            "directories": self._folders,
            "skipped": self._skipped,
        }

    def _below_root(self) -> Iterator[Line]:
        waiting = [self._root]
        while waiting:
            folder = waiting.pop()
            try:
                for entry in self._docroot.scandir(folder):
                    path = (*folder, entry.name)
                    if entry.is_folder and self._access.allows(Operation.LIST, path):
                        self._folders += 1
                        waiting.append(path)
                        yield {**self._named(path), "type": "directory", "mtime_ns": entry.facts.st_mtime_ns}
                    elif not entry.is_folder:
                        yield from self._leaf(entry, path)
            except (OSError, UnsafePath):  # no permission, gone, or too deep for a path
                yield {**self._named(folder), "type": "unreadable"}

    def _leaf(self, entry: Entry, path: DocPath) -> Iterator[Line]:
        followed = stat.S_ISLNK(entry.facts.st_mode) and self._access.follow_links
        if not self._access.allows(Operation.READ, path):
            self._skipped += self._access.visible(path)
        elif entry.is_file or followed:
            yield from self._file(path)
        else:
            self._skipped += 1

    def _file(self, path: DocPath) -> Iterator[Line]:
        try:
            facts = self._docroot.stat(path)
        except (OSError, UnsafePath):  # gone since, a link to nowhere, or too deep
            self._skipped += 1
            return
        if not stat.S_ISREG(facts.st_mode):
            self._skipped += 1
            return
        self._files += 1
        self._bytes += facts.st_size
        yield {
            **self._named(path),
            "type": "file",
            "size": facts.st_size,
            "mtime_ns": facts.st_mtime_ns,
            "etag": etag_of(facts),
        }

    def _named(self, path: DocPath) -> Line:
        name = b"/".join(path[len(self._root) :])
        try:
            return {"path": name.decode("utf-8")}
        except UnicodeDecodeError:
            return {"path_base64": base64.b64encode(name).decode()}
