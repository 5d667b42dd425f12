"""What becomes of the sources afterwards: both ways, on a real server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from connect_helper.errors import ConnectionLost
from connect_helper.transfers.aftermath import Aftermath
from connect_helper.transfers.job import Work
from connect_helper.transfers.ledger import Ledger, gone
from connect_helper.transfers.made_folders import MadeFolders
from connect_helper.transfers.plan import Afterwards, Upload
from tests.support.policies import Trip, plant, tree
from tests.support.sessions import download, plan_for, ref, run, upload
from tests.support.sshd import SshServer

FILES = ("proj/a", "proj/sub/b", "proj/empty/")
OLD = 1_000_000_000  # s since the epoch
ALL = {"proj", "proj/a", "proj/sub", "proj/sub/b", "proj/empty"}


@pytest.mark.parametrize(
    ("wishes", "left"),
    [
        ({}, ALL),
        ({"remove_files": True}, {"proj", "proj/sub", "proj/empty"}),
        ({"remove_files": True, "remove_empty_folders": True}, {"proj"}),
        ({"remove_files": True, "remove_source_folders": True}, set()),
        ({"remove_empty_folders": True}, {"proj", "proj/a", "proj/sub", "proj/sub/b"}),
    ],
)
async def test_what_is_left_of_a_folder(trip: Trip, wishes: dict[str, Any], left: set[str]) -> None:
    plant(trip.source, *FILES)
    plant(trip.source, "beside")
    ended = await trip.go("proj", afterwards=Afterwards(**wishes))
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.source)) == left | {"beside"}
    assert set(tree(trip.target)) == ALL


@pytest.mark.parametrize("too", [True, False])
async def test_skipped_files_stay_unless_they_are_meant_too(trip: Trip, too: bool) -> None:
    plant(trip.source, "proj/a", "proj/b")
    plant(trip.target, "proj/a")
    wishes = Afterwards(remove_files=True, remove_skipped=too)
    assert (await trip.go("proj", afterwards=wishes)).outcome == "completed"
    assert set(tree(trip.source)) == ({"proj"} if too else {"proj", "proj/a"})


async def test_a_file_that_failed_stays(trip: Trip) -> None:
    plant(trip.source, "proj/a", "proj/b")
    plant(trip.target, "proj/a/")  # a folder is in the way
    wishes = Afterwards(remove_files=True, remove_source_folders=True)
    assert (await trip.go("proj", afterwards=wishes)).outcome == "failed"
    assert set(tree(trip.source)) == {"proj", "proj/a"}


async def test_files_left_out_stay(trip: Trip) -> None:
    plant(trip.source, "proj/a", "proj/b.tmp")
    wishes = Afterwards(remove_files=True, remove_source_folders=True)
    policies = {"exclude_patterns": ("*.tmp",)}
    assert (await trip.go("proj", afterwards=wishes, policies=policies)).outcome == "completed"
    assert set(tree(trip.source)) == {"proj", "proj/b.tmp"}


def move_to(trip: Trip, folder: Path) -> Afterwards:
    folder.mkdir(exist_ok=True)
    if trip.way == "send":
        return Afterwards(move_root=ref(folder))
    return Afterwards(move_to=str(folder))


async def test_moved_files_keep_their_names_below_the_folder(trip: Trip) -> None:
    plant(trip.source, *FILES)
    plant(trip.source, "sent/proj/a")  # of an earlier transfer
    ended = await trip.go("proj", afterwards=move_to(trip, trip.source / "sent"))
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.source)) == {
        *ALL - {"proj/a", "proj/sub/b"},
        "sent",
        "sent/proj",
        "sent/proj/a",
        "sent/proj/a (1)",
        "sent/proj/sub",
        "sent/proj/sub/b",
    }


async def test_single_files_are_removed_and_a_retry_does_not_miss_them(trip: Trip) -> None:
    plant(trip.source, "one", "two")
    wishes = Afterwards(remove_files=True)
    # A first session of this transfer sent and removed "one", then its line broke.
    ledger = Ledger(trip.resume, "a-transfer")
    ledger.open()
    ledger.add(gone(os.fsencode(trip.source / "one")))
    ledger.close(completed=False)
    items = [trip.item("one"), trip.item("two")]
    (trip.source / "one").unlink()
    ended = await trip.go(items=items, afterwards=wishes)
    assert ended.outcome == "completed", ended.message
    assert (set(tree(trip.source)), set(tree(trip.target))) == (set(), {"two"})


async def test_a_source_that_is_missing_for_another_reason_is_an_error(trip: Trip) -> None:
    plant(trip.source, "one", "two")
    items = [trip.item("one"), trip.item("two")]
    (trip.source / "one").unlink()
    ended = await trip.go(items=items, afterwards=Afterwards(remove_files=True))
    assert (ended.outcome, ended.code) == ("failed", "source_missing")


@pytest.mark.parametrize("links", ["follow", "copy"])
async def test_a_link_is_removed_when_it_was_copied_and_stays_when_it_was_followed(
    trip: Trip, links: str
) -> None:
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    wishes = Afterwards(remove_files=True)
    ended = await trip.go("proj", afterwards=wishes, policies={"links": links})
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.source)) == ({"proj"} if links == "copy" else {"proj", "proj/link"})


@pytest.mark.parametrize("wishes", [{"remove_files": True}, {"remove_source_folders": True}])
async def test_what_a_source_that_is_a_link_to_a_folder_leads_to_stays(
    trip: Trip, wishes: dict[str, bool]
) -> None:
    plant(trip.source, *FILES)
    (trip.source / "link").symlink_to("proj")
    item = trip.item("link")
    if isinstance(item, Upload):  # what is picked or named is resolved before
        item = upload(trip.source / "proj", trip.target / "link").model_copy(update={"linked": True})
    ended = await trip.go(items=[item], afterwards=Afterwards(remove_empty_folders=True, **wishes))
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.source)) == {*ALL, "link"}
    assert {name.replace("link", "proj") for name in tree(trip.target)} == ALL
    told = {report.message for report in trip.reports().values()}
    assert told == {"The source stays: it was reached through a link." if "remove_files" in wishes else ""}


async def test_what_links_lead_to_is_removed_when_all_of_them_were_transferred(trip: Trip) -> None:
    plant(trip.source, "proj/a/real", "proj/a/other", "proj/big")
    (trip.source / "proj" / "big").write_bytes(bytes(3_000_000))
    (trip.source / "proj" / "a" / "link to big").symlink_to("../big")
    (trip.source / "proj" / "z").symlink_to("a")  # a folder: each of its files is read twice
    ended = await trip.go("proj", afterwards=Afterwards(remove_files=True))
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.source)) == {"proj", "proj/a", "proj/z", "proj/a/link to big"}
    arrived = tree(trip.target)
    assert {arrived[f"proj/{name}"] for name in ("a/real", "z/real")} == {"proj/a/real"}
    assert {arrived[f"proj/{name}"] for name in ("a/other", "z/other")} == {"proj/a/other"}
    for name in ("big", "a/link to big", "z/link to big"):
        assert len(arrived[f"proj/{name}"]) == 3_000_000


async def test_what_a_link_leads_to_stays_when_the_link_could_not_be_transferred(trip: Trip) -> None:
    plant(trip.source, "proj/real")
    (trip.source / "proj" / "link").symlink_to("real")
    plant(trip.target, "proj/link/")  # a folder is in the way
    ended = await trip.go("proj", afterwards=Afterwards(remove_files=True))
    assert ended.outcome == "failed"
    assert set(tree(trip.source)) == {"proj", "proj/link", "proj/real"}
    assert any("link leads to it" in report.message for report in trip.reports().values())


async def test_a_source_that_cannot_be_moved_is_told_about_and_fails_nothing(trip: Trip) -> None:
    plant(trip.source, "one")
    (trip.source / "sent").mkdir()
    wishes = move_to(trip, trip.source / "sent")
    (trip.source / "sent").rmdir()
    (trip.source / "sent").write_text("no folder any more")
    ended = await trip.go("one", afterwards=wishes)
    assert ended.outcome == "completed", ended.message
    assert "stays" in trip.reports()["one"].message
    assert (trip.source / "one").exists()


async def test_the_folder_around_a_single_file_was_not_given_and_stays(trip: Trip) -> None:
    plant(trip.source, "around/one")
    items = [trip.item("around/one", as_name="one")]
    wishes = Afterwards(remove_files=True, remove_empty_folders=True)
    assert (await trip.go(items=items, afterwards=wishes)).outcome == "completed"
    # On a server the page's login decides; here only what the user picked may go.
    assert set(tree(trip.source)) == ({"around"} if isinstance(items[0], Upload) else set())


async def test_relative_and_absolute_sources_of_one_download_are_told_apart(tmp_path: Path) -> None:
    login, elsewhere, here = tmp_path / "login", tmp_path / "elsewhere", tmp_path / "here"
    plant(login, "c/d/one")
    plant(elsewhere, "a/b/two")
    here.mkdir()
    with SshServer(sftp=f"internal-sftp -d {login}") as sshd:
        items = [download(elsewhere / "a" / "b", here, "b"), download("c/d", here, "d")]
        wishes = Afterwards(remove_files=True, remove_source_folders=True)
        ended = await run(plan_for(sshd, items, tmp_path / "resume", afterwards=wishes))
    assert ended.outcome == "completed", ended.message
    assert set(tree(here)) == {"b", "b/two", "d", "d/one"}
    assert (set(tree(login)), set(tree(elsewhere))) == ({"c"}, {"a"})


@pytest.mark.parametrize("links", ["follow", "copy+force"])
@pytest.mark.parametrize("moves", [True, False])
async def test_none_goes_of_two_sources_with_one_target(trip: Trip, links: str, moves: bool) -> None:
    """The first one was removed, and its bytes were nowhere any more: the second one took their place."""
    plant(trip.source, "one/x", "two/x", "two/y", "sent/")
    sent = trip.source / "sent"
    wishes = Afterwards(remove_files=True)
    if moves:
        wishes = Afterwards(move_root=ref(sent)) if trip.way == "send" else Afterwards(move_to=str(sent))
    items = [trip.item("one", as_name="all"), trip.item("two", as_name="all")]
    policies = {"last_duplicate_wins": True, "overwrite": "always", "links": links}
    for _ in range(2):  # and once more, as after a lost line
        ended = await trip.go(items=items, afterwards=wishes, policies=policies)
        assert ended.outcome == "completed", ended.message
        assert "same target" in trip.reports()["x"].message
        left = {name: text for name, text in tree(trip.source).items() if not name.startswith("sent")}
        assert left == {"one": "/", "one/x": "one/x", "two": "/", "two/x": "two/x"}
        assert tree(trip.target) == {"all": "/", "all/x": "two/x", "all/y": "two/y"}


@pytest.mark.parametrize("spelled", [["proj/"], ["proj//"], ["proj", "alias"], ["alias/", "proj/"]])
async def test_a_folder_that_went_is_not_missed_by_a_retry_however_it_was_spelled(
    sshd: SshServer, near: Path, far: Path, resume: Path, monkeypatch: pytest.MonkeyPatch, spelled: list[str]
) -> None:
    plant(far, "proj/a")
    (far / "alias").symlink_to("proj")
    items = [download(f"{far}/{text}", near, str(number)) for number, text in enumerate(spelled)]
    wishes = Afterwards(remove_files=True, remove_source_folders=True)
    plan = plan_for(sshd, items, resume, afterwards=wishes)
    folders = Aftermath.folders

    async def lost(self: Aftermath, work: Work) -> None:
        await folders(self, work)
        raise ConnectionLost("The line broke.")

    with monkeypatch.context() as during:
        during.setattr(Aftermath, "folders", lost)
        assert (await run(plan)).code == "connection_lost"
    assert set(tree(far)) == {"alias"}
    ended = await run(plan)
    assert (ended.outcome, ended.message) == ("completed", "")
    assert {name: text for name, text in tree(near).items() if text != "/"} == {
        f"{number}/a": "proj/a" for number in range(len(spelled))
    }


@pytest.mark.parametrize("moves", [True, False])
async def test_a_folder_keeps_its_time_though_a_session_before_took_files_out_of_it(
    trip: Trip, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(trip.source, *FILES)
    for path in [*(trip.source / "proj").rglob("*"), trip.source / "proj"]:
        os.utime(path, (OLD, OLD))
    wishes = move_to(trip, trip.source / "sent") if moves else Afterwards(remove_files=True)
    wanted: dict[str, Any] = {"afterwards": wishes, "policies": {"preserve_times": True}}

    async def lost(_self: MadeFolders, _work: Work) -> None:
        raise ConnectionLost("The line broke.")

    with monkeypatch.context() as during:
        during.setattr(MadeFolders, "set_times", lost)
        assert (await trip.go("proj", **wanted)).code == "connection_lost"
    assert (trip.source / "proj" / "sub").stat().st_mtime > OLD
    assert not (trip.source / "proj" / "sub" / "b").exists()
    assert (await trip.go("proj", **wanted)).outcome == "completed"
    times = {str(path.relative_to(trip.target)): path.stat().st_mtime for path in trip.target.rglob("*")}
    assert times == dict.fromkeys(ALL, OLD)


async def test_folders_of_which_nothing_is_taken_cost_no_trip_to_a_thread(
    trip: Trip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a hundred thousand."""
    plant(trip.source, *FILES)
    trips: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(function: Any, *arguments: Any, **named: Any) -> Any:
        trips.append(function.__name__)
        return await to_thread(function, *arguments, **named)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    assert (await trip.go("proj", policies={"preserve_times": True})).outcome == "completed"
    assert [one for one in trips if "first_seen" in one] == []
