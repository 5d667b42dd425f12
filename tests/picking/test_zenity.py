"""zenity for real, on a virtual screen, answered by keys as a person would."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from connect_helper.errors import Unavailable
from connect_helper.picking.base import CredentialsQuestion, DialogRequest, FileFilter, Question
from connect_helper.picking.native import find_desktop
from connect_helper.picking.zenity import Zenity
from tests.support.desktop import Desktop

CALLER = "https://portal.example"


@pytest.fixture
def zenity(desktop: Desktop) -> Zenity:
    found = find_desktop(desktop.environment(XDG_CURRENT_DESKTOP="GNOME"))
    assert isinstance(found, Zenity)
    return found


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("one.mov", "two\nlines.mov", "three é.mov", "odd \x1f name.mov"):
        (folder / name).write_bytes(b"film")
    return folder


def asking(folder: Path, kind: str = "open-file", **more: object) -> DialogRequest:
    return DialogRequest(kind, CALLER, start_folder=folder, **more)  # type: ignore[arg-type]


def names_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def open_dialogs() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == "zenity"]


async def test_the_typed_file_is_the_answer(zenity: Zenity, desktop: Desktop, films: Path) -> None:
    picking = asyncio.create_task(zenity.pick(asking(films, title="Tonight")))
    await desktop.choose(f"^{CALLER} wants a file: Tonight$", films / "one.mov")
    assert await picking == [films / "one.mov"]


async def test_several_files_with_odd_names_come_back_whole(
    zenity: Zenity, desktop: Desktop, films: Path
) -> None:
    listed = names_in(films)
    picking = asyncio.create_task(zenity.pick(asking(films, multiple=True)))
    await desktop.window("wants files")
    answer: Sequence[Path] = []
    async with asyncio.timeout(20):
        await asyncio.sleep(0.5)  # GTK reads the folder
        await desktop.key("ctrl+a", "Return")
        answer = await picking
    assert sorted(answer) == listed


async def test_a_folder_is_the_answer(zenity: Zenity, desktop: Desktop, films: Path) -> None:
    picking = asyncio.create_task(zenity.pick(asking(films, "open-folder")))
    await desktop.choose("wants a folder", films)
    assert await picking == [films]


async def test_a_new_file_is_the_answer_of_a_save_dialog(
    zenity: Zenity, desktop: Desktop, films: Path
) -> None:
    picking = asyncio.create_task(zenity.pick(asking(films, "save-file", suggested_name="four.mov")))
    await desktop.window("asks where to save")
    await asyncio.sleep(0.5)
    await desktop.key("Return")
    assert await picking == [films / "four.mov"]
    assert not (films / "four.mov").exists()


async def test_escape_gives_no_files(zenity: Zenity, desktop: Desktop, films: Path) -> None:
    picking = asyncio.create_task(zenity.pick(asking(films)))
    await desktop.window("wants a file")
    await desktop.key("Escape")
    assert await picking == []


async def test_a_killed_dialog_is_a_closed_one(zenity: Zenity, desktop: Desktop, films: Path) -> None:
    picking = asyncio.create_task(zenity.pick(asking(films)))
    await desktop.window("wants a file")
    for process in open_dialogs():
        process.send_signal(signal.SIGTERM)
    assert await picking == []


async def test_cancelling_the_call_closes_the_dialog(zenity: Zenity, desktop: Desktop, films: Path) -> None:
    picking = asyncio.create_task(zenity.pick(asking(films)))
    window = await desktop.window("wants a file")
    picking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await picking
    assert open_dialogs() == []
    await desktop.gone(window)


async def test_two_dialogs_at_once_answer_their_own_askers(
    zenity: Zenity, desktop: Desktop, films: Path
) -> None:
    first = asyncio.create_task(zenity.pick(asking(films, title="First")))
    await desktop.window("First")
    second = asyncio.create_task(zenity.pick(asking(films, title="Second")))
    await desktop.choose("Second", films / "one.mov")
    assert await second == [films / "one.mov"]
    assert not first.done()
    await desktop.window("First")
    await desktop.key("Escape")
    assert await first == []


async def test_a_name_that_is_no_utf8_is_refused_and_not_mistaken(
    zenity: Zenity, desktop: Desktop, tmp_path: Path
) -> None:
    (tmp_path / "bad\udcff.mov").touch()
    picking = asyncio.create_task(zenity.pick(asking(tmp_path, multiple=True)))
    await desktop.window("wants files")
    await asyncio.sleep(0.5)
    await desktop.key("ctrl+a", "Return")
    with pytest.raises(Unavailable):
        await picking


@pytest.mark.parametrize(
    ("keys", "accepted", "remember"),
    [
        (["Return"], False, False),  # no has the focus
        (["Escape"], False, False),
        (["Tab", "Return"], True, False),
        (["shift+Tab", "Return"], True, True),
    ],
)
async def test_answers_of_a_question(
    zenity: Zenity, desktop: Desktop, keys: list[str], accepted: bool, remember: bool
) -> None:
    question = Question(CALLER, "Allow <b>this</b>?", ("One & two",), remember="Always allow a_b.example")
    asking_ = asyncio.create_task(zenity.ask(question))
    await desktop.window(f"^{CALLER}$")
    await desktop.key(*keys)
    answer = await asking_
    assert (answer.accepted, answer.remember) == (accepted, remember)


async def test_a_login_comes_back_with_every_sign_of_it(zenity: Zenity, desktop: Desktop) -> None:
    asked = CredentialsQuestion(CALLER, "Sign in to <b> & films.example", None)
    asking_ = asyncio.create_task(zenity.ask_credentials(asked))
    await desktop.window(f"^{CALLER}$")
    await desktop.type("ann")
    await desktop.key("Tab")
    await desktop.type("p|w //\\n$")
    await desktop.key("Tab", "Tab", "Return")
    answer = await asking_
    assert answer is not None
    assert (answer.user, answer.secret) == ("ann", "p|w //\\n$")


async def test_a_known_user_is_asked_for_the_password_only(zenity: Zenity, desktop: Desktop) -> None:
    asked = CredentialsQuestion(CALLER, "Sign in to films.example", "ann")
    asking_ = asyncio.create_task(zenity.ask_credentials(asked))
    await desktop.window(f"^{CALLER}$")
    await desktop.type("secret")
    await desktop.key("Tab", "Tab", "Return")
    answer = await asking_
    assert answer is not None
    assert (answer.user, answer.secret) == ("ann", "secret")


async def test_sec_13_hostile_page_text_shows_and_runs_nothing(
    zenity: Zenity, desktop: Desktop, films: Path, hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(films)
    before = names_in(films)
    request = asking(
        films,
        "save-file",
        title=hostile,
        suggested_name=hostile,
        filters=(FileFilter(hostile, (hostile, "mov")),),
    )
    picking = asyncio.create_task(zenity.pick(request))
    await desktop.window(f"^{CALLER} asks where to save")
    question = asyncio.create_task(zenity.ask(Question(CALLER, hostile, (hostile,), remember=hostile)))
    await desktop.window(f"^{CALLER}$")
    await desktop.key("Escape")
    assert not (await question).accepted
    await desktop.window(f"^{CALLER} asks where to save")
    await desktop.key("Escape")
    assert await picking == []
    assert names_in(films) == before


async def test_without_a_screen_it_says_so(films: Path) -> None:
    nowhere = {**os.environ, "DISPLAY": ":4711", "GDK_BACKEND": "x11"}
    with pytest.raises(Unavailable):
        await Zenity("/usr/bin/zenity", nowhere).pick(asking(films))
