"""A page asks a token service for a file and has the helper fetch it from our transfer server.

Over SSH; where its port is closed over HTTPS, and where the user allows it over HTTP. What the service gave
opens exactly that file, downwards, while it lives: every other use is refused with a sentence and writes
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from pydantic import SecretStr

from connect_helper.server.accounts import Account
from connect_helper.server.issuing import Extras, download_claims, upload_claims
from connect_helper.server.tokens import TokenAuthority
from tests.support.browser import launch
from tests.support.far_server import TOKEN_KEY, far_server, user
from tests.support.helper import COMMAND, Helper
from tests.support.managing import until
from tests.support.person import AtThePages
from tests.support.server_parts import PASSWORD
from tests.support.sshd import free_port
from tests.support.token_service import token_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT_MS = 30_000
CONTENT = os.urandom(3_000_000)
WAYS = ("ssh", "https", "http")


@dataclass(frozen=True, slots=True)
class World:
    """Helper, browser, transfer server, and the page's origin.

    `others` are more of them, since a page with five wrong logins has to wait for an hour.
    """

    helper: Helper
    browser: Browser
    files: Path
    origin: str
    others: dict[str, str]
    http_port: int


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
        origin, *others = [
            await stack.enter_async_context(token_service(url, "web", PASSWORD, certificate))
            for _ in range(4)
        ]
        pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
        trusts = {"pinned_certificates": f"localhost={pin}"}
        helper = await stack.enter_async_context(Helper.running(folder / "home", preferences=trusts))
        browser = await stack.enter_async_context(launch())
        http_port = server.running.http_port
        assert http_port is not None
        yield World(helper, browser, files, origin, dict(zip(WAYS, others, strict=True)), http_port)


@pytest_asyncio.fixture(loop_scope="module")
async def page(world: World) -> AsyncIterator[Page]:
    context = await world.browser.new_context()
    page = await context.new_page()
    await page.goto(world.origin)
    await page.get_by_role("button").wait_for()
    yield page
    await context.close()


async def ended(page: Page, world: World, spec: dict[str, Any]) -> dict[str, Any]:
    """Start a transfer as the page, say yes to it, and return what the page hears at its end."""
    person = AtThePages(world.helper, world.browser)
    call = """async (spec) => {
        const connect = new AW4.Connect();
        connect.initSession();
        const latest = {};
        connect.addEventListener("transfer", (_, { transfers }) => {
          for (const info of transfers) latest[info.uuid] = info;
        });
        const told = (error) => { throw new Error(JSON.stringify(error)); };
        const { uuid } = (await connect.startTransferPromise(spec).catch(told)).transfer_specs[0];
        while (!["failed", "completed"].includes(latest[uuid]?.status))
          await new Promise((resolve) => setTimeout(resolve, 50));
        return latest[uuid];
    }"""
    info, _ = await asyncio.gather(page.evaluate(call, spec), person.allow())
    return dict(info)


async def failed(page: Page, world: World, spec: dict[str, Any]) -> str:
    """The sentence a transfer of the page ends with."""
    info = await ended(page, world, spec)
    assert info["status"] == "failed", info
    return str(info["error_desc"])


def blocked(world: World, spec: dict[str, Any], way: str) -> dict[str, Any]:
    """The same where SSH does not get through: its port is closed."""
    if way == "ssh":
        return spec
    with socket.create_server(("127.0.0.1", 0)) as sock:
        closed = sock.getsockname()[1]
    changed = {**spec, "ssh_port": closed, "http_fallback": True}
    if way == "https":
        assert changed["https_fallback_port"] == changed["http_fallback_port"]
        return changed
    del changed["https_fallback_port"]
    return {**changed, "cipher": "none", "http_fallback_port": world.http_port}


async def allow_plain_http(world: World, *, wanted: bool) -> None:
    """What the user does in the preferences of the helper's window."""
    process = await asyncio.create_subprocess_exec(COMMAND, "open", env=world.helper._environment())
    address = await world.helper.opened("code")
    assert await process.wait() == 0
    page = await world.browser.new_page()
    await page.goto(address)
    await page.get_by_role("link", name="Preferences").click()
    await page.wait_for_url("**/preferences*")
    await page.wait_for_selector("html:not([data-arming])")
    switch = page.get_by_role("switch", name="Allow transfers over HTTP without encryption")
    await expect(switch).to_be_checked(checked=not wanted)
    await switch.click()
    kept = world.helper.home / "config" / "preferences.json"
    await until(lambda: json.loads(kept.read_text()).get("plain_http", False) is wanted, "the choice is kept")
    await page.close()


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


async def test_a_transfer_server_that_is_gone_is_said_on_the_page(page: Page) -> None:
    async with token_service(f"http://127.0.0.1:{free_port()}", "web", PASSWORD) as origin:
        await page.goto(origin)
        await expect(page.locator("#state")).to_have_text("The transfer server cannot be reached.")


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


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_does_what_it_was_issued_for_and_nothing_else(
    world: World, page: Page, way: str
) -> None:
    """Wrong path, changed, expired, wrong direction: each refused with a sentence, nothing written."""
    if way == "http":
        await allow_plain_http(world, wanted=True)
    await page.goto(world.others[way])
    good = blocked(world, await spec_of(page), way)
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
    no_login = "refused the login" if way == "ssh" else f"Over {way.upper()}: The server refused the token"
    assert said["path"] == "/private.txt is not on the server."
    assert no_login in said["changed"]
    assert no_login in said["expired"]
    # Over HTTP what a token does not open is not there, whatever the reason.
    no_right = "There is no permission to read" if way == "ssh" else "/public/film.bin is not on the server."
    assert no_right in said["direction"]
    assert sorted(world.helper.downloads.iterdir()) == before
    if way == "http":
        await allow_plain_http(world, wanted=False)


async def test_where_ssh_is_blocked_the_file_comes_over_https(world: World, page: Page) -> None:
    spec = blocked(world, await spec_of(page), "https")
    spec["paths"] = [{"source": "/public/film.bin", "destination": "over-https.bin"}]
    info = await ended(page, world, spec)
    assert (info["status"], info["transport"], info["error_desc"]) == ("completed", "http", "")
    assert (world.helper.downloads / "over-https.bin").read_bytes() == CONTENT


async def test_over_plain_http_it_comes_only_once_the_user_allows_that(world: World, page: Page) -> None:
    spec = blocked(world, await spec_of(page), "http")
    spec["paths"] = [{"source": "/public/film.bin", "destination": "over-http.bin"}]
    assert "switched off in the preferences" in await failed(page, world, spec)
    assert not (world.helper.downloads / "over-http.bin").exists()
    await allow_plain_http(world, wanted=True)
    info = await ended(page, world, spec)
    assert (info["status"], info["transport"], info["error_desc"]) == ("completed", "http", "")
    assert (world.helper.downloads / "over-http.bin").read_bytes() == CONTENT
    await allow_plain_http(world, wanted=False)


async def test_a_server_that_is_not_the_pinned_one_gets_no_token(world: World, page: Page) -> None:
    """The pin is for "localhost"; there is none for its address, and no authority signed the certificate."""
    spec = {**blocked(world, await spec_of(page), "https"), "remote_host": "127.0.0.1"}
    said = await failed(page, world, spec)
    assert "Over HTTPS: The certificate of 127.0.0.1" in said
    assert "127.0.0.1=" in said  # what to pin, if the operator confirms it
