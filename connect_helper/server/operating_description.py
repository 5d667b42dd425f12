"""The OpenAPI description of the operator's routes, as they are on the HTTPS and HTTP ports."""

from __future__ import annotations

from typing import Any, Final

from connect_helper.server.configuration import MAX_RATE_KBPS
from connect_helper.server.http.openapi import BASIC, Description, Json, error_response

TAG: Final = "operator"
_ERRORS: Final = {
    400: "The request is wrong.",
    401: "No account and password, wrong ones, or an account without `admin`.",
    403: "Use HTTPS: passwords are not taken over plain HTTP, or the account demands encryption.",
    404: "There is no such session; it may have ended.",
    429: "Too many failed logins.",
    503: "The session was ended, but its token could not be revoked.",
}
_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_RATE: Final[Json] = {
    "description": "kbit/s; null: no limit.",
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX_RATE_KBPS}, {"type": "null"}],
}
_RATES: Final[Json] = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {"upload_kbps": _RATE, "download_kbps": _RATE},
}
_TEXT: Final[Json] = {"type": "string"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_SESSION: Final[Json] = {
    "type": "object",
    "required": ["id", "account", "protocol", "peer", "started_at", "status", "bytes_in", "bytes_out"],
    "properties": {
        "id": _TEXT,
        "account": _TEXT,
        "protocol": {"type": "string", "enum": ["sftp", "https", "http"]},
        "peer": {"type": "string", "description": "Address of the client."},
        "started_at": {"type": "number", "description": "Seconds since the epoch."},
        "ended_at": {"type": ["number", "null"]},
        "status": {"type": "string", "enum": ["running", "completed", "failed", "cancelled"]},
        "error": {"type": ["string", "null"]},
        "bytes_in": _COUNT,
        "bytes_out": _COUNT,
        "files_in": _COUNT,
        "files_out": _COUNT,
        "files_failed": _COUNT,
        "cap_in_kbps": {"type": ["integer", "null"]},
        "cap_out_kbps": {"type": ["integer", "null"]},
        "under_way": {"type": "array", "items": {"type": "object"}},
    },
}
_SESSIONS: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/OperatorSession"}}


def _operation(
    name: str, summary: str, good: Json, errors: tuple[int, ...] = (), **more: Any
) -> dict[str, Any]:
    refused = {str(status): error_response(_ERRORS[status]) for status in (401, 403, 429, *errors)}
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "security": [{BASIC: []}],
        "responses": {**good, **refused},
        **more,
    }


def _json(schema: Json) -> Json:
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}}


_OPERATIONS: Final[dict[str, Json]] = {
    "/metrics": {
        "get": _operation(
            "metrics",
            "Figures for Prometheus.",
            {"200": {"description": "The figures.", "content": {"text/plain": {"schema": _TEXT}}}},
        )
    },
    "/operator/sessions": {
        "get": _operation(
            "operatorSessions",
            "Sessions that are open, and the last thousand that ended.",
            _json(
                {
                    "type": "object",
                    "required": ["sessions", "ended"],
                    "properties": {"sessions": _SESSIONS, "ended": _SESSIONS},
                }
            ),
        )
    },
    "/operator/sessions/{id}/cancel": {
        "post": _operation(
            "operatorCancel",
            "End a session, and revoke the token it came by.",
            {"204": {"description": "Done."}},
            (404, 503),
            parameters=[_ID],
        )
    },
    "/operator/sessions/{id}/rate": {
        "put": _operation(
            "operatorRate",
            "Set rates for a transfer; answers with those that hold.",
            _json(_RATES),
            (400, 404),
            parameters=[_ID],
            requestBody={"required": True, "content": {"application/json": {"schema": _RATES}}},
        )
    },
}

OPERATOR_OPERATIONS: Final = Description(
    TAG, "For operators: accounts with `admin`.", _OPERATIONS, {"OperatorSession": _SESSION}
)
