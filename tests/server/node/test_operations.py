"""`ops/transfers`: what the server does for whom, and how it is slowed down and ended."""

from __future__ import annotations

import time
from typing import Any

import pytest

from connect_helper.server.issuing import Extras, download_claims, upload_claims
from connect_helper.server.sessions import Session
from tests.support.node import Node, spoken


def works(session: Session, *, error: str | None = None) -> None:
    """Bring one file of 5 bytes."""
    session.file_started((b"in", b"a.txt"), "in", 5)
    session.file_finished((b"in", b"a.txt"), "in", 5, "sha256:00ff", error)


async def shown(node: Node, session: Session, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = await node.good(f"ops/transfers/{session.id}", **more)
    return found


async def test_a_running_session_is_a_running_transfer(node: Node) -> None:
    with node.session() as session:
        await session.pace(5, "in")
        session.file_started((b"b",), "in", 9)
        works(session)
        body = await shown(node, session)
        assert body["id"] == session.id
        assert body["status"] == "running"
        assert body["bytes_transferred"] == body["sessions"][0]["bytes_transferred"] == 5
        assert body["files_completed"] == 1
        assert isinstance(body["avg_rate_kbps"], float)
        assert body["end_time_usec"] is None
        assert abs(body["start_time_usec"] / 1e6 - time.time()) < 60
        assert body["error_desc"] == ""
        assert body["start_spec"]["direction"] == "send"
        assert body["start_spec"]["cookie"] == "a cookie"
        assert body["start_spec"]["token_type"] == "none"
        assert body["sessions"][0]["client_ip_address"] == "192.0.2.7"
        files = {one["path"]: one for one in body["files"]}
        assert files["/in/a.txt"]["status"] == "completed"
        assert files["/in/a.txt"]["checksum"] == "00ff"
        assert files["/b"]["status"] == "transferring"


@pytest.mark.parametrize(
    ("errors", "status"),
    [([None], "completed"), (["no"], "failed"), ([None, "no"], "partially_completed"), ([], "completed")],
)
async def test_how_a_transfer_ended(node: Node, errors: list[str | None], status: str) -> None:
    with node.session() as session:
        for error in errors:
            works(session, error=error)
    body = await shown(node, session)
    assert body["status"] == status
    assert isinstance(body["error_desc"], str)
    assert bool(body["error_desc"]) == bool(body["error_code"]) == ("no" in errors)
    assert body["end_time_usec"] >= body["start_time_usec"]


async def test_others_transfers_do_not_exist(node: Node) -> None:
    with node.session("bob") as session:
        for method in ("GET", "PUT", "DELETE"):
            body = {"status": "canceled"} if method == "PUT" else None
            await node.bad(404, f"ops/transfers/{session.id}", body, method=method)
        assert await node.good("ops/transfers") == []
        assert not session.cancelled
        assert (await shown(node, session, user="bob"))["id"] == session.id
        assert (await shown(node, session, user="root"))["start_spec"]["remote_user"] == "bob"
    await node.bad(404, "ops/transfers/none")


async def test_the_list_and_its_queries(node: Node) -> None:
    claims = download_claims(node.account(), [()], now=int(time.time()), extras=Extras())
    with node.session() as first:
        works(first)
    with node.session(token=claims) as second:

        async def ids(query: str) -> list[str]:
            return [item["id"] for item in await node.good(f"ops/transfers{query}")]

        assert await ids("") == [first.id, second.id]
        assert await ids("?active_only=true") == [second.id]
        assert await ids("?active_only=false") == [first.id]
        assert await ids("?direction=send") == [first.id]
        assert await ids("?direction=receive") == [second.id]
        assert await ids("?after_time=2000-01-01T00:00:00Z") == [first.id, second.id]
        assert await ids("?after_time=2100-01-01T00:00:00Z") == [second.id]
        assert await ids("?tag=a.b=c") == []
        assert await node.good("ops/transfers?view=id") == [{"id": first.id}, {"id": second.id}]
        assert "files" not in (await node.good("ops/transfers?view=summary"))[0]
        assert (await node.good("ops/transfers?max_items=0"))[0]["files"] == []
        for query in ("?after_time=soon", "?count=many", "?count=-1", "?max_items=x"):
            await node.bad(400, f"ops/transfers{query}")


async def test_queries_that_a_form_left_empty_ask_for_nothing(node: Node) -> None:
    with node.session() as session:
        for name in ("active_only", "direction", "after_time", "count", "max_items", "view", "tag"):
            assert [item["id"] for item in await node.good(f"ops/transfers?{name}=")] == [session.id]
        await node.good("ops/transfers/bandwidth?duration=&start_time=")
        assert len(await node.good("ops/transfers?count=99999999999&max_items=99999999999")) == 1
        await node.bad(400, "ops/transfers?count=" + "9" * 5000)


async def test_a_transfer_tells_what_it_was_begun_with(node: Node) -> None:
    """The paths are those of its token, the host is the one that specs tell: without a port."""
    now = int(time.time())
    root = node.account()
    sources = [(b"a",), (b"b", b"c.mov")]
    down = download_claims(root, sources, now=now, extras=Extras())
    up = upload_claims(root, (b"in",), [(b"x",)], now=now, extras=Extras())
    expected = {
        "receive": (["/a", "/b/c.mov"], ""),
        "send": ([], "/in"),
    }
    for claims in (down, up):
        with node.session(token=claims) as session:
            spec = (await shown(node, session))["start_spec"]
            assert (spec["source_paths"], spec["destination_path"]) == expected[claims.direction]
            assert (spec["remote_host"], spec["ssh_port"]) == ("127.0.0.1", 33001)
            changed = await node.good(f"ops/transfers/{session.id}", {"status": "running"}, method="PUT")
            assert changed["remote_host"] == "127.0.0.1"
            one = (await shown(node, session))["sessions"][0]
            assert one["server_ip_address"] == "127.0.0.1"
            assert one["server_node_id"] == node.api.settings.node_id
            assert one["precalc"]["status"] == "not ready"
    many = download_claims(root, [(b"%d" % number,) for number in range(5000)], now=now, extras=Extras())
    with node.session(token=many) as session:
        node.settings(server_name="t1.example.com")
        spec = (await shown(node, session))["start_spec"]
        assert spec["remote_host"] == "t1.example.com"
        assert len(spec["source_paths"]) == 100


async def test_a_file_under_way_tells_since_when(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with node.session() as session:
        session.file_started((b"b",), "in", 9)
        real = time.time
        monkeypatch.setattr("connect_helper.server.http.node.operations.time.time", lambda: real() + 5)
        file = (await shown(node, session))["files"][0]
        assert 5_000_000 <= file["elapsed_usec"] < 60_000_000


async def test_files_are_counted_over_the_whole_answer(node: Node) -> None:
    for _ in range(3):
        with node.session() as session:
            works(session)
            works(session)
    found = await node.good("ops/transfers?max_items=3")
    assert [len(item["files"]) for item in found] == [2, 1, 0]
    assert [item["files_completed"] for item in found] == [2, 2, 2]


async def test_a_long_list_comes_in_pages(node: Node) -> None:
    made = []
    for _ in range(5):
        with node.session() as session:
            made.append(session.id)
    seen: list[str] = []
    url, pages = "ops/transfers?count=2&view=id", 0
    while True:
        answer = await node.ask("GET", url)
        seen += [item["id"] for item in answer.body]
        pages += 1
        link = answer.headers.get("Link")
        if link is None:
            break
        address, _, relation = link.partition(">")
        assert relation == '; rel="next"'
        url = address.removeprefix(f"<{node.base}/")
    assert seen == made
    assert pages == 3


async def test_a_rate_is_changed_and_clamped(node: Node) -> None:
    node.change(upload_cap_kbps=5000)
    claims = upload_claims(node.account(), (), (), now=int(time.time()), extras=Extras())
    with node.session(token=claims) as session:
        route = f"ops/transfers/{session.id}"
        for wished, holds in ((1000, 1000), (9000, 5000), (0, 5000)):
            body = await node.good(route, {"target_rate_kbps": wished}, method="PUT")
            assert body["target_rate_kbps"] == session.rate("in") == holds
        await node.good(route, {"status": "running", "rate_policy": "fair", "min_rate_kbps": 0}, method="PUT")


async def test_what_cannot_be_changed_is_refused(node: Node) -> None:
    with node.session() as session:
        route = f"ops/transfers/{session.id}"
        for body in (
            {"status": "paused"},
            {"status": "nonsense"},
            {"min_rate_kbps": 5},
            {"rate_policy": "high", "target_rate_kbps": 8},
            {"target_rate_kbps": "fast"},
        ):
            await node.bad(400, route, body, method="PUT")
        assert session.rate("in") is None
    await node.bad(400, route, {"target_rate_kbps": 8}, method="PUT")


@pytest.mark.parametrize("word", ["canceled", "cancelled", "stopped"])
async def test_put_cancels(node: Node, word: str) -> None:
    with node.session() as session:
        await node.good(f"ops/transfers/{session.id}", {"status": word}, method="PUT")
        assert session.cancelled
        assert (await shown(node, session))["status"] == "canceled"


def request_line(node: Node, verb: str, session: Session, *, close: bool = True) -> bytes:
    connection = "Connection: close\r\n" if close else ""
    return (
        f"{verb} /ops/transfers/{session.id} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {node.login()}\r\n{connection}\r\n"
    ).encode()


@pytest.mark.parametrize("verb", ["CANCEL", "DELETE"])
async def test_the_verb_cancel_ends_a_transfer(node: Node, verb: str) -> None:
    """Trap 6: a verb that HTTP parsers do not know."""
    with node.session() as session:
        answer = await spoken(node, request_line(node, verb, session))
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert answer.endswith(b"\r\n\r\n")
        assert session.cancelled
        again = await spoken(node, request_line(node, verb, session))
        assert again.startswith(b"HTTP/1.1 400 ")


async def test_cancel_needs_a_login(node: Node) -> None:
    with node.session() as session:
        line = f"CANCEL /ops/transfers/{session.id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        assert (await spoken(node, line)).startswith(b"HTTP/1.1 401 ")
        assert not session.cancelled


async def test_cancel_works_on_a_connection_that_was_used_before(node: Node) -> None:
    with node.session() as session:
        async with node.raw() as (reader, writer):
            writer.write(request_line(node, "GET", session, close=False))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(request_line(node, "CANCEL", session))
            assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
        assert session.cancelled


async def test_a_body_that_looks_like_a_cancel_is_left_alone(node: Node) -> None:
    content = b"CANCEL /ops/transfers/x HTTP/1.1"
    async with node.raw() as (reader, writer):
        writer.write(
            f"POST /files/browse HTTP/1.1\r\nHost: x\r\nAuthorization: {node.login()}\r\n"
            f"Connection: close\r\nContent-Length: {len(content) + 2}\r\n\r\n".encode()
        )
        await writer.drain()
        writer.write(content)
        await writer.drain()
        writer.write(b"{}")
        assert b" 400 " in (await reader.read()).splitlines()[0]


async def test_starting_a_transfer_from_the_server_is_refused(node: Node) -> None:
    """It would act as a client towards others: whatever is asked for, nothing begins."""
    before = await node.good("ops/transfers")
    whole = {"direction": "send", "remote_host": "b.example", "paths": [{"source": "/a"}], "token": "t"}
    for spec in ({"direction": "send", "paths": []}, whole, {}):
        assert "client" in await node.bad(501, "ops/transfers", spec)
    assert len(await node.good("ops/transfers")) == len(before)


async def test_a_rate_may_be_text_and_has_an_end(node: Node) -> None:
    with node.session() as session:
        route = f"ops/transfers/{session.id}"
        await node.good(route, {"target_rate_kbps": "2000"}, method="PUT")
        assert session.rate("in") == 2000
        await node.good(route, {"target_rate_kbps": 1e3}, method="PUT")
        assert session.rate("in") == 1000
        for endless in (10**400, "1" + "0" * 400, -1, "fast"):
            sentence = await node.bad(400, route, {"target_rate_kbps": endless}, method="PUT")
            assert "target_rate_kbps" in sentence
        assert session.rate("in") == 1000


async def test_bandwidth(node: Node) -> None:
    with node.session() as session:
        now = session.started_at
        session.samples.clear()
        session.take_sample(now - 10)
        await session.pace(1_000_000, "in")
        session.take_sample(now - 9)
        body = await node.good("ops/transfers/bandwidth?duration=60")
        curve = body["send"]["transfers"][0]
        assert curve["id"] == session.id
        assert curve["max_rate"] == pytest.approx(8000)
        assert 45 < curve["data"][0]["time"] < 55
        assert body["receive"]["transfers"] == []
        assert (await node.good("ops/transfers/bandwidth", user="bob"))["send"]["transfers"] == []
    await node.bad(400, "ops/transfers/bandwidth?duration=long")
