"""Uploads over TLS: pieces need no checksum of their own, the file is compared as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from connect_helper.errors import ChecksumMismatch, ConnectError, SourceChanged
from connect_helper.server.http import tus, tus_headers
from connect_helper.spec.block_hash import BLOCK_HASH, SHA256, new_hash
from connect_helper.transports import http_sending, tus_client
from connect_helper.transports.base import BlockHashes, SendItem
from connect_helper.transports.https import HttpTransport
from connect_helper.transports.tus_client import TusClient
from tests.support.http_far_end import FarEnd, far_end
from tests.support.http_transport import open_http
from tests.support.proxy import FaultProxy
from tests.support.sessions import noise
from tests.support.tls import tls_pair
from tests.support.transports import Memory

SIZE = 12_000_001
PARTIAL = b"in/film.partial"


class Counting(Memory):
    """A source that knows how many bytes were read of it."""

    bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return super().read(offset, length)


class Shortened(Memory):
    """A source that loses its end while it is sent."""

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > SIZE // 2:
            raise SourceChanged("It became shorter.")
        return super().read(offset, length)


@dataclass(frozen=True, slots=True)
class Line:
    """A server behind TLS, and a line to it that can be cut."""

    far: FarEnd
    proxy: FaultProxy
    folder: Path

    @property
    def film(self) -> Path:
        return self.far.docroot / "in" / "film"

    def open(self) -> Any:
        """A transport for sending into `in`; its token is that of one session."""
        token, ca_file = self.far.token("send", "in"), str(self.folder / "cert.pem")
        return open_http(self.proxy.port, token, self.folder, sends=True, root=b"in", ca_file=ca_file)

    def unfinished(self) -> Path:
        """The server's file of the only upload."""
        (file,) = (self.far.docroot / "in").iterdir()
        return file


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with far_end(tmp_path / "server", tls=tls_pair(tmp_path)[0]) as far:
        port = urlsplit(far.url).port
        assert port is not None
        async with FaultProxy("127.0.0.1", port) as proxy:
            yield Line(far, proxy, tmp_path)


@pytest.fixture
def checksums(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Those of the pieces that are sent."""
    seen: list[bytes] = []
    append = TusClient.append

    async def noting(self: TusClient, *args: Any, **kwargs: Any) -> int | None:
        seen.append(args[5])
        return await append(self, *args, **kwargs)

    monkeypatch.setattr(TusClient, "append", noting)
    return seen


def item_of(source: Memory, offset: int = 0, *, chained: str = BLOCK_HASH) -> SendItem:
    hashes = BlockHashes(chained=chained)
    hashes.feed(bytes(source.content[:offset]))
    return SendItem(source, PARTIAL, offset, hashes, lambda _count: None, exclusive=False)


async def publish(transport: HttpTransport) -> None:
    await transport.publish(PARTIAL, b"in/film", "replace")


@pytest.mark.parametrize("chained", [BLOCK_HASH, SHA256, ""])
async def test_a_file_is_read_once_and_hashed_once_at_each_end(
    line: Line, checksums: list[bytes], chained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_again(*_: object) -> None:
        raise AssertionError("the server reads what it has hashed already")

    monkeypatch.setattr("connect_helper.server.http.upload_endings.feed_piece", read_again)
    source = Counting(noise(SIZE))
    async with line.open() as transport:
        item = item_of(source, chained=chained)
        await transport.send(item)
        await publish(transport)
    assert line.film.read_bytes() == source.content
    assert source.bytes_read == item.done.offset == SIZE
    assert set(checksums) == {b""}


async def test_what_is_damaged_at_the_server_gets_no_name(line: Line) -> None:
    async with line.open() as transport:
        await transport.send(item_of(Memory(noise(SIZE))))
        with line.unfinished().open("r+b") as file:
            file.seek(SIZE // 2)
            byte = file.read(1)[0]
            file.seek(SIZE // 2)
            file.write(bytes((byte ^ 1,)))
        with pytest.raises(ChecksumMismatch):
            await publish(transport)
    assert not line.film.exists()


async def test_a_source_that_becomes_shorter_on_the_way_is_no_broken_line(line: Line) -> None:
    async with line.open() as transport:
        with pytest.raises(SourceChanged):
            await transport.send(item_of(Shortened(noise(SIZE))))


async def test_a_source_that_changes_between_two_readings_gets_no_name(line: Line) -> None:
    source = Memory(noise(SIZE))
    async with line.open() as transport:
        line.proxy.cut_after = 6_000_000
        item = item_of(source)
        with pytest.raises(ConnectError):
            await transport.send(item)
        offset = (await transport.unfinished(PARTIAL)).size
        assert offset > 0
        source.content[10] ^= 1
        await transport.send(item_of(source, offset))
        with pytest.raises(ChecksumMismatch):
            await publish(transport)
    assert not line.film.exists()


@pytest.mark.parametrize("chained", [BLOCK_HASH, SHA256, ""])
async def test_a_broken_piece_is_gone_on_with_where_it_broke(
    line: Line, chained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sending, "PIECE", SIZE)
    source = Counting(noise(SIZE))
    line.proxy.cut_after = 6_000_000
    async with line.open() as transport:
        item = item_of(source, chained=chained)
        with pytest.raises(ConnectError):
            await transport.send(item)
        assert item.done.offset <= SIZE // 2
    async with line.open() as transport:
        facts = await transport.unfinished(PARTIAL)
        assert 2_000_000 < facts.size < SIZE  # of a single request
        again = item_of(source, item.done.offset, chained=chained)
        source.bytes_read = 0
        await transport.send(again)
        await publish(transport)
    assert line.film.read_bytes() == source.content
    assert again.done.offset == SIZE
    assert again.hashes.mark().offset == SIZE
    assert source.bytes_read == (SIZE if not chained else SIZE - item.done.offset)


async def test_a_server_that_does_not_say_what_it_compared_is_not_believed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus_client, "told_digest", lambda *_: new_hash(BLOCK_HASH).hexdigest())
    async with line.open() as transport:
        await transport.send(item_of(Memory(noise(1000))))
        with pytest.raises(ChecksumMismatch):
            await publish(transport)


@pytest.mark.parametrize("older", [False, True])
async def test_the_quickest_digest_the_server_knows_is_compared(
    line: Line, older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if older:
        known = tuple(one for one in tus_headers.EXTENSIONS if one != "whole-xxh128")
        monkeypatch.setattr(tus, "EXTENSIONS", known)
    content = noise(SIZE)
    async with line.open() as transport:
        assert transport.whole_hash == (SHA256 if older else BLOCK_HASH)
        await transport.send(item_of(Memory(content), chained=transport.whole_hash))
        told: list[str] = []
        monkeypatch.setattr(tus, "repr_digest", lambda _digest, algorithm: told.append(algorithm) or "")
        with pytest.raises(ChecksumMismatch):  # for the answer does not tell it any more
            await publish(transport)
    assert told == [SHA256 if older else BLOCK_HASH]


async def test_a_server_that_compares_no_whole_files_gets_checksums(
    line: Line, checksums: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus_client.Offer, "whole_hash", property(lambda _: ""))
    content = noise(SIZE)
    async with line.open() as transport:
        await transport.send(item_of(Memory(content)))
        await publish(transport)
    assert line.film.read_bytes() == content
    pieces = [content[at : at + http_sending.PIECE] for at in range(0, SIZE, http_sending.PIECE)]
    assert checksums == [hashlib.sha256(piece).digest() for piece in pieces]


@pytest.mark.parametrize(
    ("size", "took_s", "following"),
    [
        (http_sending.PIECE, 0.1, 2 * http_sending.PIECE),
        (http_sending.LARGEST_PIECE, 0.1, http_sending.LARGEST_PIECE),
        (4 * http_sending.PIECE, 4.0, 4 * http_sending.PIECE),
        (4 * http_sending.PIECE, 9.0, 2 * http_sending.PIECE),
        (http_sending.PIECE, 9.0, http_sending.PIECE),
    ],
)
def test_pieces_grow_on_quick_lines(size: int, took_s: float, following: int) -> None:
    assert http_sending._next_size(size, took_s) == following
