"""Pages that read much, slowly or not at all cost the helper little, and others nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api import content_answer
from connect_helper.api.disk_threads import THREADS, DiskThreads
from connect_helper.api.reading import BLOCK
from connect_helper.api.turns import AT_ONCE, WAITING, Turns
from connect_helper.errors import TooManyRequests
from tests.api.conftest import Face

OTHER = "https://other.example"
MIB = 1024 * 1024


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that takes minutes to read and no room."""
    file = tmp_path / "endless"
    with file.open("wb") as sparse:
        sparse.truncate(200 << 30)
    return file


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3_000_001])
async def test_content_of_any_length_arrives_as_it_is(face: Face, tmp_path: Path, size: int) -> None:
    file = tmp_path / "data.txt"
    content = os.urandom(size)
    file.write_bytes(content)
    (name,) = await face.choose(file)
    whole = await face.post("/connect/file/read-as-array-buffer/", {"path": name})
    assert whole == (200, {"type": "text/plain", "data": base64.b64encode(content).decode()})
    chunk = {"path": name, "offset": size // 3, "chunkSize": 2 * BLOCK}
    _, answer = await face.post("/connect/file/read-chunk-as-array-buffer/", chunk)
    assert base64.b64decode(answer["data"]) == content[size // 3 :][: 2 * BLOCK]


async def test_rel_19_a_page_that_computes_without_end_holds_up_nobody(face: Face, endless: Path) -> None:
    small = endless.with_name("small")
    small.write_bytes(b"abc")
    (name,) = await face.choose(endless)
    (other,) = await face.choose(small, origin=OTHER)
    calls = [asyncio.create_task(face.post("/connect/file/checksum/", {"path": name})) for _ in range(20)]
    refused = [await call for call in islice(asyncio.as_completed(calls), len(calls) - AT_ONCE - WAITING)]
    assert {status for status, _ in refused} == {429}
    waiting = [call for call in calls if not call.done()]
    assert len(waiting) == AT_ONCE + WAITING
    async with asyncio.timeout(5):
        assert (await face.get("/connect/info/ping", origin=OTHER))[0] == 200
        _, answer = await face.post("/connect/file/checksum/", {"path": other}, origin=OTHER)
        assert answer["checksum"] == hashlib.md5(b"abc", usedforsecurity=False).hexdigest()
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    # With the page gone its turns are free again, so nothing goes on reading for it.
    small_grant = (await face.choose(small))[0]
    async with asyncio.timeout(10):
        while True:
            status, _ = await face.post("/connect/file/checksum/", {"path": small_grant})
            if status == 200:
                break
            await asyncio.sleep(0.05)


async def test_too_many_reads_are_told_when_to_come_again(face: Face, endless: Path) -> None:
    (name,) = await face.choose(endless)
    body = json.dumps({"path": name, "aspera_connect_settings": {"app_id": "app-one"}})
    headers = {"Origin": "https://portal.example", "Sec-Fetch-Mode": "cors"}
    ask = partial(face.http.post, f"{face.base}/connect/file/checksum", data=body, headers=headers)
    calls = [asyncio.ensure_future(ask()) for _ in range(AT_ONCE + WAITING + 1)]
    done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    (answer,) = [call.result() for call in done]
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    answer.release()
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _unread(face: Face, body: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a chunk and take no more of the answer than the socket does by itself."""
    port = int(face.base.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    text = json.dumps({**body, "aspera_connect_settings": {"app_id": "app-one"}})
    writer.write(
        f"POST /v5/connect/file/read-chunk-as-array-buffer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Origin: https://portal.example\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
    )
    await writer.drain()
    return reader, writer


async def test_sec_10_answers_nobody_takes_are_not_kept_in_memory(
    face: Face, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    real = base64.b64encode

    def note(data: bytes) -> bytes:
        taken.append(len(data))
        return real(data)

    (name,) = await face.choose(endless)
    with monkeypatch.context() as patched:
        patched.setattr(base64, "b64encode", note)  # where every block passes
        body = {"path": name, "offset": 0, "chunkSize": 50 * MIB}
        unread = [await _unread(face, body) for _ in range(AT_ONCE)]
        await soon(lambda: len(taken) > AT_ONCE)
        before = -1
        async with asyncio.timeout(30):
            while before != len(taken):
                before = len(taken)
                await asyncio.sleep(0.3)
    # What was read went into the buffers of the sockets, which the system bounds.
    assert sum(taken) < AT_ONCE * 20 * MIB
    for _, writer in unread:
        writer.close()
        await writer.wait_closed()


async def test_a_page_that_takes_nothing_of_its_answer_is_cut_off(
    face: Face, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_answer, "STALLED_S", 0.2)
    (name,) = await face.choose(endless)
    reader, writer = await _unread(face, {"path": name, "offset": 0, "chunkSize": 50 * MIB})
    await asyncio.sleep(1)
    got = 0
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while block := await reader.read(1024):
                got += len(block)
    assert got < 50 * MIB
    writer.close()


async def test_a_file_that_gets_shorter_is_never_answered_as_a_shorter_file(
    face: Face, endless: Path
) -> None:
    (name,) = await face.choose(endless)
    body = {
        "path": name,
        "offset": 0,
        "chunkSize": 50 * MIB,
        "aspera_connect_settings": {"app_id": "app-one"},
    }
    headers = {"Origin": "https://portal.example", "Sec-Fetch-Mode": "cors"}
    url = f"{face.base}/connect/file/read-chunk-as-array-buffer"
    async with face.http.post(url, data=json.dumps(body), headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://portal.example"
        os.truncate(endless, 4 * MIB)
        told = await answer.json()  # whole, so that no library takes the helper for lost and asks again
        assert told["error"]["code"] == 409
        assert told["error"]["user_message"].endswith(".")
        assert len(told["data"]) < 50 * MIB


async def test_a_file_read_in_many_pieces_is_never_too_much_and_activity_goes_on(
    face: Face, tmp_path: Path
) -> None:
    file = tmp_path / "pieces"
    file.write_bytes(os.urandom(250))
    (name,) = await face.choose(file)
    pieces = []
    for offset in range(250):
        piece = {"path": name, "offset": offset, "chunkSize": 1}
        status, answer = await face.post("/connect/file/read-chunk-as-array-buffer/", piece)
        assert status == 200, answer
        pieces.append(base64.b64decode(answer["data"]))
        if offset % 10 == 0:
            assert (await face.post("/connect/transfers/activity", {"iteration_token": 0}))[0] == 200
    assert b"".join(pieces) == file.read_bytes()


@pytest.mark.parametrize(
    ("change", "status"),
    [("gone", 404), ("replaced", 409), ("link", 403), ("folder", 404), ("pipe", 403)],
)
@pytest.mark.parametrize("route", ["read-as-array-buffer", "checksum"])
async def test_files_that_cannot_be_read_have_their_own_status(
    face: Face, tmp_path: Path, route: str, change: str, status: int
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("first")
    (name,) = await face.choose(folder, kind="open-folder")
    path = folder / "file"
    path.unlink()
    if change == "link":
        path.symlink_to("/etc/passwd")
    elif change == "folder":
        path.mkdir()
    elif change == "pipe":
        os.mkfifo(path)
    elif change == "replaced":
        folder.rename(tmp_path / "away")
        folder.mkdir()
        path.write_text("second")
    got, answer = await face.post(f"/connect/file/{route}/", {"path": f"{name}/file"})
    assert got == status
    assert answer["error"]["code"] == status


async def test_turns_are_taken_in_order_and_each_origin_has_its_own() -> None:
    turns = Turns(at_once=1, waiting=2)
    order: list[int] = []
    free = asyncio.Event()

    async def use(number: int, origin: str) -> None:
        async with turns.take(origin):
            order.append(number)
            await free.wait()

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(use(number, "a"))
        tasks.create_task(use(9, "b"))
        await soon(lambda: len(order) == 2)
        assert order == [0, 9]
        with pytest.raises(TooManyRequests):
            await use(4, "a")
        free.set()
    assert order == [0, 9, 1, 2]
    await use(5, "a")


async def test_one_who_stops_waiting_leaves_the_place_to_the_next() -> None:
    turns = Turns(at_once=1, waiting=1)

    async def use(free: asyncio.Event) -> None:
        async with turns.take("a"):
            await free.wait()

    free = asyncio.Event()
    first, second = asyncio.create_task(use(free)), asyncio.create_task(use(free))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    third = asyncio.create_task(use(free))
    free.set()
    await asyncio.gather(first, third)


async def test_steps_of_a_disk_that_hangs_leave_nothing_behind_but_themselves() -> None:
    threads, release, ran = DiskThreads(), threading.Event(), threading.Event()
    hung: list[Awaitable[bool]] = [asyncio.ensure_future(threads.run(release.wait)) for _ in range(THREADS)]
    abandoned = asyncio.ensure_future(threads.run(ran.set))
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.wait([abandoned])
    release.set()
    assert await asyncio.gather(*hung) == [True] * THREADS
    assert await threads.run(lambda: "after") == "after"
    assert not ran.is_set()
    assert all(one.daemon for one in threading.enumerate() if one.name == "read for pages")


async def test_what_a_step_raises_is_raised_where_it_is_awaited() -> None:
    with pytest.raises(ZeroDivisionError):
        await DiskThreads().run(lambda: 1 // 0)
