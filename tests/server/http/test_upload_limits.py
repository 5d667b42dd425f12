"""SEC-31: what an upload endpoint must bear: strangers, guesses, floods, leftovers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from connect_helper.server.http import upload_endings
from connect_helper.server.http.threads import disk_threads
from connect_helper.server.http.tus import UPLOADS_KEY
from connect_helper.server.http.upload_bodies import NOTE_EVERY_S
from connect_helper.server.http.upload_limits import LEAST_SHARE, MOVING_S, PROMISE_S, UploadLimits
from connect_helper.server.http.upload_locks import Busy, UploadLocks
from connect_helper.server.http.upload_records import UploadRecord, UploadRecords
from connect_helper.server.http.uploads import Uploads
from connect_helper.storage.docroot import Docroot
from tests.support.http_far_end import STREAM, TUS, FarEnd, begin, far_end, metadata, offset_of, send

UPLOADS = "/fallback/v1/uploads"


async def statuses(client: aiohttp.ClientSession, upload: str) -> set[int]:
    """What HEAD, PATCH and DELETE of one upload answer."""
    found = {(await send(client, upload, 0, b"x")).status}
    for method in ("HEAD", "DELETE"):
        async with client.request(method, upload, headers=TUS) as answer:
            found.add(answer.status)
    return found


async def test_foreign_uploads_do_not_exist(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "x", 10)
    for token in (
        server.token("send", "elsewhere"),  # the same account, another folder
        server.token("send", "in", user="bob"),  # another account
        server.token("send", "in/x/y"),
    ):
        async with server.client(token) as stranger:
            assert await statuses(stranger, upload) == {404}
    async with server.client(server.token("receive", "in")) as stranger:
        assert await statuses(stranger, upload) == {404}
    assert await offset_of(sender, upload) == 0


async def test_a_fresh_token_for_the_same_folder_goes_on(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    upload = await begin(sender, "x", 4)
    await send(sender, upload, 0, b"ab")
    async with server.client(server.token("send", "in")) as later:
        assert (await send(later, upload, 2, b"cd")).status == 204
    assert (server.docroot / "in/x").read_bytes() == b"abcd"


@pytest.mark.parametrize(
    "word",
    [
        "0" * 32,
        "0" * 31,
        "0" * 33,
        "G" * 32,
        "..%2f..%2fetc%2fpasswd",
        "%00" * 16,
        "0" * 32 + "%0a",
        "x%2f" + "0" * 32,
    ],
)
async def test_guessed_ids_find_nothing(server: FarEnd, sender: aiohttp.ClientSession, word: str) -> None:
    address = aiohttp.client.URL(f"{server.url}{UPLOADS}/{word}", encoded=True)
    async with sender.head(address, headers=TUS) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/../x", "..", "a/../..", "../inside/../x"])
async def test_names_do_not_lead_out(server: FarEnd, sender: aiohttp.ClientSession, path: str) -> None:
    headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(path=path)}
    async with sender.post(UPLOADS, headers=headers) as answer:
        assert answer.status in (400, 404)
    assert server.names() == []


async def test_only_exact_destinations_of_a_token_with_pairs(server: FarEnd) -> None:
    async with server.client(server.token("send", "in", "in/a.bin", "in/sub/b.bin")) as sender:
        await send(sender, await begin(sender, "a.bin", 1), 0, b"a")
        await send(sender, await begin(sender, "sub/b.bin", 1), 0, b"b")
        for path in ("c.bin", "a.binx", "sub/c", "sub"):
            headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(path=path)}
            async with sender.post(UPLOADS, headers=headers) as answer:
                assert answer.status == 404, path
    assert [name for name in server.names() if not name.endswith("/")] == ["in/a.bin", "in/sub/b.bin"]


async def test_links_lead_nowhere(server: FarEnd, sender: aiohttp.ClientSession, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (server.docroot / "in").mkdir()
    (server.docroot / "other").mkdir()
    (server.docroot / "in/out").symlink_to(outside)
    (server.docroot / "in/other").symlink_to("../other")
    (server.docroot / "in/file").symlink_to(outside / "file")
    for path in ("out/x", "other/x"):
        headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(path=path)}
        async with sender.post(UPLOADS, headers=headers) as answer:
            assert answer.status == 404, path
    await send(sender, await begin(sender, "file", 1), 0, b"x")
    assert list(outside.iterdir()) == []
    assert not (server.docroot / "in/file").is_symlink()  # replaced, not followed


async def test_a_method_in_a_header_is_refused(sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "x", 10)
    async with sender.post(upload, headers={**STREAM, "X-HTTP-Method-Override": "DELETE"}) as answer:
        assert answer.status == 400
    assert await offset_of(sender, upload) == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "1"}, 412),
        ({"Upload-Length": "1"}, 412),
        ({**TUS}, 400),
        ({**TUS, "Upload-Length": "-1"}, 400),
        ({**TUS, "Upload-Length": "1", "Upload-Defer-Length": "1"}, 400),
        ({**TUS, "Upload-Defer-Length": "2"}, 400),
        ({**TUS, "Upload-Length": "1", "Upload-Concat": "both"}, 400),
        ({**TUS, "Upload-Length": str(2**62)}, 507),
        ({**TUS, "Upload-Length": "1", "Upload-Metadata": "nothing"}, 400),
    ],
)
async def test_creations_that_cannot_be(
    sender: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    async with sender.post(UPLOADS, headers={"Upload-Metadata": metadata(path="x"), **headers}) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
        assert error["code"] == status
        assert error["user_message"].endswith(".")


async def test_what_a_patch_must_say(sender: aiohttp.ClientSession) -> None:
    upload = await begin(sender, "x", 10)
    for headers, status in (
        ({**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"}, 415),
        ({**STREAM}, 400),
        ({**STREAM, "Upload-Offset": "zero"}, 400),
        ({**STREAM, "Upload-Offset": "0", "Upload-Length": "11"}, 400),
        ({"Content-Type": STREAM["Content-Type"], "Upload-Offset": "0"}, 412),
    ):
        async with sender.patch(upload, data=b"x", headers=headers) as answer:
            assert answer.status == status, headers
    assert await offset_of(sender, upload) == 0


async def test_an_account_has_its_share_of_unfinished_uploads(tmp_path: Path) -> None:
    limits = UploadLimits(unfinished_per_account=3, keep_free_percent=0.0)
    async with far_end(tmp_path, limits=limits) as server, AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(server.client(server.token("send"))) for _ in range(4)]
        uploads = [await begin(sender, f"x{number}", 1) for number, sender in enumerate(senders[:3])]
        assert await created(senders[3], "y", **{"Upload-Length": "1"}) == (429, "too_many_uploads")
        await send(senders[0], uploads[0], 0, b"x")
        await begin(senders[3], "y", 1)


async def test_one_token_does_not_take_all_uploads_of_its_account(tmp_path: Path) -> None:
    limits = UploadLimits(unfinished_per_account=300, keep_free_percent=0.0)
    async with far_end(tmp_path, limits=limits) as server:
        greedy, other = server.client(server.token("send", "a")), server.client(server.token("send", "b"))
        async with greedy, other:
            uploads = [await begin(greedy, f"x{number}", 1) for number in range(150)]
            assert await created(greedy, "y", **{"Upload-Length": "1"}) == (429, "too_many_uploads")
            for number in range(LEAST_SHARE):  # one file in 64 parts, and what they become
                await begin(other, f"x{number}", 1)
            await send(greedy, uploads[0], 0, b"x")
            assert (await created(greedy, "y", **{"Upload-Length": "1"}))[0] == 429  # as long as few are left


@pytest.mark.parametrize(("limit", "alone"), [(4, 4), (50, 50), (65, 65), (100, 65), (130, 65)])
async def test_where_few_uploads_are_allowed_a_file_may_still_come_in_parts(
    tmp_path: Path, limit: int, alone: int
) -> None:
    limits = UploadLimits(unfinished_per_account=limit, keep_free_percent=0.0)
    async with far_end(tmp_path, limits=limits) as server, server.client(server.token("send")) as sender:
        parts = [await begin(sender, "film", 1, {"Upload-Concat": "partial"}) for _ in range(alone)]
        assert (await created(sender, "y", **{"Upload-Length": "1"}))[0] == 429
        for part in parts:
            assert (await send(sender, part, 0, b"x")).status == 204
        joined = {"Upload-Concat": "final;" + " ".join(parts)}
        assert (await created(sender, "film", **joined))[0] == 201
        assert (server.docroot / "film").read_bytes() == b"x" * alone
        assert (await created(sender, "y", **{"Upload-Length": "1"}))[0] == 201


async def created(client: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, str]:
    """Status and reason of an attempt to begin an upload."""
    sent = {**TUS, "Upload-Metadata": metadata(path=path), **headers}
    async with client.post(UPLOADS, headers=sent) as answer:
        body = await answer.json() if answer.status >= 400 else {}
        return answer.status, body.get("error", {}).get("reason", "")


@dataclass
class Disk:
    """A disk of 1000 blocks."""

    f_blocks: int = 1000
    f_bavail: int = 1000
    f_frsize: int = 1 << 20


async def test_what_is_promised_already_is_not_promised_again(tmp_path: Path) -> None:
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        facts = os.statvfs(tmp_path)
        most = str(facts.f_bavail * facts.f_frsize * 6 // 10)
        assert (await created(sender, "x", **{"Upload-Length": most}))[0] == 201
        assert await created(sender, "y", **{"Upload-Length": most}) == (507, "disk_full")
        assert (await created(sender, "small", **{"Upload-Length": "1"}))[0] == 201


async def test_what_one_token_promises_does_not_keep_out_the_others_of_its_account(tmp_path: Path) -> None:
    async with far_end(tmp_path) as server:
        greedy, other = server.client(server.token("send", "a")), server.client(server.token("send", "b"))
        async with greedy, other:
            facts = os.statvfs(tmp_path)
            free = facts.f_bavail * facts.f_frsize
            near_all, third, most = (str(free * part // 100) for part in (97, 33, 80))
            assert (await created(greedy, "x", **{"Upload-Length": near_all}))[0] == 201
            assert await created(greedy, "y", **{"Upload-Length": third}) == (507, "disk_full")
            assert (await created(other, "x", **{"Upload-Length": third}))[0] == 201
            assert await created(other, "y", **{"Upload-Length": most}) == (507, "disk_full")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """What every docroot says of its disk, as long as the test lasts."""
    disk = Disk()
    monkeypatch.setattr(Docroot, "statvfs", lambda _docroot, _path: disk)
    return disk


@pytest.mark.parametrize("others", [1, 5, 8])
async def test_many_tokens_do_not_open_a_disk_that_is_below_its_reserve(
    tmp_path: Path, disk: Disk, others: int
) -> None:
    limits = UploadLimits(keep_free_percent=10.0)
    async with far_end(tmp_path, limits=limits) as server, server.client(server.token("send")) as sender:
        for number in range(others):
            async with server.client(server.token("send")) as other:
                await begin(other, f"x{number}", 1)
        disk.f_bavail = 20
        for length in ("5", str(1000 * disk.f_frsize)):
            assert await created(sender, "y", **{"Upload-Length": length}) == (507, "disk_full")


@pytest.mark.parametrize("in_one_request", [False, True])
async def test_room_that_another_token_is_filling_is_not_promised_again(
    tmp_path: Path, disk: Disk, in_one_request: bool
) -> None:
    length = 700 * disk.f_frsize
    later = time.time() + MOVING_S + 10
    async with far_end(tmp_path) as server:
        first, other = server.client(server.token("send", "a")), server.client(server.token("send", "b"))
        async with first, other:
            upload, wish = await begin(first, "x", length), {"Upload-Length": str(length)}
            uploads = server.app[UPLOADS_KEY]
            pieces = asyncio.Queue[bytes]()
            pieces.put_nowait(bytes(length // 50))
            if in_one_request:
                uploads._bodies._clock = uploads.room._clock = lambda: later
                sending = asyncio.create_task(send(first, upload, 0, body_of(pieces)))
                for _ in range(2 * 5):
                    await asyncio.sleep(NOTE_EVERY_S / 4)
                    pieces.put_nowait(bytes(length // 200))
            else:
                assert (await send(first, upload, 0, bytes(length // 50))).status == 204
            assert await created(other, "y", **wish) == (507, "disk_full")
            if in_one_request:
                pieces.put_nowait(b"")
                assert (await sending).status == 204
            uploads.room._clock = lambda: later + MOVING_S + 10
            assert (await created(other, "y", **wish))[0] == 201


async def body_of(pieces: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    """The pieces, up to one of no bytes."""
    while piece := await pieces.get():
        yield piece


async def test_no_room_is_kept_for_uploads_that_do_not_move(tmp_path: Path) -> None:
    limits = UploadLimits(unfinished_s=2 * PROMISE_S, keep_free_percent=0.0)
    async with far_end(tmp_path, limits=limits) as server, server.client(server.token("send")) as sender:
        uploads = server.app[UPLOADS_KEY]
        facts = os.statvfs(tmp_path)
        most = str(facts.f_bavail * facts.f_frsize * 6 // 10)
        assert (await created(sender, "x", **{"Upload-Length": most}))[0] == 201
        uploads.room._clock = lambda: time.time() + PROMISE_S + 10  # the upload is still there, and old
        assert (await created(sender, "y", **{"Upload-Length": most}))[0] == 201


async def test_a_disk_is_not_filled_to_its_last_byte(tmp_path: Path) -> None:
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        upload = await begin(sender, "x", 10)
        assert (await send(sender, upload, 0, b"ab")).status == 204
    full = UploadLimits(keep_free_percent=100.0)
    async with far_end(tmp_path, limits=full) as server, server.client(server.token("send")) as sender:
        answer = await send(sender, upload, 2, b"cdefghij")
        assert answer.status == 507
        assert await offset_of(sender, upload) == 2
        assert await created(sender, "y", **{"Upload-Defer-Length": "1"}) == (507, "disk_full")
        assert (await created(sender, "empty", **{"Upload-Length": "0"}))[0] == 201
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        assert (await send(sender, upload, 2, b"cdefghij")).status == 204
        assert (server.docroot / "x").read_bytes() == b"abcdefghij"


async def test_a_full_disk_of_the_servers_own_is_told_and_loses_nothing(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    """The list of uploads may lie on another disk than the files: what came there is kept."""
    upload = await begin(sender, "x", 10)
    database = server.app[UPLOADS_KEY].store._records._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    long = {"Upload-Length": "1", "Upload-Metadata": metadata(path="y", note="z" * 6000)}
    assert await created(sender, "y", **long) == (507, "disk_full")
    assert (await send(sender, upload, 0, b"abcdefghij")).status == 204
    database.execute(f"PRAGMA max_page_count = {pages + 100}")
    assert (await created(sender, "y", **long))[0] == 201
    database.execute("PRAGMA query_only = on")
    assert await created(sender, "z", **{"Upload-Length": "1"}) == (503, "list_unwritable")
    database.execute("PRAGMA query_only = off")
    assert (server.docroot / "in/x").read_bytes() == b"abcdefghij"


def _abandoned(number: int, expires_at: float, account: str = "ann") -> UploadRecord:
    return UploadRecord(
        id=f"{number:032d}", account=account, kind="whole", path=b"x",
        partial=f"{number}.partial".encode(), length=9, offset=3, synced=0,
        metadata="", mtime_ns=None, expected=None, wants_digest=False, digest=None,
        parts=(), done=False, expires_at=expires_at,
    )  # fmt: skip


async def test_abandoned_uploads_are_removed_but_none_in_use(tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "root").mkdir()
    disk = disk_threads()
    locks = UploadLocks()
    records = UploadRecords(tmp_path / "list")
    uploads = Uploads(records, disk, UploadLimits(), clock=lambda: now, locks=locks)
    for number, expires_at in enumerate((now - 10, now - 10, now + 10)):
        (tmp_path / f"root/{number}.partial").write_bytes(b"abc")
        records.put(_abandoned(number, expires_at))

    def open_docroot(name: str) -> Docroot | None:
        return Docroot.open(tmp_path / "root") if name == "ann" else None

    async with locks.hold(f"{1:032d}"):
        assert await uploads.endings.sweep(open_docroot) == 1
    assert sorted(file.name for file in (tmp_path / "root").iterdir()) == ["1.partial", "2.partial"]
    assert await uploads.endings.sweep(open_docroot) == 1
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["2.partial"]
    uploads.close()
    disk.shutdown()


async def test_a_folder_that_cannot_be_reached_keeps_no_other_account_s_uploads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()
    (tmp_path / "ann").mkdir()
    disk = disk_threads()
    records = UploadRecords(tmp_path / "list")
    uploads = Uploads(records, disk, UploadLimits(), clock=lambda: now)
    for number in range(1200):  # more of the unreachable one than are looked at together, and older
        records.put(_abandoned(number, now - 20, "bob"))
    for number in (2001, 2002):
        records.put(_abandoned(number, now - 10))
        (tmp_path / f"ann/{number}.partial").touch()

    def open_docroot(name: str) -> Docroot | None:
        return Docroot.open(tmp_path / name)

    assert await uploads.endings.sweep(open_docroot) == 2
    assert list((tmp_path / "ann").iterdir()) == []
    assert [record.getMessage() for record in caplog.records if "bob" in record.getMessage()] == [
        "the docroot of bob cannot be reached: No such file or directory"
    ]
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob/7.partial").touch()
    assert await uploads.endings.sweep(open_docroot) == 1200
    assert list((tmp_path / "bob").iterdir()) == []
    uploads.close()
    disk.shutdown()


async def test_an_upload_past_its_time_is_gone(tmp_path: Path) -> None:
    limits = UploadLimits(unfinished_s=0.0, keep_free_percent=0.0)
    async with far_end(tmp_path, limits=limits) as server, server.client(server.token("send")) as sender:
        upload = await begin(sender, "x", 10)
        assert await statuses(sender, upload) == {404}
        assert UPLOADS_KEY in server.app


async def test_a_crash_of_the_machine_sets_offsets_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        upload = await begin(sender, "x", 10)
        await send(sender, upload, 0, b"abcd")
        assert await offset_of(sender, upload) == 4
    boot = tmp_path / "boot_id"
    boot.write_text("another")
    monkeypatch.setattr("connect_helper.server.http.upload_records._BOOT_ID", boot)
    async with far_end(tmp_path) as server, server.client(server.token("send")) as sender:
        # Nothing had been confirmed by the disk, so nothing is certain.
        assert await offset_of(sender, upload) == 0
        assert (await send(sender, upload, 0, b"abcdefghij")).status == 204
        assert (server.docroot / "x").read_bytes() == b"abcdefghij"


async def test_a_lock_is_handed_over_or_refused() -> None:
    locks = UploadLocks(handover_limit_s=0.05)
    let_go = asyncio.Event()
    async with locks.hold("x") as hold:
        hold.on_wanted(let_go.set)
        with pytest.raises(Busy):
            async with locks.hold("x"):
                pass
        assert let_go.is_set()
        assert locks.held("x")
    async with locks.hold("x"):
        pass
    assert not locks.held("x")


async def test_of_thousands_of_finished_uploads_the_last_ones_are_remembered(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_endings, "DONE_KEPT", 2)
    async with server.client(server.token("send", user="bob")) as other:
        foreign = await begin(other, "y", 0)
        uploads = [await begin(sender, "x", 0) for _ in range(5)]
        unfinished = [await begin(sender, "x", 1) for _ in range(3)]
        await server.app[UPLOADS_KEY].endings.sweep(lambda _: None)
        for upload in (*uploads[-2:], *unfinished):
            assert await offset_of(sender, upload) == 0
        assert await offset_of(other, foreign) == 0
        for upload in uploads[:-2]:
            async with sender.head(upload, headers=TUS) as answer:
                assert answer.status == 404
    assert (server.docroot / "in/x").exists()
