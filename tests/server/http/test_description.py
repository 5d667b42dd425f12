"""The OpenAPI description: complete, and true whatever a client that follows it (or breaks it) sends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from connect_helper.server.http.fallback_description import FALLBACK_OPERATIONS
from connect_helper.server.http.openapi import Description, openapi_document
from tests.support.http_far_end import FarEnd

OPERATIONS = [
    (path, method)
    for path, item in FALLBACK_OPERATIONS.paths.items()
    for method in item
    if method in ("get", "head", "post", "patch", "delete")
]
# 500 is described nowhere, so the first of them finds every mistake of ours.
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
load_all_checks()


@schemathesis.serializer("application/offset+octet-stream")
def tus_body(ctx: Any, value: Any) -> bytes:
    """A body of tus is bytes as they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


async def test_the_document_is_served_and_every_route_is_in_it(server: FarEnd) -> None:
    async with server.client(None) as client, client.get("/openapi.json") as answer:
        document = await answer.json()
    described = {
        (path, method.upper())
        for path, item in document["paths"].items()
        for method in item
        if method != "options"
    }
    served = {
        (str(route.resource.canonical), route.method)
        for route in server.app.router.routes()
        if route.resource is not None and route.method != "OPTIONS"
    }
    assert described == served - {("/openapi.json", "GET"), ("/openapi.json", "HEAD")}


def test_two_rooms_cannot_describe_one_path() -> None:
    room = Description("a", "A.", {"/x": {}})
    with pytest.raises(ValueError, match="/x"):
        openapi_document([room, Description("b", "B.", {"/x": {}})])


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_answers_are_as_described(server: FarEnd, path: str, method: str, mode: GenerationMode) -> None:
    (server.docroot / "x").write_bytes(b"hello")
    token = server.token("send" if "uploads" in path or "folders" in path else "receive")
    schema = schemathesis.openapi.from_dict(openapi_document([FALLBACK_OPERATIONS]))
    operation = schema[path][method.upper()]

    def run() -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {token}"
            _try(operation, mode, server.url, session)

    await asyncio.to_thread(run)


def _try(operation: Any, mode: GenerationMode, url: str, session: requests.Session) -> None:
    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        answer = case.call(base_url=url, session=session, timeout=10)
        case.validate_response(answer, checks=CHECKS)

    check()
