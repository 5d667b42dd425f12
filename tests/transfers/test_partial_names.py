"""A file and another one that is called as the first is while it is unfinished: both arrive as they are."""

from __future__ import annotations

from typing import Any

import pytest

from connect_helper.transfers.plan import Afterwards
from tests.support.policies import Trip
from tests.support.sessions import download, noise, upload

SLOW = 3_200  # kbit/s
NAMES = ("film", "film.partial", "film.PARTIAL", "film.partial.partial")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("large", NAMES[:2])
@pytest.mark.parametrize("is_new", [True, False])
async def test_each_gets_its_own_bytes(trip: Trip, order: int, large: str, is_new: bool) -> None:
    """Without an order, one of them took the unfinished file's name, and the other's bytes with it."""
    contents = {name: noise(400_000 if name == large else 1_000, seed) for seed, name in enumerate(NAMES)}
    if trip.way == "receive":  # here names that differ in case only are refused
        del contents["film.PARTIAL"]
    for name, content in contents.items():
        (trip.source / name).write_bytes(content)
    target = trip.target / "all"
    if not is_new:
        target.mkdir()
    items: list[Any] = []
    for name in list(contents)[::order]:
        sends, source = trip.way == "send", trip.source / name
        items.append(upload(source, target / name) if sends else download(source, trip.target, "all", name))
    ended = await trip.go(items=items, rate_kbps=SLOW, afterwards=Afterwards(remove_files=True))
    assert ended.outcome == "completed", ended.message
    assert {path.name: path.read_bytes() for path in target.iterdir()} == contents
    assert not list(trip.source.iterdir())


async def test_many_of_them_go_side_by_side(trip: Trip) -> None:
    folder = trip.source / "all"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}").write_bytes(noise(3_000, number))
        (folder / f"{number}.partial").write_bytes(noise(4_000, number))
    ended = await trip.go("all")
    assert ended.outcome == "completed", ended.message
    for path in folder.iterdir():
        assert (trip.target / "all" / path.name).read_bytes() == path.read_bytes()
