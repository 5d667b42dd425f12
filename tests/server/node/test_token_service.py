"""The example of a web application that hands out download tokens (examples/token-service)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.node import PASSWORD, Node
from tests.support.sshd import free_port
from tests.support.token_service import token_service


@pytest.fixture
async def site(node: Node) -> AsyncIterator[aiohttp.ClientSession]:
    public = node.files / "public"
    public.mkdir()
    (public / "film.mov").write_bytes(b"12345")
    (node.files / "private").touch()
    async with token_service(node.base, "ann", PASSWORD) as origin, aiohttp.ClientSession(origin) as client:
        yield client


def asked_by(site: aiohttp.ClientSession, origin: str | None = None) -> dict[str, str]:
    return {"Origin": origin or str(site._base_url).rstrip("/")}


async def test_the_page_gets_a_token_for_one_file(node: Node, site: aiohttp.ClientSession) -> None:
    files = await (await site.get("/files")).json()
    assert files == [{"path": "/public/film.mov", "size": 5}]
    answer = await site.post("/download-token", json={"path": files[0]["path"]}, headers=asked_by(site))
    spec = await answer.json()
    assert spec["authentication"] == "token"
    assert spec["direction"] == "receive"
    claims = node.claims(spec["token"])
    assert claims.sources == ((b"public", b"film.mov"),)
    assert claims.expires_at - claims.issued_at == 600
    assert PASSWORD not in str(spec)


async def test_what_is_not_the_visitor_s_is_refused(site: aiohttp.ClientSession) -> None:
    for path, status in (
        ("/private", 403),
        ("/public/../private", 403),
        ("/public2", 403),
        ("", 403),
        ("/public/none", 404),
    ):
        answer = await site.post("/download-token", json={"path": path}, headers=asked_by(site))
        assert answer.status == status, path
        assert "token" not in await answer.text()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"{}", b'"path"', b"\xff"])
async def test_what_asks_for_no_path_is_refused(site: aiohttp.ClientSession, body: bytes) -> None:
    answer = await site.post("/download-token", data=body, headers=asked_by(site))
    assert answer.status == 400


async def test_a_transfer_server_that_cannot_be_reached_or_trusted_is_said(node: Node) -> None:
    unreachable = (f"http://127.0.0.1:{free_port()}", node.base.replace("http:", "https:"))
    for url in unreachable:
        async with token_service(url, "ann", PASSWORD) as origin, aiohttp.ClientSession(origin) as site:
            for answer in (
                await site.get("/files"),
                await site.post("/download-token", json={"path": "/public/a"}, headers=asked_by(site)),
            ):
                assert (answer.status, await answer.text()) == (502, "The transfer server cannot be reached.")


async def test_other_sites_get_nothing(site: aiohttp.ClientSession) -> None:
    for headers in ({}, asked_by(site, "https://evil.example"), asked_by(site, "null")):
        answer = await site.post("/download-token", json={"path": "/public/film.mov"}, headers=headers)
        assert answer.status == 403


async def test_the_page_and_its_script_are_served(site: aiohttp.ClientSession) -> None:
    assert 'src="connect.js"' in await (await site.get("/")).text()
    assert "AW4" in await (await site.get("/connect.js")).text()
