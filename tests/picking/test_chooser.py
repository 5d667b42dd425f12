"""Which way is taken, in which order questions come, and what happens when a way fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from connect_helper.errors import Unavailable
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.chooser import Dialogs
from connect_helper.picking.native import find_desktop
from connect_helper.settings import PreferencesStore

FILES = DialogRequest("open-file", "https://a.example")


class Way:
    """A Picker and Asker whose answers the test gives; `broken` ones cannot show anything."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.name = name
        self.broken = broken
        self.asked: list[str] = []
        self.open = 0
        self.most_open = 0
        self.release = asyncio.Event()
        self.answers: list[bool] = []

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        await self._show(request.title)
        return [Path("/", self.name)]

    async def ask(self, question: Question) -> Answer:
        await self._show(question.heading)
        return Answer(self.answers.pop(0) if self.answers else True)

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        await self._show(question.heading)
        return Credentials("ann", "secret")

    async def _show(self, what: str) -> None:
        if self.broken:
            raise Unavailable("No dialog here.")
        self.asked.append(what)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self.release.wait()
        finally:
            self.open -= 1


def question(heading: str) -> Question:
    return Question("https://a.example", heading)


@pytest.mark.parametrize(
    ("wish", "has_native", "broken", "taken"),
    [
        ("auto", True, False, "native"),
        ("auto", False, False, "page"),
        ("auto", True, True, "page"),
        ("native", True, False, "native"),
        ("native", True, True, "page"),
        ("browser", True, False, "page"),
    ],
)
async def test_the_way_follows_the_preference_and_what_works(
    preferences: PreferencesStore, wish: str, has_native: bool, broken: bool, taken: str
) -> None:
    native, page = Way("native", broken=broken), Way("page")
    native.release.set()
    page.release.set()
    preferences.change({"dialogs": wish})
    dialogs = Dialogs(preferences, native if has_native else None, page, too_quick_s=0)
    assert await dialogs.pick(FILES) == [Path("/", taken)]
    assert (await dialogs.ask(question("Allow?"))).accepted
    assert await dialogs.ask_credentials(CredentialsQuestion("c", "Sign in", None)) is not None
    assert len((native if taken == "native" else page).asked) == 3


async def test_questions_come_one_at_a_time_in_their_order(preferences: PreferencesStore) -> None:
    way = Way("page")
    dialogs = Dialogs(preferences, None, way, too_quick_s=0)
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(dialogs.ask(question(str(number))))
        await asyncio.sleep(0.01)
        assert way.asked == ["0"]
        way.release.set()
    assert way.asked == ["0", "1", "2", "3", "4"]
    assert way.most_open == 1


async def test_a_question_given_up_lets_the_next_one_come(preferences: PreferencesStore) -> None:
    way = Way("page")
    dialogs = Dialogs(preferences, None, way, too_quick_s=0)
    first = asyncio.create_task(dialogs.ask(question("first")))
    second = asyncio.create_task(dialogs.ask(question("second")))
    await asyncio.sleep(0.01)
    first.cancel()
    way.release.set()
    assert (await second).accepted
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_file_dialogs_are_side_by_side_and_beside_a_question(preferences: PreferencesStore) -> None:
    way = Way("page")
    dialogs = Dialogs(preferences, None, way, too_quick_s=0)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(dialogs.pick(FILES))
        group.create_task(dialogs.ask(question("Allow?")))
        await asyncio.sleep(0.01)
        assert way.open == 4
        way.release.set()


async def test_a_yes_quicker_than_reading_is_asked_again_and_then_a_no(preferences: PreferencesStore) -> None:
    way = Way("page")
    way.release.set()
    dialogs = Dialogs(preferences, None, way, too_quick_s=30)
    assert not (await dialogs.ask(question("Allow?"))).accepted
    assert way.asked == ["Allow?"] * 3


async def test_a_quick_no_is_a_no_at_once(preferences: PreferencesStore) -> None:
    way = Way("page")
    way.release.set()
    way.answers = [False]
    dialogs = Dialogs(preferences, None, way, too_quick_s=30)
    assert not (await dialogs.ask(question("Allow?"))).accepted
    assert way.asked == ["Allow?"]


async def test_a_dialog_left_open_ends_as_cancelled(preferences: PreferencesStore) -> None:
    way = Way("native")
    dialogs = Dialogs(preferences, way, way, time_limit_s=0.05)
    assert list(await dialogs.pick(FILES)) == []
    assert not (await dialogs.ask(question("Allow?"))).accepted
    assert await dialogs.ask_credentials(CredentialsQuestion("c", "Sign in", None)) is None
    assert way.open == 0


def test_no_desktop_without_a_screen_or_a_program(tmp_path: Path) -> None:
    assert find_desktop({}, platform="linux") is None
    assert find_desktop({"DISPLAY": ":0"}, platform="linux", folders=[str(tmp_path)]) is None
    assert find_desktop({"SSH_CONNECTION": "1"}, platform="darwin") is None
    assert find_desktop({"SystemRoot": str(tmp_path)}, platform="win32") is None


@pytest.mark.parametrize(
    ("installed", "desktop", "taken"),
    [
        (["zenity", "kdialog"], "KDE", "Kdialog"),
        (["zenity", "kdialog"], "ubuntu:GNOME", "Zenity"),
        (["kdialog"], "GNOME", "Kdialog"),
        (["zenity"], "KDE", "Zenity"),
    ],
)
def test_the_program_that_fits_the_desktop_is_taken(
    tmp_path: Path, installed: list[str], desktop: str, taken: str
) -> None:
    for name in installed:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    environment = {"WAYLAND_DISPLAY": "wayland-0", "XDG_CURRENT_DESKTOP": desktop}
    found = find_desktop(environment, platform="linux", folders=[str(tmp_path)])
    assert type(found).__name__ == taken
