"""The clients of `crowd`: some sessions in one process, or one that logs in again and again. Not run by hand.

Reads its plan as one JSON line; says `{}` when all sessions are logged in, begins at the next line, and
answers with one more.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import asyncssh

from benchmarks.far_servers import cpu_of
from connect_helper.transports.sftp_answers import data_of, done
from connect_helper.transports.sftp_wire import SftpWire
from tests.support.http_far_end import STREAM, TUS, metadata

BLOCK = 64 * 1024  # bytes of one request
ON_WAY = 32  # requests
LOGINS_AT_ONCE = 8
LOGIN_EVERY_S = 1.0
Plan = dict[str, Any]
Move = Callable[[int, int], Awaitable[None]]


@cache
def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def content(session: int, number: int, size: int) -> bytes:
    """What a session's file holds: no two are alike."""
    head = hashlib.sha256(f"{session} {number}".encode()).digest()
    return (head + _noise(size))[:size]


@asynccontextmanager
async def logged_in(plan: Plan) -> AsyncIterator[SftpWire]:
    """A session over SSH, ready for requests."""
    known = asyncssh.import_known_hosts(f"[{plan['host']}]:{plan['port']} {plan['host_key']}\n")
    connection = await asyncssh.connect(
        plan["host"], plan["port"], username=plan["user"], known_hosts=known, config=None, agent_path=None,
        client_keys=[asyncssh.import_private_key(plan["key"])], login_timeout=120,
        encryption_algs=["aes128-gcm@openssh.com"],
    )  # fmt: skip
    async with connection:
        yield await SftpWire.open(connection)


async def over_sftp(plan: Plan, wire: SftpWire, session: int, number: int) -> None:
    """Move one file; even numbers go up."""
    up, size = number % 2 == 0, plan["size"]
    path = f"{plan['folder']}/{'up' if up else 'down'}-{session}-{number}".encode()
    handle = await wire.open_file(path, asyncssh.FXF_WRITE | asyncssh.FXF_CREAT if up else asyncssh.FXF_READ)
    data = content(session, number, size)
    turns = asyncio.Semaphore(ON_WAY)

    async def one(offset: int) -> None:
        async with turns:
            piece = data[offset : offset + BLOCK]
            if up:
                done(await wire.start_write(handle, offset, piece))
            elif bytes(data_of(await wire.start_read(handle, offset, len(piece)))) != piece:
                raise RuntimeError(f"{path!r} differs at {offset}")

    async with asyncio.TaskGroup() as group:
        for offset in range(0, size, BLOCK):
            group.create_task(one(offset))
    await wire.close(handle)


async def over_https(plan: Plan, client: aiohttp.ClientSession, session: int, number: int) -> None:
    """Move one file by token: an upload of tus with its first request, or a GET."""
    data = content(session, number, plan["size"])
    if number % 2 == 0:
        headers = {
            **STREAM,
            **TUS,
            "Authorization": f"Bearer {plan['send']}",
            "Upload-Length": str(len(data)),
        }
        headers["Upload-Metadata"] = metadata(path=f"up-{session}-{number}")
        async with client.post("/fallback/v1/uploads", headers=headers, data=data) as answer:
            if answer.status != 201:
                raise RuntimeError(f"upload: HTTP {answer.status}")
        return
    path = f"/fallback/v1/files{quote(plan['folder'])}/down-{session}-{number}"
    async with client.get(path, headers={"Authorization": f"Bearer {plan['receive']}"}) as answer:
        if answer.status != 200 or await answer.read() != data:
            raise RuntimeError(f"download: HTTP {answer.status}, or another content")


class Crowd:
    """The sessions of this process, each logged in once `log_in` returns."""

    def __init__(self, plan: Plan, stack: AsyncExitStack) -> None:
        self._plan, self._stack = plan, stack
        self._movers: dict[int, Move] = {}

    async def log_in(self) -> None:
        turns = asyncio.Semaphore(LOGINS_AT_ONCE)

        async def one(session: int) -> None:
            async with turns:
                self._movers[session] = await self._mover(session)

        async with asyncio.TaskGroup() as group:
            for session in self._plan["sessions"]:
                group.create_task(one(session))

    async def _mover(self, session: int) -> Move:
        plan = self._plan
        if session >= plan["https"]:
            wire = await self._stack.enter_async_context(logged_in(plan))
            return lambda session, number: over_sftp(plan, wire, session, number)
        context = ssl.create_default_context(cafile=plan["certificate"])
        context.check_hostname = False  # made for "localhost"; the certificate itself is pinned
        client = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                f"https://{plan['host']}:{plan['https_port']}",
                connector=aiohttp.TCPConnector(ssl=context, limit=1),
                auto_decompress=False,
            )
        )
        return lambda session, number: over_https(plan, client, session, number)

    async def move(self) -> list[dict[str, Any]]:
        """All files of all sessions; how long each session took, and what went wrong."""
        return await asyncio.gather(*(self._session(*one) for one in self._movers.items()))

    async def _session(self, session: int, move: Move) -> dict[str, Any]:
        began, error = time.monotonic(), ""
        try:
            for number in range(self._plan["files"]):
                await move(session, number)
        except* (asyncssh.Error, aiohttp.ClientError, OSError, RuntimeError, TimeoutError) as group:
            error = f"session {session}: {group.exceptions[0]!r}"
        return {"session": session, "seconds": time.monotonic() - began, "error": error}


async def log_in_again(plan: Plan, go: asyncio.Future[str], stop: asyncio.Future[str]) -> dict[str, Any]:
    """Log in once a second, from the connection to the first answer about a file.

    `cpu_s` is what the server worked meanwhile: how long it would take with a processor of its own.
    """
    await go
    seconds: list[float] = []
    cpu_s: list[float] = []
    errors: list[str] = []
    while not stop.done():
        began, before = time.monotonic(), cpu_of(plan["server_pid"])
        try:
            async with logged_in(plan) as wire:
                await wire.stat(plan["folder"].encode(), follow=True)
            seconds.append(time.monotonic() - began)
            cpu_s.append(cpu_of(plan["server_pid"]) - before)
        except (asyncssh.Error, OSError) as error:
            errors.append(f"login: {error!r}")
        await asyncio.wait([stop], timeout=LOGIN_EVERY_S)
    return {"seconds": seconds, "cpu_s": cpu_s, "errors": errors}


async def run() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    plan: Plan = json.loads(await lines.readline())
    if plan["task"] == "log in":
        go, stop = loop.create_future(), loop.create_future()
        working = asyncio.create_task(log_in_again(plan, go, stop), name="log in")
        _say({})
        for told in (go, stop):
            told.set_result(cast("str", await lines.readline()))
        _say(await working)
        return
    async with AsyncExitStack() as stack:
        crowd = Crowd(plan, stack)
        await crowd.log_in()
        _say({})
        await lines.readline()
        _say({"sessions": await crowd.move()})


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(run())
