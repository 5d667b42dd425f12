"""Answers that are not exactly what was asked for: nothing is ever put together from them (REL-6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from connect_helper.errors import ContentError, SourceChanged, SourceError, SourceMissing, TransferError
from connect_helper.transports import http_connection, http_ranges
from connect_helper.transports.base import Facts
from tests.support.http_transport import fetching, open_http
from tests.support.sessions import noise

SIZE = 1_000_000
CONTENT = noise(SIZE)
TAG = '"one"'
MTIME_S = 1_600_000_000
FACTS = Facts("file", SIZE, MTIME_S * 10**9, etag=TAG)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def span(request: web.Request) -> slice:
    """The range a request asks for."""
    first, last = request.headers["Range"].removeprefix("bytes=").split("-")
    return slice(int(first), int(last) + 1)


def answered(
    body: bytes, status: int = 206, *, start: int | None = None, of: int = SIZE, **headers: str
) -> web.Response:
    """An answer as a good server gives it, but for what is said otherwise."""
    facts = {"ETag": TAG, "Last-Modified": formatdate(MTIME_S, usegmt=True)}
    if start is not None:
        facts["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{of}"
    return web.Response(body=body, status=status, headers={**facts, **headers})


def wrong(how: str, request: web.Request) -> web.Response:
    asked = span(request)
    body = CONTENT[asked]
    match how:
        case "range ignored":
            return answered(CONTENT, 200)
        case "new version whole":
            return answered(noise(SIZE, 2), 200, ETag='"two"')
        case "range shifted":
            return answered(CONTENT[asked.start + 1 : asked.stop], start=asked.start + 1)
        case "range longer":
            return answered(CONTENT[asked.start - 1 : asked.stop], start=asked.start - 1)
        case "another tag":
            return answered(body, start=asked.start, ETag='"two"')
        case "weak tag":
            return answered(body, start=asked.start, ETag='W/"one"')
        case "another size":
            return answered(body, start=asked.start, of=SIZE + 1)
        case "another time":
            return answered(
                body, start=asked.start, **{"Last-Modified": formatdate(MTIME_S + 5, usegmt=True)}
            )
        case "no range told":
            return answered(body)
        case "multipart":
            return answered(body, **{"Content-Type": "multipart/byteranges; boundary=x"})
        case "a time beyond all times":
            return answered(
                body, start=asked.start, **{"Last-Modified": f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"}
            )
        case "compressed":
            return answered(body, start=asked.start, **{"Content-Encoding": "gzip"})
        case "outside, same size":
            return answered(b"", 416, **{"Content-Range": f"bytes */{SIZE}"})
        case _:
            return answered(b"", 416, **{"Content-Range": "bytes */10"})


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A server that speaks tus and answers for files as `handler` says; yields its port."""

    async def options(_: web.Request) -> web.Response:
        return web.Response(headers={"Tus-Version": "1.0.0", "Tus-Extension": "creation"})

    async def head(_: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_options("/fallback/v1/uploads", options)
    app.router.add_get("/fallback/v1/files/film", handler)
    app.router.add_head("/fallback/v1/files/", head)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


CHANGED = [
    "range ignored",
    "new version whole",
    "another tag",
    "weak tag",
    "another size",
    "another time",
    "a time beyond all times",
]
SENSELESS = [
    "range shifted",
    "range longer",
    "no range told",
    "multipart",
    "compressed",
    "outside, same size",
]


WRONG = [*CHANGED, *SENSELESS, "outside, another size"]


async def nothing_is_added(tmp_path: Path, how: str) -> list[str]:
    """Fetch the rest of a file from a server whose answers do not fit; what `If-Range` said each time."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers.get("If-Range", ""))
        return wrong(how, request)

    had = CONTENT[:400_000]
    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, counts = fetching(b"/film", FACTS, had)
        with pytest.raises(TransferError) as caught:
            await transport.receive(item)
    assert isinstance(caught.value, SourceError if how in SENSELESS else SourceChanged)
    assert isinstance(caught.value, SourceChanged) == (how not in SENSELESS)
    assert (bytes(target.content), counts) == (had, [])
    return asked


@pytest.mark.parametrize("how", WRONG)
async def test_what_does_not_fit_is_not_added(tmp_path: Path, how: str) -> None:
    assert await nothing_is_added(tmp_path, how) == [TAG]


async def test_without_a_strong_tag_nothing_is_added(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        asked = span(request)
        return answered(CONTENT[asked], start=asked.start)

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        for tag in ("", 'W/"one"', "one"):
            item, target, _ = fetching(b"/film", FACTS, CONTENT[:10])
            item.etag = tag
            with pytest.raises(SourceChanged):
                await transport.receive(item)
            assert bytes(target.content) == CONTENT[:10]
        item, target, _ = fetching(b"/film", FACTS)  # from the start it needs none
        item.etag = ""
        await transport.receive(item)
        assert bytes(target.content) == CONTENT


@pytest.mark.parametrize("far", [False, True])
async def test_a_server_without_ranges_gives_the_whole_file(
    tmp_path: Path, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "FAR_S", 0.0 if far else 60.0)
    monkeypatch.setattr(http_ranges, "PART", 100_000)

    async def handler(_: web.Request) -> web.Response:
        return answered(CONTENT, 200)

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        if far:  # it shows when parts are asked for; the session then begins again
            with pytest.raises(SourceChanged):
                await transport.receive(fetching(b"/film", FACTS)[0])
        item, target, _ = fetching(b"/film", FACTS)
        await transport.receive(item)
        assert bytes(target.content) == CONTENT


async def test_a_server_without_ranges_is_known_for_one_whatever_another_file_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "FAR_S", 0.0)
    monkeypatch.setattr(http_ranges, "PART", 100_000)
    tags = iter([TAG] * http_ranges.PARTS)

    async def handler(request: web.Request) -> web.Response:
        return answered(CONTENT, 200, ETag=next(tags, '"two"') if "If-Range" in request.headers else TAG)

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        with pytest.raises(SourceChanged):  # it shows that the server has no ranges
            await transport.receive(fetching(b"/film", FACTS)[0])
        tags = iter(())
        with pytest.raises(SourceChanged):  # a file that is gone on with is another by now
            await transport.receive(fetching(b"/film", FACTS, CONTENT[:10])[0])
        tags = iter([TAG])
        item, target, _ = fetching(b"/film", FACTS)
        await transport.receive(item)
    assert bytes(target.content) == CONTENT


@pytest.mark.parametrize("status", [408, 425, 429, 503])
async def test_an_answer_that_asks_for_patience_is_worth_another_try(tmp_path: Path, status: int) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        with pytest.raises(TransferError) as caught:
            await transport.receive(fetching(b"/film", FACTS)[0])
    assert caught.value.retryable
    assert caught.value.retry_after_s == 0


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": " 5 "}, 5),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "9" * 5_000}, http_connection.RETRY_AFTER_MOST_S),
        ({"Retry-After": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"Retry-After": formatdate(NOW - 30, usegmt=True)}, 0),
        ({"Retry-After": formatdate(NOW + 90, usegmt=True), "Date": formatdate(NOW + 50, usegmt=True)}, 40),
        ({"Retry-After": formatdate(NOW + 30, usegmt=True), "Date": "yesterday"}, 30),
        ({"Retry-After": "Fri, 99 Foo 99999 00:00:00 GMT"}, 0),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(headers: dict[str, str], seconds: float) -> None:
    assert http_connection.retry_after_s(headers, NOW) == seconds


async def test_the_session_hears_how_long_the_server_wants_to_be_left_alone(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "77"})

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        with pytest.raises(TransferError) as caught:
            await transport.receive(fetching(b"/film", FACTS)[0])
    assert caught.value.retry_after_s == 77


@pytest.mark.parametrize("amount", [SIZE - 1, SIZE + 1])
async def test_a_body_of_another_length_is_no_file(tmp_path: Path, amount: int) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        headers = {"ETag": TAG, "Last-Modified": formatdate(MTIME_S, usegmt=True)}
        headers["Content-Range"] = f"bytes 0-{SIZE - 1}/{SIZE}"
        response = web.StreamResponse(status=206, headers=headers)  # chunked: no length is told
        await response.prepare(request)
        await response.write((CONTENT + b"x")[:amount])
        await response.write_eof()
        return response

    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, _ = fetching(b"/film", FACTS)
        with pytest.raises(ContentError):
            await transport.receive(item)
    assert CONTENT.startswith(bytes(target.content))


@pytest.mark.parametrize("size", [0, SIZE])
@pytest.mark.parametrize("how", ["the same", "longer", "another tag", "another time", "gone"])
async def test_where_nothing_is_missing_the_file_is_looked_at_all_the_same(
    tmp_path: Path, how: str, size: int
) -> None:
    async def handler(_: web.Request) -> web.Response:
        headers = {"ETag": '"two"'} if how == "another tag" else {}
        if how == "another time":
            headers["Last-Modified"] = formatdate(MTIME_S + 5, usegmt=True)
        if how == "gone":
            return web.Response(status=404)
        return answered((CONTENT + b"x")[: size + (how == "longer")], 200, **headers)

    facts = Facts("file", size, MTIME_S * 10**9, etag=TAG)
    async with serving(handler) as port, open_http(port, "t", tmp_path, sends=False) as transport:
        item, target, _ = fetching(b"/film", facts, CONTENT[:size])
        if how == "the same":
            await transport.receive(item)
        else:
            with pytest.raises(SourceMissing if how == "gone" else SourceChanged):
                await transport.receive(item)
    assert bytes(target.content) == CONTENT[:size]
