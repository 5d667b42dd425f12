"""The example web application that hands out tokens, in this process (examples/token-service)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

from aiohttp import web


def _loaded() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "token-service" / "serve.py"
    found = importlib.util.spec_from_file_location("token_service", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


example = _loaded()


@asynccontextmanager
async def token_service(
    url: str, user: str, password: str, ca_file: Path | None = None
) -> AsyncIterator[str]:
    """Serve it in front of the Node API at `url`; yields its origin."""
    runner = web.AppRunner(example.Service(example.Node(url, user, password, ca_file)).app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
