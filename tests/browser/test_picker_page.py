"""The picker page in a real browser: what a person does with mouse and keys, and what a hostile name does."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from connect_helper.picking.base import DialogRequest, FileFilter
from connect_helper.picking.presence import Patience
from tests.support.browser import hold_animations, screenshot, style_of
from tests.support.desk_pages import DeskWindow, desk_window

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLER = "https://portal.example"
QUICK = Patience(without_page=0.3, before_yes=0.0)
HOSTILE = "<img src=x onerror=alert(1)>.mov"


@dataclass
class Picking:
    """One open dialog: its page, and what the asker will get."""

    page: Page
    answer: asyncio.Task[Sequence[Path]]
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    for name in ("Rushes", "Sound", ".cache"):
        (folder / name).mkdir(parents=True)
    for number in range(1, 13):
        (folder / f"scene {number}.mov").write_bytes(b"x" * number * 1000)
    (folder / "poster.png").write_bytes(b"x" * 500_000)
    (folder / ".hidden.mov").touch()
    (folder / HOSTILE).touch()
    (folder / os.fsdecode(b"odd \xff.mov")).touch()
    return folder


@pytest_asyncio.fixture(loop_scope="module")
async def window(tmp_path: Path) -> AsyncIterator[DeskWindow]:
    refused = str(tmp_path)
    rule = {refused: "it is too much"}.get
    async with desk_window(tmp_path / "helper", patience=QUICK, refuse_folder=rule) as running:
        yield running


async def open_picker(
    window: DeskWindow, browser: Browser, request: DialogRequest, **context: object
) -> Picking:
    """Ask, open the page, and wait until the folder shows and the first second is over."""
    answer = asyncio.create_task(window.desk.pick(request))
    page = await browser.new_page(**context)  # type: ignore[arg-type]
    picking = Picking(page, answer)
    page.on("pageerror", lambda error: picking.complaints.append(str(error)))
    page.on("console", lambda said: picking.complaints.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: picking.complaints.append(dialog.message))
    await page.goto(await window.next_address())
    await expect(page.locator("#sheet")).to_be_visible()
    await expect(page.locator("html")).not_to_have_attribute("data-arming", "")
    return picking


def request_for(folder: Path, kind: str = "open-file", **more: object) -> DialogRequest:
    return DialogRequest(kind, CALLER, start_folder=folder, **more)  # type: ignore[arg-type]


async def answer_of(picking: Picking) -> list[Path]:
    async with asyncio.timeout(10):
        paths = list(await picking.answer)
    await expect(picking.page.locator("#over")).to_be_visible()
    return paths


async def names(page: Page) -> list[str]:
    return await page.locator(".row .text").all_inner_texts()


async def test_a_click_and_a_button_choose_a_file(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films, title="For tonight"))
    page = picking.page
    await expect(page.locator("#wants")).to_have_text(f"{CALLER} wants a file")
    await expect(page.locator("#own-words")).to_have_text("For tonight")
    await expect(page.locator("#choose")).to_be_disabled()
    await page.get_by_text("poster.png").click()
    await expect(page.locator("#summary")).to_have_text("1 file selected, 500 kB")
    await page.locator("#choose").click()
    assert await answer_of(picking) == [films / "poster.png"]
    assert picking.complaints == []


async def test_folders_come_first_and_hidden_files_only_when_asked_for(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    page = (await open_picker(window, browser, request_for(films))).page
    shown = await names(page)
    assert shown[:2] == ["Rushes", "Sound"]
    assert [name for name in shown if name.startswith("scene")] == [f"scene {n}.mov" for n in range(1, 13)]
    assert ".hidden.mov" not in shown
    await page.get_by_label("Hidden files").check()
    await expect(page.get_by_text(".hidden.mov")).to_be_visible()
    await page.keyboard.press("Control+h")
    await expect(page.get_by_text(".hidden.mov")).to_have_count(0)


async def test_columns_sort_both_ways(window: DeskWindow, browser: Browser, films: Path) -> None:
    page = (await open_picker(window, browser, request_for(films))).page
    await page.get_by_role("button", name="Size").click()
    assert (await names(page))[2] == "poster.png"
    await page.get_by_role("button", name="Size").click()
    assert (await names(page))[-1] == "poster.png"
    await page.get_by_role("button", name="Name").click()
    await page.get_by_role("button", name="Name").click()
    assert (await names(page))[:2] == ["Sound", "Rushes"]


async def test_keys_alone_go_through_folders_and_choose_several(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    (films / "Rushes" / "take.mov").touch()
    picking = await open_picker(window, browser, request_for(films, multiple=True))
    page, keys = picking.page, picking.page.keyboard
    await expect(page.locator("#list")).to_be_focused()
    await keys.press("Enter")  # opens Rushes
    await expect(page.get_by_text("take.mov")).to_be_visible()
    await keys.press("Backspace")  # and up again, with Rushes under the keyboard
    await expect(page.locator(".row.active")).to_contain_text("Rushes")
    await keys.press("End")
    await keys.press("ArrowUp")
    await keys.press("Shift+ArrowUp")
    await expect(page.locator("#choose")).to_have_text("Choose 2 files")
    await keys.press("Home")
    await keys.press("Control+a")
    await expect(page.locator("#choose")).to_have_text("Choose 15 files")
    await keys.press("Control+End")
    await keys.press(" ")
    await expect(page.locator("#choose")).to_have_text("Choose 14 files")
    await keys.press("Control+Enter")
    assert len(await answer_of(picking)) == 14


async def test_control_and_shift_clicks_select(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films, multiple=True))
    page = picking.page
    await page.get_by_text("scene 2.mov").click()
    await page.get_by_text("scene 4.mov").click(modifiers=["Shift"])
    await page.get_by_text("poster.png").click(modifiers=["Control"])
    await page.get_by_text("scene 3.mov").click(modifiers=["Control"])
    await page.locator("#choose").click()
    chosen = [films / name for name in ("poster.png", "scene 2.mov", "scene 4.mov")]
    assert await answer_of(picking) == chosen


async def test_one_means_one(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films))
    page = picking.page
    await page.get_by_text("scene 2.mov").click()
    await page.get_by_text("scene 4.mov").click(modifiers=["Shift"])
    await page.keyboard.press("Control+a")
    await expect(page.locator("#summary")).to_contain_text("1 file selected")
    await page.get_by_text("scene 5.mov").dblclick()
    assert await answer_of(picking) == [films / "scene 5.mov"]


async def test_typing_finds_and_enter_takes_it(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films))
    page = picking.page
    await page.keyboard.type("post")
    await expect(page.locator("#find")).to_have_value("post")
    await expect(page.locator(".row")).to_have_count(1)
    await page.keyboard.press("Enter")
    assert await answer_of(picking) == [films / "poster.png"]


async def test_only_the_wanted_types_show(window: DeskWindow, browser: Browser, films: Path) -> None:
    filters = (FileFilter("Pictures", ("png", "JPG")), FileFilter("All", ("*",)))
    page = (await open_picker(window, browser, request_for(films, filters=filters))).page
    assert await names(page) == ["Rushes", "Sound", "poster.png"]
    await page.get_by_label("Types of files").select_option(label="All")
    assert len(await names(page)) == 17


async def test_a_folder_is_chosen_from_inside_or_from_above(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    picking = await open_picker(window, browser, request_for(films, "open-folder"))
    assert await names(picking.page) == ["Rushes", "Sound"]
    await picking.page.get_by_text("Sound").dblclick()
    await expect(picking.page.locator("#state-text")).to_have_text("This folder is empty.")
    await picking.page.get_by_role("button", name="Choose this folder").click()
    assert await answer_of(picking) == [films / "Sound"]
    again = await open_picker(window, browser, request_for(films, "open-folder"))
    await again.page.get_by_text("Rushes").click()
    await again.page.locator("#choose").click()
    assert await answer_of(again) == [films / "Rushes"]


async def test_a_folder_nobody_should_give_away_is_refused_in_words(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    picking = await open_picker(window, browser, request_for(films.parent, "open-folder"))
    await picking.page.get_by_role("button", name="Choose this folder").click()
    await expect(picking.page.locator("#problem")).to_contain_text("it is too much")
    assert not picking.answer.done()
    picking.answer.cancel()


async def test_saving_asks_before_it_replaces(window: DeskWindow, browser: Browser, films: Path) -> None:
    request = request_for(films, "save-file", suggested_name="poster.png")
    picking = await open_picker(window, browser, request)
    page = picking.page
    await expect(page.get_by_label("Save as")).to_have_value("poster.png")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("#replace-text")).to_contain_text("poster.png")
    await page.get_by_role("button", name="Keep the old file").click()
    assert not picking.answer.done()
    await page.get_by_label("Save as").press("Enter")
    await page.get_by_role("button", name="Replace it").click()
    assert await answer_of(picking) == [films / "poster.png"]


async def test_saving_into_a_new_folder(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films, "save-file", suggested_name="a.txt"))
    page = picking.page
    await page.get_by_role("button", name="New folder").click()
    await page.get_by_label("Name", exact=True).fill("Rushes")
    await page.get_by_role("button", name="Make folder").click()
    await expect(page.locator("#make-problem")).to_contain_text("already is something")
    await page.get_by_label("Name", exact=True).fill("Neu é")
    await page.get_by_role("button", name="Make folder").click()
    await expect(page.locator("#crumbs")).to_contain_text("Neu é")
    await page.get_by_label("Save as").fill("b.txt")
    await page.get_by_role("button", name="Save", exact=True).click()
    assert await answer_of(picking) == [films / "Neu é" / "b.txt"]
    assert not await asyncio.to_thread((films / "Neu é" / "b.txt").exists)


@pytest.mark.parametrize("how", ["button", "Escape"])
async def test_cancelling_gives_no_files(window: DeskWindow, browser: Browser, films: Path, how: str) -> None:
    picking = await open_picker(window, browser, request_for(films))
    if how == "button":
        await picking.page.locator("#cancel").click()
    else:
        await picking.page.keyboard.press("Escape")
    assert await answer_of(picking) == []


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("picker-waiting-light", 1000, "light"),
        ("picker-waiting-dark", 1000, "dark"),
        ("picker-waiting-narrow", 380, "light"),
    ],
)
async def test_sec_16_the_first_second_is_seen(
    window: DeskWindow, browser: Browser, films: Path, name: str, width: int, scheme: str
) -> None:
    answer = asyncio.create_task(window.desk.pick(request_for(films, "open-folder")))
    page = await browser.new_page(viewport={"width": width, "height": 720}, color_scheme=scheme)  # type: ignore[arg-type]
    await page.clock.install(time=0)
    await page.clock.pause_at(1)  # the test says when a second is over, however slow the machine is
    await page.goto(await window.next_address())
    choose = page.get_by_role("button", name="Choose this folder")
    await choose.click()
    await expect(page.locator(".toast")).to_contain_text("in sight for a second")
    await hold_animations(page, 500)
    await screenshot(page, name)
    assert await style_of(page, "#choose", "background-position-x") == "50%"  # half of it is full
    assert await style_of(page, "#cancel", "cursor") == "progress"
    assert float(await style_of(page, "#cancel", "opacity")) < 1
    assert not answer.done()
    await page.clock.run_for(1_000)
    await expect(page.locator("html")).not_to_have_attribute("data-arming", "")
    assert await style_of(page, "#choose", "background-image") == "none"
    await choose.click()
    await expect(page.locator("#over-title")).to_have_text("Thank you")
    assert await answer_of(Picking(page, answer)) == [films]


async def test_closing_the_window_gives_no_files(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films))
    await picking.page.close()
    async with asyncio.timeout(10):
        assert list(await picking.answer) == []


async def test_a_reload_keeps_the_dialog(tmp_path: Path, browser: Browser, films: Path) -> None:
    patient = Patience(before_yes=0.0)  # a reload takes as long as a busy machine needs
    async with desk_window(tmp_path / "patient", patience=patient) as window:
        picking = await open_picker(window, browser, request_for(films))
        await picking.page.reload()
        await expect(picking.page.get_by_text("poster.png")).to_be_visible()
        await expect(picking.page.locator("html")).not_to_have_attribute("data-arming", "")
        await picking.page.get_by_text("poster.png").dblclick()
        assert await answer_of(picking) == [films / "poster.png"]


async def test_a_dialog_given_up_by_its_asker_says_that_it_is_over(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    picking = await open_picker(window, browser, request_for(films))
    picking.answer.cancel()
    await expect(picking.page.locator("#over-title")).to_have_text("This is over")


async def test_two_pickers_at_once_answer_their_own_askers(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    first = await open_picker(window, browser, request_for(films))
    second = await open_picker(window, browser, request_for(films))
    await second.page.get_by_text("poster.png").dblclick()
    assert await answer_of(second) == [films / "poster.png"]
    assert not first.answer.done()
    await first.page.get_by_text("scene 1.mov").dblclick()
    assert await answer_of(first) == [films / "scene 1.mov"]


async def test_names_run_nothing_and_come_back_exactly(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    request = request_for(films, multiple=True, title=HOSTILE)
    picking = await open_picker(window, browser, request)
    page = picking.page
    await expect(page.locator("#own-words")).to_have_text(HOSTILE)
    await page.locator(".row", has_text=HOSTILE).click()
    await page.locator(".row", has_text="odd").click(modifiers=["Control"])
    await page.locator("#choose").click()
    assert sorted(await answer_of(picking)) == sorted([films / HOSTILE, films / os.fsdecode(b"odd \xff.mov")])
    assert picking.complaints == []


async def test_a_folder_that_cannot_be_opened_says_why_and_leads_back(
    window: DeskWindow, browser: Browser, films: Path
) -> None:
    picking = await open_picker(window, browser, request_for(films))
    await asyncio.to_thread((films / "Sound").rmdir)
    await picking.page.get_by_text("Sound").dblclick()
    await expect(picking.page.locator("#state-text")).to_contain_text("is not there any more")
    await expect(picking.page.locator("#choose")).to_be_disabled()
    await picking.page.get_by_role("button", name="Go up").click()
    await expect(picking.page.get_by_text("poster.png")).to_be_visible()
    picking.answer.cancel()


async def test_50_000_entries_stay_quick(window: DeskWindow, browser: Browser, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    await asyncio.to_thread(fill, many, 50_000)
    begun = time.monotonic()
    picking = await open_picker(window, browser, request_for(many, multiple=True))
    page = picking.page
    await expect(page.get_by_text("clip 00000.mov")).to_be_visible(timeout=15_000)
    assert time.monotonic() - begun < 12  # the browser's start, the first second and a busy machine included
    assert await page.locator(".row").count() < 60
    await page.keyboard.press("End")
    await expect(page.get_by_text("clip 49999.mov")).to_be_visible()
    # Script time only: what scrolling through all of it costs, not what the machine does meanwhile.
    spent = await page.evaluate(
        """async () => {
          const list = document.getElementById("list");
          const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
          const times = [];
          for (let step = 0; step < 40; step += 1) {
            const begun = performance.now();
            list.scrollTop = (list.scrollHeight / 40) * step;
            list.dispatchEvent(new Event("scroll"));
            await frame(); await frame();
            times.push(performance.now() - begun);
          }
          return times.sort((a, b) => a - b)[20];
        }"""
    )
    assert spent < 200
    await page.keyboard.type("4321")
    await expect(page.locator(".row")).to_have_count(15)
    picking.answer.cancel()


def fill(folder: Path, count: int) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"clip {number:05}.mov", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=descriptor))
    os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [
        ("picker-light", 1100, 760, "light"),
        ("picker-dark", 1100, 760, "dark"),
        ("picker-narrow", 360, 740, "light"),
        ("picker-narrow-dark", 360, 740, "dark"),
    ],
)
async def test_looks(
    window: DeskWindow, browser: Browser, films: Path, name: str, width: int, height: int, scheme: str
) -> None:
    filters = (FileFilter("Film", ("mov", "mp4", "mxf", "avi", "mkv")), FileFilter("Everything", ("*",)))
    request = request_for(films, multiple=True, title="The rushes for tonight", filters=filters)
    picking = await open_picker(
        window, browser, request, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    await picking.page.get_by_text("scene 2.mov").click()
    await picking.page.get_by_text("scene 4.mov").click(modifiers=["Shift"])
    await screenshot(picking.page, name)
    overflow = await picking.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow == 0
    picking.answer.cancel()


async def test_screen_readers_get_a_grid(window: DeskWindow, browser: Browser, films: Path) -> None:
    picking = await open_picker(window, browser, request_for(films, multiple=True))
    grid = picking.page.get_by_role("grid", name="Files and folders")
    await expect(grid).to_have_attribute("aria-multiselectable", "true")
    await expect(grid).to_have_attribute("aria-rowcount", "17")
    await picking.page.get_by_text("poster.png").click()
    active = await grid.get_attribute("aria-activedescendant")
    await expect(picking.page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    await expect(picking.page.locator(f"#{active}")).to_contain_text("poster.png")
    picking.answer.cancel()
