"""The demo's example site in a real browser, with the real helper: every state a visitor can see.

Screenshots are kept in artefacts/ to be looked at: light and dark, wide and narrow.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from connect_helper.demo.run import Demo
from tests.support.browser import launch, screenshot
from tests.support.helper import Helper
from tests.support.person import AtThePages
from tests.support.sshd import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT_MS = 30_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launch() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def helper(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Helper]:
    async with Helper.running(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def demo(helper: Helper) -> AsyncIterator[Demo]:
    """A demo of its own for each test: another origin, another server, so every question is asked anew."""
    async with Demo(helper.base_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, demo: Demo) -> AsyncIterator[Page]:
    """The page, connected; any fault of its scripts or policy fails the test."""
    faults: list[str] = []
    context = await browser.new_context(color_scheme="light", viewport={"width": 1180, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    await page.goto(demo.site_url)
    await expect(page.locator("#helper")).to_have_attribute("data-state", "RUNNING", timeout=WAIT_MS)
    yield page
    await context.close()
    assert not [fault for fault in faults if "status of 403" not in fault]  # a refusal is no fault


@pytest.fixture
def person(helper: Helper, browser: Browser) -> AtThePages:
    return AtThePages(helper, browser)


async def show_all(page: Page, name: str) -> None:
    """Keep the page's looks: wide and narrow, light and dark; it must not need sideways scrolling."""
    for scheme in ("light", "dark"):
        for width in (1180, 390):
            await page.emulate_media(color_scheme=scheme)
            await page.set_viewport_size({"width": width, "height": 800})
            await screenshot(page, f"demo-{name}-{scheme}-{width}")
            overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert await page.evaluate(overflow) <= 0
    await page.set_viewport_size({"width": 1180, "height": 800})


async def test_files_and_folders_come_down_and_the_list_shows_how_far_they_are(
    page: Page, person: AtThePages, helper: Helper
) -> None:
    await page.select_option("#speed", "20000")
    await page.get_by_label("Choose Film rushes").check()
    await expect(page.locator("#picked")).to_have_text("1 chosen")
    await page.locator("#download").click()
    await expect(page.locator("#message")).to_contain_text("asks you something")
    assert "to download" in await person.allow()
    running = page.locator(".transfer[data-status=running]")
    await expect(running.locator(".state")).to_contain_text("Mbit/s", timeout=WAIT_MS)
    await expect(page.locator("#message")).to_be_hidden()
    await show_all(page, "running")
    await page.select_option("#speed", "")  # lifts the limit of what is running
    await expect(page.locator(".transfer[data-status=completed]")).to_be_visible(timeout=WAIT_MS)
    arrived = {path.name: path.stat().st_size for path in (helper.downloads / "Film rushes").iterdir()}
    assert arrived == {f"Scene {scene}, take 1.mov": 24 * 1024 * 1024 for scene in (1, 2, 3)}
    await page.get_by_role("button", name="Remove").click()
    await expect(page.locator("#no-transfers")).to_be_visible()


async def test_picked_files_go_up_into_the_open_folder_and_show_in_its_list(
    page: Page, person: AtThePages, helper: Helper
) -> None:
    source = helper.user_home / "Ærø <b>bold.txt"
    source.write_bytes(os.urandom(70_000))
    await page.get_by_role("button", name="Inbox").click()
    await expect(page.locator("#files-state")).to_contain_text("empty")
    await expect(page.locator("#target")).to_have_text("/Inbox")
    await screenshot(page, "demo-empty-folder")
    await page.locator("#send-files").click()
    await person.choose(source)
    await person.allow()
    await expect(page.locator("#files")).to_contain_text("Ærø <b>bold.txt", timeout=WAIT_MS)
    await expect(page.locator("#files")).to_contain_text("70 kB")


async def test_a_dropped_file_goes_up_after_the_user_found_it(
    page: Page, person: AtThePages, helper: Helper
) -> None:
    source = helper.user_home / "dropped.bin"
    source.write_bytes(os.urandom(5000))
    await page.evaluate(
        """([name, size, lastModified]) => {
             const bag = new DataTransfer();
             bag.items.add(new File([new Uint8Array(size)], name, { lastModified }));
             const options = { dataTransfer: bag, bubbles: true, cancelable: true };
             const target = document.querySelector(".table-frame");
             target.dispatchEvent(new DragEvent("dragover", options));
             window.lit = document.querySelectorAll(".over").length;
             target.dispatchEvent(new DragEvent("drop", options));
           }""",
        [source.name, 5000, int(source.stat().st_mtime * 1000)],
    )
    await person.choose(source)
    await person.allow()
    await expect(page.locator("#files")).to_contain_text("dropped.bin", timeout=WAIT_MS)
    assert await page.evaluate("lit") == 1
    await expect(page.locator(".over")).to_have_count(0)


async def test_a_refusal_and_a_failed_transfer_are_told_in_words(
    page: Page, person: AtThePages, helper: Helper, demo: Demo
) -> None:
    await page.get_by_label("Choose Read me first.txt").check()
    await page.locator("#download").click()
    await person.deny()
    await expect(page.locator("#message[data-kind=problem]")).to_be_visible(timeout=WAIT_MS)
    (demo.server.root / "Read me first.txt").unlink()
    await page.locator("#download").click()
    await person.allow()
    failed = page.locator(".transfer[data-status=failed]")
    await expect(failed.locator(".state")).not_to_be_empty(timeout=WAIT_MS)
    await expect(page.locator("#message")).to_be_hidden()
    await expect(page.locator("#files")).not_to_contain_text("Read me first.txt")  # read anew
    await show_all(page, "failed")
    assert not (helper.downloads / "Read me first.txt").exists()


async def test_without_a_helper_the_page_says_how_to_start_it(browser: Browser) -> None:
    async with Demo(f"http://127.0.0.1:{free_port()}") as lonely:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(lonely.site_url)
        await expect(page.locator("#helper-text")).to_contain_text("the helper …")
        await expect(page.locator("#absent")).to_be_visible(timeout=WAIT_MS)
        await expect(page.locator("#absent")).to_contain_text("connect-helper run")
        await expect(page.locator("#files")).to_contain_text("Photos")  # the server's list needs no helper
        await expect(page.locator("#send-files")).to_be_disabled()
        await show_all(page, "no-helper")
        await context.close()


async def test_a_helper_that_is_too_old_is_told_apart(browser: Browser, demo: Demo) -> None:
    context = await browser.new_context()
    await context.add_init_script("localStorage.setItem('aspera-min-version', '99')")
    page = await context.new_page()
    await page.goto(demo.site_url)
    await expect(page.locator("#absent-title")).to_contain_text("too old", timeout=WAIT_MS)
    await expect(page.locator("#absent-steps")).to_be_hidden()
    await context.close()
