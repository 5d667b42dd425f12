"""Reads the list of what lies below a folder of the server: lines of JSON, judged one by one.

Names are data of a stranger (SEC-17): each goes through `safe_component`, and one that fails is an entry
with an error while the rest goes on. A list without its last line is not whole (REL-6).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from connect_helper.errors import ConnectionLost, SourceDenied, SourceError, TransferError, UnsafeName
from connect_helper.spec.names import display, safe_component
from connect_helper.transports.base import Enters, Entry, Facts, Kind
from connect_helper.transports.http_answers import strong_tag
from connect_helper.transports.http_connection import HttpConnection, refusal

MANIFEST: Final = "/fallback/v1/manifest"
LINE_LIMIT: Final = 256 * 1024  # bytes
ENTRY_LIMIT: Final = 10_000_000
DEPTH_LIMIT: Final = 100
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `names` below the folder asked about, () for a file that was asked about itself."""

    names: tuple[bytes, ...]
    facts: Facts
    readable: bool


async def lines(http: HttpConnection, path: bytes) -> AsyncGenerator[Line, None]:
    """The lines about `path`. Raises SourceMissing, SourceDenied, ConnectionLost when they end early."""
    address = f"{MANIFEST}?path={quote(path.lstrip(b'/'), safe='/')}"
    async with http.request("GET", address) as answer:
        if answer.status != 200:
            raise await refusal(answer, "source", path)
        count = 0
        async for raw in _split(http, answer, path):
            count += 1
            if count > ENTRY_LIMIT:
                raise SourceError(f"{display(path)} holds more files than can be fetched at once.")
            line = _object(raw, path)
            if line.get("end") is True:
                return
            yield _line(line, path)
    raise _cut_off(path)


async def _split(
    http: HttpConnection, answer: aiohttp.ClientResponse, path: bytes
) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for piece in answer.content.iter_any():
        http.heard()
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > LINE_LIMIT:
            raise _senseless(path)
    if rest:
        raise _cut_off(path)


def _object(raw: bytes, path: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        raise _senseless(path) from None
    if not isinstance(line, dict):
        raise _senseless(path)
    return line


def _line(line: dict[str, Any], path: bytes) -> Line:
    kinds: dict[Any, Kind] = {"file": "file", "directory": "folder", "unreadable": "folder"}
    kind = line.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise _senseless(path)
    name = _name(line, path)
    size, mtime_ns = line.get("size", 0), line.get("mtime_ns", 0)
    if type(size) is not int or not 0 <= size <= _LARGEST or type(mtime_ns) is not int:
        raise _senseless(path)
    if abs(mtime_ns) > _LARGEST:
        raise _senseless(path)
    names = tuple(name.split(b"/")) if name else ()
    facts = Facts(kinds[kind], size, mtime_ns, etag=strong_tag(line.get("etag")))
    return Line(names, facts, kind != "unreadable")


def _name(line: dict[str, Any], path: bytes) -> bytes:
    text, encoded = line.get("path"), line.get("path_base64")
    try:
        if isinstance(text, str):
            return text.encode()
        if isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        pass
    raise _senseless(path)


def _senseless(path: bytes) -> TransferError:
    return SourceError(f"The server's list of {display(path)} makes no sense.")


def _cut_off(path: bytes) -> TransferError:
    return ConnectionLost(
        "The connection to the server broke; start the transfer again to go on.",
        internal_message=f"the list of {display(path)} ended early",
    )


async def scan(http: HttpConnection, source: bytes, enters: Enters) -> AsyncGenerator[Entry, None]:
    """See `Transport.scan`. The server follows links that stay inside, and leaves others out."""
    begun = False
    left_out: set[tuple[bytes, ...]] = set()
    async for line in lines(http, source):
        if not line.names and line.readable:
            yield Entry(source, (), line.facts)
            return
        if not begun:
            begun = True
            yield Entry(source, (), Facts("folder", 0, 0))
        if any(line.names[:depth] in left_out for depth in range(1, len(line.names) + 1)):
            continue
        if line.facts.kind == "folder" and line.readable and not enters(line.names):
            left_out.add(line.names)
            continue
        yield _entry(source, line)
    if not begun:
        yield Entry(source, (), Facts("folder", 0, 0))


def _entry(source: bytes, line: Line) -> Entry:
    path = b"/".join((source.rstrip(b"/"), *line.names))
    try:
        if len(line.names) > DEPTH_LIMIT:
            raise UnsafeName(f"{display(path)} lies more than {DEPTH_LIMIT} folders deep.")
        below = tuple(safe_component(name) for name in line.names)
    except UnsafeName as error:
        return Entry(path, (), line.facts, error)
    if not line.readable:
        return Entry(
            path, below, line.facts, SourceDenied(f"There is no permission to read {display(path)}.")
        )
    return Entry(path, below, line.facts)
