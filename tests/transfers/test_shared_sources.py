"""A source that several items of a transfer name goes after the last of them, or stays: on a real server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from connect_helper.transfers.aftermath import Aftermath
from connect_helper.transfers.job import FileJob, LinkJob
from connect_helper.transfers.messages import Progress
from connect_helper.transfers.plan import Afterwards, Upload
from connect_helper.transfers.shared_sources import SharedSources, shared_sources
from tests.support.policies import Trip, plant, tree
from tests.support.sessions import download, plan_for, ref

REMOVED = Afterwards(remove_files=True)


@pytest.mark.parametrize("links", ["follow", "skip"])
async def test_a_source_for_two_targets_goes_when_it_is_at_both(trip: Trip, links: str) -> None:
    plant(trip.source, "film")
    plant(trip.target, "two/")  # a folder is in the way
    items = [trip.item("film", as_name="one"), trip.item("film", as_name="two")]
    wanted: dict[str, Any] = {"items": items, "afterwards": REMOVED, "policies": {"links": links}}
    ended = await trip.go(**wanted)
    assert (ended.outcome, ended.code) == ("failed", "target_is_folder")
    assert tree(trip.source) == {"film": "film"}
    assert any("another place" in report.message for report in trip.reports().values())
    (trip.target / "two").rmdir()
    ended = await trip.go(**wanted)
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == {"one": "film", "two": "film"}
    assert tree(trip.source) == {}


@pytest.mark.parametrize("order", [1, -1])
async def test_a_file_sent_with_its_folder_and_alone_goes_when_both_arrived(trip: Trip, order: int) -> None:
    plant(trip.source, "proj/f", "proj/sub/g")
    plant(trip.target, "f/")
    items = [trip.item("proj", as_name="all"), trip.item("proj/f", as_name="f")][::order]
    ended = await trip.go(items=items, afterwards=REMOVED)
    assert ended.outcome == "failed"
    assert set(tree(trip.source)) == {"proj", "proj/f", "proj/sub"}
    (trip.target / "f").rmdir()
    ended = await trip.go(items=items, afterwards=REMOVED)
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target)) == {"all", "all/f", "all/sub", "all/sub/g", "f"}
    assert set(tree(trip.source)) == {"proj", "proj/sub"}


async def test_one_that_many_others_lie_between_arrives_twice(trip: Trip) -> None:
    plant(trip.source, "proj/f", *(f"proj/{number}" for number in range(700)))
    items = [trip.item("proj", as_name="all"), trip.item("proj/f", as_name="f")]
    wishes = Afterwards(remove_files=True, remove_source_folders=True)
    ended = await trip.go(items=items, afterwards=wishes, policies={"links": "skip"})
    assert (ended.outcome, ended.message) == ("completed", "")
    assert (trip.target / "all" / "f").exists()
    assert (trip.target / "f").exists()
    assert tree(trip.source) == {}


async def test_many_go_side_by_side_but_each_in_its_order(
    trip: Trip, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def file(self: Aftermath, work: Any, job: FileJob | LinkJob, outcome: Any) -> str:
        nonlocal most_files, most_of_one, before
        before = before or len(trip.listener.events)
        under_way[job.real_path] += 1
        most_files = max(most_files, under_way.total())
        most_of_one = max(most_of_one, under_way[job.real_path])
        await asyncio.sleep(0.02)
        told = await real(self, work, job, outcome)
        under_way[job.real_path] -= 1
        return told

    under_way: Counter[bytes] = Counter()
    most_files = most_of_one = before = 0
    real = Aftermath.file
    monkeypatch.setattr(Aftermath, "file", file)
    plant(trip.source, *(f"proj/sub/{number}" for number in range(150)))
    items = [trip.item("proj", as_name="all"), trip.item("proj/sub", as_name="sub")]
    ended = await trip.go(items=items, afterwards=REMOVED)
    assert (ended.outcome, ended.message) == ("completed", "")
    assert set(tree(trip.source)) == {"proj", "proj/sub"}
    assert most_files >= 16
    assert most_of_one == 1
    told = [event for event in trip.listener.events[before:] if isinstance(event, Progress)]
    assert told
    assert not any(event.current for event in told)


async def test_a_source_for_two_targets_is_moved_once(trip: Trip) -> None:
    plant(trip.source, "film", "sent/")
    sent = trip.source / "sent"
    wishes = Afterwards(move_root=ref(sent)) if trip.way == "send" else Afterwards(move_to=str(sent))
    items = [trip.item("film", as_name="one"), trip.item("film", as_name="two")]
    ended = await trip.go(items=items, afterwards=wishes)
    assert ended.outcome == "completed", ended.message
    assert not any(report.message for report in trip.reports().values())
    assert set(tree(trip.target)) == {"one", "two"}
    assert set(tree(trip.source)) == {"sent", "sent/film"}


@pytest.mark.parametrize("too", [True, False])
async def test_one_that_was_skipped_at_a_target_stays_unless_that_is_meant_too(trip: Trip, too: bool) -> None:
    plant(trip.source, "film")
    (trip.target / "one").write_text("film")
    items = [trip.item("film", as_name="one"), trip.item("film", as_name="two")]
    wishes = Afterwards(remove_files=True, remove_skipped=too)
    assert (await trip.go(items=items, afterwards=wishes)).outcome == "completed"
    assert set(tree(trip.target)) == {"one", "two"}
    assert set(tree(trip.source)) == (set() if too else {"film"})


async def test_one_that_two_items_would_give_one_name_stays(trip: Trip) -> None:
    """The second is left out before anything is read."""
    plant(trip.source, "proj/f")
    items = [trip.item("proj", as_name="all"), below(trip, ("proj", "f"), "all", "f")]
    ended = await trip.go(items=items, afterwards=REMOVED)
    assert (ended.outcome, ended.code) == ("failed", "name_collision")
    assert set(tree(trip.source)) == {"proj", "proj/f"}


def below(trip: Trip, source: tuple[str, ...], *target: str) -> Any:
    """An item below the folder that was given, to any place."""
    if trip.way == "send":
        return Upload(source=ref(trip.source, *source), target=str(trip.target.joinpath(*target)))
    return download(trip.source.joinpath(*source), trip.target, *target)


@pytest.mark.parametrize("links", ["follow", "skip"])
async def test_a_folder_that_is_named_through_a_link_too_is_the_same(trip: Trip, links: str) -> None:
    plant(trip.source, "proj/f")
    plant(trip.target, "f/")
    (trip.source / "also").symlink_to("proj")
    items = [trip.item("proj", as_name="all"), below(trip, ("also", "f"), "f")]
    ended = await trip.go(items=items, afterwards=REMOVED, policies={"links": links})
    assert ended.outcome == "failed"
    assert (trip.source / "proj" / "f").exists()


async def test_a_link_for_two_targets_goes_when_it_is_at_both(trip: Trip) -> None:
    plant(trip.source, "proj/")
    plant(trip.target, "taken")
    link = trip.source / "proj" / "link"
    link.symlink_to("elsewhere")
    wanted: dict[str, Any] = {"afterwards": REMOVED, "policies": {"links": "copy+force"}}
    items = [trip.item("proj", as_name="one"), below(trip, ("proj", "link"), "taken", "two")]
    assert (await trip.go(items=items, **wanted)).outcome == "failed"  # a file is where a folder is to be
    assert link.is_symlink()
    (trip.target / "taken").unlink()
    ended = await trip.go(items=items, **wanted)
    assert ended.outcome == "completed", ended.message
    assert not link.is_symlink()
    there = tree(trip.target)
    assert (there["one/link"], there["taken/two"]) == ("-> elsewhere", "-> elsewhere")


@pytest.mark.parametrize(
    ("paths", "shared", "alone"),
    [
        (["/a", "/b"], [], ["/a", "/b", "/a/x"]),
        (["/a", "/a"], ["/a", "/a/x"], ["/ab", "/"]),
        (["/a", "/a/b"], ["/a/b", "/a/b/c"], ["/a", "/a/c", "/a/bc"]),
        (["/a/b", "/a!", "/a"], ["/a/b"], ["/a", "/a!"]),
        (["/a/b/c", "/a", "/a/b"], ["/a/b", "/a/b/c", "/a/b/d"], ["/a", "/a/d"]),
        (["/", "/a"], ["/a", "/a/b"], ["/b"]),
    ],
)
def test_which_sources_are_shared(paths: list[str], shared: list[str], alone: list[str]) -> None:
    found = SharedSources([(path, path.encode()) for path in paths])
    assert [path for path in shared + alone if path.encode() in found] == shared


def test_it_knows_by_which_names_a_shared_source_was_given() -> None:
    found = SharedSources([("proj/f", b"/home/x/proj/f"), ("/home/x/proj", b"/home/x/proj"), ("z", b"/z")])
    assert found.given(b"/home/x/proj/f") == ("proj/f",)
    assert found.given(b"/home/x/proj/g") == ()


def test_one_source_given_very_often_takes_no_time() -> None:
    began = time.monotonic()
    found = SharedSources([("/a/film", b"/a/film")] * 50_000)
    assert time.monotonic() - began < 2
    assert found.given(b"/a/film") == ("/a/film",)


@pytest.mark.parametrize(("links", "questions"), [("skip", 2), ("follow", 301)])
async def test_the_server_is_asked_once_for_what_lies_in_one_folder(
    trip: Trip, links: str, questions: int
) -> None:
    class Asked:
        """Counts; the folder `/link` is `/home`."""

        async def real_path(self, path: bytes) -> bytes:
            nonlocal asked
            asked += 1
            return path.replace(b"/link", b"/home").rstrip(b"/")

    asked = 0
    names = [f"/link/{number}" for number in range(300)]
    items = [download(Path(name), trip.target) for name in (*names, *names, "/home/7")]
    found = await shared_sources(
        plan_for(trip.sshd, items, trip.resume, policies={"links": links}), cast("Any", Asked())
    )
    assert asked == questions
    assert b"/home/7" in found
    assert set(found.given(b"/home/7")) == {"/link/7", "/home/7"}


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("links", ["follow", "skip"])
@pytest.mark.parametrize("trip", ["send"], indirect=True)
async def test_two_spellings_are_one_source_where_the_disk_takes_them_for_one(
    trip: Trip, links: str, blind: bool
) -> None:
    """Two names of one file stand for a disk that knows no cases."""
    plant(trip.source, "proj/film", "proj/FILM")
    if blind:
        (trip.source / "proj" / "FILM").unlink()
        (trip.source / "proj" / "FILM").hardlink_to(trip.source / "proj" / "film")
    plant(trip.target, "two/")
    items = [trip.item("proj/film", as_name="one"), trip.item("proj/FILM", as_name="two")]
    wanted: dict[str, Any] = {"items": items, "afterwards": REMOVED, "policies": {"links": links}}
    assert (await trip.go(**wanted)).outcome == "failed"
    stay = {"proj", "proj/film", "proj/FILM"} if blind else {"proj", "proj/FILM"}
    assert set(tree(trip.source)) == stay
    (trip.target / "two").rmdir()
    ended = await trip.go(**wanted)
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target)) == {"one", "two"}
    assert not any(report.message for report in trip.reports().values())


@pytest.mark.parametrize(
    ("paths", "shared", "alone"),
    [
        (["/a", "/A"], ["/a", "/A", "/a/x"], ["/b"]),
        (["/Proj", "/proj/F"], ["/Proj/f", "/PROJ/F/g"], ["/proj", "/Proj/g"]),
        (["/caf\u00e9", "/cafe\u0301/x"], ["/caf\u00e9/x"], ["/cafe"]),
    ],
)
def test_which_sources_are_shared_on_a_disk_that_knows_no_cases(
    paths: list[str], shared: list[str], alone: list[str]
) -> None:
    found = SharedSources([(path, path.encode()) for path in paths], blind=True)
    assert [path for path in shared + alone if path.encode() in found] == shared
