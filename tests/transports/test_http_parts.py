"""Large files over HTTP: several connections for one file, broken off and gone on with."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from connect_helper.errors import ConnectError, ConnectionLost, SourceChanged
from connect_helper.transports import http_connection, http_ranges, http_sending, http_upload
from connect_helper.transports.base import BlockHashes, SendItem
from connect_helper.transports.http_upload import Span
from connect_helper.transports.portions import Portions
from connect_helper.transports.rate import TokenBucket
from tests.support.http_far_end import FarEnd
from tests.support.http_transport import fetching, open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.transports import Memory, sending

SIZE = 12_000_001
MIB = 1024 * 1024


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server counts as far, and files as large."""
    monkeypatch.setattr(http_connection, "FAR_S", 0.0)
    for module, part in ((http_ranges, MIB), (http_sending, MIB), (http_upload, MIB)):
        monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(http_sending, "PIECE", MIB // 2)
    monkeypatch.setattr(http_ranges, "SMALLEST_PART", MIB // 4)


class Losing(Memory):
    """A source in whose middle the server's folder disappears."""

    def __init__(self, content: bytes, folder: Path) -> None:
        super().__init__(content)
        self._folder = folder

    def read(self, offset: int, length: int) -> bytes:
        if offset >= SIZE // 2 and self._folder.exists():
            shutil.rmtree(self._folder, ignore_errors=True)
        return super().read(offset, length)


def going_on(content: bytes, partial: bytes, offset: int) -> SendItem:
    hashes = BlockHashes("sha256")
    hashes.feed(content[:offset])
    return SendItem(Memory(content), partial, offset, hashes, lambda _count: None, exclusive=False)


def moved_by(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that pass the rate limiter from now on."""
    moved: list[int] = []

    async def take(_: TokenBucket, amount: int) -> None:
        moved.append(amount)

    monkeypatch.setattr(TokenBucket, "take", take)
    return moved


@pytest.mark.usefixtures("far_away")
async def test_a_large_file_goes_up_in_parts_side_by_side(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path
) -> None:
    content = noise(SIZE)
    async with open_http(proxy.port, far.token("send", "in"), tmp_path, sends=True, root=b"in") as transport:
        item, counts = sending(content, b"in/film.partial")
        await transport.send(item)
        assert not (far.docroot / "in" / "film").exists()
        await transport.publish(item.partial, b"in/film", "replace")
    assert (far.docroot / "in" / "film").read_bytes() == content
    assert far.names() == ["in/", "in/film"]
    assert sum(counts) == item.done.offset == SIZE
    assert item.hashes.digest() == hashlib.sha256(content).hexdigest()
    assert proxy.connections >= 4


@pytest.mark.usefixtures("far_away")
async def test_a_large_file_comes_down_in_parts_side_by_side(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path
) -> None:
    content = noise(SIZE)
    (far.docroot / "film").write_bytes(content)
    async with open_http(proxy.port, far.token("receive", "film"), tmp_path, sends=False) as transport:
        facts = await transport.facts(b"/film")
        assert facts is not None
        item, target, counts = fetching(b"/film", facts)
        await transport.receive(item)
    assert bytes(target.content) == content
    assert sum(counts) == item.done.offset == SIZE
    assert item.hashes.digest() == hashlib.sha256(content).hexdigest()
    assert proxy.connections >= 4
    listed = [file for _, files in far.sessions.with_files() for file in files]
    assert [(file.path, file.size, file.error) for file in listed] == [((b"film",), SIZE, None)]


async def test_a_near_server_gets_one_connection(far: FarEnd, proxy: FaultProxy, tmp_path: Path) -> None:
    (far.docroot / "film").write_bytes(noise(3 * http_ranges.PART))
    async with open_http(proxy.port, far.token("receive", "film"), tmp_path, sends=False) as transport:
        facts = await transport.facts(b"/film")
        assert facts is not None
        transport._http._quickest_s = 0.001
        item, _, counts = fetching(b"/film", facts)
        before = proxy.connections
        await transport.receive(item)
    assert sum(counts) == facts.size
    assert proxy.connections <= before + 1


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("cut_after", [300_000, 3_000_000, 9_000_000])
async def test_an_upload_in_parts_goes_on_in_every_part(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, cut_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, token, partial = noise(SIZE), far.token("send", "in"), b"in/film.partial"
    proxy.cut_after = cut_after
    async with open_http(proxy.port, token, tmp_path, sends=True, root=b"in") as transport:
        item, _ = sending(content, partial)
        with pytest.raises(ConnectError):
            await transport.send(item)
    assert item.done.offset < SIZE
    moved = moved_by(monkeypatch)
    async with open_http(proxy.port, token, tmp_path, sends=True, root=b"in") as transport:
        there = await transport.unfinished(partial)
        confirmed = 0 if there is None else transport._uploads[partial].confirmed
        offset = 0 if there is None else there.size
        again = going_on(content, partial, offset)
        await transport.send(again)
        await transport.publish(partial, b"in/film", "replace")
    assert (far.docroot / "in" / "film").read_bytes() == content
    left = [name for name in far.names() if name not in ("in/", "in/film")]
    # A part whose creation was confirmed into the cut is nobody's, and the server lets it expire.
    assert len(left) < http_sending.LANES
    assert all(name.startswith("in/part.") for name in left)
    assert again.hashes.digest() == hashlib.sha256(content).hexdigest()
    assert sum(moved) == (SIZE - confirmed if offset else SIZE)
    assert cut_after < 9_000_000 or offset > 0


@pytest.mark.usefixtures("far_away")
async def test_a_download_in_parts_goes_on_without_a_gap(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path
) -> None:
    content = noise(SIZE)
    (far.docroot / "film").write_bytes(content)
    token = far.token("receive", "film")
    # At this rate answers are under way when the line is cut: what has come whole is read in any case.
    proxy.slow = 4_000_000
    async with open_http(proxy.port, token, tmp_path, sends=False) as transport:
        facts = await transport.facts(b"/film")
        assert facts is not None
        proxy.cut_after = 6_000_000
        item, target, counts = fetching(b"/film", facts)
        with pytest.raises(ConnectError):
            await transport.receive(item)
    proxy.slow = None
    had = bytes(target.content)
    assert 0 < len(had) < SIZE
    assert content.startswith(had)
    assert sum(counts) == item.done.offset == len(had)
    async with open_http(proxy.port, token, tmp_path, sends=False) as transport:
        again, target, counts = fetching(b"/film", facts, had)
        await transport.receive(again)
    assert bytes(target.content) == content
    assert sum(counts) == SIZE - len(had)
    assert again.hashes.digest() == hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("far_away")
async def test_a_file_that_changes_between_two_parts_is_never_put_together(
    far: FarEnd, tmp_path: Path
) -> None:
    """Same size, same time: only the tag tells."""
    film = far.docroot / "film"
    film.write_bytes(noise(SIZE))
    before = film.stat()
    port = urlsplit(far.url).port
    assert port is not None
    async with open_http(
        port, far.token("receive", "film"), tmp_path, sends=False, rate_kbps=9_000
    ) as transport:
        facts = await transport.facts(b"/film")
        assert facts is not None
        item, target, counts = fetching(b"/film", facts)
        running = asyncio.create_task(transport.receive(item), name="receive")
        async with asyncio.timeout(30):
            while not counts:  # noqa: ASYNC110 - the transport tells nobody
                await asyncio.sleep(0.005)
        (far.docroot / "new").write_bytes(noise(SIZE, 2))
        (far.docroot / "new").replace(film)
        os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns))
        transport._limiter.set_rate(None)  # type: ignore[attr-defined] # slow until here, quick from here on
        # Either the server breaks off what it is sending, or a part that is asked for next shows it.
        with pytest.raises((SourceChanged, ConnectionLost)):
            await running
        again, _, _ = fetching(b"/film", facts, bytes(target.content))
        with pytest.raises(SourceChanged):
            await transport.receive(again)
    assert noise(SIZE).startswith(bytes(target.content))


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("lost", ["while sending", "before the name"])
async def test_what_the_server_lost_is_sent_anew(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, lost: str
) -> None:
    content = noise(SIZE)

    async def lose() -> None:
        for upload in (far.docroot / "in").iterdir():
            upload.unlink()

    async with open_http(proxy.port, far.token("send", "in"), tmp_path, sends=True, root=b"in") as transport:
        item, _ = sending(content, b"in/film.partial")
        if lost == "before the name":
            await transport.send(item)
            await lose()
            with pytest.raises(ConnectionLost):
                await transport.publish(item.partial, b"in/film", "replace")
        else:
            # A folder that is gone takes the unfinished file with it.
            source = item.source
            item.source = Losing(content, far.docroot / "in")
            with pytest.raises(ConnectionLost):
                await transport.send(item)
            item.source = source
        assert await transport.unfinished(item.partial) is None
        again, _ = sending(content, b"in/film.partial")
        await transport.send(again)
        await transport.publish(again.partial, b"in/film", "replace")
    assert (far.docroot / "in" / "film").read_bytes() == content
    assert far.names() == ["in/", "in/film"]


async def test_a_lost_answer_about_joined_parts_is_asked_for_again(
    far: FarEnd, proxy: FaultProxy, tmp_path: Path, far_away: None
) -> None:
    content = noise(SIZE)
    token = far.token("send", "in")
    async with open_http(proxy.port, token, tmp_path, sends=True, root=b"in") as transport:
        item, _ = sending(content, b"in/film.partial")
        await transport.send(item)
        notes = {file: file.read_bytes() for file in tmp_path.rglob("http/*") if file.is_file()}
        assert notes
        await transport.publish(item.partial, b"in/film", "replace")
    for file, note in notes.items():  # as after a line that broke before the answer came
        file.write_bytes(note)
    async with open_http(proxy.port, token, tmp_path, sends=True, root=b"in") as transport:
        facts = await transport.unfinished(item.partial)
        assert facts is not None
        assert facts.size == SIZE
        again = going_on(content, item.partial, SIZE)
        await transport.send(again)
        await transport.publish(item.partial, b"in/film", "replace")
    assert (far.docroot / "in" / "film").read_bytes() == content
    assert far.names() == ["in/", "in/film"]


def cut(upload: http_upload.Upload, wanted: Callable[[int], int], *, divided: bool = True) -> list[Span]:
    """All parts, when a connection wants `wanted(left)` bytes each time."""
    cutter, pieces, left = http_upload.Cutter(upload, divided=divided), list[Span](), upload.size
    while (size := cutter.size(wanted(left))) is not None:
        pieces.append(cutter.take(size))
        left -= size
    return pieces


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 256 * MIB, 100 * 1024 * MIB + 1, 8 * 1024**2 * MIB])
@pytest.mark.parametrize("wanted", [1, 3 * MIB, 1024 * MIB])
def test_a_file_is_cut_as_connections_want_it_and_smaller_towards_its_end(size: int, wanted: int) -> None:
    pieces = cut(http_upload.Upload(size), lambda _: wanted)
    at = 0
    for start, length in pieces:
        assert start == at
        at += length
    assert at == size
    assert len(pieces) <= http_upload.PARTS_LIMIT * 3 // 4
    largest = max(http_upload.PART, size // http_upload.LARGE_CUTS + 1)
    assert max(length for _, length in pieces) <= max(largest, largest // http_upload.FINEST + 1)
    assert pieces[-1][1] <= largest // http_upload.FINEST + 1
    if 256 * MIB <= size < 1024 * MIB:
        assert pieces[0][1] == min(max(wanted, largest // http_upload.FINEST), largest)


def test_what_is_missing_in_the_middle_is_cut_too() -> None:
    upload = http_upload.Upload(256 * MIB, [http_upload.UploadPart("/u", 64 * MIB, 32 * MIB)])
    pieces = cut(upload, lambda _: 8 * MIB)
    covered = sorted([*pieces, (64 * MIB, 32 * MIB)])
    assert covered[0][0] == 0
    assert all(a + b == c for (a, b), (c, _) in itertools.pairwise(covered))
    assert sum(length for _, length in covered) == 256 * MIB


def test_for_one_connection_nothing_is_cut() -> None:
    upload = http_upload.Upload(256 * MIB, [http_upload.UploadPart("/u", 64 * MIB, 32 * MIB)])
    assert cut(upload, lambda _: MIB, divided=False) == [(0, 64 * MIB), (96 * MIB, 160 * MIB)]
    assert cut(http_upload.Upload(0), lambda _: MIB, divided=False) == [(0, 0)]


def test_a_slow_connection_takes_little_and_nothing_at_the_end() -> None:
    portions = Portions(4 * MIB, 2.0)
    assert portions.wanted("slow") == 4 * MIB
    assert not portions.would_be_last("slow", MIB, 10 * MIB)  # nobody knows yet
    portions.moved("slow", MIB, 1.0)
    assert not portions.would_be_last("slow", MIB, 10 * MIB)  # it is the only one
    portions.moved("quick", 20 * MIB, 1.0)
    assert (portions.wanted("slow"), portions.wanted("quick")) == (2 * MIB, 40 * MIB)
    assert not portions.would_be_last("slow", 2 * MIB, 100 * MIB)
    assert portions.would_be_last("slow", 2 * MIB, 10 * MIB)
    assert not portions.would_be_last("quick", 2 * MIB, 2 * MIB)
    portions.gone("quick")
    assert not portions.would_be_last("slow", 2 * MIB, 10 * MIB)
