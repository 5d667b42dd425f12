"""The helper's own window in a real browser."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, expect
from pydantic import SecretStr

from connect_helper.api.ui_session import WINDOWS_KEPT
from connect_helper.consent.grants import Grant
from connect_helper.consent.origins import Scope
from connect_helper.transfers.plan import HostKeys, LocalRef, Login, Server, SessionPlan, Upload
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Owner
from tests.support.browser import screenshot
from tests.support.managing import COMPLETES, HOLDS, reaches, request, told, until
from tests.support.sshd import SshServer
from tests.support.window import Window, open_window

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDE = {"width": 1100, "height": 800}
NARROW = {"width": 360, "height": 740}
FAILS = [["connect"], ["totals", 1_000_000, 1], ["progress", 400_000]]
FAILS = [*FAILS, ["end", "failed", "auth_failed", False]]
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "javascript:alert(1)",
    "{{7*7}}",
    "a\u202egpj.exe",
]


@pytest_asyncio.fixture(loop_scope="module")
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path / "home") as running:
        yield running


def to_host(start: StartRequest, host: str) -> StartRequest:
    """The same start, to another server."""
    server = Server(host=host, port=22, addresses=("192.0.2.1",))
    return dataclasses.replace(start, plan=start.plan.model_copy(update={"server": server}))


async def test_an_empty_window_says_how_to_start(window: Window, browser: Browser) -> None:
    async with window.page(browser, viewport=WIDE) as page:
        await expect(page.get_by_role("heading", name="Nothing has been transferred yet")).to_be_visible()
        await expect(page.get_by_text("http://127.0.0.1:33003")).to_be_visible()
        await expect(page.get_by_text("connect-helper demo")).to_be_visible()
        await screenshot(page, "window-empty")


async def test_the_code_leaves_the_address_and_a_reload_stays_signed_in(
    window: Window, browser: Browser
) -> None:
    async with window.page(browser) as page:
        assert page.url == f"{window.address}/"
        await page.reload()
        await expect(page.locator("#empty")).to_be_visible()
        await page.get_by_role("link", name="Sites").click()
        await expect(page.get_by_role("heading", name="No site may do anything")).to_be_visible()


async def test_a_window_without_code_shows_nothing(window: Window, browser: Browser) -> None:
    await window.manager.submit(request(HOLDS, title="secret-title"))
    page = await browser.new_page()
    await page.goto(window.address)
    await expect(page.get_by_role("heading", name="Open this window anew")).to_be_visible()
    await expect(page.locator("#main")).to_be_hidden()
    assert "secret-title" not in await page.content()
    await screenshot(page, "window-locked")


async def test_a_window_of_an_earlier_run_says_so(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(HOLDS))
    await reaches(one, Status.RUNNING)
    async with window.page(browser) as page:
        for _ in range(WINDOWS_KEPT):  # so many newer windows, and this one's token is gone
            window.token()
        await page.get_by_role("button", name="Stop", exact=True).click()
        await expect(page.get_by_role("heading", name="Open this window anew")).to_be_visible()
        await expect(page.locator("transfer-row")).to_be_hidden()
        assert one.status is Status.RUNNING
        await page.reload()
        await expect(page.get_by_role("heading", name="Open this window anew")).to_be_visible()


async def test_transfers_appear_and_change_by_themselves(window: Window, browser: Browser) -> None:
    async with window.page(browser, viewport=WIDE) as page:
        await expect(page.locator("#empty")).to_be_visible()
        one = await window.manager.submit(request(HOLDS, title="film.mov"))
        row = page.locator("transfer-row")
        await expect(row.get_by_text("Running")).to_be_visible()
        await expect(row).to_contain_text("Upload to b.example")
        await expect(row).to_contain_text("asked by portal.example")
        await expect(row).to_contain_text("10 bytes of 100 bytes · 10%")
        await expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "10")
        await expect(page.locator("#empty")).to_be_hidden()
        await expect(page).to_have_title("(1) Activity · connect-helper")
        await window.manager.remove(one.id)
        await expect(row).to_have_count(0)
        await expect(page.locator("#empty")).to_be_visible()


async def test_a_row_is_changed_in_place(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(HOLDS))
    async with window.page(browser) as page:
        stop = page.get_by_role("button", name="Stop", exact=True)
        await stop.focus()
        await page.evaluate("window.kept = document.querySelector('transfer-row')")
        await window.manager.set_rate(one.id, 500, {"target_rate_kbps": 500})
        await page.wait_for_function(
            "token => document.querySelector('transfer-row').transfer.token >= token",
            arg=one.iteration_token,
        )
        assert await page.evaluate("window.kept === document.querySelector('transfer-row')")
        await expect(stop).to_be_focused()


async def test_stop_and_resume_from_the_window(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(HOLDS, COMPLETES))
    await reaches(one, Status.RUNNING)
    async with window.page(browser) as page:
        await page.get_by_role("button", name="Stop", exact=True).click()
        await expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
        await reaches(one, Status.CANCELLED)
        await expect(page.get_by_role("button", name="Resume")).to_be_focused()  # the keyboard stays here
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Completed", exact=True)).to_be_visible()
        await reaches(one, Status.COMPLETED)


async def test_removing_what_runs_asks_first(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(HOLDS))
    await reaches(one, Status.RUNNING)
    async with window.page(browser) as page:
        remove = page.get_by_role("button", name="Remove from the list")
        await remove.click()
        await page.get_by_role("button", name="Cancel").click()
        assert one.status is Status.RUNNING
        await remove.click()
        await page.keyboard.press("Escape")
        assert one.status is Status.RUNNING
        await remove.click()
        await page.get_by_role("button", name="Stop and remove").click()
        await expect(page.locator("transfer-row")).to_have_count(0)
        await reaches(one, Status.REMOVED)


async def test_a_wrong_password_can_be_mended_in_the_list(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(FAILS, COMPLETES))
    await reaches(one, Status.FAILED)
    async with window.page(browser, viewport=WIDE) as page:
        row = page.locator("transfer-row")
        await expect(row).to_contain_text("Check the user name and the password, then sign in again.")
        await screenshot(page, "window-failing")
        await expect(row.get_by_label("User")).to_have_value("ann")
        await row.get_by_label("User").fill("bob")
        await row.get_by_label("Password").fill("right")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    assert one.user == "bob"
    assert [line[2] for line in told(window.folders, one) if line[0] == "start"] == [True, True]


async def test_filters_and_clear_finished(window: Window, browser: Browser) -> None:
    for script, status in [(COMPLETES, Status.COMPLETED), (FAILS, Status.FAILED), (HOLDS, Status.RUNNING)]:
        await reaches(await window.manager.submit(request(script, title=status.value)), status)
    async with window.page(browser) as page:
        row = page.locator("transfer-row")
        await expect(row).to_have_count(3)
        for name, title in [
            ("Finished", "completed"),
            ("Stopped or failed", "failed"),
            ("Running", "running"),
        ]:
            await page.locator("#filters").get_by_role("button", name=name).click()
            await expect(row).to_have_count(1)
            await expect(row.get_by_role("link")).to_have_text(title)
        await page.get_by_role("button", name="All").click()
        await page.get_by_role("button", name="Clear finished").click()
        await expect(row).to_have_count(2)
        assert {one.title for one in window.manager.all()} == {"failed", "running"}
        await page.locator("#filters").get_by_role("button", name="Finished").click()
        await expect(page.get_by_text("No transfer is in this state.")).to_be_visible()


async def test_the_arrow_keys_go_through_the_list(window: Window, browser: Browser) -> None:
    for number in range(3):
        await window.manager.submit(request(HOLDS, title=f"t{number}"))
    async with window.page(browser) as page:
        await page.get_by_role("link", name="t2").focus()
        for press, title in [("ArrowDown", "t1"), ("ArrowDown", "t0"), ("ArrowUp", "t1"), ("Home", "t2")]:
            await page.keyboard.press(press)
            await expect(page.get_by_role("link", name=title)).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="t2")).to_be_visible()


async def test_two_hundred_transfers_are_listed_and_kept_up(window: Window, browser: Browser) -> None:
    window.preferences.change({"concurrent_transfers": 1})
    for number in range(230):
        await window.manager.submit(request(HOLDS, title=f"t{number:03}"))
    async with window.page(browser) as page:
        row = page.locator("transfer-row")
        # The oldest runs, so news of it comes although it is beyond the first page.
        await expect(row.get_by_role("link", name="t000")).to_be_visible()
        # Pressed by script: where the button comes into view, the list goes on by itself and the button goes.
        await page.get_by_role("button", name="Show older transfers").evaluate("button => button.click()")
        await expect(row).to_have_count(230)
        titles = await row.get_by_role("link").all_text_contents()
        assert titles == [f"t{number:03}" for number in reversed(range(230))]
        await expect(page.get_by_role("button", name="Show older transfers")).to_be_hidden()
        started = time.monotonic()
        await window.manager.stop(window.manager.all()[-1].id)
        await expect(row.first.get_by_text("Stopped", exact=True)).to_be_visible()
        assert time.monotonic() - started < 3


async def test_sec_16_names_of_pages_and_servers_stay_text(window: Window, browser: Browser) -> None:
    for number, text in enumerate(HOSTILE):
        start = request(
            [["connect"], ["file", 0, "running"], ["end", "failed", text, False]],
            title=text,
            owner=Owner(f"https://x.example/{text}", text),
            note=text,
            explorer_path=f"/d/{text}",
            spec={"cookie": text, "tags": {"aspera": {"brand": text}}},
            request_id=str(number),
        )
        one = await window.manager.submit(to_host(start, text.replace("\u202e", "")))
        await reaches(one, Status.FAILED)
        window.sites.remember_host("https://x.example", text, 22)
        window.sites.grant(
            Grant(f"g{number}", Scope("https://x.example", text), "file", f"/d/{text}", 1, 2, None, 1.0)
        )
    paths = ["/", "/sites", *(f"/activity/{one.id}" for one in window.manager.all())]
    for path in paths:
        async with window.page(browser, path) as page:  # fails on any report of the policy
            await page.wait_for_selector("main :not([aria-busy]) .transfer-error, .permissions li")
            assert await page.locator("main img, main script, main [onerror], main [onload]").count() == 0
            assert await page.locator("a[href^='javascript']").count() == 0
    async with window.page(browser) as page:
        titles = await page.locator(".transfer-title").all_text_contents()
        assert titles[-1] == HOSTILE[0]
        assert "\u202e" not in "".join(titles)


async def test_sec_16_the_window_cannot_be_framed(window: Window, browser: Browser) -> None:
    async def frame(_: web.Request) -> web.Response:
        return web.Response(text=f"<iframe src='{window.address}/'></iframe>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", frame)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        page = await browser.new_page()
        refusal = page.wait_for_event("console", predicate=lambda said: "frame" in said.text.lower())
        waiting = asyncio.ensure_future(refusal)
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        await waiting
        inside = page.frames[1]
        assert await inside.locator(".topbar").count() == 0
    finally:
        await runner.cleanup()


async def test_sec_16_buttons_wait_a_second(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(request(HOLDS))
    await reaches(one, Status.RUNNING)
    page = await browser.new_page()
    await page.clock.install(time=0)
    await page.clock.pause_at(1)  # the test says when a second is over, however slow the machine is
    await page.goto(window.link())
    orders: list[str] = []
    page.on("request", lambda sent: orders.append(sent.url) if sent.method == "POST" else None)
    stop = page.get_by_role("button", name="Stop", exact=True)
    await stop.click()
    await page.clock.run_for(900)
    await stop.click()
    await expect(page.locator("html")).to_have_attribute("data-arming", "")
    await page.clock.run_for(101)
    await expect(page.locator("html")).not_to_have_attribute("data-arming", "")
    assert orders == []
    assert one.status is Status.RUNNING
    await stop.click()
    await until(lambda: one.status is Status.CANCELLED, "the later click counts")


async def test_a_busy_window_shows_all_of_it(window: Window, browser: Browser) -> None:
    lost = [["end", "failed", "connection_lost", True]]
    scripts = [HOLDS, COMPLETES, FAILS, lost, HOLDS]
    for number in range(20):
        script = scripts[number % len(scripts)]
        direction = "receive" if number % 3 else "send"
        title = f"dailies-2026-11-{number + 1:02}.mxf"
        await window.manager.submit(
            request(script, title=title, direction=direction, explorer_path=f"/films/{title}")
        )
    # Ten places: those that run or wait for another try fill them before the last four have a turn.
    ended = {Status.COMPLETED, Status.FAILED}
    await until(lambda: sum(one.status in ended for one in window.manager.all()) == 6, "the short ones end")
    for size in (WIDE, NARROW):
        for scheme in ("light", "dark"):
            async with window.page(browser, viewport=size, color_scheme=scheme) as page:
                await expect(page.locator("transfer-row")).to_have_count(20)
                waiting = page.locator("transfer-row[data-status=willretry]").first
                await expect(waiting).to_contain_text("Tries again")
                await expect(page.get_by_role("button", name="Running 14")).to_be_visible()
                await screenshot(page, f"window-busy-{scheme}-{size['width']}")


async def test_a_tab_out_of_sight_holds_no_line(window: Window, browser: Browser) -> None:
    """A browser has six connections to an address: forgotten tabs must not block the next dialog."""
    hide = """hidden => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with window.page(browser) as page:
        await expect(page.locator("#empty")).to_be_visible()
        async with page.expect_event("requestfailed", lambda one: one.url.endswith("/api/events")):
            await page.evaluate(hide, True)
        await window.manager.submit(request(HOLDS, title="film.mov"))
        await expect(page.locator("#notice")).to_be_hidden()
        assert await page.locator("transfer-row").count() == 0
        await page.evaluate(hide, False)
        await expect(page.get_by_role("link", name="film.mov")).to_be_visible()


async def test_one_transfer_has_a_page(window: Window, browser: Browser) -> None:
    one = await window.manager.submit(
        request([["connect"], ["totals", 900, 2], ["file", 0, "done"], ["file", 1, "running"], ["hold"]])
    )
    await reaches(one, Status.RUNNING)
    async with window.page(browser, f"/activity/{one.id}", viewport=WIDE) as page:
        await expect(page.get_by_role("heading", name="film.mov")).to_be_visible()
        await expect(page.get_by_role("row")).to_have_count(3)
        await page.get_by_label("Limit of this transfer").fill("2.5")
        await page.get_by_role("button", name="Set", exact=True).click()
        await expect(page.get_by_text("Limited to 2.5 Mbit/s.")).to_be_visible()
        assert window.manager.plan_of(one.id).rate_kbps == 2_500
        await screenshot(page, "window-transfer")
        await page.get_by_role("button", name="Stop", exact=True).click()
        await expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Remove from the list").click()
        await page.wait_for_url(f"{window.address}/")


async def test_what_the_site_fixed_is_shown_with_the_reason(window: Window, browser: Browser) -> None:
    locks = {"lock_target_rate_kbps": True, "rate_policy_allowed": "fair", "target_rate_kbps": 4_000}
    one = await window.manager.submit(request(HOLDS, rate_kbps=4_000, spec=locks))
    await reaches(one, Status.RUNNING)
    async with window.page(browser, f"/activity/{one.id}", viewport=NARROW) as page:
        await expect(page.get_by_label("Limit of this transfer")).to_be_disabled()
        await expect(
            page.get_by_text("has fixed its rate. The site allows no policy above fair.")
        ).to_be_visible()
        policy = page.get_by_label("Part of the limit of all transfers")
        await expect(policy.locator("option:disabled")).to_have_count(2)
        await policy.select_option("low")
        await expect(page.get_by_text("The policy is low now.")).to_be_visible()
        assert one.spec["rate_policy"] == "low"
        await screenshot(page, "window-transfer-fixed")
        await page.emulate_media(color_scheme="dark")
        await page.set_viewport_size({"width": 1100, "height": 800})
        await screenshot(page, "window-transfer-fixed-dark")


async def test_a_transfer_that_is_gone_is_said_so(window: Window, browser: Browser) -> None:
    async with window.page(browser, "/activity/nothing") as page:
        await expect(page.get_by_role("heading", name="This transfer is not on the list")).to_be_visible()


async def test_permissions_are_taken_back(window: Window, browser: Browser) -> None:
    site = "https://portal.example"
    window.sites.remember_host(site, "b.example", 22)
    window.sites.remember_host(site, "c.example", 33001)
    for number in range(2):
        window.sites.grant(
            Grant(f"g{number}", Scope(site, "app"), "folder", f"/films/{number}", 1, number, None, 1.0)
        )
    async with window.page(browser, "/sites", viewport=WIDE) as page:
        await screenshot(page, "window-sites")
        await page.get_by_role("button", name="Ask again: b.example:22").click()
        await expect(page.get_by_text("b.example:22", exact=True)).to_have_count(0)
        assert not window.sites.knows_host(site, "b.example", 22)
        assert window.sites.knows_host(site, "c.example", 33001)
        await page.get_by_role("button", name="Take back: /films/0").click()
        await expect(page.get_by_text("/films/0", exact=True)).to_have_count(0)
        assert window.sites.find(Scope(site, "app"), "/films/0") is None
        window.sites.remember_host(site, "d.example", 22)  # by a question, meanwhile
        await expect(page.get_by_text("d.example:22", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Take everything back").click()
        await page.get_by_role("dialog").get_by_role("button", name="Take everything back").click()
        await expect(page.get_by_role("heading", name="No site may do anything")).to_be_visible()
        assert window.sites.overview() == []


async def test_preferences_save_themselves(window: Window, browser: Browser, tmp_path: Path) -> None:
    async with window.page(browser, "/preferences/bandwidth", viewport=WIDE) as page:
        await page.get_by_label("All uploads together").fill("12.5")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Saved")).to_be_visible()
        assert window.preferences.current.upload_limit_kbps == 12_500
        await page.get_by_label("All uploads together").fill("")
        await page.keyboard.press("Enter")
        await until(lambda: window.preferences.current.upload_limit_kbps is None, "the limit is lifted")
        await page.get_by_role("switch", name="Try again by itself").click()
        await until(lambda: not window.preferences.current.retry, "the switch is kept")
        await page.get_by_label("Questions and file dialogs").select_option("browser")
        await until(lambda: window.preferences.current.dialogs == "browser", "the choice is kept")
        await page.get_by_label("Download folder").fill(str(tmp_path))
        await page.keyboard.press("Tab")
        await until(lambda: window.preferences.download_folder == tmp_path, "the folder is kept")
        await screenshot(page, "window-preferences")


async def test_a_bad_preference_is_explained_at_its_field(window: Window, browser: Browser) -> None:
    bad = [
        ("Transfers at the same time", "400", "Choose a whole number from 1 to 20."),
        ("Tries without progress", "", "A value is needed here."),
        ("Download folder", "/no/such/folder", "There is no such folder."),
        ("All downloads together", "0.001", "Choose a rate from 0.008 to 100,000 Mbit/s"),
    ]
    before = window.preferences.current
    async with window.page(browser, "/preferences", locale="en-US") as page:
        for label, value, words in bad:
            field = page.get_by_label(label)
            await field.fill(value)
            await page.keyboard.press("Tab")
            await expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
            await expect(field).to_have_attribute("aria-invalid", "true")
            await expect(field).to_have_value(value)
        assert window.preferences.current == before
        await page.get_by_label("Transfers at the same time").fill("4")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("alert").filter(has_text="from 1 to 20")).to_have_count(0)
        assert window.preferences.current.concurrent_transfers == 4


PLAIN = [["connect over", "http"], ["totals", 1_000_000, 1], ["progress", 400_000], ["hold"]]
TLS = [["connect over", "https"], *PLAIN[1:]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_a_transfer_that_others_can_read_is_marked(
    window: Window, browser: Browser, size: dict[str, int], scheme: str
) -> None:
    plain = await window.manager.submit(request(PLAIN, title="readable.mov"))
    sealed = await window.manager.submit(request(TLS, title="sealed.mov"))
    for one in (plain, sealed):
        await reaches(one, Status.RUNNING)
    async with window.page(browser, viewport=size, color_scheme=scheme) as page:
        row = page.locator("transfer-row")
        await expect(row.filter(has_text="readable.mov").get_by_text("Not encrypted")).to_be_visible()
        await expect(row.filter(has_text="sealed.mov").get_by_text("Not encrypted")).to_be_hidden()
        await screenshot(page, f"window-unencrypted-{scheme}-{size['width']}")
        await page.goto(f"{window.address}/activity/{plain.id}")
        await expect(page.locator(".monitor-head").get_by_text("Not encrypted")).to_be_visible()
        await expect(page.get_by_text("HTTP, not encrypted")).to_be_visible()
        await screenshot(page, f"window-unencrypted-one-{scheme}-{size['width']}")
        await page.goto(f"{window.address}/activity/{sealed.id}")
        await expect(page.get_by_text("HTTPS", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_whom_to_trust_is_a_preference(
    window: Window, browser: Browser, size: dict[str, int], scheme: str
) -> None:
    pin = f"files.example={':'.join(['AB'] * 32)}"
    async with window.page(browser, "/preferences/network", viewport=size, color_scheme=scheme) as page:
        plain = page.get_by_role("switch", name="Allow transfers over HTTP without encryption")
        await expect(plain).not_to_be_checked()  # until the user wants it
        field = page.get_by_label("Pinned certificates")
        await field.fill("files.example=AB:CD")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("alert").filter(has_text="HOST=FINGERPRINT")).to_be_visible()
        await screenshot(page, f"preferences-trust-wrong-{scheme}-{size['width']}")
        assert window.preferences.current.pinned_certificates == ""
        await field.fill(pin)
        await page.keyboard.press("Tab")
        await until(lambda: window.preferences.current.pinned_certificates == pin, "the pin is kept")
        await plain.click()
        await until(lambda: window.preferences.current.plain_http, "the switch is kept")
        await screenshot(page, f"preferences-trust-{scheme}-{size['width']}")


async def test_a_change_elsewhere_shows_without_touching_what_is_typed(
    window: Window, browser: Browser
) -> None:
    async with window.page(browser, "/preferences") as page:
        typing = page.get_by_label("All uploads together")
        await typing.fill("33")
        window.preferences.change({"concurrent_transfers": 9, "upload_limit_kbps": 1_000})
        await expect(page.get_by_label("Transfers at the same time")).to_have_value("9")
        await expect(typing).to_have_value("33")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_nothing_is_wider_than_the_window(
    window: Window, browser: Browser, size: dict[str, int], scheme: str
) -> None:
    long = "a-very-long-name-without-any-place-to-break-it-" * 4
    for number, script in enumerate([HOLDS, FAILS, COMPLETES, HOLDS]):
        start = request(script, title=f"{long}{number}", explorer_path=f"/d/{long}", note=long)
        await window.manager.submit(to_host(start, f"{long}.example"))
    window.sites.remember_host(f"https://{long}.example", f"{long}.example", 22)
    one = window.manager.all()[1]
    await reaches(one, Status.FAILED)
    for path in ["/", f"/activity/{one.id}", "/sites", "/preferences", "/about"]:
        async with window.page(browser, path, viewport=size, color_scheme=scheme) as page:
            await page.wait_for_selector("main:not(:has([aria-busy]))")
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, path
            if path == "/":
                await screenshot(page, f"window-long-{scheme}-{size['width']}")


async def test_a_real_upload_is_watched_stopped_and_resumed(tmp_path: Path, browser: Browser) -> None:
    film = tmp_path / "film.mov"
    film.write_bytes(random.Random(7).randbytes(8_000_000))
    facts = film.stat()
    with SshServer() as sshd:
        target = sshd.root / "film.mov"
        plan = SessionPlan(
            transfer_id="",
            direction="send",
            server=Server(host=sshd.host, port=sshd.port, addresses=(sshd.host,)),
            login=Login(user=sshd.user, private_key=SecretStr(sshd.client_key)),
            host_keys=HostKeys(trusted=(sshd.host_key_line,)),
            items=(
                Upload(
                    source=LocalRef(path=str(film), device=facts.st_dev, inode=facts.st_ino),
                    target=str(target),
                ),
            ),
            rate_kbps=8_000,  # eight seconds
            resume_folder=str(tmp_path / "home" / "state" / "resume"),
        )
        start = dataclasses.replace(request(explorer_path=str(film)), plan=plan)
        async with open_window(tmp_path / "home", scripted=False) as window:
            async with window.page(browser, viewport=WIDE) as page:
                one = await window.manager.submit(start)
                row = page.locator("transfer-row")
                await expect(row).to_contain_text("left", timeout=20_000)
                await expect(row).to_contain_text("Mbit/s")
                await expect(row.locator("rate-graph .line")).to_have_attribute("d", re.compile("^M.*L"))
                await screenshot(page, "window-real")
                await page.get_by_role("button", name="Stop", exact=True).click()
                await expect(row.get_by_text("Stopped", exact=True)).to_be_visible()
                assert 0 < one.bytes_written < 8_000_000
                assert not target.exists()
                await window.manager.set_rate(one.id, None, {"target_rate_kbps": 0})
                await page.get_by_role("button", name="Resume").click()
                await expect(row.get_by_text("Completed", exact=True)).to_be_visible(timeout=20_000)
            assert target.read_bytes() == film.read_bytes()
            async with window.page(browser, f"/activity/{one.id}", viewport=WIDE) as page:
                await expect(page.get_by_text("Verified: size")).to_be_visible()
                await screenshot(page, "window-real-done")


async def test_a_helper_that_ends_is_noticed(tmp_path: Path, browser: Browser) -> None:
    page = await browser.new_page()
    async with open_window(tmp_path / "home") as window:
        one = await window.manager.submit(request(COMPLETES, title="film.mov"))
        await reaches(one, Status.COMPLETED)
        await page.goto(window.link())
        await expect(page.get_by_role("link", name="film.mov")).to_be_visible()
    await expect(page.get_by_text("The helper does not answer")).to_be_visible()
    await expect(page.get_by_role("link", name="film.mov")).to_be_visible()  # old, but not lost
    await screenshot(page, "window-lost")
