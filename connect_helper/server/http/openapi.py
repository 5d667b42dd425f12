"""The OpenAPI 3.1 description of what the server answers over HTTP, at `/openapi.json`.

Each room that has routes describes them in a `Description` of its own, beside them; a test compares the
descriptions with the routes there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from connect_helper.version import __version__

PATH: Final = "/openapi.json"
Json = Mapping[str, Any]
BEARER: Final = "token"
BASIC: Final = "account"


@dataclass(frozen=True, slots=True)
class Description:
    """One room's part of the description, in the words of OpenAPI 3.1."""

    tag: str
    about: str  # a sentence on the room
    paths: Mapping[str, Json]  # path template -> path item
    schemas: Mapping[str, Json] = field(default_factory=dict)


def openapi_document(descriptions: Sequence[Description]) -> dict[str, Any]:
    """The whole document. ValueError when two rooms describe one path or schema."""
    paths: dict[str, Json] = {}
    schemas: dict[str, Json] = {"Error": ERROR_SCHEMA}
    for description in descriptions:
        for known, new in ((paths, description.paths), (schemas, description.schemas)):
            if clash := known.keys() & new.keys():
                raise ValueError(f"described twice: {sorted(clash)}")
            known.update(new)
    return {
        "openapi": "3.1.0",
        "info": {"title": "connect-helper transfer server", "version": __version__},
        "tags": [{"name": each.tag, "description": each.about} for each in descriptions],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                BEARER: {"type": "http", "scheme": "bearer", "description": "A transfer token."},
                BASIC: {"type": "http", "scheme": "basic", "description": "An account and its password."},
            },
        },
    }


ERROR_SCHEMA: Final[Json] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "reason", "user_message"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "reason": {"type": "string", "description": "A word for programs."},
                "user_message": {"type": "string", "description": "A sentence for people."},
            },
        }
    },
}


def error_response(about: str) -> Json:
    """An answer with an error body."""
    return {
        "description": about,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def openapi_routes(descriptions: Sequence[Description]) -> list[web.RouteDef]:
    """The route of the document."""
    body = json.dumps(openapi_document(descriptions)).encode()

    async def answer(_: web.Request) -> web.Response:
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}
        return web.Response(body=body, content_type="application/json", headers=headers)

    return [web.get(PATH, answer, name="openapi")]
