"""The client's half of tus 1.0.0 (tus.io/protocols/resumable-upload): one upload, its bytes, its name.

A file travels as a partial upload, which has no name, and gets one by being joined ("concatenation"): so
nothing has its name before it is whole, and the server compares its digest first.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from connect_helper.errors import ConnectionLost, TargetError
from connect_helper.transports.base import RateLimiter
from connect_helper.transports.http_connection import HttpConnection, refusal

UPLOADS: Final = "/fallback/v1/uploads"
_VERSION: Final = {"Tus-Resumable": "1.0.0"}
_STREAM: Final = {**_VERSION, "Content-Type": "application/offset+octet-stream"}
_WRITE: Final = 256 * 1024  # bytes handed to the connection at once


class TusClient:
    """Requests about uploads; errors are ours, about the file called `name`."""

    def __init__(self, http: HttpConnection, limiter: RateLimiter) -> None:
        self._http = http
        self._limiter = limiter

    async def extensions(self) -> frozenset[str]:
        """What the server offers. Raises ConnectError, TargetError when it does not speak tus 1.0.0."""
        async with self._http.request("OPTIONS", UPLOADS) as answer:
            if answer.status not in (200, 204):
                raise await refusal(answer, "target", b"/")
            versions = answer.headers.get("Tus-Version", "").split(",")
            if "1.0.0" not in (version.strip() for version in versions):
                raise TargetError("The server offers no transfers over HTTP.")
            offered = answer.headers.get("Tus-Extension", "").split(",")
            return frozenset(word.strip() for word in offered)

    async def create(self, size: int, name: bytes) -> str:
        """Begin an upload of `size` bytes; returns its path on the server."""
        headers = {**_VERSION, "Upload-Length": str(size), "Upload-Concat": "partial"}
        async with self._http.request("POST", UPLOADS, headers=headers) as answer:
            if answer.status != 201:
                raise await refusal(answer, "target", name)
            return self._http.own_path(answer.headers.get("Location", ""))

    async def offset(self, upload: str, name: bytes) -> int | None:
        """How many bytes the server has; None when it does not know the upload any more."""
        async with self._http.request("HEAD", upload, headers=_VERSION) as answer:
            if answer.status in (404, 410):
                return None
            if answer.status not in (200, 204):
                raise await refusal(answer, "target", name)
            return _number(answer.headers.get("Upload-Offset"))

    async def append(self, upload: str, offset: int, piece: bytes, name: bytes) -> int | None:
        """Send `piece`; returns the new offset, None when HEAD has to tell how far the server got."""
        digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        headers = {
            **_STREAM,
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {digest}",
            "Content-Length": str(len(piece)),
        }
        async with self._http.request("PATCH", upload, headers=headers, data=self._paced(piece)) as answer:
            if answer.status in (408, 409, 423, 460):
                return None
            if answer.status != 204:
                raise await refusal(answer, "target", name)
            return _number(answer.headers.get("Upload-Offset"))

    async def _paced(self, piece: bytes) -> AsyncIterator[memoryview]:
        view = memoryview(piece)
        while view:
            part = view[: min(_WRITE, self._limiter.block_limit())]
            view = view[len(part) :]
            await self._limiter.take(len(part))
            self._http.heard()
            yield part

    async def join(
        self, parts: Sequence[str], path: bytes, *, sha256: str, mtime_ns: int | None, fresh: bool
    ) -> None:
        """Give finished parts their name, `path` below the token's destination.

        Raises AlreadyExists (only with `fresh`, or where the account replaces nothing), ChecksumMismatch.
        """
        metadata = {"path": path, "sha256": sha256.encode()}
        if mtime_ns is not None:
            seconds, rest = divmod(abs(mtime_ns), 10**9)
            metadata["mtime"] = f"{'-' if mtime_ns < 0 else ''}{seconds}.{rest:09}".encode()
        headers = {
            **_VERSION,
            "Upload-Concat": "final;" + " ".join(parts),
            "Upload-Metadata": ",".join(
                f"{key} {base64.b64encode(value).decode()}" for key, value in metadata.items()
            ),
        }
        if fresh:
            headers["If-None-Match"] = "*"
        async with self._http.request("POST", UPLOADS, headers=headers, long=True) as answer:
            if answer.status != 201:
                raise await refusal(answer, "target", path)

    async def drop(self, upload: str, name: bytes) -> None:
        """Give an upload up; fine when the server does not know it."""
        async with self._http.request("DELETE", upload, headers=_VERSION) as answer:
            if answer.status not in (200, 204, 404, 410):
                raise await refusal(answer, "target", name)


def _number(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ConnectionLost(
            "The server's answer makes no sense; start the transfer again to go on.",
            internal_message="no usable Upload-Offset",
        )
    return int(text)
