"""A file that is fetched in parts is done when all its bytes were sent: not before, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from connect_helper.server.access import Access
from connect_helper.server.session_reports import FileReport
from tests.support.http_far_end import FarEnd

FILE = "/fallback/v1/files/out/film"
SIZE = 40_000_000  # more than the buffers on the way hold
LAST = SIZE - 1000


@pytest.fixture
def film(server: FarEnd, receiver: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A client of a file to fetch."""
    (server.docroot / "out/film").write_bytes(bytes(SIZE))
    return receiver


def done(server: FarEnd) -> list[FileReport]:
    """The files that are listed as done, in all sessions."""
    return [file for _, files in server.sessions.with_files() for file in files if file.error is None]


def under_way(server: FarEnd) -> int:
    """How many files the sessions have under way."""
    return sum(len(report.under_way) for report in server.sessions.listing())


async def part(client: aiohttp.ClientSession, start: int, end: int) -> None:
    """Fetch the bytes from `start` up to `end`."""
    async with client.get(FILE, headers={"Range": f"bytes={start}-{end - 1}"}) as answer:
        assert answer.status == 206
        assert len(await answer.read()) == end - start


@asynccontextmanager
async def waiting(
    client: aiohttp.ClientSession, start: int, end: int
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A request for a part whose bytes are not taken yet."""
    async with client.get(FILE, headers={"Range": f"bytes={start}-{end - 1}"}) as answer:
        yield answer


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110 - the figures tell nobody
            await asyncio.sleep(0.01)


async def broken(client: aiohttp.ClientSession, server: FarEnd, start: int, end: int, taken: int) -> None:
    """Fetch a part and cut the line after `taken` bytes; return when the server has noticed."""
    async with waiting(client, start, end) as answer:
        assert len(await answer.content.readexactly(taken)) == taken
        answer.close()
    await until(lambda: not under_way(server))


async def test_a_file_whose_last_part_came_first_is_done_with_the_rest(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    await part(film, LAST, SIZE)
    assert done(server) == []
    await part(film, 1000, LAST)
    assert done(server) == []
    await part(film, 0, 1000)
    await until(lambda: bool(done(server)))
    assert [(file.path, file.size) for file in done(server)] == [((b"out", b"film"), SIZE)]


async def test_a_file_is_under_way_while_one_of_its_parts_is(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    async with waiting(film, 0, LAST) as first:
        await part(film, LAST, SIZE)
        await asyncio.sleep(0.1)
        assert done(server) == []
        assert under_way(server) == 1
        assert len(await first.read()) == LAST
    await until(lambda: bool(done(server)))
    assert not under_way(server)
    assert len(done(server)) == 1


async def test_a_broken_part_does_not_count(server: FarEnd, film: aiohttp.ClientSession) -> None:
    await broken(film, server, 0, LAST, 100_000)
    await part(film, LAST, SIZE)
    await asyncio.sleep(0.1)
    assert done(server) == []


async def test_a_broken_part_counts_up_to_where_the_client_goes_on(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    await part(film, LAST, SIZE)
    await broken(film, server, 0, LAST, 500_000)
    await broken(film, server, 400_000, LAST, 200_000)
    await part(film, 600_000, LAST)
    await until(lambda: bool(done(server)))
    assert len(done(server)) == 1


async def test_what_was_never_sent_does_not_count_however_the_client_goes_on(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    await broken(film, server, 0, LAST, 1000)
    await part(film, SIZE - 2000, SIZE)
    await asyncio.sleep(0.1)
    assert done(server) == []


async def test_parts_of_two_versions_make_no_file(server: FarEnd, film: aiohttp.ClientSession) -> None:
    await part(film, 0, 1000)
    (server.docroot / "out/film").write_bytes(bytes(SIZE - 1) + b"x")
    await part(film, 1000, SIZE)
    await asyncio.sleep(0.1)
    assert done(server) == []


async def test_parts_that_two_tokens_fetched_make_no_file(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    await part(film, 0, 1000)
    async with server.client(server.token("receive", "out")) as other:
        await part(other, 1000, SIZE)
        await asyncio.sleep(0.1)
        assert done(server) == []


async def test_each_whole_fetch_counts(server: FarEnd, film: aiohttp.ClientSession) -> None:
    for count in (1, 2):
        async with film.get(FILE) as answer:
            assert len(await answer.read()) == SIZE
        await until(lambda: len(done(server)) == count)  # noqa: B023 - it is over before the next turn
    (server.docroot / "out/empty").touch()
    async with film.get(FILE.replace("film", "empty")) as answer:
        assert await answer.read() == b""
    await until(lambda: len(done(server)) == 3)


async def ends(server: FarEnd) -> list[tuple[str, int, int]]:
    """How the sessions ended, with their files out and failed, once all have."""
    await until(lambda: not server.sessions.listing())
    return [(one.status, one.files_out, one.files_failed) for one in server.sessions.history()]


async def test_a_session_whose_only_download_broke_off_has_failed(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    await broken(film, server, 0, SIZE, 100_000)
    assert await ends(server) == [("failed", 0, 1)]
    ((_, (file,)),) = server.sessions.with_files()
    assert (file.path, file.way, file.size) == ((b"out", b"film"), "out", SIZE)
    assert file.error == "The connection ended before the whole file was sent."


async def test_a_download_that_broke_off_and_was_finished_later_is_done(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    with server.sessions.join(access(server, film), "http", "127.0.0.1"):  # it goes on meanwhile
        await broken(film, server, 0, SIZE, 100_000)
        await part(film, 50_000, SIZE)
        await until(lambda: bool(done(server)))
    assert await ends(server) == [("completed", 1, 0)]


async def test_a_download_that_another_session_of_its_token_finished_has_not_failed(
    server: FarEnd, film: aiohttp.ClientSession
) -> None:
    with server.sessions.join(access(server, film), "https", "192.0.2.7") as elsewhere:
        fetch = elsewhere.fetch((b"out", b"film"), (server.docroot / "out/film").stat())
        fetch.handed(0, 1_000_000)
        fetch.broke_off()
        await part(film, 50_000, SIZE)
        await until(lambda: bool(done(server)))
    assert sorted(await ends(server)) == [("completed", 0, 0), ("completed", 1, 0)]


def access(server: FarEnd, client: aiohttp.ClientSession) -> Access:
    """What the client's token gives."""
    account = server.accounts.get("ann")
    assert account is not None
    return Access(account, server.admission.keyring.open(client.headers["Authorization"].split()[1]))
