"""No page is a password tester, whichever way it tries."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.login_guard import LoginGuard
from connect_helper.errors import TooManyRequests
from connect_helper.picking.base import Answer
from tests.api.conftest import PAGE, Face
from tests.support.sshd import PasswordServer

OTHER = "https://other.example"
TRIES = 5


@pytest.fixture(autouse=True)
def remembers(face: Face) -> None:
    face.person.answer = Answer(accepted=True, remember=True)


def login(server: PasswordServer, password: str) -> dict[str, Any]:
    return {
        "remote_host": "127.0.0.1",
        "ssh_port": server.port,
        "remote_user": server.user,
        "remote_password": password,
        "sshfp": server.fingerprint,
    }


def download(server: PasswordServer, password: str) -> dict[str, Any]:
    return {**login(server, password), "direction": "receive", "paths": [{"source": "film.mov"}]}


async def fail(face: Face, server: PasswordServer, password: str) -> str:
    status, answer = await face.start(download(server, password), request_id=password)
    assert status == 200, answer
    transfer_id: str = answer["transfer_specs"][0]["uuid"]
    assert (await face.until(transfer_id, "failed", "completed"))["error_code"] == 19
    return transfer_id


async def test_sec_22_twenty_tests_at_once_are_five_tries(face: Face) -> None:
    async with PasswordServer() as server:
        # The yes of the user first, so that all of them come through at the same time.
        assert (await face.post("/connect/info/authenticate", login(server, server.password)))[0] == 200
        server.passwords.clear()
        calls = [face.post("/connect/info/authenticate", login(server, f"p{n}")) for n in range(20)]
        statuses = sorted(status for status, _ in await asyncio.gather(*calls))
        assert statuses == [403] * TRIES + [429] * (20 - TRIES)
        assert len(server.passwords) == TRIES
        assert (await face.post("/connect/info/authenticate", login(server, server.password)))[0] == 429


async def test_good_logins_at_once_use_nothing_up(face: Face) -> None:
    async with PasswordServer() as server:
        good = login(server, server.password)
        for _ in range(3):
            calls = [face.post("/connect/info/authenticate", good) for _ in range(4)]
            assert {status for status, _ in await asyncio.gather(*calls)} == {200}


async def test_a_server_that_is_not_there_uses_nothing_up(face: Face, unused_tcp_port: int) -> None:
    async with PasswordServer() as server:
        absent = {**login(server, "x"), "ssh_port": unused_tcp_port}
        for _ in range(TRIES + 1):
            assert (await face.post("/connect/info/authenticate", absent))[0] == 500
        assert (await face.post("/connect/info/authenticate", login(server, server.password)))[0] == 200


async def test_sec_22_starting_again_and_again_is_five_tries(face: Face) -> None:
    async with PasswordServer() as server:
        for number in range(TRIES):
            await fail(face, server, f"guess{number}")
        status, answer = await face.start(download(server, server.password), request_id="late")
        assert status == 429
        assert "wrong logins" in answer["error"]["user_message"]
        assert len(server.passwords) == TRIES
        # Tests of a login count together with transfers; other pages are not concerned.
        good = login(server, server.password)
        assert (await face.post("/connect/info/authenticate", good))[0] == 429
        assert (await face.post("/connect/info/authenticate", good, origin=OTHER))[0] == 200


async def test_sec_22_resuming_again_and_again_is_five_tries(face: Face) -> None:
    async with PasswordServer() as server:
        transfer_id = await fail(face, server, "guess0")
        statuses = []
        for number in range(1, TRIES + 3):
            status, _ = await face.post(
                f"/connect/transfers/resume/{transfer_id}", {"remote_password": f"guess{number}"}
            )
            statuses.append(status)
            await face.until(transfer_id, "failed")
        assert statuses == [200] * (TRIES - 1) + [429] * 3
        assert len(server.passwords) == TRIES


async def test_sec_22_many_transfers_handed_in_at_once_are_stopped_when_the_tries_are_used_up(
    face: Face,
) -> None:
    async with PasswordServer() as server:
        await fail(face, server, "guess0")
        handed_in = []
        for number in range(1, 16):
            app_id = f"app-{number % 2}"  # the page's own invention, so it makes no difference
            status, answer = await face.start(
                download(server, f"guess{number}"), request_id=str(number), app_id=app_id
            )
            if status == 200:
                handed_in.append(answer["transfer_specs"][0]["uuid"])
        manager = face.parts.manager
        async with asyncio.timeout(30):
            with manager.subscribe() as news:
                while any(manager.get(one).status not in ("failed", "cancelled") for one in handed_in):
                    await anext(news)
        # At most those under way when the fifth was refused, two beside it, got through.
        assert len(server.passwords) <= TRIES + 2
        assert {str(manager.get(one).status) for one in handed_in} == {"failed", "cancelled"}
        stopped = [one for one in map(manager.get, handed_in) if one.status == "cancelled"]
        assert all("wrong logins too often" in one.error_desc for one in stopped)


async def test_transfers_that_work_use_nothing_up(face: Face, tmp_path: Path) -> None:
    async with PasswordServer() as server:
        for number in range(TRIES + 1):
            (server.root / "film.mov").write_bytes(os.urandom(10))
            status, answer = await face.start(download(server, server.password), request_id=str(number))
            assert status == 200
            assert (await face.until(answer["transfer_specs"][0]["uuid"], "completed", "failed"))[
                "status"
            ] == "completed"


def test_tries_taken_and_not_given_back_count_and_an_hour_later_all_are_back() -> None:
    now = 0.0
    guard = LoginGuard(clock=lambda: now)
    for _ in range(TRIES):
        guard.enter(PAGE, "a.example")
    with pytest.raises(TooManyRequests) as caught:
        guard.enter(PAGE, "a.example")
    assert caught.value.retry_after < 10
    guard.enter(PAGE, "b.example")
    guard.enter(OTHER, "a.example")
    guard.succeeded(PAGE, "a.example")
    guard.undecided(PAGE, "a.example")
    for _ in range(TRIES - 2):
        guard.failed(PAGE, "a.example")
    for _ in range(2):
        guard.enter(PAGE, "a.example")
        guard.failed(PAGE, "a.example")
    with pytest.raises(TooManyRequests) as caught:
        guard.check(PAGE, "a.example")
    assert caught.value.retry_after == 3_600
    now = 3_600.0
    for _ in range(TRIES):
        guard.enter(PAGE, "a.example")
