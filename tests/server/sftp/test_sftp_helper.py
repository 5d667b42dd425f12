"""Our own program against our own server: what both ends agree on, with a key and with tokens."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

import pytest

from tests.support.command import Ran, finish, ran, start
from tests.support.sftp_server import USER, FarEnd

CONTENT = os.urandom(5_000_000)


@pytest.fixture
def film(end: FarEnd) -> Path:
    path = end.folder / "film"
    path.write_bytes(CONTENT)
    return path


def place(end: FarEnd, path: str) -> str:
    return f"ssh://{USER}@127.0.0.1:{end.port}{path}"


def login(end: FarEnd, token: str = "") -> tuple[str, ...]:
    known = ("--host-key", end.host_key.get_fingerprint())
    return (*known, "--password-stdin") if token else (*known, "-i", str(end.key_file))


async def send(end: FarEnd, *words: str | Path, token: str = "") -> Ran:
    return await ran(
        end.folder / "home", "send", *login(end, token), *words, given=f"{token}\n".encode() if token else b""
    )


async def receive(end: FarEnd, *words: str | Path, token: str = "") -> Ran:
    return await ran(
        end.folder / "home",
        "receive",
        *login(end, token),
        *words,
        given=f"{token}\n".encode() if token else b"",
    )


async def until_written(partial: Path, size: int) -> None:
    async with asyncio.timeout(60):
        while not partial.exists() or partial.stat().st_size < size:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.02)


async def test_a_folder_goes_up_and_comes_back(end: FarEnd, film: Path) -> None:
    tree = end.folder / "tree"
    (tree / "a").mkdir(parents=True)
    film.rename(tree / "a/film")
    for number in range(40):
        (tree / f"{number}").write_bytes(os.urandom(number * 500))
    up = await send(end, "--checksum", "sha-256", tree, place(end, "/there"))
    assert up.code == 0, up.err
    down = await receive(end, place(end, "/there/tree"), end.folder / "back")
    assert down.code == 0, down.err
    for path in tree.rglob("*"):
        if path.is_file():
            name = path.relative_to(tree)
            assert (end.root / "there/tree" / name).read_bytes() == path.read_bytes()
            assert (end.folder / "back/tree" / name).read_bytes() == path.read_bytes()


async def test_a_file_goes_up_with_one_token_and_down_with_another(end: FarEnd, film: Path) -> None:
    """Who may only send cannot read back: the server itself computes the digest that is compared."""
    (end.root / "in").mkdir()
    token = end.token("send", "in")
    up = await send(end, "--checksum", "sha-256", film, place(end, "/in"), token=token)
    assert up.code == 0, up.err
    assert [path.name for path in (end.root / "in").iterdir()] == ["film"]
    token = end.token("receive", "in/film")
    down = await receive(end, place(end, "/in/film"), end.folder / "back", token=token)
    assert down.code == 0, down.err
    assert (end.folder / "back/film").read_bytes() == CONTENT


async def test_a_token_for_another_folder_is_refused_and_nothing_is_written(end: FarEnd, film: Path) -> None:
    (end.root / "in").mkdir()
    (end.root / "other").mkdir()
    up = await send(end, film, place(end, "/other"), token=end.token("send", "in"))
    assert up.code == 1
    assert not any((end.root / "other").iterdir())
    assert not any((end.root / "in").iterdir())


async def test_an_interrupted_upload_goes_on_where_it_was(end: FarEnd) -> None:
    (end.root / "in").mkdir()
    film = end.folder / "film"
    content = os.urandom(24_000_000)
    film.write_bytes(content)
    token = end.token("send", "in")
    words = ("send", *login(end, token), "--rate", "100M", film, place(end, "/in"))
    given = f"{token}\n".encode()
    process = await start(end.folder / "home", *words)
    first = asyncio.create_task(finish(process, given))
    partial = end.root / "in/film.partial"
    await until_written(partial, 10_000_000)
    process.kill()
    await first
    before = sum(report.bytes_in for report in (*end.sessions.history(), *end.sessions.listing()))
    up = await send(end, film, place(end, "/in"), token=token)
    assert up.code == 0, up.err
    after = sum(report.bytes_in for report in (*end.sessions.history(), *end.sessions.listing()))
    assert (end.root / "in/film").read_bytes() == content
    assert before >= 8_000_000
    assert after - before < len(content) - 4_000_000, "it went on, and did not begin again"
    assert not partial.exists()


async def test_with_a_new_token_an_interrupted_upload_begins_beside_the_old_one(end: FarEnd) -> None:
    """Who comes with another token for the folder may be somebody else: what the first left is closed."""
    (end.root / "in").mkdir()
    film = end.folder / "film"
    content = os.urandom(24_000_000)
    film.write_bytes(content)
    token = end.token("send", "in")
    process = await start(
        end.folder / "home", "send", *login(end, token), "--rate", "100M", film, place(end, "/in")
    )
    first = asyncio.create_task(finish(process, f"{token}\n".encode()))
    partial = end.root / "in/film.partial"
    await until_written(partial, 10_000_000)
    process.kill()
    await first
    async with asyncio.timeout(60):
        while end.sessions.listing():  # noqa: ASYNC110 - the server still writes what had come
            await asyncio.sleep(0.02)
    left = partial.read_bytes()
    up = await send(end, film, place(end, "/in"), token=end.token("send", "in"))
    assert up.code == 0, up.err
    assert (end.root / "in/film").read_bytes() == content
    assert partial.read_bytes() == left


async def test_a_file_comes_down_with_a_token_for_thousands(end: FarEnd) -> None:
    (end.root / "film").write_bytes(CONTENT)
    token = end.token("receive", "film", *(secrets.token_hex(16) for _ in range(2000)))
    down = await receive(end, place(end, "/film"), end.folder / "back", token=token)
    assert down.code == 0, down.err
    assert (end.folder / "back/film").read_bytes() == CONTENT
