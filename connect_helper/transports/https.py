"""HTTPS (or HTTP): the `Transport` for where SSH does not get through. Wire: docs/http-fallback.md.

What this program sends is a nameless upload on the server until `publish` joins it under its name, and with
that goes the digest of all that was read here: the server compares it before the name is given. So a partial
file's content is vouched for at the end rather than looked at on the way, which tokens for sending forbid.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from connect_helper.errors import (
    ConnectionLost,
    SourceDenied,
    SourceMissing,
    TargetDenied,
    TargetError,
    UnsafeName,
)
from connect_helper.spec.names import PARTIAL_SUFFIX, display
from connect_helper.spec.words import Links
from connect_helper.transports.base import (
    BlockHashes,
    Enters,
    Entry,
    Facts,
    Publish,
    RateLimiter,
    ReceiveItem,
    SendItem,
    everywhere,
)
from connect_helper.transports.http_connection import HttpConnection, HttpEndpoint, refusal
from connect_helper.transports.http_manifest import lines, scan
from connect_helper.transports.http_notes import UploadNotes
from connect_helper.transports.http_ranges import FILES, RangeClient
from connect_helper.transports.tus_client import TusClient

if TYPE_CHECKING:
    from hashlib import _Hash

PIECE: Final = 4 * 1024 * 1024  # bytes of one request that sends
SMALLEST_PIECE: Final = 64 * 1024
SECOND: Final = 10  # slices of the rate limiter
STALLS: Final = 5  # pieces in a row of which nothing arrived
FOLDERS: Final = "/fallback/v1/folders"
NEEDED: Final = frozenset({"creation", "concatenation"})


@dataclass(slots=True)
class _Upload:
    """An unfinished upload of ours."""

    address: str
    offset: int  # what the server has confirmed
    digest: _Hash | None = None  # of what was read here before `offset`; None: not known yet
    mtime_ns: int | None = None


class HttpTransport:
    """See `Transport`. `root` is the folder of the server that the token's destinations are relative to."""

    def __init__(
        self,
        endpoint: HttpEndpoint,
        limiter: RateLimiter,
        *,
        sends: bool,
        root: bytes,
        resume_folder: Path,
    ) -> None:
        self._endpoint = endpoint
        self._limiter = limiter
        self._sends = sends
        self._root = _names(root)
        self._http = HttpConnection(endpoint)
        self._tus = TusClient(self._http, limiter)
        self._files = RangeClient(self._http, limiter)
        self._notes = UploadNotes(resume_folder, f"{endpoint.scheme}://{endpoint}")
        self._uploads: dict[bytes, _Upload] = {}
        self._folders: set[bytes] = set()

    async def __aenter__(self) -> HttpTransport:
        try:
            await self._http.open()
            offered = await self._tus.extensions()
            if self._sends and not offered >= NEEDED:
                raise TargetError("The server's way of taking files over HTTP is not known here.")
            await self._check_token()
            await asyncio.to_thread(self._notes.sweep)
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def _check_token(self) -> None:
        """Hear at once, rather than for each file, that the token is no good. Raises AuthFailed."""
        async with self._http.request("HEAD", FILES) as answer:
            if answer.status == 401:
                raise await refusal(answer, "source", b"/")
            if answer.status >= 500:
                raise await refusal(answer, "source", b"/")

    @property
    def address(self) -> str:
        return self._endpoint.addresses[0]

    @property
    def silent_s(self) -> float:
        return self._http.silent_s

    def expect(self, size: int, files: int = 1) -> None:
        """What is to come changes nothing here: connections are made as requests need them."""

    # Questions about the far side ----------------------------------------------------------------

    def scan(
        self, source: bytes, *, links: Links = "follow", enters: Enters = everywhere
    ) -> AsyncGenerator[Entry, None]:
        return scan(self._http, source, enters)

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
        if self._sends and path.endswith(PARTIAL_SUFFIX):
            # Unfinished files of others, or of another way of sending, are none of ours to go on with.
            upload = await self._known(path)
            return None if upload is None else Facts("file", upload.offset, 0)
        try:
            async with aclosing(lines(self._http, path)) as found:
                async for line in found:
                    return line.facts if not line.names else Facts("folder", 0, 0)
        except SourceMissing:
            return None
        except SourceDenied:
            if not self._sends:
                raise
            # With a token for sending a file's facts are told, a folder's list is not.
        return Facts("folder", 0, 0)

    async def read_ranges(self, path: bytes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if self._sends:
            raise SourceDenied(f"{display(path)} cannot be read with a token for sending.")
        return await asyncio.gather(*(self._files.read(path, *one) for one in ranges))

    async def digest(self, path: bytes, algorithm: str, length: int, *, expected: str) -> str:
        """See `Transport.digest`. For an upload of ours `expected` is right or `publish` will fail."""
        if self._sends:
            if path in self._uploads:
                return expected
            raise SourceDenied(f"{display(path)} cannot be read with a token for sending.")
        if algorithm == "sha256" and (told := await self._files.sha256(path)):
            return told
        facts = await self.facts(path)
        if facts is None:
            raise SourceMissing(f"{display(path)} is not on the server.")
        hashes = BlockHashes(algorithm)
        nowhere = ReceiveItem(path, length, facts.mtime_ns, _Nowhere(), 0, hashes, lambda _count: None)
        await self._files.receive(nowhere)
        return hashes.digest()

    # Receiving -----------------------------------------------------------------------------------

    async def receive(self, item: ReceiveItem) -> None:
        await self._files.receive(item)

    # Sending -------------------------------------------------------------------------------------

    async def _known(self, path: bytes) -> _Upload | None:
        """An unfinished upload of this or an earlier session, as the server has it now."""
        address = await asyncio.to_thread(self._notes.get, path)
        if address is None:
            return None
        offset = await self._tus.offset(address, path)
        if offset is None:
            await self._forget(path)
            return None
        upload = self._uploads.setdefault(path, _Upload(address, offset))
        upload.offset = offset
        return upload

    async def _forget(self, path: bytes) -> None:
        self._uploads.pop(path, None)
        await asyncio.to_thread(self._notes.drop, path)

    async def send(self, item: SendItem) -> None:
        upload = await self._begun(item)
        await self._catch_up(item, upload)
        stalled = 0
        while upload.offset < item.source.size:
            length = min(self._piece(), item.source.size - upload.offset)
            piece = await asyncio.to_thread(item.source.read, upload.offset, length)
            before = upload.offset
            after = await self._tus.append(upload.address, before, piece, item.partial)
            if after is None:
                after = await self._tus.offset(upload.address, item.partial)
            if after is None or not before <= after <= before + length:
                await self._forget(item.partial)
                raise ConnectionLost(
                    "The server lost what was sent; start the transfer again to go on.",
                    internal_message=f"upload at {after} instead of {before} to {before + length}",
                )
            stalled = stalled + 1 if after == before else 0
            if stalled >= STALLS:
                raise ConnectionLost("The server takes no more bytes; start the transfer again to go on.")
            await self._advance(item, upload, piece[: after - before])
        item.arrived = Facts("file", upload.offset, 0)

    def _piece(self) -> int:
        return min(PIECE, max(SMALLEST_PIECE, self._limiter.block_limit() * SECOND))

    async def _begun(self, item: SendItem) -> _Upload:
        """The upload to go on with, or a new one where sending begins at the start."""
        upload = await self._known(item.partial)
        size = item.source.size
        if upload is not None and item.offset and item.offset <= upload.offset <= size:
            return upload
        if upload is not None:
            await self._tus.drop(upload.address, item.partial)
            await self._forget(item.partial)
            if item.offset:
                raise ConnectionLost("The server lost what was sent; start the transfer again to go on.")
        elif item.offset:
            raise ConnectionLost("The server lost what was sent; start the transfer again to go on.")
        self._relative(item.partial)
        upload = _Upload(await self._tus.create(size, item.partial), 0, hashlib.sha256())
        await asyncio.to_thread(self._notes.put, item.partial, upload.address)
        self._uploads[item.partial] = upload
        return upload

    async def _catch_up(self, item: SendItem, upload: _Upload) -> None:
        """Hash what the server has already: it is compared with what is here when the file gets its name."""
        item.done = item.hashes.mark()
        upload.digest = hashlib.sha256()
        for offset in range(0, upload.offset, PIECE):
            length = min(PIECE, upload.offset - offset)
            piece = await asyncio.to_thread(item.source.read, offset, length)
            await asyncio.to_thread(upload.digest.update, piece)
            if offset + length > item.offset:
                news = piece[max(0, item.offset - offset) :]
                await asyncio.to_thread(item.hashes.feed, news)
                item.sink(len(news))
                item.done = item.hashes.mark()

    async def _advance(self, item: SendItem, upload: _Upload, arrived: bytes) -> None:
        if not arrived:
            return
        await asyncio.to_thread(_feed, item.hashes, upload, arrived)
        upload.offset += len(arrived)
        item.done = item.hashes.mark()
        item.sink(len(arrived))

    async def truncate(self, path: bytes, length: int) -> None:
        """See `Transport.truncate`. What an upload has beyond `length` is compared at its end."""
        if path not in self._uploads:
            raise _not_over_http(path)

    async def set_times(self, path: bytes, atime_ns: int, mtime_ns: int) -> None:
        upload = self._uploads.get(path)
        if upload is not None:
            upload.mtime_ns = mtime_ns

    async def publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        upload = self._uploads.get(partial)
        if upload is None or upload.digest is None:
            raise _not_over_http(partial)
        await self._tus.join(
            (upload.address,),
            self._relative(target),
            sha256=upload.digest.hexdigest(),
            mtime_ns=upload.mtime_ns,
            fresh=how != "replace",
        )
        await self._forget(partial)

    def is_new(self, folder: bytes) -> bool:
        return False  # a server does not say whether a folder was there

    async def make_folder(self, path: bytes) -> None:
        relative = self._relative(path)
        if not relative or relative in self._folders:
            return
        body: dict[str, str]
        try:
            body = {"path": relative.decode()}
        except UnicodeDecodeError:
            raise UnsafeName(f"{display(path)} is no UTF-8, which HTTP needs.") from None
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        async with self._http.request("POST", FOLDERS, headers=headers, data=data) as answer:
            if answer.status not in (200, 201):
                raise await refusal(answer, "target", path)
        self._folders.add(relative)

    def _relative(self, path: bytes) -> bytes:
        """`path` below the token's destination. Raises TargetDenied when it is not."""
        names = _names(path)
        if names[: len(self._root)] != self._root:
            raise TargetDenied(f"{display(path)} lies outside the destination; nothing is sent there.")
        return b"/".join(names[len(self._root) :])

    async def remove(self, path: bytes) -> None:
        upload = await self._known(path)
        if upload is None:
            raise _not_over_http(path)
        await self._tus.drop(upload.address, path)
        await self._forget(path)

    # What HTTP has no words for --------------------------------------------------------------------

    async def remove_folder(self, path: bytes) -> None:
        raise _not_over_http(path)

    async def list_names(self, path: bytes) -> list[tuple[bytes, Facts]]:
        raise _not_over_http(path)

    async def make_link(self, path: bytes, content: bytes) -> None:
        raise _not_over_http(path)


class _Nowhere:
    """Where bytes go that are only hashed."""

    def write(self, offset: int, data: Sequence[bytes | memoryview]) -> None:
        return None


def _feed(hashes: BlockHashes, upload: _Upload, data: bytes) -> None:
    hashes.feed(data)
    if upload.digest is not None:
        upload.digest.update(data)


def _names(path: bytes) -> tuple[bytes, ...]:
    return tuple(name for name in path.split(b"/") if name not in (b"", b"."))


def _not_over_http(path: bytes) -> TargetError:
    return TargetError(f"{display(path)}: this cannot be done over HTTP, only over SSH.")
