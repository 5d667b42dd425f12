"""`overwrite: older` where times are too close for a disk that keeps even seconds only: on a real server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connect_helper.transfers.plan import Afterwards
from tests.support.policies import Trip
from tests.support.sessions import noise

EVEN = 1_700_000_000  # s since the epoch
LARGE = noise(3_000_000)
UNSEEN = LARGE[:100_000] + b"changed" + LARGE[100_007:]  # between two samples


def put(path: Path, content: bytes, mtime_s: int) -> Path:
    path.write_bytes(content)
    os.utime(path, (mtime_s, mtime_s))
    return path


@pytest.mark.parametrize("target_s", [EVEN, EVEN + 1])
@pytest.mark.parametrize("level", ["none", "attributes", "sparse_checksum", "full_checksum"])
async def test_a_source_that_is_newer_by_a_second_arrives(trip: Trip, level: str, target_s: int) -> None:
    source = put(trip.source / "f", b"new content 2", target_s + 1)
    target = put(trip.target / "f", b"old content 1", target_s)
    wishes = Afterwards(remove_files=True, remove_skipped=True)
    ended = await trip.go("f", policies={"overwrite": "older", "resume": level}, afterwards=wishes)
    assert ended.outcome == "completed", ended.message
    assert (trip.reports()["f"].state, target.read_bytes()) == ("done", b"new content 2")
    assert not source.exists()


@pytest.mark.parametrize("level", ["none", "attributes"])
@pytest.mark.parametrize("content", [b"the same content", LARGE])
async def test_a_copy_whose_disk_keeps_even_seconds_is_not_made_again(
    trip: Trip, level: str, content: bytes
) -> None:
    put(trip.source / "f", content, EVEN + 1)
    put(trip.target / "f", content, EVEN)
    ended = await trip.go("f", policies={"overwrite": "older", "resume": level, "preserve_times": True})
    assert (ended.outcome, trip.reports()["f"].state) == ("completed", "skipped")


@pytest.mark.parametrize("level", ["none", "attributes", "sparse_checksum"])
async def test_a_source_that_was_skipped_in_doubt_stays(trip: Trip, level: str) -> None:
    source = put(trip.source / "f", UNSEEN, EVEN + 1)
    put(trip.target / "f", LARGE, EVEN)
    wishes = Afterwards(remove_files=True, remove_skipped=True)
    ended = await trip.go("f", policies={"overwrite": "older", "resume": level}, afterwards=wishes)
    assert (ended.outcome, trip.reports()["f"].state) == ("completed", "skipped")
    assert source.exists()
    assert "samples" in trip.reports()["f"].message


async def test_one_that_was_compared_whole_goes(trip: Trip) -> None:
    source = put(trip.source / "f", LARGE, EVEN + 1)
    put(trip.target / "f", LARGE, EVEN)
    wishes = Afterwards(remove_files=True, remove_skipped=True)
    policies = {"overwrite": "older", "resume": "full_checksum"}
    assert (await trip.go("f", policies=policies, afterwards=wishes)).outcome == "completed"
    assert trip.reports()["f"].state == "skipped"
    assert not source.exists()
