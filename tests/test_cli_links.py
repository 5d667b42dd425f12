"""Links with the real thing: installed, opened by xdg-open and by Chromium, answered in zenity."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from playwright.async_api import async_playwright

from tests.support.browser import ARGUMENTS, chromium
from tests.support.desktop import Desktop
from tests.support.linked_home import LIMIT_S, LinkedHome, argument_lists, linked_home
from tests.support.person import AtTheDesktop
from tests.support.sdk_site import serve_page
from tests.support.sshd import PasswordServer, SshServer

PAGE = "https://portal.example"
CALLER = "a link from an unknown page or program"
QUESTION = f"^{CALLER}$"
pytestmark = pytest.mark.timeout(400)  # each starts five programs or more, one after the other
CONTENT = os.urandom(300_000)


@pytest.fixture
async def linked(tmp_path: Path, desktop: Desktop) -> AsyncIterator[LinkedHome]:
    async with linked_home(tmp_path / "home-of-links", desktop) as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[PasswordServer]:
    async with PasswordServer() as running:
        (running.root / "film Æ.mov").write_bytes(CONTENT)
        yield running


@pytest.fixture
def person(desktop: Desktop) -> AtTheDesktop:
    return AtTheDesktop(desktop, CALLER)


def link_to(server: PasswordServer, path: str = "/film Æ.mov", **query: str) -> str:
    login = f"{server.user}:{quote(server.password)}"
    keys = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    return f"fasp://{login}@{server.host}:{server.port}{quote(path)}?{keys}"


def pin(server: PasswordServer) -> str:
    return server.fingerprint


async def asked(linked: LinkedHome) -> str:
    """Wait for the helper's question, which on a busy machine takes a while to show."""
    return await linked.desktop.window(QUESTION, within_s=LIMIT_S)


async def arrived(linked: LinkedHome, name: str = "film Æ.mov") -> bytes:
    path = linked.helper.downloads / name
    assert await linked.until_counted("finished") > 0
    return path.read_bytes()


async def test_xdg_open_of_a_start_link_starts_a_stopped_helper_and_is_harmless_after(
    linked: LinkedHome,
) -> None:
    assert linked.record is None
    assert (await linked.run("xdg-mime", "query", "default", "x-scheme-handler/fasp"))[
        1
    ] == "connect-helper.desktop\n"
    for link in (
        "fasp://initialize",
        "fasp://initialize/?key=1&id=2",
        "aspera://",
        "aspera-drive://initialize",
    ):
        code, said = await linked.run("xdg-open", link)
        assert code == 0, said
        await linked.until_it_runs()
    record = linked.record
    await linked.run("xdg-open", "aspera://initialize?app_id=a&session_id=b")
    assert linked.record == record  # the same process
    assert linked.helper.addresses() == []  # nothing is shown


async def test_a_launch_by_a_page_of_the_newer_sdk_makes_its_session_known(linked: LinkedHome) -> None:
    await linked.run("xdg-open", "aspera://initialize?app_id=app&session_id=session")
    await linked.until_it_runs()
    async with aiohttp.ClientSession() as http:
        for session, known in (("session", True), ("another", False)):
            ids = {"app_id": "app", "session_id": session}
            call = {"jsonrpc": "2.0", "id": 1, "method": "verify_session", "params": ids}
            async with http.post("http://127.0.0.1:33024/", json=call, headers={"Origin": PAGE}) as answer:
                assert (await answer.json())["result"] == {"result": known}


async def test_a_link_downloads_after_the_user_agreed_and_its_secret_shows_nowhere(
    linked: LinkedHome, server: PasswordServer, person: AtTheDesktop
) -> None:
    link = link_to(server, sshfp=pin(server))
    assert linked.record is None
    await linked.run("xdg-open", link)
    await asked(linked)
    async with asyncio.timeout(20):
        while quote(server.password) in argument_lists():  # noqa: ASYNC110 - what handed the link over ends
            await asyncio.sleep(0.05)
    assert server.connections == []
    await person.allow()
    assert await arrived(linked) == CONTENT
    assert "/activity/" in await linked.helper.opened("/activity/")
    log = "".join(path.read_text() for path in (linked.helper.home / "logs").glob("*.log*"))
    state = b"".join(
        path.read_bytes() for path in (linked.helper.home / "state").rglob("*") if path.is_file()
    )
    for secret in (server.password, quote(server.password)):
        assert secret not in log
        assert secret.encode() not in state


async def test_a_refused_link_reaches_no_server_and_is_asked_about_each_time(
    linked: LinkedHome, server: PasswordServer, person: AtTheDesktop
) -> None:
    await linked.run("xdg-open", "fasp://initialize")
    await linked.until_it_runs()
    await linked.command("open-link", link_to(server))
    await asked(linked)
    await person.deny()
    await linked.command("open-link", link_to(server, sshfp=pin(server)))
    await asked(linked)
    await person.allow()
    assert await arrived(linked) == CONTENT
    (linked.helper.downloads / "film Æ.mov").unlink()
    await linked.command("open-link", link_to(server, sshfp=pin(server)))
    await asked(linked)
    await person.deny()  # the yes of before was for that link only
    assert len(server.connections) == 1


async def test_a_login_that_a_link_leaves_out_is_asked_for(
    linked: LinkedHome, server: PasswordServer, person: AtTheDesktop
) -> None:
    await linked.run("xdg-open", "fasp://initialize")
    await linked.until_it_runs()
    link = (
        f"faspe://{server.user}@{server.host}:{server.port}/{quote('film Æ.mov')}?sshfp={quote(pin(server))}"
    )
    await linked.command("open-link", link)
    await asked(linked)
    await person.allow()
    window = await asked(linked)
    await linked.desktop.type(server.password)
    await linked.desktop.key("Tab", "Tab", "Return")
    await linked.desktop.gone(window)
    assert await arrived(linked) == CONTENT


async def test_a_stock_sshd_is_asked_and_its_refusal_is_told_in_the_window(
    linked: LinkedHome, person: AtTheDesktop
) -> None:
    with SshServer() as sshd:
        sshfp = quote(sshd.fingerprint)
        link = f"fasp://{sshd.user}:wrong@{sshd.host}:{sshd.port}{sshd.root}/a.txt?sshfp={sshfp}&auth=no"
        await linked.run("xdg-open", link)
        await asked(linked)
        await person.allow()
        await linked.helper.opened("/activity/", within_s=LIMIT_S)
        assert await linked.until_counted("failed") == 1


@pytest.mark.parametrize(
    "link", ["fasp://files.example/x?-run=1", "fasp://files.example/a/../b", "https://a.example/x"]
)
async def test_a_link_that_is_none_of_ours_starts_nothing_and_says_why(linked: LinkedHome, link: str) -> None:
    code, said = await linked.command("open-link", link)
    assert code == 1
    assert said.startswith("The link ")
    assert linked.record is None


async def test_a_running_helper_tells_the_user_what_is_wrong_with_a_link(linked: LinkedHome) -> None:
    await linked.run("xdg-open", "fasp://initialize")
    await linked.until_it_runs()
    code, said = await linked.command("open-link", "fasp://files.example/x?token=a&token=b")
    assert code == 1
    assert '"token"' in said
    window = await asked(linked)
    await linked.desktop.key("Return")
    await linked.desktop.gone(window)


async def test_chromium_hands_over_a_clicked_link(
    linked: LinkedHome, server: PasswordServer, person: AtTheDesktop
) -> None:
    async with serve_page() as origin, async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(profile_that_opens_links_of(origin, linked.helper.home)),
            executable_path=chromium(),
            headless=False,
            args=list(ARGUMENTS),
            env=linked.environment(),
        )
        page = await context.new_page()
        await page.goto(origin)
        await page.evaluate(
            "href => document.body.append(Object.assign(document.createElement('a'), { href, text: 'Go' }))",
            link_to(server, sshfp=pin(server)),
        )
        await page.get_by_text("Go", exact=True).click()
        await asked(linked)
        await person.allow()
        assert await arrived(linked) == CONTENT
        await context.close()


def profile_that_opens_links_of(origin: str, home: Path) -> Path:
    """A profile of somebody who said yes for good when Chromium asked whether this site may open links.

    It asks in a sheet inside of its window, where no test can tell when it is there.
    """
    pairs = {origin: {"fasp": True}}
    preferences = home / "profile" / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(json.dumps({"protocol_handler": {"allowed_origin_protocol_pairs": pairs}}))
    return home / "profile"


async def test_uninstall_stops_the_helper_and_the_links(linked: LinkedHome) -> None:
    await linked.run("xdg-open", "fasp://initialize")
    await linked.until_it_runs()
    code, said = await linked.command("uninstall")
    assert code == 0, said
    assert linked.record is None
    assert (await linked.run("xdg-mime", "query", "default", "x-scheme-handler/fasp"))[1] == ""
    left = [path for path in linked.helper.user_home.rglob("*") if "connect-helper" in path.name]
    assert left == []
