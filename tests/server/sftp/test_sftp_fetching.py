"""A file that is fetched is done once, when all of it was read, over however many handles and connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from connect_helper.server import sent_files
from connect_helper.server.session_reports import FileReport
from connect_helper.server.sftp.packets import FLAG_READ
from tests.server.sftp.test_sftp_helper import place, receive
from tests.support.sftp_raw import raw_client
from tests.support.sftp_server import FarEnd

SIZE = 1_000_000
HALF = SIZE // 2
PIECE = 10_000


@pytest.fixture
def film(end: FarEnd) -> Path:
    (end.root / "out").mkdir()
    path = end.root / "out/film"
    path.write_bytes(bytes(range(250)) * (SIZE // 250))
    return path


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110 - the figures tell nobody
            await asyncio.sleep(0.01)


async def ends(end: FarEnd) -> list[tuple[str, int, int]]:
    """How the sessions ended, with their files out and failed, once all have."""
    await until(lambda: not end.sessions.listing())
    return sorted((one.status, one.files_out, one.files_failed) for one in end.sessions.history())


def told(end: FarEnd) -> list[FileReport]:
    return [file for _, files in end.sessions.with_files() for file in files]


async def read(client: asyncssh.SFTPClient, *parts: tuple[int, int]) -> None:
    """Read the parts, from and up to, of the file over one handle."""
    async with client.open("out/film", "rb") as file:
        for start, stop in parts:
            assert len(await file.read(stop - start, start)) == stop - start


async def test_a_file_that_is_read_whole_is_done_with_its_size(end: FarEnd, film: Path) -> None:
    async with end.client() as client:
        await client.get("out/film", end.folder / "film")
    assert await ends(end) == [("completed", 1, 0)]
    assert [(file.path, file.way, file.size) for file in told(end)] == [((b"out", b"film"), "out", SIZE)]


async def test_a_look_at_the_beginning_is_no_fetch(end: FarEnd, film: Path) -> None:
    async with end.client() as client:
        await read(client, (0, 1000))
        await read(client)
    assert await ends(end) == [("completed", 0, 0)]


async def test_parts_over_several_handles_make_one_file(end: FarEnd, film: Path) -> None:
    async with end.client() as client:
        await read(client, (HALF, SIZE))
        assert told(end) == []
        await read(client, (0, 1000), (2000, HALF), (1000, 2000))
        await read(client, (0, 1000))
    assert await ends(end) == [("completed", 1, 0)]


async def test_parts_over_several_connections_make_one_file(end: FarEnd, film: Path) -> None:
    token = end.token("receive", "out")
    async with (
        end.client(token) as first,
        end.client(token) as second,
        first.open("out/film", "rb") as one,
        second.open("out/film", "rb") as two,
    ):
        await one.read(HALF, 0)
        await two.read(HALF, HALF)
    assert await ends(end) == [("completed", 0, 0), ("completed", 1, 0)]


async def test_parts_for_two_tokens_make_no_file(end: FarEnd, film: Path) -> None:
    for part in ((0, HALF), (HALF, SIZE)):
        async with end.client(end.token("receive", "out")) as client:
            await read(client, part)
    assert await ends(end) == [("completed", 0, 0), ("completed", 0, 0)]


async def test_each_whole_fetch_counts_and_reading_again_over_one_handle_does_not(
    end: FarEnd, film: Path
) -> None:
    (end.root / "out/empty").touch()
    async with end.client() as client:
        await read(client, (0, SIZE), (0, SIZE))
        await read(client, (0, SIZE))
        async with client.open("out/empty", "rb") as file:
            assert await file.read() == b""
    assert await ends(end) == [("completed", 3, 0)]


async def lose(end: FarEnd) -> None:
    """Read the first half of the file, and lose the connection."""
    async with raw_client(end) as client:
        handle = await client.handle(client.open(b"out/film", FLAG_READ))
        for start in range(0, HALF, PIECE):
            assert len(await client.data(client.read(handle, start, PIECE))) == PIECE
        client.writer.get_extra_info("connection").abort()
    await until(lambda: not end.sessions.listing())


async def test_a_connection_lost_in_the_middle_of_a_file_has_failed(end: FarEnd, film: Path) -> None:
    await lose(end)
    assert await ends(end) == [("failed", 0, 1)]
    assert told(end)[0].error == "The connection ended before the whole file was sent."


async def test_a_client_that_goes_on_after_a_loss_has_the_whole_file(end: FarEnd, film: Path) -> None:
    await lose(end)
    async with end.client() as client:
        await read(client, (HALF - 1000, SIZE))
    assert await ends(end) == [("completed", 1, 0), ("failed", 0, 1)]


@pytest.mark.parametrize(
    ("read_to", "found"),
    [
        pytest.param(SIZE, [("completed", 0, 0), ("completed", 1, 0)], id="another connection brought it"),
        pytest.param(HALF, [("completed", 0, 0), ("failed", 0, 1)], id="nobody brought it"),
    ],
)
async def test_a_connection_lost_beside_others_is_judged_by_what_they_bring(
    end: FarEnd, film: Path, read_to: int, found: list[tuple[str, int, int]]
) -> None:
    token = end.token("receive", "out")
    async with end.client(token) as first, first.open("out/film", "rb") as one:
        assert len(await one.read(read_to, 0)) == read_to
        async with raw_client(end, token=token) as second:
            handle = await second.handle(second.open(b"out/film", FLAG_READ))
            assert len(await second.data(second.read(handle, HALF, PIECE))) == PIECE
            second.writer.get_extra_info("connection").abort()
        await until(lambda: len(end.sessions.listing()) == 1)
    assert await ends(end) == found


async def test_a_client_that_reads_with_many_gaps_takes_no_more_memory_than_it_may(
    end: FarEnd, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_files, "ALL_PIECES", 50)
    async with end.client() as client:
        for number in range(10):
            (end.root / f"out/{number}").write_bytes(bytes(1000))
            async with client.open(f"out/{number}", "rb") as file:
                for start in range(0, 60, 2):
                    await file.read(1, start)
        assert end.sessions.sent.pieces <= 50
        await read(client, (0, SIZE))
    assert await ends(end) == [("completed", 1, 0)]


@pytest.mark.parametrize("connections", ["1", "4"])
async def test_our_own_client_fetches_each_file_once(end: FarEnd, film: Path, connections: str) -> None:
    with film.open("ab") as file:
        file.truncate(60_000_000)
    (end.root / "out/empty").touch()
    (end.root / "out/small").write_bytes(b"small")
    down = await receive(
        end, "--connections", connections, place(end, "/out"), end.folder / "back",
        token=end.token("receive", "out"),
    )  # fmt: skip
    assert down.code == 0, down.err
    how = await ends(end)
    assert {status for status, _, _ in how} == {"completed"}
    assert sum(count for _, count, _ in how) == 3
