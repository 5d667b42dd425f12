"""Links that carry a download: a caller of their own, asked about each time, in bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from connect_helper.api.links import LINK_CALLER, OPEN_LINKS, Links
from connect_helper.consent.limits import MUTED_S
from connect_helper.consent.origins import LINKS
from connect_helper.errors import InvalidRequest, TooManyRequests
from connect_helper.picking.base import Answer, Credentials
from connect_helper.transfers.transfer import Owner
from tests.api.conftest import Face
from tests.support.sshd import PasswordServer

CONTENT = b"from far" * 1000


@pytest.fixture
async def links(face: Face) -> AsyncIterator[Links]:
    async with asyncio.TaskGroup() as tasks:
        parts = face.parts
        made = Links(
            starting=parts.starting,
            ladder=parts.ladder,
            asker=face.person,
            windows=face.windows,
            tasks=tasks,
        )
        yield made
        made.close()


@pytest.fixture
async def server() -> AsyncIterator[PasswordServer]:
    async with PasswordServer() as running:
        (running.root / "far.bin").write_bytes(CONTENT)
        yield running


def link_to(server: PasswordServer, login: str = "", query: str = "") -> str:
    place = f"{login or f'{server.user}:{quote(server.password)}'}@{server.host}:{server.port}"
    return f"fasp://{place}/far.bin?sshfp={quote(server.fingerprint)}{query}"


async def until(condition: object) -> None:
    """Wait until a call says yes."""
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of another task, which has no event for it
            await asyncio.sleep(0.01)


async def test_a_link_is_asked_about_and_then_downloads_what_it_names(
    face: Face, links: Links, server: PasswordServer
) -> None:
    links.open(link_to(server))
    target = face.folders.downloads / "far.bin"
    await until(target.exists)
    assert target.read_bytes() == CONTENT
    [question] = face.person.questions
    assert question.heading == f"Allow {LINK_CALLER.label} to download “far.bin” from 127.0.0.1?"
    assert question.remember == ""
    await until(lambda: face.opened)
    assert "/activity/" in face.opened[0]
    _, transfers = await face.parts.manager.changes(Owner(LINKS, ""), 0)
    assert [one.owner.origin for one in transfers] == [LINKS]
    # To no page is this transfer shown, whatever it calls itself.
    for origin in ("https://portal.example", "http://link"):
        status, activity = await face.post(
            "/connect/transfers/activity", {"iteration_token": 0}, origin=origin
        )
        assert (status, activity["transfers"]) == (200, [])


async def test_sec_22_nothing_reaches_the_server_before_the_yes(
    face: Face, links: Links, server: PasswordServer
) -> None:
    face.person.free.clear()
    links.open(link_to(server))
    await face.person.shown.wait()
    assert server.connections == []
    face.person.answer = Answer(accepted=False)
    face.person.free.set()
    await until(lambda: not links._open)
    assert server.connections == []
    assert face.opened == []


async def test_a_remembered_yes_of_a_page_is_none_for_a_link(
    face: Face, links: Links, server: PasswordServer
) -> None:
    face.parts.sites.remember_host("https://portal.example", server.host, server.port, near=True)
    face.parts.sites.remember_host(LINKS, server.host, server.port, near=True)
    face.person.answer = Answer(accepted=False)
    links.open(link_to(server))
    await until(lambda: not links._open)
    assert len(face.person.questions) == 1


async def test_what_is_missing_for_the_login_is_asked_for_unless_the_link_forbids_it(
    face: Face, links: Links, server: PasswordServer
) -> None:
    face.person.credentials = Credentials(server.user, server.password)
    links.open(link_to(server, login=server.user))
    await until((face.folders.downloads / "far.bin").exists)
    assert len(face.person.sign_ins) == 1
    with pytest.raises(InvalidRequest, match="auth=no"):
        links.open(link_to(server, login=server.user, query="&auth=no"))


async def test_the_same_link_twice_at_once_is_one_question(
    face: Face, links: Links, server: PasswordServer
) -> None:
    face.person.free.clear()
    links.open(link_to(server))
    links.open(link_to(server))
    await face.person.shown.wait()
    assert len(face.person.questions) == 1


async def test_many_links_at_once_are_turned_away(face: Face, links: Links, server: PasswordServer) -> None:
    face.person.free.clear()
    for number in range(OPEN_LINKS):
        links.open(link_to(server, query=f"&cookie={number}"))
    with pytest.raises(TooManyRequests):
        links.open(link_to(server, query="&cookie=more"))


async def test_three_refusals_silence_links_until_the_user_lets_them_ask_again(
    face: Face, links: Links, server: PasswordServer
) -> None:
    await refuse_three(face, links, server)
    assert len(face.person.questions) == 3
    [site] = face.parts.sites.overview()
    assert (site.origin, site.muted) == (LINKS, True)
    face.parts.sites.revoke_origin(LINKS)
    links.open(link_to(server))
    await until(lambda: not links._open)
    assert len(face.person.questions) == 4
    assert "download" in face.person.questions[3].heading


async def refuse_three(face: Face, links: Links, server: PasswordServer) -> None:
    face.person.answer = Answer(accepted=False)
    for _ in range(3):
        links.open(link_to(server))
        await until(lambda: not links._open)


async def test_muted_links_say_so_once_and_lead_to_where_they_are_allowed_again(
    face: Face, links: Links, server: PasswordServer
) -> None:
    await refuse_three(face, links, server)
    face.person.answer = Answer(accepted=True)
    earliest = time.time() + MUTED_S - 60
    for _ in range(3):
        links.open(link_to(server))
        await until(lambda: not links._open)
    with pytest.raises(InvalidRequest):
        links.open("fasp://files.example/a/../b")
    await until(lambda: not links._open)
    [notice] = face.person.questions[3:]
    assert notice.heading == "Links are not opened at the moment."
    until_when = {time.strftime("%H:%M", time.localtime(earliest + 60 * minute)) for minute in range(4)}
    assert any(f"until {minute}." in notice.details[0] for minute in until_when)
    assert "Sites page" in notice.details[1]
    [page] = face.opened
    assert "/sites" in page
    assert server.connections == []
    assert face.parts.sites.is_muted(LINKS)  # the yes was for the page, not for links


async def test_a_broken_link_while_links_are_muted_is_told_by_the_same_notice(
    face: Face, links: Links, server: PasswordServer
) -> None:
    await refuse_three(face, links, server)
    with pytest.raises(InvalidRequest):
        links.open("fasp://files.example/a/../b")
    await until(lambda: not links._open)
    assert [one.heading for one in face.person.questions[3:]] == ["Links are not opened at the moment."]


async def test_keys_that_are_not_known_are_passed_over_and_logged_without_their_values(
    face: Face, links: Links, server: PasswordServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        links.open(link_to(server, query="&run=canary"))
        await until((face.folders.downloads / "far.bin").exists)
    assert "'run'" in caplog.text
    assert "canary" not in caplog.text


async def test_what_is_wrong_with_a_link_is_told_but_not_over_and_over(face: Face, links: Links) -> None:
    for number in range(5):
        with pytest.raises(InvalidRequest):
            links.open(f"fasp://files.example/x?token={number}&token=b")
        await until(lambda: not links._open)
    [notice] = face.person.questions  # the others came within two seconds
    assert notice.heading == "This link cannot be opened."
    assert '"token"' in notice.details[0]
    await until(lambda: face.opened)  # the person of this test says yes to everything


async def test_a_value_that_only_the_spec_refuses_is_told_as_well(face: Face, links: Links) -> None:
    links.open("fasp://ana:pw@files.example/x?policy=quick")
    await until(lambda: face.person.questions)
    assert '"rate_policy"' in face.person.questions[0].details[0]
