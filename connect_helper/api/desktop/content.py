"""What is in files and folders the user gave (desktop reference, sections 4.7 and 4.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connect_helper.api.desktop.calls import Asked, Params, Streamed, optional_object, required_object
from connect_helper.api.walking import Kind
from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, as_int, as_text

_PATH_LIMIT: Final = 32_768
_KINDS: Final[Mapping[str, Kind]] = {"file": "file", "directory": "directory"}


async def read_as_array_buffer(asked: Asked) -> Any:
    request = required_object(asked.params, "request")
    return Streamed(asked.shared.reading.content(asked.scope, _path(request)))


async def read_chunk_as_array_buffer(asked: Asked) -> Any:
    request = required_object(asked.params, "request")
    offset, size = _number(request, "offset"), _number(request, "chunkSize")
    return Streamed(asked.shared.reading.content(asked.scope, _path(request), offset, size))


async def get_checksum(asked: Asked) -> Any:
    request = required_object(asked.params, "request")
    method = as_text(request.get("checksumMethod"), "checksumMethod") or "md5"
    offset = as_int(request.get("offset"), "offset") or 0
    size = as_int(request.get("chunkSize"), "chunkSize") or 0
    digest = await asked.shared.reading.checksum(asked.scope, _path(request), offset, size, method)
    return {"checksum": digest, "checksumMethod": method}


async def read_directory(asked: Asked) -> Any:
    """`totalCount` is the number of entries returned; at the most there can be, some may be missing."""
    request = required_object(asked.params, "request")
    filters = optional_object(request, "filters")
    entries = await asked.shared.reading.folder(
        asked.scope,
        _path(request),
        depth=as_int(request.get("depth"), "depth"),
        kind=_kind(filters),
        pattern=as_text(filters.get("namePattern"), "namePattern", limit=1_024),
        hidden=as_bool(filters.get("hidden"), "hidden") is True,
    )
    listed = [
        {
            "relativePath": entry.relative_path,
            "type": entry.kind,
            "size": entry.size,
            "lastModified": entry.mtime_ns // 1_000_000,
        }
        for entry in entries
    ]
    return {"entries": listed, "totalCount": len(listed)}


def _kind(filters: Params) -> Kind | None:
    word = as_text(filters.get("type"), "type")
    if word is not None and word not in _KINDS:
        raise InvalidRequest(f"filters.type must be one of {', '.join(_KINDS)}.", field="type")
    return None if word is None else _KINDS[word]


def _path(request: Params) -> str:
    path = as_text(request.get("path"), "path", limit=_PATH_LIMIT, path=True)
    if path is None:
        raise InvalidRequest("path is missing.", field="path")
    return path


def _number(request: Params, field: str) -> int:
    number = as_int(request.get(field), field)
    if number is None:
        raise InvalidRequest(f"{field} is missing.", field=field)
    return number
