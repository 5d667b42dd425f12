"""Clients that others wrote: tus-js-client, tuspy and curl against our server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient

from tests.support.http_far_end import FarEnd

UPLOADS = "/fallback/v1/uploads"
SCRIPT = Path(__file__).with_name("tus_send.mjs")


async def run(*command: str | Path) -> str:
    """Run a program to its end; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def tus_js(server: FarEnd, file: Path, options: dict[str, Any], stop_after: int = 0) -> dict[str, Any]:
    wish = {
        "endpoint": server.url + UPLOADS,
        "token": server.token("send", "in"),
        "file": str(file),
        "options": {"metadata": {"filename": "dir/fi lm ä.bin"}, **options},
        "stopAfter": stop_after,
    }
    told = await run("node", SCRIPT, json.dumps(wish))
    return dict(json.loads(told))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file to send."""
    file = tmp_path / "film"
    file.write_bytes(os.urandom(2_500_001))
    return file


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": 1_000_000},
        {"uploadDataDuringCreation": True, "chunkSize": 2_000_000},
        {"parallelUploads": 3},
    ],
    ids=["at once", "in chunks", "with the creation", "in parallel"],
)
async def test_tus_js_client_sends_a_file(server: FarEnd, film: Path, options: dict[str, Any]) -> None:
    told = await tus_js(server, film, options)
    assert told["bytes"] == 2_500_001
    assert (server.docroot / "in/dir/fi lm ä.bin").read_bytes() == film.read_bytes()
    assert server.names() == ["in/", "in/dir/", "in/dir/fi lm ä.bin"]


async def test_tus_js_client_goes_on_where_it_stopped(server: FarEnd, film: Path) -> None:
    stopped = await tus_js(server, film, {"chunkSize": 1_000_000}, stop_after=1_000_000)
    assert not (server.docroot / "in/dir/fi lm ä.bin").exists()
    await tus_js(server, film, {"uploadUrl": stopped["stopped"]})
    assert (server.docroot / "in/dir/fi lm ä.bin").read_bytes() == film.read_bytes()


async def test_tuspy_sends_a_file_with_checksums(server: FarEnd, film: Path) -> None:
    def send() -> None:
        client = TusClient(
            server.url + UPLOADS, headers={"Authorization": f"Bearer {server.token('send', 'in')}"}
        )
        with film.open("rb") as stream:
            client.uploader(
                file_stream=stream,
                chunk_size=700_000,
                upload_checksum=True,
                metadata={"filename": "by tuspy.bin"},
            ).upload()

    await asyncio.to_thread(send)
    assert (server.docroot / "in/by tuspy.bin").read_bytes() == film.read_bytes()


async def test_curl_fetches_a_file_and_the_rest_of_one(server: FarEnd, film: Path, tmp_path: Path) -> None:
    content = film.read_bytes()
    (server.docroot / "x").write_bytes(content)
    bearer = f"Authorization: Bearer {server.token('receive', 'x')}"
    arrived = tmp_path / "arrived"
    arrived.write_bytes(content[:1_000_000])
    address = f"{server.url}/fallback/v1/files/x"
    await run("curl", "-sSf", "-H", bearer, "-C", "-", "-o", arrived, address)
    assert hashlib.sha256(arrived.read_bytes()).digest() == hashlib.sha256(content).digest()
