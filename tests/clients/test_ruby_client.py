"""A program that is no browser talks to the helper, as the public Ruby client does (Connect reference 2.5).

It finds the address in `http.uri`, names a product instead of a web origin, puts its settings at the top
level of a start call, and knows its transfer by the `xfer_id` in its tags. The way old pages ask for the
version (reference 2.4) is here too.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.official import World
from tests.support.person import AtThePages

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
POLL_S = 0.2  # the client itself waits a second
TRANSFER_S = 30.0
FINAL = ("completed", "failed", "cancelled")
HEADERS = {"Origin": "some-product", "Content-Type": "application/json", "Accept": "application/json"}


class CallFailed(Exception):
    """What the client raises; `body` is the parsed answer."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


@dataclass
class Program:
    """The client. `app_id` is new for each run of the program."""

    session: aiohttp.ClientSession
    base: str  # ".../v5/connect"
    app_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    async def get(self, path: str) -> dict[str, Any]:
        async with self.session.get(f"{self.base}/{path}") as answer:
            return await self._read(answer)

    async def post(self, path: str, body: dict[str, Any], **settings: Any) -> dict[str, Any]:
        """Send `body` with the settings at its top level."""
        whole = {**body, "aspera_connect_settings": {"app_id": self.app_id, **settings}}
        async with self.session.post(f"{self.base}/{path}", data=json.dumps(whole)) as answer:
            return await self._read(answer)

    @staticmethod
    async def _read(answer: aiohttp.ClientResponse) -> dict[str, Any]:
        """Parse, and fail as the client does (reference 4): also for words in an answer of status 200."""
        assert answer.content_type == "application/json"
        body = await answer.json()
        assert isinstance(body, dict)
        entries = [entry for entry in body.get("transfer_specs", []) if isinstance(entry, dict)]
        holders = [body, *entries, *(entry.get("transfer_spec", {}) for entry in entries)]
        if answer.status != 200 or any("error" in holder or "failure" in holder for holder in holders):
            raise CallFailed(answer.status, body)
        return body

    async def pick(self) -> list[dict[str, Any]]:
        """Open the file dialog; the picked files."""
        body = {
            "title": "Select Files",
            "suggestedName": "",
            "allowMultipleSelection": True,
            "allowedFileTypes": "",
        }
        answer = await self.post("windows/select-open-file-dialog/", body)
        files: list[dict[str, Any]] = answer["dataTransfer"]["files"]
        return files

    async def start(self, spec: dict[str, Any]) -> str:
        """Start one transfer; the id by which the client asks for it."""
        answer = await self.post(
            "transfers/start",
            {"transfer_specs": [{"transfer_spec": spec}]},
            request_id=str(uuid.uuid4()),
            allow_dialogs=True,
        )
        xfer_id: str = answer["transfer_specs"][0]["transfer_spec"]["tags"]["aspera"]["xfer_id"]
        return xfer_id

    async def watch(self, xfer_id: str) -> list[dict[str, Any]]:
        """Ask until the transfer is over; every TransferInfo on the way."""
        told: list[dict[str, Any]] = []
        async with asyncio.timeout(TRANSFER_S):
            while not told or told[-1]["status"] not in FINAL:
                await asyncio.sleep(POLL_S)
                answer = await self.post(f"transfers/info/{xfer_id}", {})
                told.append(answer["transfer_info"])
        return told


@pytest_asyncio.fixture(loop_scope="module")
async def program(world: World) -> AsyncIterator[Program]:
    """The program, which has read the helper's address from its file."""
    recorded = (world.helper.home / "run" / "http.uri").read_text().splitlines()[0].strip()
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        yield Program(session, f"{recorded}/v5/connect")


def local_file(world: World, name: str, content: bytes) -> Path:
    path = world.helper.user_home / name
    path.write_bytes(content)
    return path


async def test_a_program_uploads_what_the_user_picks_and_sees_it_finish(
    world: World, program: Program, person: AtThePages
) -> None:
    version = await program.get("info/version")
    assert version["system_wide"] is False
    assert version["version"].startswith("4.2.")

    content = os.urandom(2 * MIB)
    source = local_file(world, "from a program.bin", content)
    files, _ = await asyncio.gather(program.pick(), person.choose(source))
    assert [entry["name"] for entry in files] == [str(source)]

    paths = [{"source": entry["name"]} for entry in files]
    spec = world.spec("send", *paths, destination_root=str(world.server.root), target_rate_kbps=8000)
    spec["tags"] = {"aspera": {"xfer_id": str(uuid.uuid4())}, "node": {"kept": True}}
    xfer_id, question = await asyncio.gather(program.start(spec), person.allow())
    assert xfer_id == spec["tags"]["aspera"]["xfer_id"]
    assert "some-product" not in question  # anybody may call itself that: the user sees what the system knows
    assert f"(pid {os.getpid()})" in question

    told = await program.watch(xfer_id)
    assert told[-1]["status"] == "completed", told[-1]["error_desc"]
    assert "running" in {info["status"] for info in told}
    written = [info["bytes_written"] for info in told]
    assert written == sorted(written)
    assert written[-1] == told[-1]["bytes_expected"] == len(content)
    assert told[-1]["transfer_spec"]["tags"]["node"] == {"kept": True}
    assert (world.server.root / source.name).read_bytes() == content


async def test_a_program_downloads_into_the_user_s_folder(
    world: World, program: Program, person: AtThePages
) -> None:
    content = os.urandom(MIB)
    (world.server.root / "for a program.bin").write_bytes(content)
    spec = world.spec("receive", {"source": str(world.server.root / "for a program.bin")})
    xfer_id, _ = await asyncio.gather(program.start(spec), person.allow())  # the helper makes the id
    told = await program.watch(xfer_id)
    assert told[-1]["status"] == "completed", told[-1]["error_desc"]
    assert (world.helper.downloads / "for a program.bin").read_bytes() == content


async def test_words_a_client_takes_for_a_failure_never_come_back(
    world: World, program: Program, person: AtThePages
) -> None:
    (world.server.root / "plain.bin").write_bytes(b"abc")
    spec = world.spec("receive", {"source": str(world.server.root / "plain.bin")})
    spec |= {"error": {"user_message": "not one"}, "failure": "not one", "kept_field": "kept"}
    xfer_id, _ = await asyncio.gather(program.start(spec), person.allow())  # `start` would raise
    (last,) = (await program.watch(xfer_id))[-1:]
    assert last["status"] == "completed", last["error_desc"]
    assert last["transfer_spec"]["kept_field"] == "kept"
    assert {"error", "failure"}.isdisjoint(last["transfer_spec"])


async def test_a_program_that_picked_nothing_sends_nothing(world: World, program: Program) -> None:
    source = local_file(world, "private.txt", b"nobody gave this to a program")
    spec = world.spec("send", {"source": str(source)}, destination_root=str(world.server.root))
    with pytest.raises(CallFailed) as failed:
        await program.start(spec)
    assert failed.value.status == 403
    assert failed.value.body["error"]["user_message"]
    assert not (world.server.root / source.name).exists()


async def test_a_refused_program_is_told_so_in_the_shape_it_knows(
    world: World, program: Program, person: AtThePages
) -> None:
    spec = world.spec("receive", {"source": str(world.server.root / "plain.bin")})
    asked = asyncio.gather(program.start(spec), person.deny(), return_exceptions=True)
    failed, _ = await asked
    assert isinstance(failed, CallFailed)
    assert failed.status == 403
    assert set(failed.body["error"]) == {"code", "internal_message", "user_message"}


async def test_another_run_of_the_program_does_not_see_the_transfer(
    world: World, program: Program, person: AtThePages
) -> None:
    (world.server.root / "mine.bin").write_bytes(b"abc")
    spec = world.spec("receive", {"source": str(world.server.root / "mine.bin")})
    xfer_id, _ = await asyncio.gather(program.start(spec), person.allow())
    await program.watch(xfer_id)
    another = Program(program.session, program.base)
    with pytest.raises(CallFailed) as failed:
        await another.post(f"transfers/info/{xfer_id}", {})
    assert failed.value.status == 404


@pytest.mark.parametrize("prefix", ["v5", "v6"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_an_old_page_learns_the_version_by_requiring_one(world: World, prefix: str, slash: str) -> None:
    address = f"{world.helper.base_url}/{prefix}/connect/update/require{slash}"
    headers = {"Origin": "https://old.example", "Content-Type": "text/plain;charset=UTF-8"}
    shown = world.helper.addresses()

    async def require(version: str) -> tuple[int, dict[str, Any]]:
        body = {
            "min_version": version,
            "sdk_location": "https://old.example/connect",
            "aspera_connect_settings": {"app_id": hashlib.sha256(b"old page").hexdigest()},
        }
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(address, data=json.dumps(body)) as answer,
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == "https://old.example"
            return answer.status, await answer.json()

    status, good = await require("3.6.1.110963")
    assert status == 200
    assert set(good) == {"version"}
    assert [part.isdecimal() for part in good["version"].split(".")] == [True] * 4
    status, refused = await require("99.1")
    assert status != 200
    assert set(refused["error"]) == {"code", "internal_message", "user_message"}
    assert world.helper.addresses() == shown  # whatever a page requires, nothing is opened
