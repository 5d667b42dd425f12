"""The control socket: the operator's routes, over a Unix socket for the server's own account alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from connect_helper.errors import ConnectHelperError
from connect_helper.server.metrics import Metrics
from connect_helper.server.operating import Operating, plain_errors
from connect_helper.server.sessions import Sessions


class RunsAlready(ConnectHelperError):
    """Another server uses this state folder."""

    code: ClassVar[str] = "runs_already"


@contextlib.asynccontextmanager
async def controlled(path: Path, sessions: Sessions, metrics: Metrics) -> AsyncIterator[None]:
    """Serve the routes at `path` while the context lasts. Raises RunsAlready and OSError."""
    app = web.Application(middlewares=[plain_errors])
    app.add_routes(Operating(sessions, metrics).routes())
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        sock = _bound(path)
        try:
            await web.SockSite(runner, sock).start()
            yield
        finally:  # only of our own socket: a start that was refused leaves the running server's alone
            await asyncio.to_thread(path.unlink, missing_ok=True)
    finally:
        await runner.cleanup()


def _bound(path: Path) -> socket.socket:
    """A socket at `path`, in a folder that is 0700; one that nobody answers is left from a crash."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _answers(path):
                raise RunsAlready(f"Another server runs with the state folder {path.parent}.")
            path.unlink()
        sock.bind(str(path))
        path.chmod(0o600)
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
