"""Fixtures that more than one room needs, and what lets tests of all rooms run side by side (`pytest -n`)."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from playwright.async_api import Browser

from tests.support.browser import launch
from tests.support.desktop import Desktop
from tests.support.network import leave_the_shared_network

NEED_A_HELPER = frozenset(f"tests.support.{name}" for name in ("helper", "official", "person"))
OWN_NETWORK = pytest.StashKey[bool]()

# How quick a machine is at the moment says nothing about the code under test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many `-n auto` starts: one more than there are processors, since most tests wait for something."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes a network of its own, where the system allows it."""
    one_of_several = hasattr(config, "workerinput")
    config.stash[OWN_NETWORK] = one_of_several and leave_the_shared_network()


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that go to the same process.

    Those of a module that share one loop share a helper and a browser as well, which take long to start.
    And in a shared network only one helper can run, so all that need one wait for each other anyway.
    """
    for item in items:
        module = vars(item.getparent(pytest.Module).obj)
        asyncio_mark = item.get_closest_marker("asyncio")
        if not config.stash[OWN_NETWORK] and any(
            getattr(value, "__module__", "") in NEED_A_HELPER for value in module.values()
        ):
            item.add_marker(pytest.mark.xdist_group("helper"))
        elif asyncio_mark and asyncio_mark.kwargs.get("loop_scope") == "module":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_browser() -> AsyncIterator[Browser]:
    """A headless Chromium for a whole module: starting one takes longer than most tests with it."""
    async with launch() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def browser(one_browser: Browser) -> AsyncIterator[Browser]:
    """That Chromium; pages opened with `await browser.new_page()` are closed at the end of the test.

    For modules marked with `pytest.mark.asyncio(loop_scope="module")`.
    """
    yield one_browser
    for context in one_browser.contexts:
        await context.close()


@pytest.fixture(scope="session")
def desktop() -> Iterator[Desktop]:
    """A virtual screen with a window manager, one for all tests."""
    with Desktop.running() as screen:
        yield screen
