"""The OpenAPI description of `/fallback/v1`."""

from __future__ import annotations

from typing import Any, Final

from connect_helper.server.http.blocks import BLOCK, BLOCKS, LONGEST
from connect_helper.server.http.downloads import FILES
from connect_helper.server.http.folders import FOLDERS
from connect_helper.server.http.gate import UPLOADS
from connect_helper.server.http.manifest import MANIFEST
from connect_helper.server.http.openapi import BASIC, BEARER, Description, Json, error_response
from connect_helper.spec.block_hash import BLOCK_HASH

TAG: Final = "fallback"
_COUNT: Final[Json] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_TUS: Final[Json] = {
    "name": "Tus-Resumable",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "enum": ["1.0.0"]},
}
_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_SECURITY: Final[list[Json]] = [{BEARER: []}, {BASIC: []}]
_ERRORS: Final = {
    400: "The request is wrong.",
    401: "No token, or one that is not valid.",
    403: "Not allowed.",
    404: "Nothing there, or nothing that the token opens.",
    408: "The body stopped coming.",
    409: "Another offset, or something else in the way.",
    412: "Another protocol version, or another version of the file.",
    413: "More bytes than promised, or than are taken.",
    415: "Another content type.",
    416: "No byte of the file lies in that range.",
    423: "Another request works on this upload.",
    429: "Too often, or too many.",
    460: "The checksum does not fit.",
    503: "Too busy.",
    507: "The disk is full.",
}


def _header(name: str, about: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "header", "description": about, "schema": schema or {"type": "string"}}


def _query(name: str, about: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": True, "description": about, "schema": schema}


def _operation(
    name: str, summary: str, answers: dict[str, Json], errors: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    refused = {str(status): error_response(_ERRORS[status]) for status in (400, 401, 404, 429, 503, *errors)}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "security": _SECURITY,
        "responses": {**answers, **refused},
        **more,
    }


def _without_bodies(operation: dict[str, Any]) -> dict[str, Any]:
    """Answers to HEAD have no body, those with errors neither."""
    answers = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in operation["responses"].items()
    }
    return {**operation, "responses": answers}


_BYTES: Final[Json] = {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE: Final[Json] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_RANGES: Final = [
    {"name": "path", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
    _header("Range", "The part wanted: bytes=0-99; several parts are answered with the whole."),
    _header("If-Range", "The strong ETag that the part must belong to."),
    _header("Want-Repr-Digest", "sha-256=1 asks for the SHA-256 of the whole file in Repr-Digest."),
]
_DOWNLOAD_ERRORS: Final = (403, 409, 412, 416)

_OPTIONS: Final = {
    "operationId": "tusOptions",
    "tags": [TAG],
    "summary": "Say which parts of tus 1.0.0 are spoken.",
    "security": [],
    "responses": {"204": {"description": "Tus-Version, Tus-Extension and Tus-Checksum-Algorithm tell."}},
}
_CREATE: Final = _operation(
    "createUpload",
    "Begin an upload, with its first bytes or without; or join parts.",
    {"201": {"description": "Location is the upload's address."}},
    (403, 408, 409, 412, 413, 415, 423, 460, 507),
    parameters=[
        _TUS,
        _header("Upload-Length", "Bytes of the file.", _COUNT),
        _header("Upload-Defer-Length", "1 when the length is said later.", {"type": "string", "enum": ["1"]}),
        _header(
            "Upload-Metadata",
            "Pairs of key and base64: target, or path (or filename); mtime; sha256 or xxh128.",
        ),
        _header("Upload-Concat", 'A part ("partial"), or "final;" and the addresses of the parts.'),
        _header("Upload-Checksum", "Algorithm and base64 of the body's digest: sha1 or sha256."),
        _header(
            "Want-Repr-Digest", "sha-256=1 or xxh128=1 asks for the digest of what arrived, once it is whole."
        ),
    ],
    requestBody={"required": False, "content": _BYTES},
)
_HEAD: Final = _without_bodies(
    _operation(
        "uploadState",
        "Say how far an upload has come.",
        {"200": {"description": "Upload-Offset tells."}},
        (403, 409, 412, 423, 460, 507),
        parameters=[_ID, _TUS],
    )
)
_PATCH: Final = _operation(
    "appendToUpload",
    "Send more bytes.",
    {"204": {"description": "Upload-Offset tells how far the upload has come."}},
    (403, 408, 409, 412, 413, 415, 423, 460, 507),
    parameters=[
        _ID,
        _TUS,
        {**_header("Upload-Offset", "Where the body begins.", _COUNT), "required": True},
        _header("Upload-Length", "Bytes of the file, when it was not said before.", _COUNT),
        _header("Upload-Checksum", "Algorithm and base64 of the body's digest: sha1 or sha256."),
    ],
    requestBody={"required": True, "content": _BYTES},
)
_DELETE: Final = _operation(
    "giveUpUpload",
    "Give an upload up; a finished file stays.",
    {"204": {"description": "It is gone."}},
    (403, 412, 423, 507),
    parameters=[_ID, _TUS],
)
_GET_FILE: Final = _operation(
    "download",
    "A file, or a part of it.",
    {
        "200": {"description": "All of it.", "content": _FILE},
        "206": {"description": "The part asked for.", "content": _FILE},
        "304": {"description": "The version named in If-None-Match."},
    },
    _DOWNLOAD_ERRORS,
    parameters=_RANGES,
)
_HEAD_FILE: Final = _without_bodies(
    _operation(
        "fileFacts",
        "What a download would say about itself.",
        {
            "200": {"description": "ETag, Content-Length and Last-Modified tell."},
            "304": {"description": "The version named in If-None-Match."},
        },
        _DOWNLOAD_ERRORS,
        parameters=[_RANGES[0], _RANGES[3]],
    )
)
_DIGESTS: Final[Json] = {
    "type": "object",
    "required": ["algorithm", "block", "digests"],
    "properties": {
        "algorithm": {"type": "string", "enum": [BLOCK_HASH]},
        "block": {"type": "integer", "enum": [BLOCK]},
        "digests": {"type": "array", "items": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
    },
}
_BLOCKS: Final = _operation(
    "blockDigests",
    "The digest of each block of a part of a file.",
    {
        "200": {
            "description": "In the order of the file; the last block may be shorter.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BlockDigests"}}},
        },
    },
    _DOWNLOAD_ERRORS,
    parameters=[
        _RANGES[0],
        _query("start", "Where the part begins, in bytes.", {**_COUNT, "multipleOf": BLOCK}),
        _query("length", "Bytes of the part.", {"type": "integer", "minimum": 1, "maximum": LONGEST}),
        _header("If-Match", "The strong ETag of the version that is meant."),
    ],
)
_LINE: Final[Json] = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "path_base64": {"type": "string"},
        "type": {"type": "string", "enum": ["file", "directory", "unreadable"]},
        "size": _COUNT,
        "mtime_ns": {"type": "integer"},
        "etag": {"type": "string"},
        "end": {"type": "boolean"},
        "files": _COUNT,
        "bytes": _COUNT,
        "directories": _COUNT,
        "skipped": _COUNT,
    },
}
_MANIFEST: Final = _operation(
    "manifest",
    "What lies below a folder, line by line.",
    {"200": {"description": "Lines of JSON; see ManifestLine.", "content": {"application/x-ndjson": {}}}},
    (403,),
    parameters=[{"name": "path", "in": "query", "required": True, "schema": {"type": "string"}}],
)
_FOLDER: Final[Json] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "path": {"type": "string", "minLength": 1},
        "path_base64": {"type": "string", "contentEncoding": "base64"},
        "from_docroot": {"type": "boolean", "default": False},
        "mtime_ns": {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1},
    },
}
_MADE: Final[Json] = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["created"],
            "properties": {
                "path": {"type": ["string", "null"]},
                "created": {"type": "boolean"},
                "mtime_ns": {"type": ["integer", "null"]},
            },
        }
    }
}
_MAKE_FOLDER: Final = _operation(
    "makeFolder",
    "Make a folder that holds nothing yet, and those above it; or set the time of one that is there.",
    {
        "200": {"description": "It was there already.", "content": _MADE},
        "201": {"description": "It was made.", "content": _MADE},
    },
    (403, 408, 409, 413, 507),
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewFolder"}}},
    },
)

FALLBACK_OPERATIONS: Final = Description(
    tag=TAG,
    about="Transfers over HTTP where SSH does not get through: tus 1.0.0 up, ranges down.",
    paths={
        UPLOADS: {"options": _OPTIONS, "post": _CREATE},
        UPLOADS + "/{id}": {"head": _HEAD, "patch": _PATCH, "delete": _DELETE},
        FILES + "/{path}": {"get": _GET_FILE, "head": _HEAD_FILE},
        BLOCKS + "/{path}": {"get": _BLOCKS},
        MANIFEST: {"get": _MANIFEST},
        FOLDERS: {"post": _MAKE_FOLDER},
    },
    schemas={"BlockDigests": _DIGESTS, "ManifestLine": _LINE, "NewFolder": _FOLDER},
)
