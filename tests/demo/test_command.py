"""`connect-helper demo` as a user types it: addresses that answer, and nothing left after Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from aiohttp import ClientSession

from tests.support.known_server import KnownServer

COMMAND = Path(sys.executable).with_name("connect-helper")
LIMIT_S = 60


async def test_the_command_prints_addresses_that_answer_and_cleans_up(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    home = {"CONNECT_HELPER_HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)}
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), "demo", "--no-open", env={**os.environ, **home}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            said = ""
            while "files to send" not in said:
                line = (await process.stdout.readline()).decode()
                assert line, said
                said += line
            await _try_addresses(said)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "home" / "run" / "http.uri").exists()


async def _try_addresses(said: str) -> None:
    site, helper = (_found(rf"{name}\s+(http://\S+)", said) for name in ("example site", "helper"))
    async with ClientSession() as session:
        for address in (site, f"{helper}/v5/connect/info/ping", f"{helper}/sdk/connect.js"):
            async with session.get(address) as answer:
                assert answer.status == 200, address
    port, password = int(_found(r"demo@127\.0\.0\.1:(\d+)", said)), _found(r"password (\S+)", said)
    async with KnownServer(port, "demo", password) as connection, connection.start_sftp_client() as sftp:
        assert await sftp.exists("/Photos/Monday")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match.group(1)
