"""The desk: what waits for a page, and how each waiting ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connect_helper.errors import NotFound, TooManyRequests, Unavailable
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.desk import PENDING_LIMIT, Desk, Pending
from connect_helper.picking.presence import Gone, Patience, Presence

PATIENCE = Patience(to_open=120, without_page=5, in_all=3600, before_yes=1)
HASTY = Patience(to_open=0.05, without_page=0.05, in_all=5, before_yes=0)
FILES = DialogRequest("open-file", "https://a.example", multiple=True)
QUESTION = Question("https://a.example", "Allow?", remember="Always")


class Browser:
    """Stands for the user's browser: keeps the pages it was told to open."""

    def __init__(self) -> None:
        self.pages: asyncio.Queue[str] = asyncio.Queue()

    async def open(self, path: str) -> None:
        self.pages.put_nowait(path)

    async def shown(self, desk: Desk) -> Pending:
        async with asyncio.timeout(5):
            return desk.find((await self.pages.get()).rsplit("/", 1)[1])


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([], (1120.0, Gone.NEVER_OPENED)),
        ([("came", 1050.0)], (4600.0, Gone.TOO_LATE)),
        ([("came", 1050.0), ("left", 1060.0)], (1065.0, Gone.CLOSED)),
        ([("came", 1050.0), ("left", 1060.0), ("came", 1062.0)], (4600.0, Gone.TOO_LATE)),
        ([("came", 1050.0), ("came", 1055.0), ("left", 1060.0)], (4600.0, Gone.TOO_LATE)),
        ([("came", 1050.0), ("came", 1055.0), ("left", 1060.0), ("left", 1070.0)], (1075.0, Gone.CLOSED)),
        ([("came", 1050.0), ("left", 4599.0)], (4600.0, Gone.TOO_LATE)),
    ],
)
def test_when_waiting_ends(events: list[tuple[str, float]], end: tuple[float, Gone]) -> None:
    presence = Presence(1000.0)
    for what, at in events:
        (presence.page_came if what == "came" else presence.page_left)(at)
    assert presence.deadline(PATIENCE) == end


async def test_the_page_gives_the_answer_to_its_asker() -> None:
    browser = Browser()
    desk = Desk(browser.open, patience=HASTY)
    picking = asyncio.create_task(desk.pick(FILES))
    pending = await browser.shown(desk)
    assert pending.page == f"/pick/{pending.id}"
    with desk.page_present(pending):
        desk.settle(pending, [Path("/films/a"), Path("/films/b")])
        assert await picking == [Path("/films/a"), Path("/films/b")]
    assert desk.recent_folders == ("/films",)
    with pytest.raises(NotFound):
        desk.find(pending.id)


async def test_two_at_once_are_independent() -> None:
    browser = Browser()
    desk = Desk(browser.open, patience=HASTY)
    first = asyncio.create_task(desk.pick(FILES))
    one = await browser.shown(desk)
    second = asyncio.create_task(desk.ask(QUESTION))
    two = await browser.shown(desk)
    assert two.page == f"/ask/{two.id}"
    assert one.id != two.id
    with desk.page_present(one), desk.page_present(two):
        desk.settle(two, Answer(accepted=True, remember=True))
        assert await second == Answer(accepted=True, remember=True)
        assert not first.done()
        desk.settle(one, None)
        assert await first == []


async def test_a_closed_page_is_a_no_and_a_reload_is_not() -> None:
    browser = Browser()
    desk = Desk(browser.open, patience=HASTY)
    asking = asyncio.create_task(desk.ask(QUESTION))
    pending = await browser.shown(desk)
    with desk.page_present(pending):
        pass
    with desk.page_present(pending):
        await asyncio.sleep(HASTY.without_page * 3)
        assert not asking.done()
    assert await asking == Answer(accepted=False)


async def test_a_page_that_never_opens_is_a_no() -> None:
    desk = Desk(Browser().open, patience=HASTY)
    assert await desk.pick(FILES) == []
    assert await desk.ask_credentials(CredentialsQuestion("c", "Sign in", None)) is None


async def test_waiting_has_an_end_though_the_page_is_open() -> None:
    browser = Browser()
    desk = Desk(browser.open, patience=Patience(in_all=0.1))
    picking = asyncio.create_task(desk.pick(FILES))
    with desk.page_present(await browser.shown(desk)):
        assert await picking == []


async def test_a_yes_within_a_second_is_refused_and_a_no_is_not() -> None:
    browser, clock = Browser(), Hands()
    desk = Desk(browser.open, patience=PATIENCE, clock=clock)
    asking = asyncio.create_task(desk.ask(QUESTION))
    pending = await browser.shown(desk)
    clock.now += 60  # the browser was slow to start: that is no time to read
    yes = Answer(accepted=True)
    with pytest.raises(TooManyRequests):
        desk.settle(pending, yes)
    with desk.page_present(pending):
        clock.now += 0.9
        with pytest.raises(TooManyRequests):
            desk.settle(pending, yes)
        clock.now += 0.2
        desk.settle(pending, yes)
        assert await asking == yes
    declining = asyncio.create_task(desk.ask(QUESTION))
    desk.settle(await browser.shown(desk), Answer(accepted=False))
    assert not (await declining).accepted


async def test_an_answer_counts_once() -> None:
    browser = Browser()
    desk = Desk(browser.open, patience=HASTY)
    asking = asyncio.create_task(desk.ask_credentials(CredentialsQuestion("c", "Sign in", None)))
    pending = await browser.shown(desk)
    with desk.page_present(pending):
        desk.settle(pending, Credentials("ann", "secret"))
        with pytest.raises(NotFound):
            desk.settle(pending, None)
        answer = await asking
    assert answer is not None
    assert (answer.user, answer.secret) == ("ann", "secret")
    assert "secret" not in repr(answer)


async def test_cancelling_the_call_ends_the_page() -> None:
    browser = Browser()
    desk = Desk(browser.open)
    picking = asyncio.create_task(desk.pick(FILES))
    pending = await browser.shown(desk)
    picking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await picking
    assert pending.reply.cancelled()
    with pytest.raises(NotFound):
        desk.find(pending.id)


async def test_no_browser_is_said_at_once() -> None:
    async def no_browser(path: str) -> None:
        raise Unavailable("No browser.")

    desk = Desk(no_browser)
    with pytest.raises(Unavailable):
        await desk.pick(FILES)


async def test_a_browser_that_does_not_return_hinders_nobody() -> None:
    paths: asyncio.Queue[str] = asyncio.Queue()

    async def blocking_browser(path: str) -> None:
        paths.put_nowait(path)
        await asyncio.Event().wait()

    desk = Desk(blocking_browser, patience=HASTY)
    asking = asyncio.create_task(desk.ask(QUESTION))
    pending = desk.find((await paths.get()).rsplit("/", 1)[1])
    with desk.page_present(pending):
        desk.settle(pending, Answer(accepted=True))
        assert (await asking).accepted


async def test_pending_items_are_bounded() -> None:
    desk = Desk(Browser().open)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(desk.pick(FILES)) for _ in range(PENDING_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await desk.pick(FILES)
        for task in waiting:
            task.cancel()
