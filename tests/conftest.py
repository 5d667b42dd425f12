"""Fixtures that more than one room needs."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
from playwright.async_api import Browser

from tests.support.browser import launch
from tests.support.desktop import Desktop


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect no garbage while the report of a failure is made.

    CPython 3.11 ends the whole run ("AST constructor recursion depth mismatch") when a finalizer that warns
    comes in between pytest's parsing of the source.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


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
