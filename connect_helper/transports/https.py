"""HTTPS (or HTTP): the `Transport` for where SSH does not get through. Wire: docs/http-fallback.md.

What this program sends is one or several nameless uploads on the server until `publish` joins them under
the file's name. With that goes the digest of all that was read here, and the server compares it before the
name is given: so a partial file's content is vouched for at the end rather than looked at on the way, which
tokens for sending forbid. Any tus server in its place does too: one that cannot join gets each file as one
upload that has its name from the start, and one that compares nothing leaves the receipt at the size.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from connect_helper.errors import (
    ConnectionLost,
    SourceDenied,
    SourceMissing,
    TargetDenied,
    TargetError,
)
from connect_helper.spec.block_hash import SHA256
from connect_helper.spec.names import display
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
from connect_helper.transports.http_folders import make_folder, set_folder_time
from connect_helper.transports.http_lines import HttpLine
from connect_helper.transports.http_manifest import lines, scan
from connect_helper.transports.http_notes import Noted, UploadNotes
from connect_helper.transports.http_ranges import FILES, RangeClient
from connect_helper.transports.http_sending import PartSender, whole_algorithm
from connect_helper.transports.http_upload import Span, Upload, UploadPart
from connect_helper.transports.tus_client import UPLOADS, TusClient, UploadGone

_log = logging.getLogger(__name__)

PATIENCE: Final = 4  # times as long as one answer took, the other one may take
LEAST_PATIENCE_S: Final = 2.0


class HttpTransport:
    """See `Transport`. `root` is the folder that everything sent goes to.

    Which of the server's folders the token opens only the server knows. It hears where a file goes in full
    and refuses what lies elsewhere; one that is none of ours is told the names below `root`.
    """

    def __init__(
        self,
        endpoint: HttpEndpoint,
        limiter: RateLimiter,
        *,
        sends: bool,
        root: bytes,
        resume_folder: Path,
        transfer_id: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._limiter = limiter
        self._sends = sends
        self._root = _names(root)
        self._http = HttpConnection(endpoint, UPLOADS)
        self._tus = TusClient(self._http, limiter)
        self._files = RangeClient(self._http, limiter)
        self._notes = UploadNotes(resume_folder, f"{endpoint.scheme}://{endpoint}", transfer_id)
        self._parts = PartSender(self._http, self._tus, limiter)
        self._uploads: dict[bytes, Upload] = {}
        self._folders: set[tuple[bytes, ...]] = set()
        self._times_folders = True  # until the server turns out not to

    async def __aenter__(self) -> HttpTransport:
        try:
            await self._http.open()
            await self._meet()
            await asyncio.to_thread(self._notes.sweep)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._files.close()
        await self._http.close()

    async def _meet(self) -> None:
        """Hear what the server offers and that the token is good, side by side: each takes a round trip.

        A server that serves one connection at a time answers one of them, and the other over the same one.
        """
        began = time.monotonic()
        asking = asyncio.create_task(self._tus.ask(), name="offer")
        checking = asyncio.create_task(self._check_token(), name="token")
        both: tuple[asyncio.Task[Any], ...] = asking, checking
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(both, timeout=max(LEAST_PATIENCE_S, PATIENCE * (time.monotonic() - began)))
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in both:
            if not task.cancelled():  # what failed is told, before anything is waited for again
                await task
        if asking.cancelled():
            await self._tus.ask()
        if checking.cancelled():
            await self._check_token()
        if self._sends and "creation" not in self._tus.offer.extensions:
            raise TargetError("The server's way of taking files over HTTP is not known here.")

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

    @property
    def whole_hash(self) -> str:
        return self._tus.offer.whole_hash or SHA256

    @property
    def names_unfinished(self) -> bool:
        return False

    def expect(self, size: int, files: int = 1) -> None:
        """What is to come changes nothing here: connections are made as requests need them."""

    # Questions about the far side ----------------------------------------------------------------

    def scan(
        self, source: bytes, *, links: Links = "follow", enters: Enters = everywhere
    ) -> AsyncGenerator[Entry, None]:
        return scan(self._http, source, enters)

    async def unfinished(self, partial: bytes) -> Facts | None:
        # What others left of that name, or another way of sending, is not in the way of an upload.
        known = await self._known(partial)
        return None if known is None else Facts("file", known[0].offset, 0)

    async def facts(self, path: bytes, *, follow: bool = False) -> Facts | None:
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

    async def real_path(self, path: bytes) -> bytes:
        return path  # what links lead to is the server's affair; sources there are never removed

    async def read_ranges(self, path: bytes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if self._sends:
            raise SourceDenied(f"{display(path)} cannot be read with a token for sending.")
        return await asyncio.gather(*(self._files.read(path, *one) for one in ranges))

    async def block_digest(self, path: bytes, start: int, length: int) -> str:
        return ""  # of what is sent nothing is told before its end

    async def digest(self, path: bytes, algorithm: str, length: int, *, expected: str) -> str:
        """See `Transport.digest`. Where the server compares, `expected` is right or sending has failed.

        Our server compares all of a file once more when it gives it its name.
        """
        if self._sends:
            if path in self._uploads:
                offer = self._tus.offer
                return expected if offer.compares or offer.compares_whole else ""
            raise SourceDenied(f"{display(path)} cannot be read with a token for sending.")
        if algorithm == "sha256" and (told := await self._files.sha256(path)):
            return told
        facts = await self.facts(path)
        if facts is None:
            raise SourceMissing(f"{display(path)} is not on the server.")
        hashes = BlockHashes(algorithm)
        nowhere = ReceiveItem(path, length, facts.mtime_ns, _Nowhere(), 0, hashes, lambda _count: None)
        nowhere.etag = facts.etag
        await self._files.receive(nowhere)
        return hashes.digest()

    # Receiving -----------------------------------------------------------------------------------

    async def receive(self, item: ReceiveItem) -> None:
        await self._files.receive(item)

    # Sending -------------------------------------------------------------------------------------

    async def _known(self, path: bytes) -> tuple[Upload, Noted] | None:
        """An unfinished upload of this or an earlier session, as the server has it now, and who noted it."""
        for noted in await asyncio.to_thread(self._notes.all, path):
            there = await self._still_there(path, noted.parts)
            if there:
                upload = self._uploads.setdefault(path, Upload(there[-1].end))
                upload.parts = there
                return upload, noted
            if noted.by == "own":
                await self._forget(path)
        return None

    async def _still_there(self, path: bytes, parts: list[UploadPart]) -> list[UploadPart]:
        offsets = await asyncio.gather(*(self._tus.offset(part.address, path) for part in parts))
        there = [part for part, sent in zip(parts, offsets, strict=True) if sent is not None]
        for part, sent in zip(parts, offsets, strict=True):
            part.sent = sent or 0
        return there if all(part.sent <= part.length for part in there) else []

    async def _take(self, path: bytes, known: tuple[Upload, Noted]) -> Upload:
        """An upload that is to be gone on with or given up; it is this transfer's from here on."""
        upload, noted = known
        if noted.by != "own":
            await asyncio.to_thread(self._notes.take, path, noted)
        return upload

    async def _forget(self, path: bytes) -> None:
        self._uploads.pop(path, None)
        await asyncio.to_thread(self._notes.drop, path)

    async def _drop(self, upload: Upload, path: bytes) -> None:
        """Give up what the server has of a file."""
        for part in upload.parts:
            await self._tus.drop(part.address, path)
        await self._forget(path)

    async def send(self, item: SendItem) -> None:
        upload = await self._begun(item)
        one_note = asyncio.Lock()  # an older list must not replace a longer one

        async def begin(span: Span, whole: bool, line: HttpLine) -> UploadPart:
            offer = self._tus.offer
            # Told of each part, a place that the token does not open is refused before anything is sent.
            told = offer.takes_targets or not offer.joins
            address = await self._tus.create(
                span[1],
                item.partial,
                place=self._place(item.target) if told else {},
                part=offer.joins,
                hashed=whole_algorithm(item) if whole and offer.compares_whole else "",
                over=line,
            )
            part = UploadPart(address, *span)
            upload.add(part)
            try:
                async with one_note:
                    await asyncio.to_thread(self._notes.put, item.partial, list(upload.parts))
            except BaseException:
                upload.parts.remove(part)  # its stretch is given back
                raise
            return part

        try:
            await self._parts.send(item, upload, begin)
        except UploadGone:
            await self._drop(upload, item.partial)
            raise
        item.arrived = Facts("file", upload.offset, 0)
        item.proved = self._tus.offer.compares_whole  # else it does not get its name

    async def _begun(self, item: SendItem) -> Upload:
        """The upload to go on with, or a new one where sending begins at the start."""
        self._place(item.partial)
        known = await self._known(item.partial)
        size = item.source.size
        if known is not None:
            upload = await self._take(item.partial, known)
            if item.offset and item.offset <= upload.offset and upload.parts[-1].end <= size:
                upload.size = size
                return upload
            await self._drop(upload, item.partial)
        if item.offset:
            raise ConnectionLost("The server lost what was sent; start the transfer again to go on.")
        self._uploads[item.partial] = upload = Upload(size)
        return upload

    async def truncate(self, path: bytes, length: int) -> None:
        """See `Transport.truncate`. What an upload has beyond `length` is compared at its end."""
        if path not in self._uploads:
            raise _not_over_http(path)

    async def set_times(self, path: bytes, atime_ns: int, mtime_ns: int) -> bool:
        """See `Transport.set_times`. What is no upload is a folder; of access no time can be set."""
        upload = self._uploads.get(path)
        if upload is not None:
            upload.mtime_ns = mtime_ns
            return True
        if not self._times_folders:
            return False
        try:
            told, in_full = self._told_folder(path)
            kept = await set_folder_time(self._http, path, told, mtime_ns, in_full=in_full)
        except TargetError as error:  # of a name that cannot be asked about
            _log.info("%s keeps its own time: %s", display(path), error.internal_message)
            return False
        if kept is None:
            self._times_folders = False
        return bool(kept)

    async def publish(self, partial: bytes, target: bytes, how: Publish) -> None:
        upload = self._uploads.get(partial)
        if upload is None or not upload.digest:
            raise _not_over_http(partial)
        if self._tus.offer.joins:
            try:
                await self._tus.join(
                    [part.address for part in upload.parts],
                    target,
                    place=self._place(target),
                    digest=upload.digest,
                    algorithm=upload.algorithm,
                    mtime_ns=upload.mtime_ns,
                    fresh=how != "replace",
                )
            except UploadGone:
                await self._drop(upload, partial)
                raise
        await self._forget(partial)

    def is_new(self, folder: bytes) -> bool:
        return False  # a server does not say whether a folder was there

    async def make_folder(self, path: bytes) -> None:
        names = _names(path)
        if names == self._root or names in self._folders:  # the root is made with what comes into it
            return
        told, in_full = self._told_folder(path)
        await make_folder(self._http, path, told, in_full=in_full)
        self._folders.add(names)

    def _told_folder(self, path: bytes) -> tuple[bytes, bool]:
        """What the server hears of a folder, and whether that is the whole path. Raises TargetDenied."""
        in_full = self._tus.offer.takes_targets
        return (b"/".join(_names(path)) if in_full else self._relative(path)), in_full

    def _place(self, path: bytes) -> dict[str, bytes]:
        """The metadata that tells the server where a file goes. Raises TargetDenied."""
        if self._tus.offer.takes_targets:
            return {"target": b"/".join(_names(path))}
        relative = self._relative(path)
        return {"path": relative, "filename": relative}

    def _relative(self, path: bytes) -> bytes:
        """`path` below the root. Raises TargetDenied when it is not."""
        names = _names(path)
        if names[: len(self._root)] != self._root:
            raise TargetDenied(f"{display(path)} lies outside the destination; nothing is sent there.")
        return b"/".join(names[len(self._root) :])

    async def remove(self, path: bytes) -> None:
        known = await self._known(path)
        if known is None or known[1].by == "other":  # which may be bringing it at the moment
            raise _not_over_http(path)
        await self._drop(await self._take(path, known), path)

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


def _names(path: bytes) -> tuple[bytes, ...]:
    return tuple(name for name in path.split(b"/") if name not in (b"", b"."))


def _not_over_http(path: bytes) -> TargetError:
    return TargetError(f"{display(path)}: this cannot be done over HTTP, only over SSH.")
