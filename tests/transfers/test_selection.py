"""Which files take part, what is counted, which times a target gets: both ways, on a real server."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from connect_helper.transfers.messages import FileReport, Totals
from connect_helper.transfers.session import SOME_FAILED
from tests.support.policies import Trip, plant, tree
from tests.support.sessions import noise
from tests.support.sshd import SshServer

OLD, NEW = 1_000_000_000, 1_700_000_000  # seconds since the epoch


@pytest.mark.parametrize(
    ("policies", "arrived"),
    [
        (
            {"exclude_patterns": ("*.tmp",)},
            {"proj", "proj/a.txt", "proj/cache", "proj/cache/c.txt", "proj/sub", "proj/sub/b.txt"},
        ),
        (
            {"exclude_patterns": ("cache/",)},
            {"proj", "proj/a.txt", "proj/a.tmp", "proj/sub", "proj/sub/b.txt"},
        ),
        (
            {"include_patterns": ("*.txt", "/**/"), "exclude_patterns": ("/**",)},
            {"proj", "proj/a.txt", "proj/cache", "proj/cache/c.txt", "proj/sub", "proj/sub/b.txt"},
        ),
        ({"exclude_patterns": ("/proj/*",)}, {"proj"}),
    ],
)
async def test_patterns_choose_files_and_whole_folders(
    trip: Trip, policies: dict[str, tuple[str, ...]], arrived: set[str]
) -> None:
    plant(trip.source / "proj", "a.txt", "a.tmp", "cache/c.txt", "sub/b.txt")
    ended = await trip.go("proj", policies=policies)
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target)) == arrived
    assert trip.listener.totals().files_expected == sum("." in name for name in arrived)


async def test_a_folder_that_is_left_out_is_not_even_looked_into(trip: Trip) -> None:
    plant(trip.source / "proj", "a.txt", "private/deep/b.txt")
    os.mkfifo(trip.source / "proj" / "private" / "pipe")
    ended = await trip.go("proj", policies={"exclude_patterns": ("private/",)})
    assert ended.outcome == "completed", ended.message
    assert set(trip.reports()) == {"a.txt"}


@pytest.mark.parametrize("limit", ["older_than_s", "newer_than_s"])
async def test_what_cannot_be_looked_at_is_told_of_whatever_its_time(
    sshd: SshServer, far: Path, near: Path, resume: Path, limit: str
) -> None:
    plant(near / "proj", "a.txt")
    (near / "proj" / "link").symlink_to("z" * 300)  # more than the system looks up
    trip = Trip(sshd, "send", near, far, resume)
    ended = await trip.go("proj", policies={limit: time.time() + 1000 if limit == "newer_than_s" else 1.0})
    assert ended.message.startswith("1 of 2 files failed.")
    assert {name: one.state for name, one in trip.reports().items()} == {"a.txt": "done", "link": "failed"}


async def test_patterns_see_the_names_below_src_base(trip: Trip) -> None:
    plant(trip.source / "base" / "proj", "a.txt", "b.txt")
    item = trip.item("base/proj", as_name="proj").model_copy(update={"set_names": ("base", "proj")})
    ended = await trip.go(items=[item], policies={"exclude_patterns": ("/base/proj/a.txt",)})
    assert ended.outcome == "completed", ended.message
    assert set(tree(trip.target)) == {"proj", "proj/b.txt"}


@pytest.mark.parametrize(
    ("policies", "arrived"),
    [
        ({"newer_than_s": OLD + 1.0}, {"old"}),
        ({"older_than_s": OLD + 1.0}, {"new"}),
        ({"newer_than_s": float(NEW), "older_than_s": float(OLD)}, {"old", "new"}),
    ],
)
async def test_times_choose_files_and_leave_folders(
    trip: Trip, policies: dict[str, float], arrived: set[str]
) -> None:
    plant(trip.source / "proj", "old", "new", "sub/")
    os.utime(trip.source / "proj" / "old", (OLD, OLD))
    os.utime(trip.source / "proj" / "new", (NEW, NEW))
    assert (await trip.go("proj", policies=policies)).outcome == "completed"
    assert set(tree(trip.target)) == {"proj", "proj/sub"} | {f"proj/{name}" for name in arrived}


@pytest.mark.parametrize(("skips", "outcome"), [(True, "completed"), (False, "failed")])
async def test_special_files_fail_or_are_skipped(trip: Trip, skips: bool, outcome: str) -> None:
    plant(trip.source / "proj", "a.txt")
    os.mkfifo(trip.source / "proj" / "pipe")
    ended = await trip.go("proj", policies={"skip_special_files": skips})
    assert ended.outcome == outcome
    assert trip.reports()["pipe"].state == ("skipped" if skips else "failed")
    assert set(tree(trip.target)) == {"proj", "proj/a.txt"}


@pytest.mark.parametrize("modification", [True, False])
@pytest.mark.parametrize("access", [True, False])
async def test_each_time_stamp_is_kept_by_itself(trip: Trip, modification: bool, access: bool) -> None:
    plant(trip.source / "proj", "a.txt")
    for path in (trip.source / "proj" / "a.txt", trip.source / "proj"):
        os.utime(path, (OLD, NEW))
    began = time.time()
    policies = {"preserve_times": modification, "preserve_access_times": access}
    assert (await trip.go("proj", policies=policies)).outcome == "completed"
    for path in (trip.target / "proj" / "a.txt", trip.target / "proj"):
        facts = path.stat()
        assert (int(facts.st_mtime) == NEW) is modification, path
        assert modification or facts.st_mtime >= began - 2
        assert (int(facts.st_atime) == OLD) is access, path


async def test_reading_quietly_leaves_the_access_time_of_a_source(
    sshd: SshServer, near: Path, far: Path, resume: Path
) -> None:
    plant(near, "a.txt")
    os.utime(near / "a.txt", (OLD, NEW))
    trip = Trip(sshd, "send", near, far, resume)
    assert (await trip.go("a.txt", policies={"quiet_reading": True})).outcome == "completed"
    assert (near / "a.txt").stat().st_atime == OLD


@pytest.mark.parametrize("count_first", ["yes", "briefly"])
async def test_counting_first_makes_the_totals_final_before_the_first_file(
    trip: Trip, count_first: str
) -> None:
    plant(trip.source / "proj", *(f"{number}.txt" for number in range(300)))
    ended = await trip.go("proj", policies={"count_first": count_first})
    assert ended.outcome == "completed", ended.message
    events = trip.listener.events
    first = next(place for place, event in enumerate(events) if isinstance(event, FileReport))
    before = [event for event in events[:first] if isinstance(event, Totals)]
    assert before, "nothing was told before the first file"
    assert before[-1] == trip.listener.totals()
    assert before[-1].final
    assert trip.listener.totals().files_expected == 300
    assert trip.listener.totals().bytes_expected == trip.listener.written()


@pytest.mark.parametrize("count_first", ["yes", "no"])
async def test_a_folder_that_cannot_be_made_counts_beside_the_files_counted_first(
    trip: Trip, count_first: str
) -> None:
    plant(trip.source, "proj/a", "proj/sub/")
    plant(trip.target, "proj/sub")  # a file is in the way
    ended = await trip.go("proj", policies={"count_first": count_first})
    assert (ended.outcome, ended.error_code) == ("failed", SOME_FAILED)
    assert ended.message.startswith("1 of 2 files failed.")
    assert trip.listener.totals().files_expected == 2


@pytest.mark.parametrize("last_wins", [True, False])
async def test_two_sources_with_one_target(trip: Trip, last_wins: bool) -> None:
    plant(trip.source, "one/x", "two/x")
    items = [trip.item("one/x", as_name="x"), trip.item("two/x", as_name="x")]
    ended = await trip.go(items=items, policies={"last_duplicate_wins": last_wins, "overwrite": "always"})
    assert ended.outcome == ("completed" if last_wins else "failed")
    assert tree(trip.target) == {"x": "two/x" if last_wins else "one/x"}


async def test_a_link_that_is_the_last_of_two_stays_though_the_file_takes_longer(trip: Trip) -> None:
    plant(trip.source, "one/")
    (trip.source / "one" / "x").write_bytes(noise(400_000))
    plant(trip.source, "two/y")
    (trip.source / "two" / "x").symlink_to("y")
    items = [trip.item("one", as_name="all"), trip.item("two", as_name="all")]
    policies = {"last_duplicate_wins": True, "links": "copy+force"}
    ended = await trip.go(items=items, policies=policies, rate_kbps=3_200)
    assert ended.outcome == "completed", ended.message
    assert tree(trip.target) == {"all": "/", "all/x": "-> y", "all/y": "two/y"}
