"""The main job with the dialogs of a real desktop: zenity's windows under Xvfb, answered by keyboard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.desktop import Desktop
from tests.support.official import OfficialPage, World
from tests.support.person import AtTheDesktop

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(desktop: Desktop, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A helper on a desktop."""
    async with World.running(tmp_path_factory.mktemp("home"), display=desktop.display) as running:
        yield running


@pytest.fixture
def person(desktop: Desktop, page: OfficialPage) -> AtTheDesktop:
    """The user, in front of the windows this page brings up."""
    return AtTheDesktop(desktop, page.origin)


async def test_a_file_goes_up_after_dialog_and_questions(
    world: World, page: OfficialPage, person: AtTheDesktop
) -> None:
    content = os.urandom(1_000_000)
    source = world.helper.user_home / "holiday film.bin"
    source.write_bytes(content)
    answer, _ = await asyncio.gather(
        page.callbacks("showSelectFileDialog", {"title": "Your film"}, position=0), person.choose(source)
    )
    (file,) = answer["value"]["dataTransfer"]["files"]
    assert (file["name"], file["size"]) == (str(source), len(content))

    spec = world.spec("send", {"source": file["name"]}, destination_root=str(world.server.root))
    del spec["sshfp"]  # so that the server's key is asked about
    request_id = await page.start(spec)
    await person.allow()
    await person.allow()
    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    assert (world.server.root / source.name).read_bytes() == content
    assert world.helper.addresses() == []  # no page of ours was opened for it


async def test_a_download_goes_into_a_folder_chosen_in_a_dialog(
    world: World, page: OfficialPage, person: AtTheDesktop
) -> None:
    (world.server.root / "gift.txt").write_text("a gift")
    folder = world.helper.user_home / "presents"
    folder.mkdir()
    answer, _ = await asyncio.gather(page.promise("showSelectFolderDialogPromise", {}), person.choose(folder))
    chosen = answer["value"]["dataTransfer"]["files"][0]["name"]
    assert chosen == str(folder)
    spec = world.spec("receive", {"source": str(world.server.root / "gift.txt")}, destination_root=chosen)
    request_id = await page.start(spec, {"use_absolute_destination_path": True})
    await person.always()
    info = await page.status(request_id, "completed", "failed")
    assert info["status"] == "completed", info["error_desc"]
    assert (folder / "gift.txt").read_text() == "a gift"

    # "Always" holds: the next one asks nothing.
    again = await page.start(spec, {"use_absolute_destination_path": True})
    assert (await page.status(again, "completed", "failed"))["status"] == "completed"


async def test_a_place_to_save_is_chosen(world: World, page: OfficialPage, person: AtTheDesktop) -> None:
    target = world.helper.user_home / "new name.pdf"
    answer, _ = await asyncio.gather(
        page.callbacks("showSaveFileDialog", {"suggestedName": "report.pdf"}, position=0),
        person.choose(target, save=True),
    )
    assert answer["value"]["dataTransfer"]["files"][0]["name"] == str(target)


async def test_a_closed_dialog_is_a_success_with_no_files(page: OfficialPage, person: AtTheDesktop) -> None:
    answer, _ = await asyncio.gather(page.callbacks("showSelectFileDialog", {}, position=0), person.cancel())
    assert answer == {"value": {"dataTransfer": {"files": []}}}


async def test_a_no_at_the_desktop_is_a_refusal(
    world: World, page: OfficialPage, person: AtTheDesktop
) -> None:
    server = {"remote_host": world.server.host, "ssh_port": world.server.port}
    answer, _ = await asyncio.gather(page.callbacks("testSshPorts", server), person.deny())
    assert answer["error"]["error"]["code"] == 403
