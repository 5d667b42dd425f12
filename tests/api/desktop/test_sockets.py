"""The WebSocket of the desktop face: subscriptions, news, calls, limits (desktop reference, section 1.4)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket as socket_module
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connect_helper.api.desktop import sockets
from connect_helper.consent.limits import CallRate
from connect_helper.picking.drags import Drag
from connect_helper.settings import Folders
from tests.api.conftest import APP, PAGE, Face
from tests.api.desktop.conftest import RpcPage, RpcSocket, open_socket, transfers_of
from tests.api.desktop.test_transfers import make, spec_for
from tests.support.sshd import SshServer, free_port

OTHER = "https://other.example"


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with SshServer() as server:
        yield server


async def test_the_subscription_is_answered_first_and_under_its_id(socket: RpcSocket) -> None:
    answer = await socket.ask("subscribe_transfer_activity", [APP], 1)
    assert socket.came == [answer]
    assert set(answer) == {"jsonrpc", "id", "result"}
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
    assert isinstance(answer["result"], int)


async def test_a_transfer_is_told_of_from_its_start_to_its_removal(
    page: RpcPage, socket: RpcSocket, sshd: SshServer, folder: Path
) -> None:
    number = await socket.subscribe()
    (source,) = await page.choose(make(folder / "film.bin", 2_000_000))
    started = await page.start(spec_for(sshd, "send", source, target_rate_kbps=8_000))
    done = await socket.news("transferUpdated", "completed")
    assert done == await page.call("get_transfer", {"transfer_id": started["uuid"]})
    seen = [one["status"] for message in socket.came for one in transfers_of(message)]
    assert seen[-1] == "completed"
    assert "running" in seen
    assert set(seen) <= {"queued", "initiating", "running", "completed"}
    await page.call("remove_transfer", {"transfer_id": started["uuid"]})
    gone = await socket.news("transferRemoved", "removed")
    assert gone["uuid"] == started["uuid"]
    for message in socket.came[1:]:
        assert set(message) == {"jsonrpc", "method", "params"}
        assert message["method"] == "transfer_activity"
        assert message["params"]["subscription"] == number


async def test_news_of_a_running_transfer_come_at_most_twice_a_second(
    page: RpcPage, socket: RpcSocket, sshd: SshServer, folder: Path
) -> None:
    await socket.subscribe()
    (source,) = await page.choose(make(folder / "film.bin", 1_500_000))
    began = time.monotonic()
    await page.start(spec_for(sshd, "send", source, target_rate_kbps=6_000))
    await socket.news("transferUpdated", "completed")
    messages = len(socket.came) - 1
    assert 2 <= messages <= 2 * (time.monotonic() - began) + 2


async def test_a_socket_that_comes_back_is_told_everything_it_missed(
    page: RpcPage, face: Face, sshd: SshServer
) -> None:
    ids = [(await page.start(spec_for(sshd, "receive", f"{sshd.root}/{name}")))["uuid"] for name in "ab"]
    for transfer_id in ids:
        await page.until(transfer_id)
    async with open_socket(face) as socket:
        await socket.subscribe()
        message = await socket.until(lambda message: bool(transfers_of(message)))
        assert [one["uuid"] for one in transfers_of(message, "transferUpdated")] == ids
        # Once more for the same app_id tells all of it anew; for another one there has to be another socket.
        await socket.subscribe()
        message = await socket.until(lambda message: bool(transfers_of(message)))
        assert [one["uuid"] for one in transfers_of(message)] == ids
        assert (await socket.ask("subscribe_transfer_activity", ["another"], 2))["error"]["code"] == -32005


async def test_many_large_transfers_are_told_in_messages_of_bounded_size(
    page: RpcPage, socket: RpcSocket, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MESSAGE_SIZE", 9_000)
    sources = [f"/{number}/{'x' * 100}" for number in range(20)]  # with all else about 3,500 characters
    spec = spec_for(sshd, "receive", *sources, ssh_port=free_port())
    ids = [(await page.start(spec))["uuid"] for _ in range(4)]
    for transfer_id in ids:
        await page.until(transfer_id)
    await socket.subscribe()
    told: list[str] = []
    while len(told) < 4:
        message = await socket.until(lambda message: bool(transfers_of(message)))
        told += [one["uuid"] for one in transfers_of(message)]
        assert len(json.dumps(message)) < 10_500
    assert told == ids
    assert sum(bool(transfers_of(message)) for message in socket.came) < 4


async def test_no_news_come_before_the_answer_to_the_subscription(
    page: RpcPage, socket: RpcSocket, sshd: SshServer
) -> None:
    """Whatever else is asked at the same time."""
    await page.until((await page.start(spec_for(sshd, "receive", f"{sshd.root}/x")))["uuid"])
    for number in range(2, 8):
        await socket.send("get_all_transfers", [APP], number)
    await socket.send("subscribe_transfer_activity", [APP], 1)
    for number in range(8, 14):
        await socket.send("get_all_transfers", [APP], number)
    await socket.until(lambda message: bool(transfers_of(message)))
    assert 1 in [message.get("id") for message in socket.came]


async def test_all_tabs_of_a_page_are_told_and_nobody_else(
    page: RpcPage, face: Face, sshd: SshServer
) -> None:
    async with AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(open_socket(face)) for _ in range(3)]
        for tab in tabs:
            await tab.subscribe()
        strangers = [await stack.enter_async_context(open_socket(face, origin)) for origin in (PAGE, OTHER)]
        await strangers[0].subscribe("another-app")
        await strangers[1].subscribe(APP)
        transfer_id = (await page.start(spec_for(sshd, "receive", f"{sshd.root}/x")))["uuid"]
        for tab in tabs:
            assert (await tab.news("transferUpdated", "failed"))["uuid"] == transfer_id
        for stranger in strangers:  # what they are told next is the answer to their own question
            answer = await stranger.ask("get_info", {}, 7)
            assert stranger.came[1:] == [answer]


async def test_a_socket_takes_every_call(page: RpcPage, socket: RpcSocket, folder: Path) -> None:
    page.face.person.picks = [make(folder / "a.txt", 3)]
    answer = await socket.ask("show_file_dialog", {"options": {}, "app_id": APP}, "pick")
    (entry,) = answer["result"]["dataTransfer"]["files"]
    asked = {"request": {"path": entry["name"]}, "app_id": APP}
    assert "result" in await socket.ask("get_checksum", asked, 2)
    assert (await socket.ask("no_such_method", None, 4))["error"]["code"] == -32601


async def test_a_files_content_comes_over_a_socket_as_by_post(
    page: RpcPage, socket: RpcSocket, folder: Path
) -> None:
    file = make(folder / "picture.png", 5_000_001)
    (path,) = await page.choose(file)
    asked = {"request": {"path": path}, "app_id": APP}
    whole = await socket.ask("read_as_array_buffer", asked, "whole")
    assert whole["result"]["type"] == "image/png"
    assert base64.b64decode(whole["result"]["data"]) == file.read_bytes()
    piece = {"request": {"path": path, "offset": 4_000_000, "chunkSize": 2_000_000}, "app_id": APP}
    answer = await socket.ask("read_chunk_as_array_buffer", piece, 2)
    assert answer["result"] == await page.call("read_chunk_as_array_buffer", piece)
    assert base64.b64decode(answer["result"]["data"]) == file.read_bytes()[4_000_000:]


async def test_contents_over_a_socket_have_the_limits_of_those_by_post(
    page: RpcPage, socket: RpcSocket, folder: Path
) -> None:
    above = 50 * 1024 * 1024 + 1
    with (folder / "large.bin").open("wb") as large:
        large.truncate(above)
    (path,) = await page.choose(folder / "large.bin")
    for method, request, code in [
        ("read_as_array_buffer", {"path": path}, -32006),
        (
            "read_chunk_as_array_buffer",
            {"path": path, "offset": 0, "chunkSize": above},
            -32006,
        ),
        ("read_chunk_as_array_buffer", {"path": path, "offset": 0}, -32602),
        ("read_as_array_buffer", {"path": "/etc/passwd"}, -32004),
    ]:
        answer = await socket.ask(method, {"request": request, "app_id": APP}, code)
        assert answer["error"]["code"] == code
    (folder / "large.bin").unlink()
    asked = {"request": {"path": path, "offset": 0, "chunkSize": 1}, "app_id": APP}
    assert "error" in await socket.ask("read_chunk_as_array_buffer", asked, 5)


async def test_a_page_that_does_not_take_a_content_keeps_the_others_waiting_for_a_while_only(
    page: RpcPage, other: RpcPage, face: Face, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "STALLED_S", 2.0)
    large, small = make(folder / "large.bin", 30_000_000), make(folder / "small.bin")
    (large_path,) = await page.choose(large)
    (small_path,) = await other.choose(small)
    # One answer at a time is in memory, so of those a page does not take there is one, whatever it asks.
    async with open_socket(face) as deaf, open_socket(face, other.origin) as listening:
        for number in range(4):
            await deaf.send("read_as_array_buffer", {"request": {"path": large_path}, "app_id": APP}, number)
        asked = {"request": {"path": small_path}, "app_id": APP}
        assert "result" in await listening.ask("get_checksum", asked, 1)  # waits for nobody
        answer = await listening.ask("read_as_array_buffer", asked, 2)
        assert base64.b64decode(answer["result"]["data"]) == small.read_bytes()


async def test_a_dialog_over_a_socket_holds_up_nothing_and_closes_with_it(page: RpcPage, face: Face) -> None:
    page.face.person.free.clear()
    async with open_socket(face) as socket:
        await socket.send("show_file_dialog", {"options": {}, "app_id": APP}, 5)
        await page.face.person.shown.wait()
        assert "result" in await socket.ask("get_info", None, 6)
    async with asyncio.timeout(30):
        await page.face.person.taken_away.wait()


@pytest.mark.parametrize(
    ("text", "code", "call_id"),
    [
        ("{", -32700, None),
        ("[]", -32600, None),
        ('{"jsonrpc":"2.0","id":true,"method":"get_info"}', -32600, None),
        ('{"jsonrpc":"2.0","id":3,"method":5}', -32600, 3),
        ('{"jsonrpc":"2.0","id":3,"method":"subscribe_transfer_activity"}', -32602, 3),
        ('{"jsonrpc":"2.0","id":3,"method":"subscribe_transfer_activity","params":[""]}', -32602, 3),
    ],
)
async def test_what_is_no_call_is_answered_and_the_socket_goes_on(
    socket: RpcSocket, text: str, code: int, call_id: Any
) -> None:
    await socket.ws.send_str(text)
    answer = await socket.until(lambda message: "error" in message)
    assert (answer["id"], answer["error"]["code"]) == (call_id, code)
    await socket.ws.send_bytes(b'{"jsonrpc":"2.0","id":4,"method":"get_info"}')
    assert (await socket.until(lambda message: message["id"] == 4))["result"]


async def test_a_call_without_id_is_not_answered(socket: RpcSocket) -> None:
    await socket.ws.send_str('{"jsonrpc":"2.0","method":"get_info"}')
    answer = await socket.ask("get_info", None, 2)
    assert socket.came == [answer]


async def test_sec_10_a_large_message_ends_the_socket_and_nothing_else(
    face: Face, page: RpcPage, socket: RpcSocket
) -> None:
    with contextlib.suppress(ConnectionError):  # it is cut off in the middle
        await socket.ws.send_str("x" * 10_000_000)
    async with asyncio.timeout(30):
        message = await socket.ws.receive()
    assert message.type is not aiohttp.WSMsgType.TEXT
    assert await page.call("get_info")


async def test_sec_10_a_page_that_calls_without_end_is_answered_each_time(socket: RpcSocket) -> None:
    for number in range(2, 152):
        await socket.send("get_info", None, number)
    answers = [await socket.until(lambda message: "id" in message) for _ in range(2, 152)]
    assert {answer["id"] for answer in answers} == set(range(2, 152))
    assert {answer["error"]["code"] for answer in answers if "error" in answer} <= {-32000}


async def test_sec_10_calls_over_a_socket_count_for_the_rate_of_the_page(
    socket: RpcSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CallRate, "allow", lambda *_: False)
    error = (await socket.ask("get_info", None, 2))["error"]
    assert (error["code"], error["data"]["reason"]) == (-32000, "too_many_requests")


async def test_a_file_read_in_hundreds_of_pieces_is_read_to_its_end(
    page: RpcPage, socket: RpcSocket, folder: Path
) -> None:
    file = make(folder / "film.bin", 250)
    (path,) = await page.choose(file)
    pieces: list[bytes] = []
    for offset in range(250):  # more than a page may ask otherwise, in a row
        asked = {"request": {"path": path, "offset": offset, "chunkSize": 1}, "app_id": APP}
        answer = await socket.ask("read_chunk_as_array_buffer", asked, offset + 2)
        pieces.append(base64.b64decode(answer["result"]["data"]))
    assert b"".join(pieces) == file.read_bytes()


async def test_sec_10_a_socket_has_so_many_calls_at_once(
    page: RpcPage, socket: RpcSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "CALLS_AT_ONCE", 1)
    page.face.person.free.clear()
    await socket.send("show_file_dialog", {"options": {}, "app_id": APP}, 2)
    await page.face.person.shown.wait()
    assert (await socket.ask("get_info", None, 3))["error"]["code"] == -32000
    page.face.person.free.set()
    assert (await socket.until(lambda message: message["id"] == 2))["error"]["code"] == -32002
    await asyncio.sleep(0)  # the place is free as soon as its task has ended
    assert (await socket.ask("get_info", None, 4))["result"]


async def test_sec_07_an_origin_has_eight_sockets_and_others_theirs(face: Face, page: RpcPage) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(sockets.OF_ONE_ORIGIN):
            await stack.enter_async_context(open_socket(face))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await face.http.ws_connect(f"{face.desktop}/", headers={"Origin": PAGE})
        assert refused.value.status == 429
        other = await stack.enter_async_context(open_socket(face, OTHER))
        assert await other.subscribe()
        assert await page.call("get_info")
    async with asyncio.timeout(30):
        while True:  # a closed one makes room
            try:
                async with open_socket(face) as again:
                    assert await again.subscribe()
                    return
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.05)


async def test_sec_10_a_thousand_sockets_leave_room_for_the_pages_the_user_knows(
    face: Face, page: RpcPage, folder: Path
) -> None:
    await page.choose(folder, dialog="show_folder_dialog")
    async with AsyncExitStack() as stack:
        opened = 0
        for number in range(1_000):
            origin = f"https://{number // 8}.hostile.example"
            try:
                await stack.enter_async_context(open_socket(face, origin))
            except aiohttp.ClientError:
                continue
            opened += 1
        assert opened == sockets.OF_STRANGERS
        began = time.monotonic()
        known = await stack.enter_async_context(open_socket(face))
        assert await known.subscribe()
        assert await page.call("get_info")
        assert time.monotonic() - began < 5  # one second on a machine that does nothing else


@pytest.mark.parametrize("origin", ["null", "https://a.example/", "https://user@a.example", "file://"])
async def test_sec_03_a_socket_without_a_web_origin_is_not_opened(face: Face, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await face.http.ws_connect(f"{face.desktop}/", headers={"Origin": origin})
    assert refused.value.status == 403


async def test_sec_02_a_handshake_for_another_host_is_not_served(face: Face) -> None:
    port = face.desktop.rsplit(":", 1)[1]
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1:1"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await face.http.ws_connect(f"{face.desktop}/", headers={"Origin": PAGE, "Host": host})
        assert refused.value.status == 421


async def test_sec_09_a_local_program_has_a_scope_of_its_own(
    face: Face, page: RpcPage, sshd: SshServer
) -> None:
    async with open_socket(face, None) as program:
        await program.subscribe()
        await page.start(spec_for(sshd, "receive", f"{sshd.root}/x"))
        spec = spec_for(sshd, "receive", f"{sshd.root}/own")
        call = {"app_id": APP, "transfer_spec": spec, "desktop_spec": {}}
        own = (await program.ask("start_transfer", call, 2))["result"]
        assert "py" in face.person.questions[-1].caller
        assert (await program.news("transferUpdated", "failed"))["uuid"] == own["uuid"]
        told = {one["uuid"] for message in program.came for one in transfers_of(message)}
        assert told == {own["uuid"]}


async def test_sec_07_a_site_that_lost_everything_is_told_nothing_more(
    face: Face, page: RpcPage, socket: RpcSocket, sshd: SshServer
) -> None:
    await socket.subscribe()
    first = (await page.start(spec_for(sshd, "receive", f"{sshd.root}/x")))["uuid"]
    await socket.news("transferUpdated", "failed")
    face.parts.sites.revoke_origin(PAGE)
    await page.call("remove_transfer", {"transfer_id": first})
    answer = await socket.ask("get_info", None, 2)
    assert socket.came[-1] == answer
    assert not [message for message in socket.came if transfers_of(message, "transferRemoved")]


async def test_a_page_that_reads_nothing_holds_up_nobody(
    face: Face, page: RpcPage, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its news melt together; when it takes nothing at all its socket is ended."""
    monkeypatch.setattr(sockets, "STALLED_S", 0.5)
    monkeypatch.setattr(sockets, "PACE_S", 0.01)
    sources = [f"/{number}/{'x' * 200}" for number in range(1_500)]
    spec = spec_for(sshd, "receive", *sources, ssh_port=free_port())  # fails at once, and is large
    transfer_id = (await page.start(spec))["uuid"]
    await page.until(transfer_id)
    host = face.desktop.removeprefix("http://")
    small = socket_module.socket()
    small.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 4_096)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", int(host.split(":")[1])))
    reader, writer = await asyncio.open_connection(sock=small, limit=1_024)
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {PAGE}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "get_all_transfers", "params": [APP]}).encode()
    head = bytes([0x81, 0x80 | len(call), 0, 0, 0, 0])  # a text frame, masked with zeros
    async with asyncio.timeout(60):
        try:
            while True:  # each answer is 400 kB, and none of them is read
                writer.write(head + call)
                await writer.drain()
                assert await page.call("get_transfer", {"transfer_id": transfer_id})
                await asyncio.sleep(0.1)
        except ConnectionError:
            pass
    writer.close()


async def test_an_idle_socket_is_pinged_and_never_closed(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PING_S", 0.05)
    monkeypatch.setattr("connect_helper.api.listening.IDLE_LIMIT_S", 0.1)
    monkeypatch.setattr("connect_helper.api.listening.FIRST_REQUEST_LIMIT_S", 0.1)
    async with face.http.ws_connect(f"{face.desktop}/", headers={"Origin": PAGE}, autoping=False) as ws:
        async with asyncio.timeout(30):
            for _ in range(60):  # longer than the sweep for idle connections takes to come round
                message = await ws.receive()
                assert message.type is aiohttp.WSMsgType.PING  # and no pong goes back
        await ws.send_json({"jsonrpc": "2.0", "id": 1, "method": "get_info"})
        while (message := await ws.receive()).type is aiohttp.WSMsgType.PING:
            pass
        assert message.json()["result"]


async def test_sockets_are_told_goodbye_when_the_helper_ends(
    folders: Folders, start_face: Callable[[Folders], AbstractAsyncContextManager[Face]]
) -> None:
    async with aiohttp.ClientSession() as http:
        async with start_face(folders) as face:
            face.person.free.clear()
            ws = await http.ws_connect(f"{face.desktop}/", headers={"Origin": PAGE})
            socket = RpcSocket(ws)
            await socket.subscribe()
            await socket.send("show_file_dialog", {"options": {}, "app_id": APP}, 5)
            await face.person.shown.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert face.person.taken_away.is_set()
        message = await ws.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)


async def test_a_page_that_comes_back_has_its_drops_proved_again(
    face: Face, page: RpcPage, socket: RpcSocket, folder: Path
) -> None:
    """After the helper's restart a page repeats only its subscription."""
    face.drags.shows = True
    await socket.subscribe()
    path = folder / "dragged.txt"
    path.write_text("dragged")
    face.drags.drops.append(Drag(1, (str(path),), time.monotonic()))
    files = [{"name": path.name, "size": 7, "type": "text/plain"}]
    answer = await page.call("dropped_files", {"files": files})
    assert [file["name"] for file in answer["dataTransfer"]["files"]] == [str(path)]
    assert not face.person.questions
    assert not face.person.dialogs


async def test_a_page_may_subscribe_and_take_drops_at_once(face: Face, page: RpcPage) -> None:
    """The subscription does not use up what a page may say of drops."""
    async with open_socket(face) as opened:
        await opened.subscribe()
        assert (await face.get("/connect/file/initialize-drag-drop"))[0] == 200
