"""Reading granted files for a page: content, pieces and checksums (Connect reference 5.3)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import mimetypes
import os
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from connect_helper.api.places import Places
from connect_helper.consent.origins import Scope
from connect_helper.errors import InvalidRequest, TooLarge
from connect_helper.transports.local_files import Granted, open_source

READ_LIMIT: Final = 50 * 1024 * 1024  # bytes of a file or chunk
CHECKSUMS: Final = ("md5", "sha1", "sha256", "sha512")
_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of a file as pages take them."""

    type: str  # MIME type by file name
    data: str  # standard base64, padded


@dataclass(frozen=True, slots=True)
class _Reference:
    granted: Granted
    below: tuple[bytes, ...]
    name: str


class Reading:
    """Reads below grants only; every file is opened as the granted object, not by what its name means now."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def whole(self, scope: Scope, path: str) -> Content:
        """Raises NotGranted, SourceMissing, SourceChanged, TooLarge above 50 MiB."""
        return await asyncio.to_thread(_read, self._reference(scope, path), 0, None)

    async def chunk(self, scope: Scope, path: str, offset: int, size: int) -> Content:
        """Up to `size` bytes from `offset`; shorter or empty past the end."""
        if size > READ_LIMIT:
            raise TooLarge(f"chunkSize is above {READ_LIMIT} bytes.")
        return await asyncio.to_thread(_read, self._reference(scope, path), offset, size)

    async def checksum(self, scope: Scope, path: str, offset: int, size: int, method: str) -> str:
        """Hex digest of `size` bytes from `offset`; size 0 means to the end of the file."""
        if method not in CHECKSUMS:
            raise InvalidRequest(
                f"checksumMethod must be one of {', '.join(CHECKSUMS)}.", field="checksumMethod"
            )
        return await asyncio.to_thread(_digest, self._reference(scope, path), offset, size or None, method)

    def _reference(self, scope: Scope, path: str) -> _Reference:
        found = self._places.granted(scope, path)
        grant = found.grant
        return _Reference(
            Granted(os.fsencode(grant.path), grant.device, grant.inode),
            tuple(os.fsencode(name) for name in found.below),
            found.below[-1] if found.below else grant.path,
        )


def _read(ref: _Reference, offset: int, size: int | None) -> Content:
    with closing(open_source(ref.granted, ref.below)) as file:
        if size is None and file.size > READ_LIMIT:
            raise TooLarge(f"The file is larger than {READ_LIMIT} bytes; read it in pieces.")
        length = _length(file.size, offset, size)
        data = file.read(offset, length)
    kind = mimetypes.guess_type(ref.name)[0] or "application/octet-stream"
    return Content(kind, base64.b64encode(data).decode("ascii"))


def _digest(ref: _Reference, offset: int, size: int | None, method: str) -> str:
    digest = hashlib.new(method, usedforsecurity=False)
    with closing(open_source(ref.granted, ref.below)) as file:
        end = offset + _length(file.size, offset, size)
        while offset < end:
            block = file.read(offset, min(_BLOCK, end - offset))
            digest.update(block)
            offset += len(block)
        file.check()
    return digest.hexdigest()


def _length(file_size: int, offset: int, wanted: int | None) -> int:
    """How many bytes there are from `offset`, at most `wanted`; none past the end."""
    left = max(0, file_size - offset)
    return left if wanted is None else min(left, wanted)
