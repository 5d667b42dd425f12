"""The server all tests of this folder talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.sftp_server import FarEnd, far_end


@pytest.fixture
async def end(tmp_path: Path) -> AsyncIterator[FarEnd]:
    async with far_end(tmp_path) as running:
        yield running
