"""A page of another origin sends and fetches with its token, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser

from tests.support.http_far_end import far_end, metadata

TRANSFER = """
async ({ server, send, receive, metadata }) => {
  const content = crypto.getRandomValues(new Uint8Array(60000));
  const common = { Authorization: `Bearer ${send}`, "Tus-Resumable": "1.0.0" };
  const created = await fetch(`${server}/fallback/v1/uploads`, {
    method: "POST",
    headers: { ...common, "Upload-Length": "60000", "Upload-Metadata": metadata },
  });
  const upload = server + created.headers.get("Location");
  const patched = await fetch(upload, {
    method: "PATCH",
    headers: { ...common, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream" },
    body: content,
  });
  const state = await fetch(upload, { method: "HEAD", headers: common });
  const part = await fetch(`${server}/fallback/v1/files/in/from%20page`, {
    headers: { Authorization: `Bearer ${receive}`, Range: "bytes=100-199" },
  });
  const bytes = new Uint8Array(await part.arrayBuffer());
  const stranger = { headers: { Authorization: "Bearer x" } };
  const refused = await fetch(`${server}/fallback/v1/files/other`, stranger);
  return {
    statuses: [created.status, patched.status, state.status, part.status, refused.status],
    offset: state.headers.get("Upload-Offset"),
    range: part.headers.get("Content-Range"),
    same: bytes.every((byte, at) => byte === content[100 + at]),
    reason: (await refused.json()).error.reason,
  };
}
"""


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_sends_and_fetches(tmp_path: Path, browser: Browser) -> None:
    async def empty_page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>portal</title>", content_type="text/html")

    portal = web.Application()
    portal.router.add_get("/", empty_page)
    async with far_end(tmp_path) as server, TestServer(portal) as site:
        page = await browser.new_page()
        await page.goto(str(site.make_url("/")))
        told = await page.evaluate(
            TRANSFER,
            {
                "server": server.url,
                "send": server.token("send", "in"),
                "receive": server.token("receive", "in"),
                "metadata": metadata(filename="from page"),
            },
        )
        await page.close()
        assert server.names() == ["in/", "in/from page"]
    assert told == {
        "statuses": [201, 204, 200, 206, 401],
        "offset": "60000",
        "range": "bytes 100-199/60000",
        "same": True,
        "reason": "login_refused",
    }
