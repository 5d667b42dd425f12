"""The client's half of tus 1.0.0 (tus.io/protocols/resumable-upload): one upload, its bytes, its name.

Where the server can join uploads ("concatenation") a file travels as partial ones, which have no name, and
gets one by being joined: so nothing has its name before it is whole, and our server compares its digest
first. A server that cannot hears the name at the beginning.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import ChecksumMismatch, ConnectionLost, TargetError
from connect_helper.spec.block_hash import BLOCK_HASH, IN_HEADERS, SHA256
from connect_helper.spec.names import display
from connect_helper.transports.base import RateLimiter
from connect_helper.transports.http_connection import HttpConnection, reason_of, refusal, told_digest
from connect_helper.transports.http_lines import HttpLine

UPLOADS: Final = "/fallback/v1/uploads"
_VERSION: Final = {"Tus-Resumable": "1.0.0"}
_STREAM: Final = {**_VERSION, "Content-Type": "application/offset+octet-stream"}
_WRITE: Final = 256 * 1024  # bytes handed to the connection at once


class UploadGone(ConnectionLost):
    """The server no longer knows an upload, or has lost its bytes: the file is sent from the start."""

    def __init__(self) -> None:
        super().__init__("The server lost what was sent; start the transfer again to send it anew.")


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server can do, as it says itself."""

    extensions: frozenset[str] = frozenset()
    checksums: frozenset[str] = frozenset()

    @property
    def joins(self) -> bool:
        """Parts can be sent side by side and get their name at the end."""
        return "concatenation" in self.extensions

    @property
    def compares(self) -> bool:
        """The server compares each piece that arrives with the SHA-256 of what was sent."""
        return "checksum" in self.extensions and "sha256" in self.checksums

    @property
    def compares_whole(self) -> bool:
        """The server compares all of a joined file before it gets its name, as ours does."""
        return bool(self.whole_hash)

    @property
    def whole_hash(self) -> str:
        """The cheapest algorithm by which it does so; "": by none. SHA-256 is always one of them."""
        if not self.joins or "whole-sha256" not in self.extensions:
            return ""
        return BLOCK_HASH if "whole-xxh128" in self.extensions else SHA256

    @property
    def takes_targets(self) -> bool:
        """The server hears where a file goes in full, rather than below a folder that only it knows."""
        return "target" in self.extensions


class TusClient:
    """Requests about uploads; errors are ours, about the file called `name`.

    They go `over` the caller's own connection, or any.
    """

    def __init__(self, http: HttpConnection, limiter: RateLimiter) -> None:
        self._http = http
        self._limiter = limiter
        self.offer = Offer()

    async def ask(self) -> Offer:
        """What the server offers. Raises ConnectError, TargetError when it does not speak tus 1.0.0."""
        async with self._http.request("OPTIONS", UPLOADS) as answer:
            if answer.status not in (200, 204):
                raise await refusal(answer, "target", b"/")
            if "1.0.0" not in _words(answer.headers, "Tus-Version"):
                raise TargetError("The server offers no transfers over HTTP.")
            extensions = _words(answer.headers, "Tus-Extension")
            self.offer = Offer(extensions, _words(answer.headers, "Tus-Checksum-Algorithm"))
            return self.offer

    async def create(
        self,
        size: int,
        name: bytes,
        *,
        place: Mapping[str, bytes],
        part: bool,
        hashed: str = "",
        over: HttpLine | None = None,
    ) -> str:
        """Begin an upload of `size` bytes; returns its path on the server.

        Of a part, or of a whole file; `place` is the metadata that says where it goes, which of a part need
        not be told. `hashed` is how the server may hash what comes, for it will be all of the file.
        """
        headers = {**_VERSION, "Upload-Length": str(size)}
        if hashed:
            headers["Want-Repr-Digest"] = f"{IN_HEADERS[hashed]}=1"
        if part:
            headers["Upload-Concat"] = "partial"
        if place:
            headers |= _metadata(**place)
        async with self._http.request("POST", UPLOADS, headers=headers, over=over) as answer:
            if answer.status != 201:
                raise await refusal(answer, "target", name)
            return self._http.own_path(answer.headers.get("Location", ""))

    async def offset(self, upload: str, name: bytes, *, over: HttpLine | None = None) -> int | None:
        """How many bytes the server has; None when it does not know the upload any more."""
        async with self._http.request("HEAD", upload, headers=_VERSION, over=over) as answer:
            if answer.status in (404, 410):
                return None
            if answer.status not in (200, 204):
                raise await refusal(answer, "target", name)
            return _number(answer.headers.get("Upload-Offset"))

    async def append(
        self,
        upload: str,
        offset: int,
        length: int,
        pieces: AsyncIterable[bytes],
        name: bytes,
        sha256: bytes = b"",
        *,
        over: HttpLine | None = None,
    ) -> int | None:
        """Send `length` bytes; returns the new offset, None when HEAD has to tell how far the server got.

        `sha256` is their digest, which the server compares; empty: it need not. Raises UploadGone.
        """
        headers = {**_STREAM, "Upload-Offset": str(offset), "Content-Length": str(length)}
        if sha256:
            headers["Upload-Checksum"] = f"sha256 {base64.b64encode(sha256).decode()}"
        body = self._paced(pieces)
        async with self._http.request("PATCH", upload, headers=headers, data=body, over=over) as answer:
            if answer.status in (408, 409, 423, 460):
                return None
            if answer.status in (404, 410):
                raise UploadGone
            if answer.status != 204:
                raise await refusal(answer, "target", name)
            return _number(answer.headers.get("Upload-Offset"))

    async def _paced(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[memoryview]:
        async for piece in pieces:
            view = memoryview(piece)
            while view:
                part = view[: min(_WRITE, self._limiter.block_limit())]
                view = view[len(part) :]
                await self._limiter.take(len(part))
                self._http.heard()
                yield part

    async def join(
        self,
        parts: Sequence[str],
        name: bytes,
        *,
        place: Mapping[str, bytes],
        digest: str,
        algorithm: str,
        mtime_ns: int | None,
        fresh: bool,
    ) -> None:
        """Give finished parts their name; `place` is the metadata that says it, `digest` that of the whole.

        Raises AlreadyExists (only with `fresh`, or where the account replaces nothing), ChecksumMismatch,
        UploadGone when the server does not know the parts, TargetDenied for a path the token does not open.
        """
        metadata = {**place, algorithm: digest.encode()}
        if mtime_ns is not None:
            seconds, rest = divmod(abs(mtime_ns), 10**9)
            metadata["mtime"] = f"{'-' if mtime_ns < 0 else ''}{seconds}.{rest:09}".encode()
        headers = {**_VERSION, "Upload-Concat": "final;" + " ".join(parts), **_metadata(**metadata)}
        if fresh:
            headers["If-None-Match"] = "*"
        async with self._http.request("POST", UPLOADS, headers=headers, long=True) as answer:
            if answer.status == 201:
                if self.offer.compares_whole and told_digest(answer, algorithm) != digest:
                    raise ChecksumMismatch(f"{display(name)} arrived damaged; send it again.")
                return
            if answer.status in (404, 410) and await reason_of(answer) != "not_found":
                raise UploadGone
            raise await refusal(answer, "target", name)

    async def drop(self, upload: str, name: bytes) -> None:
        """Give an upload up; fine when the server does not know it, or has no way to be told."""
        if "termination" not in self.offer.extensions:
            return
        async with self._http.request("DELETE", upload, headers=_VERSION) as answer:
            if answer.status not in (200, 204, 404, 410):
                raise await refusal(answer, "target", name)


def _words(headers: Mapping[str, str], name: str) -> frozenset[str]:
    return frozenset(word.strip() for word in headers.get(name, "").split(","))


def _metadata(**values: bytes) -> dict[str, str]:
    pairs = (f"{key} {base64.b64encode(value).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


def _number(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        raise ConnectionLost(
            "The server's answer makes no sense; start the transfer again to go on.",
            internal_message="no usable Upload-Offset",
        )
    return int(text)
