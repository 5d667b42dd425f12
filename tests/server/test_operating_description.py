"""The OpenAPI description of the operator's routes, against the routes and against what they answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from connect_helper.server.metrics import Metrics
from connect_helper.server.operating import Operating
from connect_helper.server.operating_description import OPERATOR_OPERATIONS
from connect_helper.server.sessions import Sessions
from tests.support.far_server import FarServer, far_server, user
from tests.support.known_server import KnownServer
from tests.support.server_parts import PASSWORD

OPERATIONS = [(path, method) for path, item in OPERATOR_OPERATIONS.paths.items() for method in item]
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
load_all_checks()


async def test_every_route_is_described_and_no_other() -> None:
    served = {
        (route.path, route.method.lower()) for route in Operating(Sessions(Metrics()), Metrics()).routes()
    }
    assert set(OPERATIONS) == served


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
async def test_the_served_description_is_true(tmp_path: Path, mode: GenerationMode) -> None:
    """A session is open, so that the lists hold one and its routes find one."""
    ann = user("ann", tmp_path / "a", admin=True)
    login = {"Authorization": aiohttp.encode_basic_auth("ann", PASSWORD)}
    async with (
        far_server(tmp_path / "server", ann) as server,
        KnownServer(server.running.ssh_port or 0, "ann", PASSWORD) as connection,
        connection.start_sftp_client(),
        aiohttp.ClientSession(_url(server), headers=login) as client,
    ):
        async with client.get("/operator/sessions") as answer:
            (session,) = (await answer.json())["sessions"]
        async with client.get("/openapi.json") as answer:
            schema = schemathesis.openapi.from_dict(await answer.json())
        for path, method in OPERATIONS:
            await asyncio.to_thread(_try, schema[path][method.upper()], mode, _url(server), session["id"])


def _url(server: FarServer) -> str:
    return f"http://127.0.0.1:{server.running.http_port}"


def _try(operation: Any, mode: GenerationMode, url: str, session_id: str) -> None:
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
        if case.path.endswith("rate"):
            case.path_parameters = {"id": session_id}
        headers = dict(case.headers or {})
        headers["Authorization"] = aiohttp.encode_basic_auth("ann", PASSWORD)
        answer = case.call(base_url=url, headers=headers, allow_redirects=False)
        case.validate_response(answer, checks=CHECKS)

    check()
