"""Puts the demo's parts together and takes them away again."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohttp import web

from connect_helper.demo.far_end import FarEnd, ServerFacts
from connect_helper.demo.samples import fill_server, fill_uploads
from connect_helper.demo.site import build_site


class Demo:
    """An SSH server with sample files and the example site, alive while the context is entered.

    `helper_address` ("http://127.0.0.1:33003") makes the page use that helper only; without it the page
    looks for one as any page does. The helper itself is the caller's business.
    """

    def __init__(self, helper_address: str | None = None) -> None:
        self._helper_port = (urlsplit(helper_address).port or 0) if helper_address else 0
        self._stack = AsyncExitStack()
        self._server: ServerFacts | None = None
        self.site_url = ""  # "http://127.0.0.1:PORT/"
        self.samples = Path()  # local files that can be sent

    @property
    def server(self) -> ServerFacts:
        """Facts of the SSH server. Raises RuntimeError outside the context."""
        if self._server is None:
            raise RuntimeError("the demo is not running")
        return self._server

    @property
    def ssh_address(self) -> str:
        """Like "demo@127.0.0.1:40022"."""
        return f"{self.server.user}@{self.server.host}:{self.server.port}"

    @property
    def password(self) -> str:
        """The password of the SSH server's user."""
        return self.server.password

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            base = await asyncio.to_thread(_new_folder)
            stack.push_async_callback(asyncio.to_thread, shutil.rmtree, base, ignore_errors=True)
            await asyncio.to_thread(_fill, base)
            self.samples = base / "Files to send"
            far_end = await stack.enter_async_context(FarEnd(base / "server"))
            self._server = far_end.facts
            self.site_url = await _serve(build_site(far_end.facts, helper_port=self._helper_port), stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        self._server = None


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="connect-helper-demo-")).resolve()


def _fill(base: Path) -> None:
    for name, fill in (("server", fill_server), ("Files to send", fill_uploads)):
        (base / name).mkdir()
        fill(base / name)


async def _serve(site: web.Application, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(site, access_log=None, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"
