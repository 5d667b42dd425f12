"""The server is killed while it receives; the next one goes on, and no half file ever has its name."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.http_far_end import FarEnd, begin, far_end, metadata, offset_of, send

SERVE = """
import asyncio, sys
from collections.abc import AsyncIterator
from pathlib import Path
from tests.support.http_far_end import far_end

async def main():
    async with far_end(Path(sys.argv[1])) as server:
        print(server.url, server.token("send"), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1_000_000, 3_000_000])
async def test_killed_in_mid_upload(tmp_path: Path, after: int) -> None:
    content = os.urandom(4_000_000)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url, token = (await process.stdout.readline()).decode().split()

    async def until_killed() -> AsyncIterator[bytes]:
        for at in range(500_000, after, 100_000):
            yield content[at : at + 100_000]
        process.send_signal(signal.SIGKILL)
        await process.wait()
        yield content[after:]

    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url, headers=headers) as sender:
        upload = await begin(sender, "x", len(content), {"Upload-Metadata": metadata(path="x")})
        assert (await send(sender, upload, 0, content[:500_000])).status == 204
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await send(sender, upload, 500_000, until_killed(), {"Content-Length": "3500000"})
    assert await process.wait() == -signal.SIGKILL
    assert not (tmp_path / "ann/x").exists()
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        await _go_on(server, sender, upload, content)


async def _go_on(server: FarEnd, sender: aiohttp.ClientSession, upload: str, content: bytes) -> None:
    offset = await offset_of(sender, upload)
    assert 500_000 <= offset < len(content)
    assert (await send(sender, upload, offset, content[offset:])).status == 204
    assert (server.docroot / "x").read_bytes() == content
    assert server.names() == ["x"]
