"""Fixtures of the tests with official clients; one world a file, a page on a new origin for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.official import OfficialPage, World
from tests.support.person import AtThePages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A helper that asks in its own pages, a browser and an SSH server."""
    async with World.running(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(world: World) -> AsyncIterator[OfficialPage]:
    """A page on an origin no test used before, connected to the helper."""
    async with world.page() as opened:
        yield opened


@pytest.fixture
def person(world: World) -> AtThePages:
    """The user, in front of the helper's pages."""
    return AtThePages(world.helper, world.browser)
