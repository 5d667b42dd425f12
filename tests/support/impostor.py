"""A program that holds the helper's port and plays the helper as well as one can from what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from connect_helper.consent.key_exchange import Transcript
from connect_helper.consent.pairing import Greeting
from tests.support.pairing_key import PairingKey

RUN = "d" * 64
WAIT_S = 30


@dataclass(frozen=True, slots=True)
class Call:
    path: str
    everything: str  # headers and body


@dataclass(eq=False)
class Impostor:
    """Says yes to everything. It takes part in pairings honestly, with a key of its own; to a greeting it
    answers by the one it was paired with, or else by what the greeting itself tells it."""

    port: int
    calls: list[Call] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)  # of its pairings; nobody shows them to the user
    _key: PairingKey = field(default_factory=PairingKey)
    _secret: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    @asynccontextmanager
    async def at(cls, port: int) -> AsyncIterator[Impostor]:
        impostor = cls(port)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", impostor._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield impostor
        finally:
            await runner.cleanup()

    async def told(self, path: str) -> None:
        """Wait until somebody asked this."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: any(call.path == path for call in self.calls))

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        async with self._changed:
            self.calls.append(Call(request.path, f"{dict(request.headers)} {text}"))
            self._changed.notify_all()
        if request.path == "/extension/pair/begin":
            return web.json_response({"exchange": "1", "public_key": self._key.public})
        if request.path == "/extension/pair":
            body = await request.json()
            self._finish(body["public_key"], request.headers["Origin"])
        if request.path == "/extension/hello":
            return web.json_response(self._proof(await request.json()))
        return web.json_response({"version": "9.9.9"})

    def _finish(self, extension_key: str, origin: str) -> None:
        shared = self._key.shared(extension_key)
        transcript = Transcript(extension_key, self._key.public, origin, self.port)
        self.codes.append(transcript.code())
        self._secret = transcript.secret(shared)

    def _proof(self, body: dict[str, str]) -> dict[str, str]:
        secret = self._secret or body["pairing"]
        return {"run": RUN, "proof": Greeting(body["nonce"], RUN, self.port).helper_proof(secret)}
