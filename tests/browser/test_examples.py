"""The examples as their READMEs say: one command, then the page sends and fetches with the real helper."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.support.browser import screenshot
from tests.support.official import World
from tests.support.person import AtThePages
from tests.support.sshd import PasswordServer

expect.set_options(timeout=60_000)  # as long as a busy machine needs; a success is told at once
pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT_MS = 60_000
NAMES = ("embed", "connect-sdk", "desktop-protocol")
NO_FAULTS = ("status of 403", "ERR_CONNECTION_REFUSED")  # a no of the user; a port without a helper
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World.running(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def person(world: World) -> AtThePages:
    return AtThePages(world.helper, world.browser)


@asynccontextmanager
async def example(world: World, name: str, *arguments: str) -> AsyncIterator[Page]:
    """Start the example and open its page; any fault of the page's scripts or its policy fails the test."""
    site = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / name / "serve.py", *arguments, "--port", "0",
        stdout=asyncio.subprocess.PIPE, cwd="/",
    )  # fmt: skip
    try:
        assert site.stdout is not None
        said = (await site.stdout.readline()).decode()
        address = re.search(r"http://\S+", said)
        assert address is not None, said
        faults: list[str] = []
        page = await world.browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        await page.goto(address.group())
        await expect(page.locator("#helper")).to_have_attribute("data-state", "RUNNING")
        yield page
        await page.context.close()
        assert not [fault for fault in faults if not any(word in fault for word in NO_FAULTS)]
    finally:
        site.send_signal(signal.SIGINT)
        assert await site.wait() == 0


async def show_all(page: Page, name: str) -> None:
    """Keep the page's looks: wide and narrow, light and dark; it must not need sideways scrolling."""
    for scheme in ("light", "dark"):
        for width in (1100, 390):
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size({"width": width, "height": 800})
            await screenshot(page, f"example-{name}-{scheme}-{width}")
            assert await page.evaluate(SIDEWAYS) <= 0


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_goes_up_and_another_comes_down(world: World, person: AtThePages, name: str) -> None:
    source = world.helper.user_home / f"to {name} <b>.bin"
    source.write_bytes(os.urandom(700_000))
    async with example(world, name) as page:
        await page.locator("#send").click()
        await person.choose(source)
        await person.allow()
        await expect(page.locator("#files")).to_contain_text(f"Inbox/{source.name}")  # the server has it
        await page.get_by_role("button", name="Fetch Film – scene 1.mov").click()
        await person.allow()
        done = page.locator("#transfers .transfer[data-status=completed]")
        await expect(done).to_have_count(2)
        await expect(done.first.locator(".state")).to_contain_text("Done")
        await show_all(page, name)
    fetched = world.helper.downloads / "Film – scene 1.mov"
    assert fetched.stat().st_size == 24_000_000
    fetched.unlink()


@pytest.mark.parametrize("name", NAMES)
async def test_a_no_is_shown_and_a_closed_dialog_is_not(world: World, person: AtThePages, name: str) -> None:
    async with example(world, name) as page:
        await page.locator("#send").click()
        await person.cancel()
        await page.get_by_role("button", name="Fetch Welcome.txt").click()
        await person.deny()
        await expect(page.locator("#message")).to_contain_text("refused")
        await expect(page.locator("#none")).to_be_visible()


async def test_it_sends_to_a_server_of_your_own_and_the_helper_asks_for_the_password(
    world: World, person: AtThePages
) -> None:
    source = world.helper.user_home / "example.bin"
    source.write_bytes(os.urandom(300_000))
    async with PasswordServer(user="ana", password="correct horse") as server:
        async with example(world, "embed", f"ana@{server.host}:{server.port}", "/incoming") as page:
            await expect(page.locator("#fetch")).to_be_hidden()
            await page.locator("#send").click()
            await person.choose(source)
            await person.allow()
            await person.sign_in("ana", "correct horse")
            await person.allow()  # the server's key, seen for the first time
            await expect(page.locator(".transfer[data-status=completed]")).to_be_visible()
        assert (server.root / "incoming" / "example.bin").read_bytes() == source.read_bytes()


async def test_a_page_without_a_helper_says_how_to_start_one(world: World) -> None:
    async with example(world, "embed") as page:
        await world.helper.stop()
        try:
            await page.reload()
            await expect(page.locator("#absent")).to_be_visible()
            assert await page.locator("#launch").get_attribute("href") == "fasp://initialize"
            await show_all(page, "without-helper")
        finally:
            await world.helper.start()
        await expect(page.locator("#helper")).to_have_attribute("data-state", "RUNNING")
        await expect(page.locator("#absent")).to_be_hidden()
