"""tus 1.0.0 over `/fallback/v1/uploads`: the dialect; what it means is done by `uploads`.

Beyond the protocol: with `Want-Repr-Digest: sha-256=1` (or `xxh128=1`) at creation the server hashes what
arrives and says so in `Repr-Digest` (RFC 9530) when the upload is complete, also in the answer to HEAD.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Final

from aiohttp import hdrs, web

from connect_helper.server.http.callers import Caller, caller_of
from connect_helper.server.http.concatenation import concatenate
from connect_helper.server.http.digests import repr_digest, wanted_digest
from connect_helper.server.http.gate import UPLOADS, preflight
from connect_helper.server.http.problems import Problem, bad_request, no_such_upload
from connect_helper.server.http.tus_headers import (
    CHECKSUM_ALGORITHMS,
    EXTENSIONS,
    TUS_VERSION,
    WHOLE_ALGORITHMS,
    BadHeader,
    checksum,
    concatenation,
    is_upload_id,
    metadata,
    number,
)
from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.server.http.uploads import Creation, Uploads
from connect_helper.wire.batches import Batches

UPLOADS_KEY: Final = web.AppKey("uploads", Uploads)
_STREAM: Final = "application/offset+octet-stream"


def tus_routes() -> list[web.RouteDef]:
    """The routes of the protocol."""
    one = UPLOADS + "/{id}"
    return [
        web.options(UPLOADS, options, name="tus-options"),
        web.options(one, options),
        web.post(UPLOADS, create, name="tus-create"),
        web.head(one, head, name="tus-head"),
        web.patch(one, patch, name="tus-patch"),
        web.delete(one, delete, name="tus-delete"),
    ]


async def options(request: web.Request) -> web.Response:
    """Say what the server can do; a browser's question before a request comes here too."""
    response = preflight()
    response.headers["Tus-Version"] = TUS_VERSION
    response.headers["Tus-Extension"] = ",".join(EXTENSIONS)
    response.headers["Tus-Checksum-Algorithm"] = ",".join(CHECKSUM_ALGORITHMS)
    return response


async def create(request: web.Request) -> web.Response:
    """Begin an upload, with its first bytes in the body or without; or join parts."""
    _check_version(request)
    caller = caller_of(request)
    uploads = request.app[UPLOADS_KEY]
    wish = _wish(request)
    has_body = request.can_read_body
    if has_body and wish.kind == "final":
        raise Problem(403, "final", "A final upload is made of others and takes no bytes of its own.")
    if has_body and request.content_type != _STREAM:
        raise _wrong_type()
    if wish.kind == "final":
        record = await concatenate(uploads, caller, wish)
    else:
        record = await uploads.create(caller, wish)
        if has_body and not record.done:
            record = await _append(request, caller, record.id, offset=0)
    headers = {"Location": f"{UPLOADS}/{record.id}"}
    if has_body or record.done:
        headers["Upload-Offset"] = str(record.offset)
    return web.Response(status=201, headers={**headers, **_lasting(record)})


def _wish(request: web.Request) -> Creation:
    try:
        concat = concatenation(request.headers.get("Upload-Concat"), UPLOADS)
        length = _header_number(request, "Upload-Length")
        deferred = request.headers.get("Upload-Defer-Length")
        if deferred is not None and (deferred != "1" or length is not None):
            raise BadHeader("Upload-Defer-Length must be 1, and stand without Upload-Length.")
        if length is None and deferred is None and (concat is None or concat.kind != "final"):
            raise BadHeader("The Upload-Length header is missing.")
        return Creation(
            metadata=metadata(request.headers.get("Upload-Metadata")),
            length=length,
            kind=concat.kind if concat is not None else "whole",
            wants_digest=wanted_digest(request, WHOLE_ALGORITHMS),
            parts=concat.parts if concat is not None else (),
            fresh=request.headers.get(hdrs.IF_NONE_MATCH, "").strip() == "*",
        )
    except BadHeader as error:
        raise bad_request(str(error)) from None


async def head(request: web.Request) -> web.Response:
    """Say how far an upload has come."""
    _check_version(request)
    caller = caller_of(request)
    record = await request.app[UPLOADS_KEY].state(caller, _upload_id(request))
    headers = {"Upload-Offset": str(record.offset), **_lasting(record)}
    if record.length is not None:
        headers["Upload-Length"] = str(record.length)
    else:
        headers["Upload-Defer-Length"] = "1"
    if record.metadata:
        headers["Upload-Metadata"] = record.metadata
    if record.kind == "partial":
        headers["Upload-Concat"] = "partial"
    elif record.kind == "final":
        headers["Upload-Concat"] = "final;" + " ".join(f"{UPLOADS}/{part}" for part in record.parts)
    return web.Response(headers=headers)


async def patch(request: web.Request) -> web.Response:
    """Take more bytes."""
    _check_version(request)
    if request.content_type != _STREAM:
        raise _wrong_type()
    caller = caller_of(request)
    try:
        offset = _header_number(request, "Upload-Offset")
        length = _header_number(request, "Upload-Length")
    except BadHeader as error:
        raise bad_request(str(error)) from None
    if offset is None:
        raise bad_request("The Upload-Offset header is missing.")
    record = await _append(request, caller, _upload_id(request), offset=offset, length=length)
    return web.Response(status=204, headers={"Upload-Offset": str(record.offset), **_lasting(record)})


async def _append(
    request: web.Request, caller: Caller, upload_id: str, *, offset: int, length: int | None = None
) -> UploadRecord:
    try:
        wanted = checksum(request.headers.get("Upload-Checksum"))
    except BadHeader as error:
        raise bad_request(str(error)) from None
    with Batches(request.content, request.transport, request.content_length) as body:
        return await request.app[UPLOADS_KEY].append(
            caller,
            upload_id,
            offset=offset,
            body=body,
            body_length=request.content_length,
            checksum=wanted,
            length=length,
        )


async def delete(request: web.Request) -> web.Response:
    """Give an upload up."""
    _check_version(request)
    caller = caller_of(request)
    await request.app[UPLOADS_KEY].terminate(caller, _upload_id(request))
    return web.Response(status=204)


def _check_version(request: web.Request) -> None:
    if request.headers.get("Tus-Resumable") != TUS_VERSION:
        raise Problem(
            412,
            "tus_version",
            f"This server speaks tus {TUS_VERSION}; the Tus-Resumable header says otherwise.",
            headers={"Tus-Version": TUS_VERSION},
        )


def _upload_id(request: web.Request) -> str:
    upload_id = request.match_info["id"]
    if not is_upload_id(upload_id):
        raise no_such_upload()
    return upload_id


def _header_number(request: web.Request, name: str) -> int | None:
    text = request.headers.get(name)
    return None if text is None else number(name, text)


def _wrong_type() -> Problem:
    return Problem(415, "wrong_type", f"The body must have the content type {_STREAM}.")


def _lasting(record: UploadRecord) -> dict[str, str]:
    """Until when an unfinished upload is kept; of a finished one, the digest if it was made."""
    if record.done:
        return {} if record.digest is None else {"Repr-Digest": repr_digest(record.digest, record.algorithm)}
    return {"Upload-Expires": formatdate(record.expires_at, usegmt=True)}
