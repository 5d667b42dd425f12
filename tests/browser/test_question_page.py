"""The question page in a real browser: no is the default, yes takes a second, secrets come through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from connect_helper.picking.base import Answer, CredentialsQuestion, Question
from connect_helper.picking.presence import Patience
from tests.support.browser import hold_animations, screenshot, style_of
from tests.support.desk_pages import DeskWindow, desk_window

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLER = "https://portal.example"
PATIENCE = Patience(without_page=0.3)
QUESTION = Question(
    CALLER,
    "Allow https://portal.example to upload 3 files (1.2 GB) to films.example?",
    ("films.example, port 33001, as user ann", "SHA256:8Q2m1b3N0uCkq1Z9qfVJYyV4oVfL3hJ0w0m1nB2c3d4"),
    remember="Always allow https://portal.example to use films.example",
)


@pytest_asyncio.fixture(loop_scope="module")
async def window(tmp_path: Path) -> AsyncIterator[DeskWindow]:
    async with desk_window(tmp_path / "helper", patience=PATIENCE) as running:
        yield running


async def open_question(window: DeskWindow, browser: Browser, **context: object) -> Page:
    page = await browser.new_page(**context)  # type: ignore[arg-type]
    await page.goto(await window.next_address())
    await expect(page.locator("#question")).to_be_visible()
    return page


async def soon(asking: asyncio.Task[Answer]) -> Answer:
    async with asyncio.timeout(10):
        return await asking


async def test_no_has_the_focus_and_yes_takes_a_second(window: DeskWindow, browser: Browser) -> None:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    page = await open_question(window, browser)
    await expect(page.get_by_role("button", name="Deny")).to_be_focused()
    await expect(page.locator("#heading")).to_have_text(QUESTION.heading)
    await expect(page.locator("#details li")).to_have_text(list(QUESTION.details))
    allow = page.get_by_role("button", name="Allow", exact=True)
    await expect(allow).to_be_disabled()
    await expect(allow).to_be_enabled()
    await allow.click()
    assert await soon(asking) == Answer(accepted=True, remember=False)
    await expect(page.locator("#over-title")).to_have_text("Thank you")


async def test_always_is_a_choice_of_its_own(window: DeskWindow, browser: Browser) -> None:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    page = await open_question(window, browser)
    await expect(page.locator("#accept")).to_be_enabled()
    await page.get_by_label("Always allow").check()
    await page.locator("#accept").click()
    assert await soon(asking) == Answer(accepted=True, remember=True)


async def test_a_question_without_always_shows_none(window: DeskWindow, browser: Browser) -> None:
    asking = asyncio.create_task(window.desk.ask(Question(CALLER, "Allow this once?")))
    page = await open_question(window, browser)
    await expect(page.locator("#remember")).to_be_hidden()
    await page.keyboard.press("Escape")
    assert await soon(asking) == Answer(accepted=False)


@pytest.mark.parametrize("how", ["Enter", "Escape", "close"])
async def test_every_way_out_is_a_no(window: DeskWindow, browser: Browser, how: str) -> None:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    page = await open_question(window, browser)
    await expect(page.locator("#accept")).to_be_enabled()
    await expect(page.locator("html")).not_to_have_attribute("data-arming", "")
    await (page.close() if how == "close" else page.keyboard.press(how))
    assert await soon(asking) == Answer(accepted=False)


async def test_a_login_comes_through(window: DeskWindow, browser: Browser) -> None:
    asked = CredentialsQuestion(CALLER, "Sign in to films.example", None)
    asking = asyncio.create_task(window.desk.ask_credentials(asked))
    page = await open_question(window, browser)
    await expect(page.get_by_label("User name")).to_be_focused()
    await expect(page.get_by_label("Password")).to_have_attribute("type", "password")
    await page.get_by_label("Password").fill("p\"'<b>ä")
    await expect(page.locator("#accept")).to_be_enabled()
    await page.locator("#accept").click()
    await expect(page.locator("#problem")).to_have_text("Type a user name.")
    await page.get_by_label("User name").fill("ann")
    await page.keyboard.press("Enter")
    async with asyncio.timeout(10):
        answer = await asking
    assert answer is not None
    assert (answer.user, answer.secret) == ("ann", "p\"'<b>ä")


async def test_a_known_user_is_shown_and_cannot_be_changed(window: DeskWindow, browser: Browser) -> None:
    asked = CredentialsQuestion(CALLER, "Sign in to films.example", "ann", secret_label="Passphrase")
    asking = asyncio.create_task(window.desk.ask_credentials(asked))
    page = await open_question(window, browser)
    await expect(page.get_by_label("User name")).to_have_value("ann")
    await expect(page.get_by_label("User name")).to_have_attribute("readonly", "")
    await page.get_by_label("Passphrase").fill("secret")
    await expect(page.locator("#accept")).to_be_enabled()
    await page.keyboard.press("Enter")
    async with asyncio.timeout(10):
        answer = await asking
    assert answer is not None
    assert (answer.user, answer.secret) == ("ann", "secret")


async def test_hostile_words_are_shown_and_run_nothing(window: DeskWindow, browser: Browser) -> None:
    words = "<img src=x onerror=alert(1)> \u202egpj.exe {{7*7}}"
    question = Question(words, words, (words,), accept=words, remember=words)
    asking = asyncio.create_task(window.desk.ask(question))
    page = await browser.new_page()
    noises: list[str] = []
    page.on("dialog", lambda dialog: noises.append(dialog.message))
    page.on("console", lambda said: noises.append(said.text) if said.type == "error" else None)
    await page.goto(await window.next_address())
    await expect(page.locator("#heading")).to_have_text("<img src=x onerror=alert(1)> gpj.exe {{7*7}}")
    await page.get_by_role("button", name="Deny").click(delay=10)
    await expect(page.locator("html")).not_to_have_attribute("data-arming", "")
    await page.keyboard.press("Escape")
    assert not (await soon(asking)).accepted
    assert noises == []


async def test_sec_16_no_page_can_frame_the_question(window: DeskWindow, browser: Browser) -> None:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    address = await window.next_address()
    page = await browser.new_page()
    await page.set_content(f'<iframe src="{address}"></iframe>')
    frame = page.frames[-1]
    await page.wait_for_timeout(1_000)
    assert await frame.locator("#question").count() == 0
    assert not asking.done()
    asking.cancel()


class Client:
    """A signed-in caller of the pages' API, without a browser: quicker than any hand."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str, pending_id: str) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"}
        self.path = f"{base}/api/pending/{pending_id}"

    async def post(self, below: str, body: object) -> tuple[int, dict[str, object]]:
        async with self._session.post(self.path + below, json=body, headers=self._headers) as response:
            answer = await response.json() if response.status != 204 else {}
            return response.status, answer

    def stream(self) -> aiohttp.client._RequestContextManager:
        return self._session.get(self.path + "/stream", headers=self._headers)


@pytest_asyncio.fixture(loop_scope="module")
async def client(window: DeskWindow) -> AsyncIterator[tuple[Client, asyncio.Task[Answer]]]:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    address, _, code = (await window.next_address()).partition("#code=")
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{window.base_url}/api/session", json={"code": code}) as response:
            token = (await response.json())["token"]
        yield Client(session, window.base_url, token, address.rsplit("/", 1)[1]), asking
    asking.cancel()


async def test_the_helper_itself_refuses_a_yes_within_a_second(
    client: tuple[Client, asyncio.Task[Answer]],
) -> None:
    caller, asking = client
    yes = {"accepted": True}
    assert (await caller.post("/answer", yes))[0] == 429  # no page has shown it
    async with caller.stream() as line:
        begun = time.monotonic()
        await line.content.readline()
        assert (await caller.post("/answer", yes))[0] == 429
        async with asyncio.timeout(10):
            while (await caller.post("/answer", yes))[0] == 429:  # noqa: ASYNC110 - a client has no event
                await asyncio.sleep(0.05)
        assert time.monotonic() - begun >= 0.9
        assert (await soon(asking)).accepted
        async with asyncio.timeout(5):
            assert b"event: over" in await line.content.read()
    assert (await caller.post("/answer", yes))[0] == 404


async def test_odd_bodies_answer_nothing(client: tuple[Client, asyncio.Task[Answer]]) -> None:
    caller, asking = client
    assert (await caller.post("/folder", {"path": "/"}))[0] == 404  # a question has no folders
    async with caller.stream():
        for body in ([], "yes", 1):
            assert (await caller.post("/answer", body))[0] == 400
        assert not asking.done()
        assert (await caller.post("/answer", {"accepted": "true", "remember": True}))[0] == 204
        assert await soon(asking) == Answer(accepted=False)


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("question-waiting-light", 900, "light"),
        ("question-waiting-dark", 900, "dark"),
        ("question-waiting-narrow", 360, "light"),
    ],
)
async def test_sec_16_the_first_second_is_seen(
    window: DeskWindow, browser: Browser, name: str, width: int, scheme: str
) -> None:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    page = await browser.new_page(viewport={"width": width, "height": 640}, color_scheme=scheme)  # type: ignore[arg-type]
    await page.clock.install(time=0)
    await page.clock.pause_at(1)  # the test says when a second is over, however slow the machine is
    await page.goto(await window.next_address())
    await expect(page.locator("#accept.filling")).to_be_visible()
    deny = page.get_by_role("button", name="Deny")
    await deny.click()
    await expect(page.locator(".toast")).to_contain_text("in sight for a second")
    await deny.click()
    await expect(page.locator(".toast")).to_have_count(1)
    await hold_animations(page, 500)
    await screenshot(page, name)
    assert await style_of(page, "#refuse", "cursor") == "progress"
    assert float(await style_of(page, "#refuse", "opacity")) < 1
    assert await style_of(page, "#accept", "background-position-x") == "50%"  # half of it is full
    await page.clock.run_for(1_100)
    await expect(page.locator("html")).not_to_have_attribute("data-arming", "")
    assert await style_of(page, "#refuse", "cursor") == "pointer"
    await expect(page.locator("#accept.filling")).to_have_count(0)
    assert await style_of(page, "#accept", "background-image") == "none"
    await deny.click()
    assert await soon(asking) == Answer(accepted=False)


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("question-light", 900, "light"), ("question-dark", 900, "dark"), ("question-narrow", 360, "light")],
)
async def test_looks(window: DeskWindow, browser: Browser, name: str, width: int, scheme: str) -> None:
    asking = asyncio.create_task(window.desk.ask(QUESTION))
    page = await open_question(window, browser, viewport={"width": width, "height": 640}, color_scheme=scheme)
    await expect(page.locator("#accept")).to_be_enabled()
    await screenshot(page, name)
    overflow = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow == 0
    asking.cancel()
