"""Who may call, how requests are read, and the traps that all routes share."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from connect_helper.server.http.node import bodies
from connect_helper.server.issuing import Extras, download_claims
from tests.support.node import CHEAP_HASH, PASSWORD, Node, basic, spoken
from tests.support.node import node as running_node

ROUTES = [
    ("GET", "info"),
    ("GET", ""),
    ("POST", "files/browse"),
    ("POST", "files/search"),
    ("POST", "files/info"),
    ("POST", "files/create"),
    ("POST", "files/delete"),
    ("POST", "files/rename"),
    ("POST", "files/upload_setup"),
    ("POST", "files/download_setup"),
    ("POST", "files/sync_setup"),
    ("GET", "files/a/contents"),
    ("POST", "space"),
    ("GET", "ops/transfers"),
    ("POST", "ops/transfers"),
    ("GET", "ops/transfers/bandwidth"),
    ("GET", "ops/transfers/abc"),
    ("PUT", "ops/transfers/abc"),
    ("DELETE", "ops/transfers/abc"),
]
BODIES = [route for method, route in ROUTES if method == "POST" and route != "ops/transfers"]


async def test_long_bodies_are_parsed_beside_the_loop(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of work for eight megabytes: nobody else's request waits for them."""
    threads: list[threading.Thread] = []
    parsed = bodies.parsed

    def noted(model: Any, data: bytes) -> Any:
        threads.append(threading.current_thread())
        return parsed(model, data)

    monkeypatch.setattr(bodies, "parsed", noted)
    for route in BODIES:
        await node.ask("POST", route, b" " * 100_000 + b'{"paths": 1}')
    await node.ask("PUT", "ops/transfers/abc", b" " * 100_000 + b'{"status": 1}')
    assert len(threads) == len(BODIES) + 1
    assert threading.main_thread() not in threads


async def test_ping_needs_no_login_and_has_no_body(node: Node) -> None:
    """Trap 9."""
    for headers in ({}, {"Content-Type": "application/json"}, {"Authorization": "Basic !!"}):
        answer = await node.ask("GET", "ping", headers=headers)
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_everything_else_needs_one(node: Node, method: str, route: str) -> None:
    said = await node.bad(401, route, method=method, headers={})
    assert said == "API user authentication failed"


async def test_whatever_is_wrong_with_a_login_it_reads_alike(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.server.passwords._nobodys_hash", lambda: CHEAP_HASH)
    token = node.admission.keyring.issue(download_claims(node.account(), [()], now=2**31, extras=Extras()))
    wrong = [
        basic("ann", "wrong"),
        basic("nobody", PASSWORD),
        basic("ann", ""),
        basic("", PASSWORD),
        basic("ann", token),
        "Bearer " + token,
        "Basic",
        "Basic %%%",
        "Basic \u00e9",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Digest x",
        "Basic " + "A" * 8000,
    ]
    for header in wrong:
        answer = await node.ask("GET", "info", headers={"Authorization": header})
        assert answer.status == 401, header
        assert answer.body == {
            "error": {
                "code": 401,
                "reason": "Unauthorized",
                "user_message": "API user authentication failed",
            }
        }
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("name", ["Origin", "Sec-Fetch-Site"])
async def test_sec_32_a_page_s_browser_is_not_asked_for_a_password(node: Node, name: str) -> None:
    answer = await node.ask("GET", "info", headers={name: "https://evil.example"})
    assert answer.status == 401
    assert "WWW-Authenticate" not in answer.headers
    assert not any(header.startswith("Access-Control") for header in answer.headers)


async def test_guessing_is_slowed_down(node: Node) -> None:
    statuses = []
    for number in range(12):
        headers = {"Authorization": basic("ann", f"guess {number}")}
        answer = await node.ask("GET", "info", headers=headers)
        statuses.append(answer.status)
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.body["error"]["reason"] == "Too Many Requests"


async def test_info(node: Node) -> None:
    body = await node.good("info", headers={"Authorization": basic("ann", PASSWORD), "Content-Type": "x/y"})
    assert body["application"] == "node"
    assert body["transfer_user"] == "ann"
    assert body["current_time"].endswith("Z")
    assert {"name": "sync", "value": False} in body["capabilities"]
    assert {"name": "ssh_fingerprint", "value": "ab12"} in body["settings"]
    assert str(node.files) not in json.dumps(body)
    assert (await node.good("info", user="bob"))["node_id"] == body["node_id"]


async def test_info_tells_the_name_of_the_server_where_it_has_one_and_each_setting(node: Node) -> None:
    """Sections 3.7 of the configuration and 4.2."""
    body = await node.good("info")
    assert "name" not in body
    assert {one["name"]: one["value"] for one in body["settings"]} == {
        "content_protection_required": False,
        "content_protection_strong_pass_required": False,
        "ssh_fingerprint": "ab12",
        "wss_enabled": False,
        "wss_port": 9093,
    }
    node.settings(server_name="t1.example.com")
    assert (await node.good("info"))["name"] == "t1.example.com"


async def test_the_base_lists_the_interface(node: Node) -> None:
    assert (await node.good(""))["apis"][0]["name"] == "node"


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "application/javascript", "text/plain; charset=latin-1", None],
)
async def test_the_content_type_of_a_request_means_nothing(node: Node, kind: str | None) -> None:
    """Trap 3."""
    headers = {"Authorization": basic("ann", PASSWORD), **({"Content-Type": kind} if kind else {})}
    body = await node.good("files/browse", {"path": "/"}, headers=headers)
    assert body["total_count"] == 0


@pytest.mark.parametrize("route", BODIES)
async def test_malformed_bodies_are_400(node: Node, route: str) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"path": NaN}',
        b"{}",
        b'{"path": 5, "paths": 5, "transfer_requests": 5}',
        b'{"path": ["/"], "paths": ["/"], "transfer_requests": ["/"]}',
        b"[" * 100_000,
        b'{"path": ' + b"[" * 40 + b"]" * 40 + b"}",
    ):
        sentence = await node.bad(400, route, body)
        assert sentence
        assert "Traceback" not in sentence


async def test_wrong_members_are_named(node: Node) -> None:
    for body, name in (
        ({"path": "/", "count": "ten"}, "count"),
        ({"path": "/", "skip": -1}, "skip"),
        ({"path": "/", "filters": {"size_min": True}}, "filters.size_min"),
        ({"path": "/", "filters": {"mtime_min": "yesterday"}}, "filters.mtime_min"),
        ({}, "path"),
    ):
        assert name in await node.bad(400, "files/browse", body)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"count": "1"}, ["/a"]),
        ({"count": 1.0, "skip": "1"}, ["/B"]),
        ({"count": "", "skip": ""}, ["/a", "/B", "/c"]),
        ({"case_sensitive": "yes"}, ["/B", "/a", "/c"]),
        ({"case_sensitive": 1}, ["/B", "/a", "/c"]),
        ({"filters": {"size_min": "2", "size_max": ""}}, ["/B", "/c"]),
    ],
)
async def test_numbers_and_booleans_may_be_text(
    node: Node, body: dict[str, object], found: list[str]
) -> None:
    """Scripts and old pages send what their forms hold (transfer spec reference, 0.1)."""
    for size, name in enumerate(("a", "B", "c"), 1):
        (node.files / name).write_bytes(b"x" * size)
    answer = await node.good("files/browse", {"path": "/", **body})
    assert [item["path"] for item in answer["items"]] == found


async def test_text_that_is_no_number_and_numbers_without_end_are_refused(node: Node) -> None:
    for name, values in {
        "count": ("ten", "1.5", 1.5, "-1", 10**400, 2**63, [1], {"a": 1}, True),
        "case_sensitive": ("maybe", 2, []),
    }.items():
        for value in values:
            assert name in await node.bad(400, "files/browse", {"path": "/", name: value})


async def test_a_folder_is_not_emptied_against_a_wish_in_words(node: Node) -> None:
    (node.files / "full/of/files").mkdir(parents=True)
    for no in ("false", "no", "0", 0, False):
        asked = {"paths": [{"path": "/full", "recursive_delete": no}]}
        assert (await node.good("files/delete", asked))["paths"][0]["error"]["code"] == 409
    assert (node.files / "full/of/files").exists()


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_a_body_that_is_packed_wrongly_is_400(node: Node, packing: str) -> None:
    headers = {"Authorization": node.login(), "Content-Encoding": packing}
    answer = await node.ask("POST", "files/browse", b"not packed", headers=headers)
    assert answer.status == 400
    assert answer.body["error"]["code"] == 400
    assert answer.body["error"]["reason"] == "Bad Request"


async def test_unknown_routes_are_404_with_the_error_object(node: Node) -> None:
    for route in ("files/page", "files/1", "access_keys", "events", "files/browse/", "v3/watchfolders"):
        answer = await node.ask("GET", route)
        assert answer.status in (404, 405)
        assert answer.body["error"]["code"] == answer.status
        assert answer.body["error"]["reason"] in ("Not Found", "Method Not Allowed")


@pytest.mark.parametrize(
    "request_",
    [
        b"FOO /info HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CANCEL /files/browse HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /files/%b/contents HTTP/1.1\r\nHost: x\r\n\r\n" % ("\u00fc".encode()),
        b"GET /files/" + b"a" * 20_000 + b"/contents HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /info HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /info HTTP/1.1\r\n\r\n",
        b"POST /files/browse HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /files/browse HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01 hello\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_in_the_same_form(node: Node, request_: bytes) -> None:
    """Clients take an answer for JSON by its type, and show its user_message; nothing sent is quoted."""
    head, _, body = (await spoken(node, request_)).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"content-type: application/json" in head.lower()
    assert b"connection: close" in head.lower() or head.startswith(b"HTTP/1.0")
    error = json.loads(body)["error"]
    assert error["code"] == 400
    assert error["user_message"]
    assert b"files" not in body


async def test_a_request_of_http_1_0_need_not_name_the_host(node: Node) -> None:
    """So load balancers ask whether the server is well; where a name is needed, the address serves."""
    assert b"200 OK" in await spoken(node, b"GET /ping HTTP/1.0\r\n\r\n")
    login = b"Authorization: " + basic("ann", PASSWORD).encode() + b"\r\n\r\n"
    base = (await spoken(node, b"GET / HTTP/1.0\r\n" + login)).partition(b"\r\n\r\n")[2]
    (api,) = json.loads(base)["apis"]
    assert api["url"] == f"{node.base}/"
    wish = b'{"transfer_requests": [{"transfer_request": {"destination_root": "/in", "paths": [{}]}}]}'
    head = b"POST /files/upload_setup HTTP/1.0\r\nContent-Length: %d\r\n" % len(wish)
    specs = (await spoken(node, head + login + wish)).partition(b"\r\n\r\n")[2]
    spec = json.loads(specs)["transfer_specs"][0]["transfer_spec"]
    assert spec["remote_host"] == "127.0.0.1"


async def test_nothing_is_redirected(node: Node) -> None:
    for route in ("info/", "files//browse", "/info"):
        assert (await node.ask("GET", route)).status == 404


async def test_one_connection_serves_many_requests(node: Node) -> None:
    host = b"Host: x\r\nAuthorization: " + basic("ann", PASSWORD).encode() + b"\r\n"
    text = (
        b"GET /ping HTTP/1.1\r\n" + host + b"\r\nGET /info HTTP/1.1\r\nConnection: close\r\n" + host + b"\r\n"
    )
    answer = await spoken(node, text)
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_sec_28_no_secret_reaches_the_log(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await node.good("info")
    await node.bad(401, "info", headers={"Authorization": basic("ann", "canary-password")})
    asked = {"transfer_requests": [{"transfer_request": {"paths": [{}], "destination_root": "/"}}]}
    token = (await node.good("files/upload_setup", asked))["transfer_specs"][0]["transfer_spec"]["token"]
    for secret in (PASSWORD, "canary-password", token, basic("ann", PASSWORD)):
        assert secret not in caplog.text


async def test_passwords_are_not_taken_over_plain_http_unless_that_is_asked_for(tmp_path: Path) -> None:
    """The password is not even looked at: right and wrong ones are answered alike."""
    async with running_node(tmp_path, plain_passwords=False) as closed:
        for password in (PASSWORD, "wrong"):
            refused = await closed.ask("GET", "info", headers={"Authorization": basic("ann", password)})
            assert refused.status == 403
            assert refused.body["error"]["reason"] == "passwords_need_https"
        assert (await closed.ask("GET", "ping", headers={})).status == 200
        assert (await closed.ask("GET", "info", headers={})).status == 401


async def test_an_account_that_demands_encryption_is_not_served_over_plain_http(node: Node) -> None:
    node.change(lowest_cipher="aes-128")
    refused = await node.ask("GET", "info")
    assert refused.status == 403
    assert refused.body["error"]["reason"] == "encryption_required"
