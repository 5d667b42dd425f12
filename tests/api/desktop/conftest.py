"""A page of the newer Aspera SDK, as far as its messages go, before a face with everything real behind it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.api.conftest import APP, PAGE, Face

Answer = dict[str, Any]
ENDED = ("completed", "failed", "cancelled")


@dataclass
class RpcPage:
    """Sends calls by POST as the SDK does, and checks what holds for every answer."""

    face: Face
    origin: str = PAGE
    app_id: str = APP
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def headers(self) -> dict[str, str]:
        return {"Origin": self.origin, "Content-Type": "application/json", "Sec-Fetch-Mode": "cors"}

    async def send(self, body: str | bytes, **headers: str) -> Answer:
        """Post raw bytes; the answer as it came."""
        data = io.BytesIO(body.encode() if isinstance(body, str) else body)
        url, sent = f"{self.face.desktop}/", {**self.headers, **headers}
        async with self.face.http.post(url, data=data, headers=sent) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            assert response.headers["Access-Control-Allow-Origin"] == self.origin
            assert response.headers["Vary"] == "Origin"
            answer: Answer = await response.json()
        assert answer["jsonrpc"] == "2.0"
        assert ("result" in answer) != ("error" in answer)
        return answer

    async def call(self, method: str, params: Any = None) -> Any:
        """The result of a call that is to succeed."""
        answer = await self.ask(method, params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """The error of a call that is to fail: integer code, a sentence, a reason."""
        answer = await self.ask(method, params)
        error: dict[str, Any] = answer["error"]
        assert isinstance(error["code"], int)
        assert error["code"] < 0
        assert error["message"].endswith((".", "?")), error
        assert isinstance(error["data"]["reason"], str)
        return error

    async def ask(self, method: str, params: Any = None) -> Answer:
        """One call with the next id; the app_id is put in where params are named."""
        call_id = next(self.ids)
        named = {"app_id": self.app_id, **(params or {})} if not isinstance(params, list) else params
        call = {"jsonrpc": "2.0", "id": call_id, "method": method, "params": named}
        answer = await self.send(json.dumps(call))
        assert answer["id"] == call_id
        return answer

    async def choose(self, *paths: Path, dialog: str = "show_file_dialog", **options: Any) -> list[str]:
        """Let the person pick; the paths as the page gets them."""
        self.face.person.picks = list(paths)
        result = await self.call(dialog, {"options": {"multiple": len(paths) > 1, **options}})
        return [entry["name"] for entry in result["dataTransfer"]["files"]]

    async def start(self, spec: dict[str, Any], **desktop_spec: Any) -> dict[str, Any]:
        """The transfer object of a transfer that is to start."""
        started: dict[str, Any] = await self.call(
            "start_transfer", {"transfer_spec": spec, "desktop_spec": desktop_spec}
        )
        return started

    async def until(self, transfer_id: str, *statuses: str) -> dict[str, Any]:
        """Ask, as a program without socket does, until the transfer has one of the statuses."""
        async with asyncio.timeout(60):
            while True:
                transfer: dict[str, Any] = await self.call("get_transfer", {"transfer_id": transfer_id})
                if transfer["status"] in (statuses or ENDED):
                    return transfer
                await asyncio.sleep(0.1)  # below the rate a page may have


@dataclass
class RpcSocket:
    """A WebSocket of a page; everything that came, in order."""

    ws: aiohttp.ClientWebSocketResponse
    came: list[Answer] = field(default_factory=list)

    async def send(self, method: str, params: Any = None, call_id: Any = 1) -> None:
        await self.ws.send_json({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params})

    async def ask(self, method: str, params: Any = None, call_id: Any = 1) -> Answer:
        """Send a call and wait for its answer; news that come before are kept in `came`."""
        await self.send(method, params, call_id)
        return await self.until(lambda message: "id" in message and message["id"] == call_id)

    async def subscribe(self, app_id: str = APP) -> Any:
        """What the SDK does right after the socket opens; the result."""
        return (await self.ask("subscribe_transfer_activity", [app_id]))["result"]

    async def until(self, wanted: Any, *, limit_s: float = 30) -> Answer:
        """Wait for a message that `wanted` takes."""
        async with asyncio.timeout(limit_s):
            while True:
                message: Answer = await self.ws.receive_json()
                self.came.append(message)
                if wanted(message):
                    return message

    async def news(self, kind: str, status: str) -> dict[str, Any]:
        """Wait until a transfer is told of with that kind and status; its object."""
        found: dict[str, Any] = {}

        def told(message: Answer) -> bool:
            for transfer in transfers_of(message, kind):
                if transfer["status"] == status:
                    found.update(transfer)
            return bool(found)

        await self.until(told)
        return found


def transfers_of(message: Answer, kind: str = "") -> list[dict[str, Any]]:
    """The transfers a notification tells of, in the way the SDK reads it."""
    if message.get("method") != "transfer_activity":
        return []
    result = message["params"]["result"]
    if kind and result["type"] != kind:
        return []
    data = result["data"]
    listed: list[dict[str, Any]] = data.get("transfers", [data])
    return listed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with nothing of the helper in it, so that a page may get it as a whole."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def page(face: Face) -> RpcPage:
    return RpcPage(face)


@pytest.fixture
def other(face: Face) -> RpcPage:
    """A page of another origin that uses the same app_id."""
    return RpcPage(face, origin="https://other.example")


@asynccontextmanager
async def open_socket(face: Face, origin: str | None = PAGE) -> AsyncIterator[RpcSocket]:
    """A socket as a page of `origin` opens it; None: a local program."""
    headers = {"Origin": origin} if origin is not None else {}
    async with face.http.ws_connect(f"{face.desktop}/", headers=headers, max_msg_size=0) as ws:
        yield RpcSocket(ws)


@pytest.fixture
async def socket(face: Face) -> AsyncIterator[RpcSocket]:
    async with open_socket(face) as opened:
        yield opened
