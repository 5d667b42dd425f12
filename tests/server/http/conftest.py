"""Fixtures of the HTTP side's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.http_far_end import FarEnd, far_end


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FarEnd]:
    """A server over plain HTTP."""
    async with far_end(tmp_path) as running:
        yield running


@pytest.fixture
async def sender(server: FarEnd) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that may bring files into the folder `in`."""
    async with server.client(server.token("send", "in")) as client:
        yield client


@pytest.fixture
async def receiver(server: FarEnd) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that may fetch what lies in the folder `out`."""
    (server.docroot / "out").mkdir()
    async with server.client(server.token("receive", "out")) as client:
        yield client
