"""Fixtures that more than one room needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from tests.support.browser import launch
from tests.support.desktop import Desktop


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium; open pages with `await browser.new_page()`."""
    async with launch() as running:
        yield running


@pytest.fixture(scope="session")
def desktop() -> Iterator[Desktop]:
    """A virtual screen with a window manager, one for all tests."""
    with Desktop.running() as screen:
        yield screen
