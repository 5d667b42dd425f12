"""The OpenAPI description of the Node API. Bodies are described by the models that read them."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from connect_helper.server.http.node import bodies
from connect_helper.server.http.openapi import BASIC, Description, Json, error_response

TAG: Final = "node"
_MODELS: Final = (
    bodies.Browse,
    bodies.Paths,
    bodies.NewPaths,
    bodies.Renamings,
    bodies.Setup,
    bodies.Change,
)
_ERRORS: Final = {
    400: "The request is wrong.",
    401: "No account and password, or wrong ones.",
    403: "The account may not do that.",
    404: "Nothing there.",
    408: "The body stopped coming.",
    413: "The body is too long.",
    429: "Too many failed logins.",
    500: "The account's folder cannot be opened.",
    501: "This server does not do that.",
    503: "Too many entries to answer in time, or the server is busy.",
}
_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_MOMENT: Final[Json] = {"type": "string", "format": "date-time"}
_DIGITS: Final[Json] = {"type": "string", "pattern": "^[0-9]{1,9}$"}
_LIST: Final[Json] = {"type": "array", "items": {"type": "object"}}


def _object(**members: Json) -> Json:
    return {"type": "object", "required": list(members), "properties": members}


def _operation(
    name: str, summary: str, answer: Json | None, errors: tuple[int, ...] = (), **more: Any
) -> dict[str, Any]:
    good: Json = {"description": "Done."}
    if answer is not None:
        good = {**good, "content": {"application/json": {"schema": answer}}}
    refused = {str(status): error_response(_ERRORS[status]) for status in (401, 429, *errors)}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "security": [{BASIC: []}],
        "responses": {"204" if answer is None else "200": good, **refused},
        **more,
    }


def _post(name: str, summary: str, model: str, answer: Json, errors: tuple[int, ...] = ()) -> Json:
    schema = {"$ref": f"#/components/schemas/{model}"}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    every = (400, 403, 404, 408, 413, 500, 503, *errors)
    return {"post": _operation(name, summary, answer, every, requestBody=body)}


def _query(name: str, about: str, schema: Json = _TEXT) -> Json:
    return {"name": name, "in": "query", "description": about, "schema": schema}


_PAGE: Final = {"items": _LIST, "item_count": _COUNT, "total_count": _COUNT, "parameters": {"type": "object"}}
_PATHS: Final = _object(paths=_LIST)
_SPECS: Final = _object(transfer_specs=_LIST)
_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"},
}
_FILE_PATH: Final[Json] = {
    "name": "path",
    "in": "path",
    "required": True,
    "description": "The file's whole path as one segment, every slash as %2F.",
    "schema": {"type": "string", "minLength": 1},
}
_TRANSFER: Final = _object(
    id=_TEXT, status=_TEXT, bytes_transferred=_COUNT, avg_rate_kbps={"type": "number"}, error_desc=_TEXT
)
_PING: Final[Json] = {
    "operationId": "ping",
    "tags": [TAG],
    "summary": "Tell a node by its empty answer.",
    "security": [],
    "responses": {"200": {"description": "The server is there."}},
}
_CONTENTS: Final = _operation(
    "contents",
    "The first 4096 bytes of a file.",
    {},
    (400, 403, 404, 500, 503),
    parameters=[_FILE_PATH],
)
_CONTENTS["responses"]["200"]["content"] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
}
_CHANGE_BODY: Final[Json] = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}},
}
_OPERATIONS: Final[Json] = {
    "/ping": {"get": _PING},
    "/": {"get": _operation("base", "The interfaces there are.", _object(apis=_LIST))},
    "/info": {
        "get": _operation("info", "The server and its abilities.", _object(application=_TEXT, version=_TEXT))
    },
    "/files/browse": _post("browse", "List a folder.", "Browse", _object(**_PAGE)),
    "/files/search": _post("search", "List all below a folder.", "Browse", _object(**_PAGE)),
    "/files/info": _post("fileInfo", "Describe paths.", "Paths", _PATHS),
    "/files/create": _post("create", "Make folders, small files, links.", "NewPaths", _PATHS),
    "/files/delete": _post("delete", "Remove files, links, folders.", "Paths", _PATHS),
    "/files/rename": _post("rename", "Rename inside a folder.", "Renamings", _PATHS),
    "/files/upload_setup": _post("uploadSetup", "Token and spec to bring files.", "Setup", _SPECS),
    "/files/download_setup": _post("downloadSetup", "Token and spec to fetch files.", "Setup", _SPECS),
    "/files/sync_setup": _post("syncSetup", "Refused, request by request.", "Setup", _SPECS),
    "/files/{path}/contents": {"get": _CONTENTS},
    "/space": _post("space", "Room on the disks that hold paths.", "Paths", _PATHS),
    "/ops/transfers": {
        "get": _operation(
            "transfers",
            "The sessions of the account.",
            {"type": "array", "items": {"type": "object"}},
            (400,),
            parameters=[
                _query("active_only", "true or false", {"type": "string", "enum": ["true", "false"]}),
                _query("direction", "The client's.", {"type": "string", "enum": ["send", "receive"]}),
                _query("after_time", "Something happened after it.", _MOMENT),
                _query("count", "Most transfers.", _DIGITS),
                _query("max_items", "Most files of each.", _DIGITS),
                _query("iteration_token", "Where the last page ended."),
                _query("view", "How much of each.", {"enum": ["id", "short_summary", "summary"]}),
                _query("tag", "No session here carries tags."),
            ],
        ),
        "post": _operation("startTransfer", "Refused: clients transfer.", {"type": "object"}, (501,)),
    },
    "/ops/transfers/bandwidth": {
        "get": _operation(
            "bandwidth",
            "Rates of running transfers over time.",
            _object(send={"type": "object"}, receive={"type": "object"}),
            (400,),
            parameters=[
                _query("duration", "Seconds, 3600 at most.", _DIGITS),
                _query("start_time", "UTC.", _MOMENT),
            ],
        )
    },
    "/ops/transfers/{id}": {
        "get": _operation("transfer", "One transfer with its files.", _TRANSFER, (404,), parameters=[_ID]),
        "put": _operation(
            "changeTransfer",
            "Slow a transfer down, or cancel it.",
            {"type": "object"},
            (400, 404, 408, 413),
            parameters=[_ID],
            requestBody=_CHANGE_BODY,
        ),
        "delete": _operation(
            "cancelTransfer",
            "Cancel; the verb CANCEL does the same.",
            None,
            (400, 404),
            parameters=[_ID],
        ),
    },
}


def _schemas() -> dict[str, Json]:
    _, whole = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Json] = whole["$defs"]
    return found


NODE_OPERATIONS: Final = Description(
    TAG, "Files and transfers of an account (Aspera Node API).", _OPERATIONS, _schemas()
)
