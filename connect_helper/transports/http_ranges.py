"""Fetches parts of a file by GET, and believes no answer that is not exactly what was asked for (REL-6)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

import aiohttp

from connect_helper.errors import LengthMismatch, SourceChanged, SourceError
from connect_helper.spec.names import display
from connect_helper.transports.base import Mark, RateLimiter, ReceiveItem
from connect_helper.transports.http_connection import HttpConnection, refusal

FILES: Final = "/fallback/v1/files/"
BATCH: Final = 1024 * 1024  # bytes written at once
_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_DIGEST: Final = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]{44}):")


class RangeClient:
    """Reads files of one server."""

    def __init__(self, http: HttpConnection, limiter: RateLimiter) -> None:
        self._http = http
        self._limiter = limiter

    async def receive(self, item: ReceiveItem) -> None:
        """See `Transport.receive`."""
        if item.offset == item.size:
            return
        async with self._part(item.path, item.offset, item.size - item.offset) as answer:
            if _whole_size(answer) != item.size or not _same_second(answer, item.mtime_ns):
                raise SourceChanged(f"{display(item.path)} changed on the server; fetch it again.")
            await self._store(item, answer)

    async def _store(self, item: ReceiveItem, answer: aiohttp.ClientResponse) -> None:
        pieces: list[bytes] = []
        gathered, at = 0, item.offset
        async for piece in answer.content.iter_any():
            self._http.heard()
            pieces.append(piece)
            gathered += len(piece)
            if at + gathered > item.size:
                raise LengthMismatch(f"{display(item.path)}: the server sent more than the file has.")
            await self._limiter.take(len(piece))
            self._http.heard()
            if gathered >= min(BATCH, self._limiter.block_limit()):
                item.done = await asyncio.to_thread(_write, item, at, pieces)
                item.sink(gathered)
                at, gathered, pieces = at + gathered, 0, []
        if gathered:
            item.done = await asyncio.to_thread(_write, item, at, pieces)
            item.sink(gathered)
        if at + gathered != item.size:
            raise LengthMismatch(f"{display(item.path)}: the server sent less than the file has.")

    async def read(self, path: bytes, offset: int, length: int) -> bytes:
        """The bytes there; fewer only where the file ends."""
        if not length:
            return b""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        async with self._http.request("GET", _address(path), headers=headers) as answer:
            if answer.status == 416:
                return b""
            if answer.status != 206:
                raise await refusal(answer, "source", path)
            start, end, _ = _content_range(answer, path)
            data = bytearray()
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > length:
                    break
            if start != offset or len(data) != end - start or len(data) > length:
                raise _other_part(path)
            return bytes(data)

    async def sha256(self, path: bytes) -> str:
        """The server's digest of the whole file, in hex; "" when it does not tell one."""
        headers = {"Want-Repr-Digest": "sha-256=1"}
        async with self._http.request("HEAD", _address(path), headers=headers, long=True) as answer:
            if answer.status != 200:
                raise await refusal(answer, "source", path)
            found = _DIGEST.search(answer.headers.get("Repr-Digest", ""))
        try:
            return base64.b64decode(found.group(1), validate=True).hex() if found else ""
        except binascii.Error:
            return ""

    @asynccontextmanager
    async def _part(self, path: bytes, offset: int, length: int) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        async with self._http.request("GET", _address(path), headers=headers) as answer:
            if answer.status == 416:
                raise SourceChanged(f"{display(path)} changed on the server; fetch it again.")
            if answer.status != 206:
                raise await refusal(answer, "source", path)
            start, end, size = _content_range(answer, path)
            if start != offset or end != min(offset + length, size):
                raise _other_part(path)
            yield answer


def _address(path: bytes) -> str:
    return FILES + quote(path.lstrip(b"/"), safe="/")


def _content_range(answer: aiohttp.ClientResponse, path: bytes) -> tuple[int, int, int]:
    """Start, end (exclusive) and the whole size. Raises SourceError."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None or answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _other_part(path)
    start, last, size = (int(text) for text in found.groups())
    if not start <= last < size:
        raise _other_part(path)
    return start, last + 1, size


def _whole_size(answer: aiohttp.ClientResponse) -> int:
    return int(answer.headers["Content-Range"].rpartition("/")[2])


def _same_second(answer: aiohttp.ClientResponse, mtime_ns: int) -> bool:
    try:
        moment = parsedate_to_datetime(answer.headers.get("Last-Modified", ""))
    except ValueError:
        return False
    return int(moment.timestamp()) == max(0, mtime_ns) // 10**9


def _write(item: ReceiveItem, at: int, pieces: list[bytes]) -> Mark:
    item.target.write(at, pieces)
    for piece in pieces:
        item.hashes.feed(piece)
    return item.hashes.mark()


def _other_part(path: bytes) -> SourceError:
    return SourceError(f"The server sent another part of {display(path)} than was asked for.")
