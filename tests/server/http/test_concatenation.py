"""Parts sent side by side and joined into one file."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os

import aiohttp
import pytest
import xxhash

from connect_helper.server.http import concatenation, upload_endings
from connect_helper.server.http.upload_disk import feed_piece
from connect_helper.server.http.upload_records import UploadRecord
from connect_helper.server.http.upload_store import UploadStore
from connect_helper.spec.block_hash import Hash
from connect_helper.storage.docpath import DocPath
from connect_helper.storage.docroot import Docroot
from tests.support.http_far_end import TUS, FarEnd, begin, metadata, offset_of, send

UPLOADS = "/fallback/v1/uploads"
PARTIAL = {"Upload-Concat": "partial"}


async def join(
    client: aiohttp.ClientSession, parts: list[str], path: str = "film", **values: str
) -> aiohttp.ClientResponse:
    headers = {
        **TUS,
        "Upload-Concat": "final;" + " ".join(parts),
        "Upload-Metadata": metadata(path=path, **values),
        "Want-Repr-Digest": "sha-256=1",
    }
    async with client.post(UPLOADS, headers=headers) as answer:
        await answer.read()
        return answer


async def test_parts_become_one_file(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    content = os.urandom(3_000_001)
    cuts = [content[:900_000], content[900_000:2_000_000], content[2_000_000:]]
    parts = [await begin(sender, "film", len(cut), PARTIAL) for cut in cuts]
    await asyncio.gather(*(send(sender, part, 0, cut) for part, cut in zip(parts, cuts, strict=True)))
    assert not (server.docroot / "in/film").exists()
    async with sender.head(parts[0], headers=TUS) as answer:
        assert answer.headers["Upload-Concat"] == "partial"
    answer = await join(sender, parts, mtime="1600000000")
    assert answer.status == 201
    assert answer.headers["Upload-Offset"] == str(len(content))
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert (server.docroot / "in/film").read_bytes() == content
    assert (server.docroot / "in/film").stat().st_mtime == 1_600_000_000
    assert server.names() == ["in/", "in/film"]
    final = answer.headers["Location"]
    async with sender.head(final, headers=TUS) as answer:
        assert answer.headers["Upload-Concat"].split() == ["final;" + parts[0], *parts[1:]]
        assert answer.headers["Upload-Length"] == str(len(content))
    assert (await send(sender, final, len(content), b"")).status == 403


async def test_parts_are_joined_where_the_system_copies_and_syncs_no_parts_of_files(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has neither call."""
    monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.delattr(os, "fdatasync")
    content = os.urandom(5_000_001)
    cuts = [content[:1_000_000], content[1_000_000:]]
    parts = [await begin(sender, "film", len(cut), PARTIAL) for cut in cuts]
    for part, cut in zip(parts, cuts, strict=True):
        assert (await send(sender, part, 0, cut)).status == 204
    assert (await join(sender, parts)).status == 201
    assert (server.docroot / "in/film").read_bytes() == content


async def test_parts_need_no_name(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    parts = []
    for cut in (b"ab", b"cd"):
        headers = {**TUS, **PARTIAL, "Upload-Length": "2"}
        async with sender.post(UPLOADS, headers=headers) as answer:
            assert answer.status == 201
            parts.append(answer.headers["Location"])
        await send(sender, parts[-1], 0, cut)
    assert (await join(sender, [server.url + part for part in parts])).status == 201
    assert (server.docroot / "in/film").read_bytes() == b"abcd"
    assert server.names() == ["in/", "in/film"]


@pytest.mark.parametrize("name", [".", "sub/.."])
async def test_a_part_that_is_named_as_a_folder_is_kept_in_it(
    server: FarEnd, sender: aiohttp.ClientSession, name: str
) -> None:
    (server.docroot / "in").mkdir()
    part = await begin(sender, name, 4, PARTIAL)
    await send(sender, part, 0, b"ab")
    assert [one for one in server.names() if not one.startswith("in/")] == []
    await send(sender, part, 2, b"cd")
    assert (await join(sender, [part])).status == 201
    assert server.names() == ["in/", "in/film"]
    assert (server.docroot / "in/film").read_bytes() == b"abcd"


async def test_a_part_may_be_named_as_the_whole_folder_of_an_account(server: FarEnd) -> None:
    async with server.client(server.token("send")) as client:
        part = await begin(client, ".", 2, PARTIAL)
        await send(client, part, 0, b"ab")
        assert (await join(client, [part])).status == 201
    assert server.names() == ["film"]


async def test_an_unfinished_part_is_waited_for(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    parts = [await begin(sender, "film", 2, PARTIAL) for _ in range(2)]
    await send(sender, parts[0], 0, b"ab")
    await send(sender, parts[1], 0, b"c")
    assert (await join(sender, parts)).status == 409
    await send(sender, parts[1], 1, b"d")
    assert (await join(sender, parts)).status == 201
    assert (server.docroot / "in/film").read_bytes() == b"abcd"


async def test_a_joining_that_broke_begins_anew(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    parts = [await begin(sender, "film", 2, PARTIAL) for _ in range(2)]
    await send(sender, parts[0], 0, b"ab")
    await send(sender, parts[1], 0, b"cd")
    # What a server that was killed while it joined leaves behind: a first part with more than its bytes.
    lengthened = [file for file in (server.docroot / "in").iterdir() if file.read_bytes() == b"ab"]
    lengthened[0].write_bytes(b"abcdXX")
    assert (await join(sender, parts)).status == 201
    assert (server.docroot / "in/film").read_bytes() == b"abcd"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
async def test_a_part_that_became_shorter_is_not_filled_with_zeros(
    server: FarEnd, sender: aiohttp.ClientSession, which: int, count: int
) -> None:
    parts = [await begin(sender, f"part{number}", 1000, PARTIAL) for number in range(count)]
    for part in parts:
        assert (await send(sender, part, 0, b"A" * 1000)).status == 204
    (file,) = (server.docroot / "in").glob(f"part{min(which, count - 1)}.*")
    os.truncate(file, 10)
    assert (await join(sender, parts)).status == 460
    assert not (server.docroot / "in/film").exists()


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_a_part_that_became_shorter_is_sent_again_from_there(
    server: FarEnd, sender: aiohttp.ClientSession, which: int
) -> None:
    content = os.urandom(3000)
    cuts = [content[:1000], content[1000:2000], content[2000:]]
    parts = [await begin(sender, f"part{number}", 1000, PARTIAL) for number in range(3)]
    for part, cut in zip(parts, cuts, strict=True):
        assert (await send(sender, part, 0, cut)).status == 204
    (file,) = (server.docroot / "in").glob(f"part{which}.*")
    os.truncate(file, 10)
    assert (await join(sender, parts)).status == 460
    offsets = [10 if number == which else 1000 for number in range(3)]
    assert [await offset_of(sender, part) for part in parts] == offsets
    assert (await send(sender, parts[which], 10, cuts[which][10:])).status == 204
    assert (await join(sender, parts)).status == 201
    assert (server.docroot / "in/film").read_bytes() == content


async def test_what_is_not_what_was_promised_gets_no_name(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    parts = [await begin(sender, "film", 2, PARTIAL) for _ in range(2)]
    for part in parts:
        await send(sender, part, 0, b"ab")
    assert (await join(sender, parts, sha256="0" * 64)).status == 460
    assert server.names() == ["in/"]
    async with sender.head(parts[0], headers=TUS) as answer:
        assert answer.status == 404


async def test_a_name_that_is_taken_is_not(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    server.account(overwrite="deny")
    (server.docroot / "in").mkdir()
    (server.docroot / "in/film").write_bytes(b"old")
    part = await begin(sender, "other", 2, PARTIAL)
    await send(sender, part, 0, b"ab")
    assert (await join(sender, [part])).status == 403
    assert (server.docroot / "in/film").read_bytes() == b"old"
    assert (await join(sender, [part], path="new")).status == 201


@pytest.mark.parametrize("which", ["whole", "unknown", "foreign", "twice"])
async def test_only_own_parts_can_be_joined(
    server: FarEnd, sender: aiohttp.ClientSession, which: str
) -> None:
    part = await begin(sender, "film", 1, PARTIAL)
    await send(sender, part, 0, b"a")
    if which == "whole":
        other = await begin(sender, "whole", 1)
    elif which == "foreign":
        async with server.client(server.token("send", "elsewhere")) as stranger:
            other = await begin(stranger, "film", 1, PARTIAL)
            await send(stranger, other, 0, b"s")
    else:
        other = part if which == "twice" else f"{UPLOADS}/{'0' * 32}"
    answer = await join(sender, [part, other])
    assert answer.status == (404 if which in ("unknown", "foreign") else 400)
    assert not (server.docroot / "in/film").exists()


async def test_asked_again_it_says_what_is_done(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    parts = [await begin(sender, "film", 2, PARTIAL) for _ in range(2)]
    for part in parts:
        await send(sender, part, 0, b"ab")
    first, again = await join(sender, parts), await join(sender, parts)
    assert (first.status, again.status) == (201, 201)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Repr-Digest"] == first.headers["Repr-Digest"]
    assert (await join(sender, parts, path="other")).status == 404  # the second part has been used up
    assert server.names() == ["in/", "in/film"]


async def test_two_requests_join_the_same_parts_once(server: FarEnd, sender: aiohttp.ClientSession) -> None:
    parts = [await begin(sender, "film", 2, PARTIAL) for _ in range(2)]
    for part in parts:
        await send(sender, part, 0, b"ab")
    answers = await asyncio.gather(join(sender, parts), join(sender, parts[::-1]))
    assert sorted(answer.status for answer in answers)[0] == 201
    assert sorted(answer.status for answer in answers)[1] >= 400
    assert (server.docroot / "in/film").read_bytes() == b"abab"


HASHED = {**PARTIAL, "Want-Repr-Digest": "sha-256=1"}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of unfinished files that are read to be hashed from now on."""
    amounts: list[int] = []

    def feeding(digest: Hash, docroot: Docroot, path: DocPath, start: int, length: int) -> None:
        amounts.append(length)
        feed_piece(digest, docroot, path, start, length)

    monkeypatch.setattr(upload_endings, "feed_piece", feeding)
    return amounts


@pytest.mark.parametrize(
    ("headers", "pieces", "read"), [(HASHED, 1, 0), (HASHED, 3, 0), (PARTIAL, 1, 300_000)]
)
async def test_a_part_that_is_all_of_the_file_is_hashed_as_it_comes(
    server: FarEnd,
    sender: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    pieces: int,
    read: int,
) -> None:
    amounts = counted(monkeypatch)
    content = os.urandom(300_000)
    part = await begin(sender, "film", len(content), headers)
    step = len(content) // pieces
    for at in range(0, len(content), step):
        assert (await send(sender, part, at, content[at : at + step])).status == 204
    answer = await join(sender, [part], sha256=hashlib.sha256(content).hexdigest())
    assert answer.status == 201
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert sum(amounts) == read


@pytest.mark.parametrize(("asked", "read"), [("xxh128=1", 0), ("sha-256=1", 300_000)])
async def test_the_quicker_digest_is_compared_as_well(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, asked: str, read: int
) -> None:
    amounts = counted(monkeypatch)
    content = os.urandom(300_000)
    part = await begin(sender, "film", len(content), {**PARTIAL, "Want-Repr-Digest": asked})
    assert (await send(sender, part, 0, content)).status == 204
    answer = await join(sender, [part], xxh128=xxhash.xxh3_128_hexdigest(content))
    assert answer.status == 201
    digest = base64.b64encode(xxhash.xxh3_128_digest(content)).decode()
    assert answer.headers["Repr-Digest"] == f"xxh128=:{digest}:"
    assert sum(amounts) == read  # made by the other algorithm it is of no use
    assert (server.docroot / "in/film").read_bytes() == content


async def test_several_parts_are_compared_by_the_quicker_digest(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    content = os.urandom(200_000)
    for wrong in (True, False):
        parts = [await begin(sender, "film", 100_000, PARTIAL) for _ in range(2)]
        for part, cut in zip(parts, (content[:100_000], content[100_000:]), strict=True):
            assert (await send(sender, part, 0, cut)).status == 204
        digest = "0" * 32 if wrong else xxhash.xxh3_128_hexdigest(content)
        assert (await join(sender, parts, xxh128=digest)).status == (460 if wrong else 201)
        assert server.names() == (["in/"] if wrong else ["in/", "in/film"])


async def test_a_joined_file_is_hashed_while_it_is_joined(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concatenation, "STEP", 100_000)
    amounts = counted(monkeypatch)  # what is hashed once it is joined
    content = os.urandom(1_000_001)
    cuts = [content[:300_000], content[300_000:300_001], b"", content[300_001:]]
    parts = [await begin(sender, "film", len(cut), PARTIAL) for cut in cuts]
    for part, cut in zip(parts, cuts, strict=True):
        if cut:
            assert (await send(sender, part, 0, cut)).status == 204
    answer = await join(sender, parts, sha256=hashlib.sha256(content).hexdigest())
    assert answer.status == 201
    assert (server.docroot / "in/film").read_bytes() == content
    assert not amounts


async def test_a_joined_file_that_somebody_touched_is_hashed_anew(
    server: FarEnd, sender: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = concatenation._settle_length
    content = os.urandom(200_000)

    def touched(docroot: Docroot, first: UploadRecord, length: int) -> None:
        """After it was hashed, and before it gets its name."""
        settle(docroot, first, length)
        touching.append(first.partial)

    touching: list[bytes] = []
    monkeypatch.setattr(concatenation, "_settle_length", touched)
    note = UploadStore.note

    async def noting(self: UploadStore, record: UploadRecord) -> None:
        if touching and record.kind == "final":
            await asyncio.sleep(0.02)  # some systems tell times in steps of ten milliseconds
            path = server.docroot / os.fsdecode(touching.pop())
            path.write_bytes(bytes((content[0] ^ 1,)) + content[1:])
        await note(self, record)

    monkeypatch.setattr(UploadStore, "note", noting)
    parts = [await begin(sender, "film", 100_000, PARTIAL) for _ in range(2)]
    for part, cut in zip(parts, (content[:100_000], content[100_000:]), strict=True):
        assert (await send(sender, part, 0, cut)).status == 204
    assert (await join(sender, parts, sha256=hashlib.sha256(content).hexdigest())).status == 460
    assert not touching
    assert server.names() == ["in/"]


@pytest.mark.parametrize("when", ["between two pieces", "before the joining"])
async def test_a_part_that_somebody_touched_is_hashed_anew(
    server: FarEnd, sender: aiohttp.ClientSession, when: str
) -> None:
    content = os.urandom(200_000)
    part = await begin(sender, "film", len(content), HASHED)

    def touch() -> None:
        (file,) = (server.docroot / "in").iterdir()
        before = file.stat()
        with file.open("r+b") as opened:
            opened.write(bytes((content[0] ^ 1,)))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    await send(sender, part, 0, content[:100_000])
    await asyncio.sleep(0.02)  # some systems tell times in steps of ten milliseconds
    if when == "between two pieces":
        touch()
    assert (await send(sender, part, 100_000, content[100_000:])).status == 204
    await asyncio.sleep(0.02)
    if when == "before the joining":
        touch()
    assert (await join(sender, [part], sha256=hashlib.sha256(content).hexdigest())).status == 460
    assert server.names() == ["in/"]


async def test_a_piece_that_was_refused_is_in_no_digest(
    server: FarEnd, sender: aiohttp.ClientSession
) -> None:
    content = os.urandom(200_000)
    part = await begin(sender, "film", len(content), HASHED)
    await send(sender, part, 0, content[:100_000])
    wrong = {"Upload-Checksum": f"sha256 {base64.b64encode(bytes(32)).decode()}"}
    assert (await send(sender, part, 100_000, os.urandom(100_000), wrong)).status == 460
    assert (await send(sender, part, 100_000, content[100_000:])).status == 204
    assert (await join(sender, [part], sha256=hashlib.sha256(content).hexdigest())).status == 201
