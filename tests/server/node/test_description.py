"""The OpenAPI description of the Node API, against the routes there are and against what they answer."""

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

from connect_helper.server.http.node.description import NODE_OPERATIONS
from connect_helper.server.http.openapi import openapi_document
from tests.support.node import Node

OPERATIONS = [(path, method) for path, item in NODE_OPERATIONS.paths.items() for method in item]
# One of each kind of body and query: making up inputs takes far longer than answering them.
TRIED = [
    ("/files/browse", "post"),
    ("/files/create", "post"),
    ("/files/delete", "post"),
    ("/files/rename", "post"),
    ("/files/download_setup", "post"),
    ("/files/{path}/contents", "get"),
    ("/ops/transfers", "get"),
    ("/ops/transfers/bandwidth", "get"),
    ("/ops/transfers/{id}", "put"),
]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
load_all_checks()


async def test_every_route_is_described_and_no_other(node: Node) -> None:
    served = {
        (str(route.resource.canonical), route.method.lower())
        for route in node.app.router.routes()
        if route.resource is not None
        and route.method != "HEAD"
        and route.resource.canonical != "/openapi.json"
    }
    assert set(OPERATIONS) == served


@pytest.mark.parametrize(("path", "method"), TRIED)
async def test_answers_are_as_described(node: Node, path: str, method: str) -> None:
    """Whatever a client sends that follows the description, and whatever it sends that does not."""
    (node.files / "x").write_bytes(b"hello")
    schema = schemathesis.openapi.from_dict(openapi_document([NODE_OPERATIONS]))
    operation = schema[path][method.upper()]

    def run() -> None:
        with requests.Session() as session:
            session.headers["Authorization"] = node.login()
            for mode in GenerationMode:
                _try(operation, mode, node.base, session)

    await asyncio.to_thread(run)


def _try(operation: Any, mode: GenerationMode, url: str, session: requests.Session) -> None:
    @settings(
        max_examples=3,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Case) -> None:
        headers = dict(case.headers or {})
        headers.pop("Authorization", None)
        answer = case.call(base_url=url, session=session, headers=headers)
        case.validate_response(answer, checks=CHECKS)

    each()
