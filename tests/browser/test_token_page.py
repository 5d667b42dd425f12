"""A page asks a token service for a file and has the helper fetch it from our transfer server.

What the service gave opens exactly that file, downwards, while it lives: every other use is refused with a
sentence and writes nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from pydantic import SecretStr

from connect_helper.server.accounts import Account
from connect_helper.server.issuing import Extras, download_claims, upload_claims
from connect_helper.server.tokens import TokenAuthority
from tests.support.browser import launch
from tests.support.far_server import TOKEN_KEY, far_server, user
from tests.support.helper import Helper
from tests.support.person import AtThePages
from tests.support.server_parts import PASSWORD
from tests.support.token_service import token_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT_MS = 30_000
CONTENT = os.urandom(3_000_000)


@dataclass(frozen=True, slots=True)
class World:
    """Helper, browser, transfer server, and the page's origin."""

    helper: Helper
    browser: Browser
    files: Path
    origin: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("w")
    files = folder / "files"
    async with AsyncExitStack() as stack:
        web = user("web", files, upload="token", download="token")
        server = await stack.enter_async_context(far_server(folder / "server", web))
        (files / "public").mkdir()
        (files / "public" / "film.bin").write_bytes(CONTENT)
        (files / "private.txt").write_text("not for you")
        url = f"https://localhost:{server.running.https_port}"
        certificate = server.folder / "certificate.pem"
        origin = await stack.enter_async_context(token_service(url, "web", PASSWORD, certificate))
        helper = await stack.enter_async_context(Helper.running(folder / "home"))
        browser = await stack.enter_async_context(launch())
        yield World(helper, browser, files, origin)


@pytest_asyncio.fixture(loop_scope="module")
async def page(world: World) -> AsyncIterator[Page]:
    context = await world.browser.new_context()
    page = await context.new_page()
    await page.goto(world.origin)
    await page.get_by_role("button").wait_for()
    yield page
    await context.close()


async def failed(page: Page, world: World, spec: dict[str, Any]) -> str:
    """Start a transfer as the page, say yes to it, and return the sentence it ends with."""
    person = AtThePages(world.helper, world.browser)
    call = """async (spec) => {
        const connect = new AW4.Connect();
        connect.initSession();
        const latest = {};
        connect.addEventListener("transfer", (_, { transfers }) => {
          for (const info of transfers) latest[info.uuid] = info;
        });
        const { uuid } = (await connect.startTransferPromise(spec)).transfer_specs[0];
        while (!["failed", "completed"].includes(latest[uuid]?.status))
          await new Promise((resolve) => setTimeout(resolve, 50));
        return latest[uuid];
    }"""
    info, _ = await asyncio.gather(page.evaluate(call, spec), person.allow())
    assert info["status"] == "failed", info
    return str(info["error_desc"])


async def spec_of(page: Page) -> dict[str, Any]:
    """What the service gives the page for the film."""
    call = """async () => (await fetch("download-token", {
        method: "POST", body: JSON.stringify({ path: "/public/film.bin" }) })).json()"""
    spec: dict[str, Any] = await page.evaluate(call)
    return spec


async def test_a_click_fetches_the_file(world: World, page: Page) -> None:
    person = AtThePages(world.helper, world.browser)
    await page.get_by_role("button", name="Download").click()
    await person.allow()
    await page.wait_for_function(
        "document.querySelector('#state').textContent.includes('completed')", timeout=WAIT_MS
    )
    assert (world.helper.downloads / "film.bin").read_bytes() == CONTENT


def issued(world: World, *, upload: bool = False, age_s: int = 0) -> str:
    """A token that the service would not give: made with the server's key `age_s` seconds ago."""
    account = Account(name="web", docroot=world.files, token_key=SecretStr(TOKEN_KEY))
    now, extras = int(time.time()) - age_s, Extras(life_s=60)
    claims = (
        upload_claims(account, (b"public",), (), now=now, extras=extras)
        if upload
        else download_claims(account, [(b"public", b"film.bin")], now=now, extras=extras)
    )
    return TokenAuthority(TOKEN_KEY).issue(claims)


async def test_a_token_does_what_it_was_issued_for_and_nothing_else(world: World, page: Page) -> None:
    """Wrong path, changed, expired, wrong direction: each refused with a sentence, nothing written."""
    good = await spec_of(page)
    token = good["token"]
    changed = token[:-4] + ("A" if token[-4] != "A" else "B") + token[-3:]
    before = sorted(world.helper.downloads.iterdir())
    refused = {
        "path": {**good, "paths": [{"source": "/private.txt"}]},
        "changed": {**good, "token": changed},
        "expired": {**good, "token": issued(world, age_s=200)},
        "direction": {**good, "token": issued(world, upload=True)},
    }
    said = {name: await failed(page, world, spec) for name, spec in refused.items()}
    assert said["path"] == "/private.txt is not on the server."
    assert "refused the login" in said["changed"]
    assert "refused the login" in said["expired"]
    assert "no permission to read" in said["direction"]
    assert sorted(world.helper.downloads.iterdir()) == before
