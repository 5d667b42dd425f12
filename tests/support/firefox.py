"""Real Firefox with our extension in it, driven over Marionette: what it speaks without a driver program."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("firefox-esr", "firefox")
START_S = 60
WAIT_S = 30
ANSWER_LIMIT = 64 * 1024 * 1024  # bytes
LOOK_AGAIN_S = 0.1
PREFERENCES = """
user_pref("marionette.port", {port});
user_pref("remote.prefs.recommended", true);
user_pref("extensions.webextensions.uuids", {uuids});
"""


def firefox() -> str | None:
    """The browser's program: what FIREFOX names, else the first one installed, None when there is none."""
    chosen = os.environ.get("FIREFOX")
    return next(
        (found for name in ((chosen,) if chosen else PROGRAMS) if (found := shutil.which(name))), None
    )


@dataclass(eq=False)
class Firefox:
    """One browser with one tab."""

    extension: str  # origin of the extension: "moz-extension://..."
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _count: int = field(default=0)

    @classmethod
    @asynccontextmanager
    async def running(cls, profile: Path, extension: Path, extension_id: str) -> AsyncIterator[Firefox]:
        """Start it with a new profile and the extension, a folder or a zip file; end it with the context."""
        uuid = "7a1f5f0e-6c3e-4a4b-9d5f-2b6f1c0d9e11"  # fixed here, since nothing tells it afterwards
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        profile.mkdir()
        uuids = json.dumps(json.dumps({extension_id: uuid}))
        (profile / "user.js").write_text(PREFERENCES.format(port=port, uuids=uuids))
        process = await asyncio.create_subprocess_exec(
            firefox() or PROGRAMS[0], "--headless", "--marionette", "--no-remote", "--profile", str(profile),
            "--remote-allow-system-access",  # to show pages of an extension
            env={**os.environ, "HOME": str(profile)},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            reader, writer = await _connect(port)
            started = cls(f"moz-extension://{uuid}", reader, writer)
            await started._read()
            await started._call("WebDriver:NewSession", {})
            await started._call("Addon:Install", {"path": str(extension), "temporary": True})
            yield started
            writer.close()
        finally:
            process.terminate()
            await process.wait()

    async def go(self, url: str) -> None:
        """Load a page."""
        await self._call("WebDriver:Navigate", {"url": url})

    async def evaluate(self, expression: str) -> Any:
        """What the expression, or the promise it gives, comes to in the page."""
        script = f"""const done = arguments[0];
            const told = (value) => done([value ?? null]);
            Promise.resolve({expression}).then(told, (error) => done(String(error)));"""
        call = {"script": script, "args": [], "sandbox": None}
        answer = await self._call("WebDriver:ExecuteAsyncScript", call)
        assert isinstance(answer["value"], list), answer
        return answer["value"][0]

    async def until(self, expression: str) -> None:
        """Wait until the expression is true."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if await self.evaluate(expression):
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        raise AssertionError(
            f"{expression} did not come true: {await self.evaluate('document.body.innerText')}"
        )

    async def _call(self, command: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        message = json.dumps([0, self._count, command, parameters]).encode()
        self._writer.write(b"%d:%b" % (len(message), message))
        async with asyncio.timeout(WAIT_S * 2):
            _, _, error, answer = await self._read()
        if error:
            raise AssertionError(f"{command}: {error['message']}")
        found: dict[str, Any] = answer
        return found

    async def _read(self) -> Any:
        length = await self._reader.readuntil(b":")
        return json.loads(await self._reader.readexactly(int(re.sub(rb"\D", b"", length))))


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port, limit=ANSWER_LIMIT)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(LOOK_AGAIN_S)
