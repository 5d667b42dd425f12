"""What the server does with requests as they come over the wire: many at once, odd ones, and broken ones."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
import time
from pathlib import Path

import asyncssh
import pytest

from connect_helper.server.sftp import digests, packets
from connect_helper.server.sftp.packets import FLAG_CREAT, FLAG_READ, FLAG_TRUNC, FLAG_WRITE, Status
from tests.support.sftp_raw import NO_ATTRS, RawClient, raw_client, text
from tests.support.sftp_server import FarEnd, far_end

CONTENT = os.urandom(300_000)
NEW = FLAG_WRITE | FLAG_CREAT | FLAG_TRUNC


async def opened(client: RawClient, path: bytes, flags: int) -> bytes:
    return await client.handle(client.open(path, flags))


async def test_requests_sent_at_once_are_answered_as_if_in_order(end: FarEnd) -> None:
    async with raw_client(end) as client:
        handle = await opened(client, b"new", NEW | FLAG_READ)
        for at in range(0, len(CONTENT), 1000):  # far more than one trip takes
            client.write(handle, at, CONTENT[at : at + 1000])
        size = client.ask(packets.FSTAT, text(handle))
        close = client.ask(packets.CLOSE, text(handle))
        move = client.ask(packets.RENAME, text(b"new") + text(b"moved"))
        mode = client.ask(packets.SETSTAT, text(b"moved") + struct.pack(">II", packets.ATTR_MODE, 0o640))
        folder = client.ask(packets.MKDIR, text(b"d") + NO_ATTRS)
        into = client.ask(packets.RENAME, text(b"moved") + text(b"d/film"))
        look = client.ask(packets.STAT, text(b"d/film"))
        gone = client.ask(packets.STAT, text(b"moved"))
        for number in (close, move, mode, folder, into):
            assert await client.status(number) is Status.OK
        _kind, body = await client.answer(size)
        assert int.from_bytes(body[4:12], "big") == len(CONTENT)
        kind, _body = await client.answer(look)
        assert kind == packets.ATTRS
        assert await client.status(gone) is Status.NO_SUCH_FILE
    assert (end.root / "d/film").read_bytes() == CONTENT
    assert (end.root / "d/film").stat().st_mode & 0o777 == 0o640


async def test_a_link_made_with_libssh_is_not_made_the_wrong_way_round(end: FarEnd) -> None:
    """It names the link first wherever a server is not OpenSSH, and so does the client of this test."""
    (end.root / "film").write_bytes(b"film")
    async with end.client(client_version="libssh_0.10.6") as client:
        await client.symlink("film", "link")
        await client.symlink("nothing", "dangling")
    assert (end.root / "link").readlink() == Path("film")
    assert (end.root / "dangling").readlink() == Path("nothing")
    async with end.client(client_version="libssh2_1.11.0") as client:
        await client.symlink("other", "film")  # another library, of the same order as OpenSSH
    assert (end.root / "other").readlink() == Path("film")


async def test_overlapping_writes_keep_their_order(end: FarEnd) -> None:
    async with raw_client(end) as client:
        handle = await opened(client, b"new", NEW)
        numbers = [client.write(handle, 0, bytes([value]) * 100) for value in range(200)]
        for number in numbers:
            assert await client.status(number) is Status.OK
    assert (end.root / "new").read_bytes() == bytes([199]) * 100


async def test_a_read_after_a_write_sees_it(end: FarEnd) -> None:
    async with raw_client(end) as client:
        handle = await opened(client, b"new", NEW | FLAG_READ)
        client.write(handle, 0, b"first")
        one = client.read(handle, 0, 5)
        client.write(handle, 0, b"other")
        two = client.read(handle, 0, 5)
        assert (await client.data(one), await client.data(two)) == (b"first", b"other")


async def test_a_slow_file_does_not_hold_up_another(end: FarEnd) -> None:
    (end.root / "small").write_bytes(b"small")
    with (end.root / "large").open("wb") as file:
        file.truncate(2_000_000_000)
    async with raw_client(end) as client:
        part = struct.pack(">QQI", 0, 0, 0)
        slow = client.extended(b"check-file-name", text(b"large") + text(b"sha512") + part)
        handle = await opened(client, b"small", FLAG_READ)
        assert await client.data(client.read(handle, 0, 10)) == b"small"
        assert slow not in client.answers


async def test_a_file_may_be_renamed_while_it_is_hashed(end: FarEnd) -> None:
    with (end.root / "large").open("wb") as file:
        file.truncate(2_000_000_000)
    async with raw_client(end) as client:
        part = struct.pack(">QQI", 0, 0, 0)
        slow = client.extended(b"check-file-name", text(b"large") + text(b"sha512") + part)
        move = client.ask(packets.RENAME, text(b"large") + text(b"moved"))
        assert await client.status(move) is Status.OK
        assert slow not in client.answers
        kind, _body = await client.answer(slow)
        assert kind == packets.EXTENDED_REPLY


async def test_the_end_of_a_folder_comes_after_its_names(end: FarEnd) -> None:
    """sshfs sends several READDIR at once and stops at the first that says there is no more."""
    for number in range(700):
        (end.root / f"a name of some length, number {number:04}").touch()
    async with raw_client(end) as client:
        handle = await client.handle(client.ask(packets.OPENDIR, text(b"/")))
        numbers = [client.ask(packets.READDIR, text(handle)) for _ in range(12)]
        kinds = [(await client.answer(number))[0] for number in numbers]
        entries = sum(
            int.from_bytes(client.answers[number][1][:4], "big")
            for number, kind in zip(numbers, kinds, strict=True)
            if kind == packets.NAME
        )
    assert kinds == sorted(kinds, reverse=True), "names, then only the end"
    assert set(kinds) == {packets.NAME, packets.STATUS}
    assert entries == 702


async def test_reading_beyond_the_end_and_nothing_at_all(end: FarEnd) -> None:
    (end.root / "film").write_bytes(b"12345")
    async with raw_client(end) as client:
        handle = await opened(client, b"film", FLAG_READ)
        assert await client.data(client.read(handle, 3, 100)) == b"45"
        for offset in (5, 6, 2**62, 2**63, 2**64 - 1):
            assert await client.status(client.read(handle, offset, 10)) is Status.EOF
        assert await client.data(client.read(handle, 0, 0)) == b""
        assert await client.data(client.read(handle, 0, 2**32 - 1)) == b"12345"


async def test_numbers_no_file_can_have_are_refused(end: FarEnd) -> None:
    async with raw_client(end) as client:
        handle = await opened(client, b"new", NEW)
        for offset in (2**63 - 1, 2**63, 2**64 - 1):
            assert await client.status(client.write(handle, offset, b"12345")) is Status.FAILURE
        for size in (2**63, 2**64 - 1):
            attrs = struct.pack(">IQ", packets.ATTR_SIZE, size)
            assert await client.status(client.ask(packets.FSETSTAT, text(handle) + attrs)) is Status.FAILURE
            assert await client.status(client.ask(packets.SETSTAT, text(b"new") + attrs)) is Status.FAILURE
    assert (end.root / "new").stat().st_size == 0


@pytest.mark.parametrize("handle", [b"", b"\0" * 8, b"x" * 300, struct.pack(">Q", 2)])
async def test_a_handle_that_is_none_is_refused(end: FarEnd, handle: bytes) -> None:
    async with raw_client(end) as client:
        await opened(client, b"new", NEW)
        asked = [
            client.read(handle, 0, 1),
            client.write(handle, 0, b"x"),
            *(client.ask(kind, text(handle)) for kind in (packets.CLOSE, packets.FSTAT, packets.READDIR)),
            client.ask(packets.FSETSTAT, text(handle) + NO_ATTRS),
            client.extended(b"fsync@openssh.com", text(handle)),
        ]
        for number in asked:
            assert await client.status(number) is Status.FAILURE


async def test_a_closed_handle_is_void_at_once(end: FarEnd) -> None:
    async with raw_client(end) as client:
        handle = await opened(client, b"new", NEW)
        close = client.ask(packets.CLOSE, text(handle))
        late = client.write(handle, 0, b"late")
        again = client.ask(packets.CLOSE, text(handle))
        assert await client.status(close) is Status.OK
        assert await client.status(late) is Status.FAILURE
        assert await client.status(again) is Status.FAILURE
    assert (end.root / "new").read_bytes() == b""


async def test_what_is_not_spoken_here_is_said_politely(end: FarEnd) -> None:
    async with raw_client(end) as client:
        asked = [
            client.ask(99, b""),
            client.extended(b"hardlink@openssh.com", text(b"a") + text(b"b")),
            client.extended(b"no-such-thing"),
            client.extended(b"check-file-name", text(b"a") + text(b"crc32") + bytes(20)),
        ]
        for number in asked:
            assert await client.status(number) is Status.OP_UNSUPPORTED


async def test_owners_are_not_changed_and_set_id_bits_dropped(end: FarEnd) -> None:
    (end.root / "film").touch()
    async with raw_client(end) as client:
        owner = struct.pack(">III", packets.ATTR_IDS, 12345, 12345)
        assert await client.status(client.ask(packets.SETSTAT, text(b"film") + owner)) is (
            Status.PERMISSION_DENIED
        )
        mode = struct.pack(">II", packets.ATTR_MODE, 0o107777)
        assert await client.status(client.ask(packets.SETSTAT, text(b"film") + mode)) is Status.OK
    assert (end.root / "film").stat().st_mode & 0o7777 == 0o777


async def test_digests_of_a_file_and_of_its_blocks(end: FarEnd) -> None:
    (end.root / "film").write_bytes(CONTENT)
    async with raw_client(end) as client:
        whole = client.extended(
            b"check-file-name", text(b"film") + text(b"crc32,sha256") + struct.pack(">QQI", 0, 0, 0)
        )
        kind, body = await client.answer(whole)
        assert kind == packets.EXTENDED_REPLY
        assert body == text(b"check-file") + text(b"sha256") + hashlib.sha256(CONTENT).digest()
        handle = await opened(client, b"film", FLAG_READ)
        blocks = client.extended(
            b"check-file-handle", text(handle) + text(b"md5") + struct.pack(">QQI", 1000, 250_000, 100_000)
        )
        _kind, body = await client.answer(blocks)
        part = CONTENT[1000:251_000]
        wanted = b"".join(hashlib.md5(part[at : at + 100_000]).digest() for at in range(0, 250_000, 100_000))
        assert body == text(b"check-file") + text(b"md5") + wanted
        for start, length, block in ((0, 300_001, 0), (300_001, 0, 0), (0, 0, 255), (2**63, 2**63, 0)):
            number = client.extended(
                b"check-file-name",
                text(b"film") + text(b"sha256") + struct.pack(">QQI", start, length, block),
            )
            assert await client.status(number) is Status.FAILURE


async def test_a_copy_made_on_the_server(end: FarEnd) -> None:
    (end.root / "film").write_bytes(CONTENT)
    async with raw_client(end) as client:
        source, target = await opened(client, b"film", FLAG_READ), await opened(client, b"copy", NEW)
        copy = client.extended(
            b"copy-data", text(source) + struct.pack(">QQ", 1000, 0) + text(target) + struct.pack(">Q", 5)
        )
        assert await client.status(copy) is Status.OK
        for one, other in ((source, source), (target, source)):
            number = client.extended(b"copy-data", text(one) + bytes(16) + text(other) + bytes(8))
            assert await client.status(number) in (Status.FAILURE, Status.PERMISSION_DENIED)
    assert (end.root / "copy").read_bytes() == bytes(5) + CONTENT[1000:]


def copy_data(client: RawClient, source: bytes, start: int, length: int, target: bytes, at: int) -> int:
    place = struct.pack(">QQ", start, length) + text(target) + struct.pack(">Q", at)
    return client.extended(b"copy-data", text(source) + place)


async def test_a_file_is_copied_into_itself_only_where_that_ends(end: FarEnd) -> None:
    (end.root / "film").write_bytes(CONTENT)
    async with raw_client(end) as client:
        source, target = [await opened(client, b"film", flags) for flags in (FLAG_READ, FLAG_WRITE)]
        for start, length, at in ((0, 0, len(CONTENT)), (0, 200_000, 199_999), (100, 100_000, 0)):
            kind, body = await client.answer(copy_data(client, source, start, length, target, at))
            assert kind == packets.STATUS
            assert b"overlap" in body
        assert await client.status(copy_data(client, source, 0, 1000, target, len(CONTENT))) is Status.OK
    assert (end.root / "film").read_bytes() == CONTENT + CONTENT[:1000]


async def test_a_copy_up_to_the_end_takes_what_was_there_when_it_began(
    end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files that are copied behind each other's ends would grow as long as there is room."""
    monkeypatch.setattr(digests, "SLICE", 1000)
    for name in ("one", "two"):
        (end.root / name).write_bytes(CONTENT)
    async with raw_client(end) as client:
        one, two = [await opened(client, name, FLAG_READ | FLAG_WRITE) for name in (b"one", b"two")]
        copies = [copy_data(client, *pair, len(CONTENT)) for pair in ((one, 0, 0, two), (two, 0, 0, one))]
        for number in copies:
            assert await client.status(number) is Status.OK
    assert max((end.root / name).stat().st_size for name in ("one", "two")) <= 3 * len(CONTENT)


async def test_what_the_server_takes_is_told(end: FarEnd) -> None:
    async with raw_client(end) as client:
        _kind, body = await client.answer(client.extended(b"limits@openssh.com"))
        packet, read, write, handles = struct.unpack(">QQQQ", body)
        assert read == write == 1024 * 1024
        assert packet > write
        handle = await opened(client, b"new", NEW | FLAG_READ)
        content = os.urandom(write)
        assert await client.status(client.write(handle, 0, content)) is Status.OK
        assert await client.data(client.read(handle, 0, read)) == content
        assert handles >= 100


async def test_too_many_open_files_are_refused_and_closed_with_the_session(end: FarEnd) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    (end.root / "film").touch()
    async with raw_client(end) as client:
        numbers = [client.open(b"film", FLAG_READ) for _ in range(1100)]
        kinds = [(await client.answer(number))[0] for number in numbers]
        assert kinds.count(packets.HANDLE) >= 1000
        assert kinds[-1] == packets.STATUS
    while end.sessions.listing():  # noqa: ASYNC110 - the server notices the end a moment later
        await asyncio.sleep(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">IBI", 5, packets.STAT, 1),
        struct.pack(">IBI", 2**31, packets.STAT, 1),
        struct.pack(">I", 0),
        struct.pack(">IB", 1, packets.STAT),
        struct.pack(">IBI", 9, packets.STAT, 1) + struct.pack(">I", 50),
        struct.pack(">IBI", 13, packets.WRITE, 1) + struct.pack(">I", 4) + b"abcd",
        struct.pack(">IBI", 29, packets.WRITE, 1) + text(b"abcd") + struct.pack(">QI", 0, 5000) + b"1234",
        struct.pack(">IBI", 5, packets.INIT, 3),
    ],
)
async def test_a_client_that_does_not_speak_the_protocol_is_let_go(end: FarEnd, raw: bytes) -> None:
    async with raw_client(end) as client:
        client.writer.write(raw)
        with pytest.raises((asyncio.IncompleteReadError, asyncssh.Error, OSError)):
            await client.packet()
    async with raw_client(end) as client:
        kind, _body = await client.answer(client.ask(packets.STAT, text(b"/")))
        assert kind == packets.ATTRS


async def test_a_request_before_the_greeting_ends_the_session(end: FarEnd) -> None:
    async with raw_client(end, greet=False) as client:
        client.ask(packets.STAT, text(b"/"))
        with pytest.raises((asyncio.IncompleteReadError, asyncssh.Error, OSError)):
            await client.packet()


async def test_who_does_not_read_answers_is_not_read_for(end: FarEnd) -> None:
    """A thousand reads of a megabyte, and nobody takes them: the server keeps a few megabytes."""
    with (end.root / "film").open("wb") as file:
        file.truncate(1_000_000_000)
    async with raw_client(end) as client:
        handle = await opened(client, b"film", FLAG_READ)
        client.reader.channel.pause_reading()  # type: ignore[attr-defined]
        numbers = [client.read(handle, at * 1_000_000, 1_000_000) for at in range(1000)]
        await asyncio.sleep(0.5)
        moved = end.sessions.listing()[0].bytes_out
        assert moved < 30_000_000
        client.reader.channel.resume_reading()  # type: ignore[attr-defined]
        for number in numbers[:30]:
            assert len(await client.data(number)) == 1_000_000


async def test_a_disk_is_not_filled_up(tmp_path: Path) -> None:
    """REL-10: the part that stays free is told as any full disk is."""
    async with far_end(tmp_path, keep_free=1.01) as end:
        ran = await end.sftp(f"put {end.key_file} film")
        assert ran.code != 0
        async with raw_client(end) as client:
            handle = await opened(client, b"new", NEW)
            _kind, body = await client.answer(client.write(handle, 0, b"12345"))
            assert b"No space left on device" in body
            (end.root / "film").write_bytes(CONTENT)
            source = await opened(client, b"film", FLAG_READ)
            _kind, body = await client.answer(copy_data(client, source, 0, 0, handle, 0))
            assert b"No space left on device" in body
    assert (end.root / "new").stat().st_size == 0


async def test_a_rate_cap_holds_both_ways(end: FarEnd) -> None:
    end.change(upload_cap_kbps=64_000, download_cap_kbps=64_000)  # 8 MB/s
    began = time.monotonic()
    async with end.client() as client:
        async with client.open("film", "wb") as file:
            await file.write(bytes(4_000_000))
        async with client.open("film", "rb") as file:
            assert len(await file.read()) == 4_000_000
    assert time.monotonic() - began > 0.5
