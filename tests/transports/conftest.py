"""A server of the HTTP fallback, and a line to it that can be disturbed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.http_far_end import FarEnd, far_end
from tests.support.proxy import FaultProxy


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path / "server") as server:
        yield server


@pytest.fixture
async def proxy(far: FarEnd) -> AsyncIterator[FaultProxy]:
    port = urlsplit(far.url).port
    assert port is not None
    async with FaultProxy("127.0.0.1", port) as proxy:
        yield proxy
