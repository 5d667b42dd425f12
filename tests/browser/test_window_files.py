"""The files of a transfer in the helper's window, and a list longer than a screen, in a real browser."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from connect_helper.transfers import listing, upkeep
from connect_helper.transfers.state import FINAL, Status
from connect_helper.transfers.transfer import Transfer
from tests.support.browser import screenshot
from tests.support.managing import COMPLETES, reaches, request, until
from tests.support.window import Window, open_window

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDE = {"width": 1100, "height": 900}
NARROW = {"width": 360, "height": 740}
MIXED = [["connect"], ["totals", 24_000, 240], ["files", 0, 230, "done"], ["files", 230, 234, "failed"]]
MIXED = [*MIXED, ["files", 234, 238, "skipped"]]
ENDS = [*MIXED, ["progress", 23_000], ["end", "failed", "files_failed", False]]
RUNS = [*MIXED, ["files", 238, 240, "running"], ["progress", 23_000], ["hold"]]
LOSES = [["connect"], ["totals", 100, 1], ["progress", 40], ["end", "failed", "connection_lost", True]]


@pytest_asyncio.fixture(loop_scope="module")
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path / "home") as running:
        yield running


@pytest.mark.parametrize(
    ("name", "scheme", "viewport"),
    [("light", "light", WIDE), ("dark", "dark", WIDE), ("narrow", "light", NARROW)],
)
async def test_files_are_shown_with_state_proof_and_error(
    window: Window, browser: Browser, name: str, scheme: str, viewport: dict[str, int]
) -> None:
    one = await window.manager.submit(request(ENDS, title="camera 3"))
    await reaches(one, *FINAL)
    async with window.page(browser, f"/activity/{one.id}", viewport=viewport, color_scheme=scheme) as page:
        files = page.get_by_role("region", name="Files")
        await expect(files.get_by_role("heading", name="238 files")).to_be_visible()
        rows = files.locator("tbody tr")
        await expect(rows.first).to_contain_text("film-237")
        await expect(files.get_by_role("button", name="Failed 4")).to_be_visible()
        await expect(files.get_by_role("button", name="Under way")).to_be_hidden()
        await expect(rows.nth(8)).to_contain_text("Verified: size and sha-256")
        await expect(rows.nth(9)).to_contain_text("Verified: size")
        await screenshot(page, f"files-{name}")
        await files.get_by_role("button", name="Failed 4").click()
        await expect(rows).to_have_count(4)
        await expect(rows.first).to_contain_text("The file is not there any more.")
        await screenshot(page, f"files-failed-{name}")
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(overflow) <= 0


async def test_all_files_come_by_scrolling(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(ENDS))
    await reaches(one, *FINAL)
    async with window.page(browser, f"/activity/{one.id}", viewport=WIDE) as page:
        rows = page.locator(".files tbody tr")
        await expect(rows).to_have_count(100)
        await rows.last.scroll_into_view_if_needed()
        await expect(rows).to_have_count(200)
        await rows.last.scroll_into_view_if_needed()
        await expect(rows).to_have_count(238)
        await expect(rows.last).to_contain_text("film-0")
        await expect(page.get_by_role("button", name="Show older files")).to_be_hidden()


async def test_what_is_under_way_moves_down_when_it_ends(window: Window, browser: Browser) -> None:
    script = [*RUNS, ["end", "completed", "", False]]
    one = await window.manager.submit(request(script, COMPLETES))
    await until(lambda: one.counts.attempted == 240)
    async with window.page(browser, f"/activity/{one.id}", viewport=WIDE) as page:
        rows = page.locator(".files tbody tr")
        await expect(rows.first).to_have_attribute("data-state", "running")
        await expect(rows.nth(2)).to_contain_text("film-237")
        await expect(page.get_by_role("button", name="Under way 2")).to_be_visible()
        await window.manager.stop(one.id)
        await expect(rows.first).to_contain_text("Not finished")
        await expect(page.get_by_role("button", name="Not finished 2")).to_be_visible()
        await expect(page.locator("[data-state=running]")).to_have_count(0)
        await expect(rows).to_have_count(102)


async def test_the_list_of_files_can_be_saved(window: Window, browser: Browser, tmp_path: Path) -> None:
    one = await window.manager.submit(request(ENDS))
    await reaches(one, *FINAL)
    async with window.page(browser, f"/activity/{one.id}") as page:
        for label in ("CSV", "JSON"):
            async with page.expect_download() as waiting:
                await page.get_by_role("button", name=label, exact=True).click()
            saved = await waiting.value
            assert saved.suggested_filename == f"transfer-{one.id}"[:49] + f".{label.lower()}"
            await saved.save_as(tmp_path / label)
    with (tmp_path / "CSV").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 238
    assert len(json.loads((tmp_path / "JSON").read_bytes())["files"]) == 238


async def test_a_long_history_comes_by_scrolling(
    window: Window, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "ENDED_KEPT", 5)
    monkeypatch.setattr(listing, "REST_S", 0.0)
    monkeypatch.setattr(upkeep, "SHELVE_S", 0.05)
    first = await window.manager.submit(request(COMPLETES, title="first of all"))
    await reaches(first, Status.COMPLETED)
    record = window.manager._list.find(first.id, None).record()
    journal = window.manager._journal
    for number in range(1, 451):  # as if they had ended long ago
        transfer = _named(record.transfer, number)
        old = dataclasses.replace(record, transfer=transfer, position=record.position + number)
        await journal.shelve([(old, number)])
    window.manager._list._shelved[Status.COMPLETED] += 450
    async with window.page(browser, viewport=WIDE) as page:
        rows = page.locator("transfer-row")
        await expect(rows).to_have_count(200)
        await expect(page.locator("[data-show=all] .count")).to_have_text("451")
        await expect(rows.first).to_contain_text("old 450")
        await rows.last.scroll_into_view_if_needed()
        await expect(rows).to_have_count(400)
        await rows.last.scroll_into_view_if_needed()
        await expect(rows).to_have_count(451)
        await expect(rows.last).to_contain_text("first of all")
        await rows.nth(300).get_by_role("link").click()
        await expect(page.get_by_role("heading", name="old 150")).to_be_visible()
        await screenshot(page, "transfer-of-the-past")


def _named(transfer: Transfer, number: int) -> Transfer:
    return dataclasses.replace(
        transfer, id=f"old-{number}", title=f"old {number}", add_time=transfer.add_time + number
    )


async def test_the_next_try_is_shown_with_its_time(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(LOSES, title="night upload"))
    await reaches(one, Status.WILL_RETRY)
    async with window.page(browser, viewport=WIDE) as page:
        row = page.locator("transfer-row")
        await expect(row).to_contain_text("Trying again")
        await expect(row).to_contain_text("It ended: connection_lost.")
        await until(lambda: one.status is Status.WILL_RETRY and one.attempts >= 2)
        await expect(row).to_contain_text("Tries again in")
        await screenshot(page, "window-willretry")


async def test_after_a_restart_the_window_says_what_is_needed(tmp_path: Path, browser: Browser) -> None:
    async with open_window(tmp_path / "home") as window:
        one = await window.manager.submit(request(RUNS, title="camera 3"))
        await until(lambda: one.counts.attempted == 240)
    async with open_window(tmp_path / "home") as window:
        async with window.page(browser, viewport=WIDE) as page:
            row = page.locator("transfer-row")
            await expect(row).to_contain_text("The helper was restarted; sign in again to go on.")
            await expect(row.get_by_role("button", name="Sign in and go on")).to_be_visible()
            await screenshot(page, "window-after-restart")
        async with window.page(browser, f"/activity/{one.id}", viewport=WIDE) as page:
            await expect(page.locator(".files tbody tr").first).to_contain_text("Not finished")
