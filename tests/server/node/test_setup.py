"""upload_setup, download_setup, sync_setup: specs and what their tokens open."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connect_helper.server.access import Access
from connect_helper.server.accounts import Account
from connect_helper.server.http.addresses import plain_address
from connect_helper.server.http.node.bodies import TransferRequest
from connect_helper.server.http.node.setup import Desk
from connect_helper.storage.docroot import Docroot
from tests.support.node import SETTINGS, Node


async def specs(node: Node, route: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    asked = {"transfer_requests": [{"transfer_request": request} for request in requests]}
    answer = await node.good(f"files/{route}", asked)
    assert answer.keys() == {"transfer_specs"}
    return [item["transfer_spec"] for item in answer["transfer_specs"]]


async def upload(node: Node, **request: Any) -> dict[str, Any]:
    return (await specs(node, "upload_setup", request))[0]


async def download(node: Node, **request: Any) -> dict[str, Any]:
    return (await specs(node, "download_setup", request))[0]


async def test_an_upload_spec_holds_all_that_a_client_needs(node: Node) -> None:
    spec = await upload(node, paths=[{"destination": "/proj/in"}], cookie="c1", tags={"aspera": {"x": 1}})
    token = spec.pop("token")
    assert spec == {
        "direction": "send",
        "remote_host": "127.0.0.1",
        "remote_user": "ann",
        "ssh_port": 33001,
        "fasp_port": 33001,
        "cipher": "aes-128",
        "sshfp": "ab12",
        "cookie": "c1",
        "tags": {"aspera": {"x": 1}},
        "target_rate_kbps": 1_000_000,
        "min_rate_kbps": 0,
        "rate_policy": "fair",
        "rate_policy_allowed": "fixed",
        "http_fallback": True,
        "http_fallback_port": 8443,
        "https_fallback_port": 8443,
        "paths": [{"destination": "/proj/in"}],
        "source_root": "",
        "destination_root": "/proj/in",
    }
    claims = node.claims(token)
    assert claims.user == "ann"
    assert claims.direction == "send"
    assert claims.granted == ((b"proj", b"in"),)
    assert claims.cookie == "c1"
    assert not (node.files / "proj").exists()


@pytest.mark.parametrize(
    ("request_", "root", "granted"),
    [
        ({"paths": [{}], "destination_root": "/"}, "/", [()]),
        ({"paths": [{}], "destination_root": "in"}, "/in", [(b"in",)]),
        ({"destination_root": "/in"}, "/in", [(b"in",)]),
        ({"paths": [{"destination": "/a"}, {"destination": "/a"}]}, "/a", [(b"a",)]),
        ({"paths": [{"destination": "/a"}, {"destination": "b/c"}]}, "/", [(b"a",), (b"b", b"c")]),
        (
            {"paths": [{"source": "x", "destination": "a"}, {"source": "y", "destination": "b"}],
             "destination_root": "/in"}, "/in", [(b"in", b"a"), (b"in", b"b")],
        ),
        ({"paths": [{"destination": "*"}], "destination_root": "/in"}, "/in", [(b"in",)]),
        ({"paths": [{"destination": "*"}]}, "/", [()]),
        ({"paths": [{"destination": "a"}, {}], "destination_root": "/in"}, "/in", [(b"in",)]),
        ({"paths": [{"destination": "a", "source": None}], "destination_root": None}, "/a", [(b"a",)]),
        ({"paths": [{"destination": ""}], "destination_root": "/in"}, "/in", [(b"in",)]),
        ({"paths": [{"destination": "a"}, {"destination": "b"}, {}]}, "/", [(b"a",), (b"b",)]),
    ],
)  # fmt: skip
async def test_where_an_upload_may_go(
    node: Node, request_: dict[str, Any], root: str, granted: list[tuple[bytes, ...]]
) -> None:
    """Trap 4: destination_root is always there."""
    spec = await upload(node, **request_)
    assert spec["destination_root"] == root
    assert list(node.claims(spec["token"]).granted) == granted


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"paths": [{"destination": ""}]}, "paths.0.destination"),
        ({"paths": [{"destination": "a"}, {"destination": ""}]}, "paths.1.destination"),
        (
            {"paths": [{"destination": "a"}, {"destination": ""}], "destination_root": "/in"},
            "paths.1.destination",
        ),
        ({"destination_root": ""}, "destination_root"),
        ({"paths": [{}], "destination_root": ""}, "destination_root"),
    ],
)  # fmt: skip
async def test_empty_text_opens_no_folder_for_uploads(
    node: Node, request_: dict[str, Any], field: str
) -> None:
    """A page where nothing was picked must not get a token for the whole folder."""
    error = (await upload(node, **request_))["error"]
    assert error["code"] == 400
    assert field in error["user_message"]


async def test_no_destination_leaves_its_root(node: Node) -> None:
    for request in (
        {"destination_root": "/.."},
        {"paths": [{"destination": "../x"}]},
        {"destination_root": "/in", "paths": [{"destination": "../x"}]},
        {"destination_root": "/in", "paths": [{"destination": "a/../../x"}]},
    ):
        assert (await upload(node, **request))["error"]["user_message"] == "Path not found"


async def test_a_download_spec_names_existing_sources_in_the_account_s_folder(node: Node) -> None:
    (node.files / "p").mkdir()
    (node.files / "p/a.mov").touch()
    spec = await download(
        node, paths=[{"source": "/p/a.mov"}, {"source": "p"}, {"source": "/p/a.mov", "destination": "x"}]
    )
    assert spec["direction"] == "receive"
    assert spec["destination_root"] == ""
    assert spec["source_root"] == ""
    assert spec["paths"] == [
        {"source": "/p/a.mov"},
        {"source": "/p"},
        {"source": "/p/a.mov", "destination": "x"},
    ]
    assert node.claims(spec["token"]).sources == ((b"p", b"a.mov"), (b"p",))


@pytest.mark.parametrize(
    ("request_", "sources"),
    [
        ({"source_root": "/p", "paths": [{"source": "a"}]}, [(b"p", b"a")]),
        ({"source_root": "/p", "paths": [{"source": "/a"}]}, [(b"p", b"a")]),
        ({"source_root": "/p", "paths": [{"source": "*"}]}, [(b"p",)]),
        ({"source_root": "/p", "paths": [{}]}, [(b"p",)]),
        ({"source_root": "p/"}, [(b"p",)]),
        ({"paths": [{"source": "*"}]}, [()]),
        ({"paths": [{"source": "/"}]}, [()]),
    ],
)
async def test_what_a_download_may_take(
    node: Node, request_: dict[str, Any], sources: list[tuple[bytes, ...]]
) -> None:
    (node.files / "p").mkdir()
    (node.files / "p/a").touch()
    spec = await download(node, **request_)
    assert list(node.claims(spec["token"]).sources) == sources
    assert spec["paths"] == [{"source": "/" + b"/".join(source).decode()} for source in sources]


async def test_each_request_is_answered_by_itself(node: Node) -> None:
    (node.files / "a").touch()
    (node.files / "link").symlink_to("a")
    wanted: list[dict[str, Any]] = [
        {"paths": [{"source": "/none"}]},
        {"paths": [{"source": "/a"}]},
        {"paths": []},
        {"paths": [{"source": "/a"}, {"source": "/.."}]},
        {"source_root": "/a", "paths": [{"source": "../bob"}]},
        {"paths": [{"source": "/link"}]},
    ]
    answers = await specs(node, "download_setup", *wanted)
    assert [answer.get("error", {}).get("code") for answer in answers] == [404, None, 400, 404, 404, 404]
    assert answers[0]["error"] == {"code": 404, "reason": "Not Found", "user_message": "Path not found"}
    assert "token" in answers[1]


async def test_a_download_that_names_nothing_is_refused(node: Node) -> None:
    """A page where nothing was picked sends empty text; the whole folder is asked for with "/" or "*"."""
    nothing: list[dict[str, Any]] = [
        {},
        {"paths": []},
        {"paths": [{}]},
        {"paths": [{"source": ""}]},
        {"source_root": "", "paths": [{"source": ""}]},
        {"source_root": ""},
    ]
    for request in nothing:
        assert (await download(node, **request))["error"]["code"] == 400


async def test_what_no_transfer_reads_gets_no_token(node: Node) -> None:
    os.mkfifo(node.files / "pipe")
    assert (await download(node, paths=[{"source": "/pipe"}]))["error"]["code"] == 404


async def test_an_upload_that_names_no_place_is_refused(node: Node) -> None:
    for request in ({}, {"paths": []}, {"paths": [{}]}, {"paths": [{"source": "/a"}]}):
        assert (await upload(node, **request))["error"]["code"] == 400


async def test_a_denied_direction_gets_no_token(node: Node) -> None:
    node.change(upload="deny")
    assert (await upload(node, destination_root="/"))["error"]["code"] == 403
    assert "token" in await download(node, source_root="/")
    node.change(upload="token", download="deny")
    assert "token" in await upload(node, destination_root="/")
    assert (await download(node, source_root="/"))["error"]["code"] == 403
    node.change(token_key=None)
    assert "token key" in (await upload(node, destination_root="/"))["error"]["user_message"]


async def test_more_paths_than_a_token_holds_are_refused_for_that_request(node: Node) -> None:
    for _ in range(1500):
        (node.files / secrets.token_hex(48)).touch()
    names = [{"source": path.name} for path in node.files.iterdir()]
    answers = await specs(node, "download_setup", {"paths": names}, {"source_root": "/"})
    assert answers[0]["error"]["code"] == 413
    assert "token" in answers[1]


async def test_life_of_a_token(node: Node) -> None:
    before = int(time.time())
    claims = node.claims((await upload(node, destination_root="/"))["token"])
    assert claims.expires_at - claims.issued_at == 86_400
    assert claims.issued_at >= before
    short = node.claims((await upload(node, destination_root="/", token_life_seconds=60))["token"])
    assert short.expires_at - short.issued_at == 60


async def test_rates_are_lowered_to_the_cap_and_a_wished_cap_binds(node: Node) -> None:
    assert (await upload(node, destination_root="/", target_rate_kbps=500))["target_rate_kbps"] == 500
    node.change(upload_cap_kbps=4000, target_rate_kbps=3000)
    spec = await upload(node, destination_root="/")
    assert (spec["target_rate_kbps"], spec["target_rate_cap_kbps"]) == (3000, 4000)
    spec = await upload(node, destination_root="/", target_rate_kbps=9000)
    assert (spec["target_rate_kbps"], spec["target_rate_cap_kbps"]) == (4000, 4000)
    spec = await upload(node, destination_root="/", target_rate_kbps=9000, target_rate_cap_kbps=2000)
    assert (spec["target_rate_kbps"], spec["target_rate_cap_kbps"]) == (2000, 2000)
    assert node.claims(spec["token"]).rate_cap_kbps == 2000
    spec = await upload(node, destination_root="/", target_rate_kbps=9000, target_rate_cap_kbps=9000)
    assert node.claims(spec["token"]).rate_cap_kbps == 4000


async def test_wishes_may_be_text(node: Node) -> None:
    """Pages send what their forms hold; a 0 or nothing in a field of theirs is no wish."""
    spec = await upload(
        node,
        destination_root="/",
        target_rate_kbps="500",
        target_rate_cap_kbps=2299.9999999999995,  # what JavaScript makes of 2.3 * 1000
        token_life_seconds="60",
        ssh_port="22",
        fasp_port="33001",
    )
    assert (spec["target_rate_kbps"], spec["target_rate_cap_kbps"], spec["ssh_port"]) == (500, 2300, 33001)
    claims = node.claims(spec["token"])
    assert claims.expires_at - claims.issued_at == 60
    spec = await upload(node, destination_root="/", target_rate_kbps=0, target_rate_cap_kbps="")
    assert spec["target_rate_kbps"] == 1_000_000
    assert "target_rate_cap_kbps" not in spec


async def test_what_no_answer_could_hold_is_refused(node: Node) -> None:
    """An endless number in the tags would be no JSON in the spec; one in the token would end each session."""
    for wish in (b'"tags":{"x":1e999}', b'"target_rate_cap_kbps":1' + b"0" * 400):
        body = b'{"transfer_requests":[{"transfer_request":{"destination_root":"/",' + wish + b"}}]}"
        await node.bad(400, "files/upload_setup", body)


@pytest.mark.parametrize(
    ("wish", "policy", "allowed"),
    [
        ({}, "fair", "fixed"),
        ({"rate_policy": "high"}, "high", "fixed"),
        ({"rate_policy": "high", "rate_policy_allowed": "fair"}, "fair", "fair"),
        ({"rate_policy": "low", "rate_policy_allowed": "high"}, "low", "high"),
        ({"rate_policy": "quick"}, "fair", "fixed"),
        ({"rate_policy": "trickle"}, "low", "fixed"),
        ({"rate_policy": "high", "rate_policy_allowed": "regular"}, "fair", "fair"),
        ({"rate_policy_allowed": "trickle"}, "low", "low"),
        ({"rate_policy_allowed": "any"}, "fair", "fixed"),
    ],
)
async def test_rate_policies(node: Node, wish: dict[str, str], policy: str, allowed: str) -> None:
    """The client divides its own limit by them; the server tells what is wished, and has none."""
    spec = await upload(node, destination_root="/", **wish)
    assert (spec["rate_policy"], spec["rate_policy_allowed"]) == (policy, allowed)


@pytest.mark.parametrize(
    ("lowest", "wished", "told"),
    [
        ("none", "none", "none"),
        ("none", None, "aes-128"),
        ("aes-128", "none", "aes-128"),
        ("aes-256", "none", "aes-256"),
        ("aes-256", "aes-128", "aes-256"),
        ("aes-256", None, "aes-256"),
        ("aes-128", "aes-256", "aes-256"),
        ("none", "AES-256", "aes-256"),
        ("none", "aes-256-gcm", "aes-256"),
        ("none", "aes192cfb", "aes-192"),
        ("none", "aes128gcm", "aes-128"),
        ("none", "NONE", "none"),
        ("none", "rot13", "aes-128"),
    ],
)
async def test_no_weaker_cipher_is_told_than_the_account_demands(
    tmp_path: Path, lowest: str, wished: str | None, told: str
) -> None:
    wish = {} if wished is None else {"cipher_allowed": wished}
    account = Account(name="ann", docroot=tmp_path, token_key=SecretStr("k" * 40), lowest_cipher=lowest)  # type: ignore[arg-type]
    request = TransferRequest.model_validate({"destination_root": "/", **wish})
    desk = Desk(SETTINGS, lambda claims: "a token", "node.example.com")
    with Docroot.open(tmp_path) as docroot:
        (answer,) = desk.answer(docroot, Access(account), "send", [request])
    spec = answer["transfer_spec"]
    assert spec["cipher"] == told
    assert spec["http_fallback_port"] == (8080 if told == "none" else 8443)


@pytest.mark.parametrize(
    ("settings", "wish", "fallback"),
    [
        ({}, {}, (True, 8443, 8443)),
        ({}, {"cipher_allowed": "aes-256"}, (True, 8443, 8443)),
        ({}, {"cipher_allowed": "none"}, (True, 8080, None)),
        ({}, {"cipher_allowed": "rot13"}, (True, 8443, 8443)),
        ({}, {"http_fallback": False}, (False, None, None)),
        ({}, {"http_fallback": "No"}, (False, None, None)),
        ({}, {"http_fallback": "FALSE"}, (False, None, None)),
        ({}, {"http_fallback": 0}, (False, None, None)),
        ({}, {"http_fallback": "force"}, (True, 8443, 8443)),
        ({}, {"http_fallback": "1"}, (True, 8443, 8443)),
        ({}, {"http_fallback": ""}, (True, 8443, 8443)),
        ({}, {"http_fallback": True, "http_fallback_port": 5}, (True, 8443, 8443)),
        ({"https_port": None}, {"http_fallback": True}, (False, None, None)),
        ({"https_port": None}, {"cipher_allowed": "none"}, (True, 8080, None)),
        ({"http_port": None}, {"cipher_allowed": "none"}, (False, None, None)),
        ({"fallback": False}, {}, (False, None, None)),
    ],
)
async def test_fallback_is_told_with_the_port_that_the_cipher_selects(
    node: Node, settings: dict[str, Any], wish: dict[str, Any], fallback: tuple[bool, int | None, int | None]
) -> None:
    node.settings(**settings)
    spec = await upload(node, destination_root="/", **wish)
    assert (
        spec["http_fallback"],
        spec.get("http_fallback_port"),
        spec.get("https_fallback_port"),
    ) == fallback


async def test_the_host_is_the_configured_one_or_the_one_asked(node: Node) -> None:
    headers = {"Host": "[2001:db8::1]:8443"}
    from_request = await node.ask(
        "POST",
        "files/upload_setup",
        {"transfer_requests": [{"transfer_request": {"destination_root": "/"}}]},
        headers={**headers, "Authorization": node.login()},
    )
    assert from_request.body["transfer_specs"][0]["transfer_spec"]["remote_host"] == "2001:db8::1"
    node.settings(server_name="t1.example.com")
    assert (await upload(node, destination_root="/"))["remote_host"] == "t1.example.com"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("files.example.com:8443", "files.example.com"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("0.0.0.0:8443", "127.0.0.1"),
        ("[::]:8443", "127.0.0.1"),
        ("a b", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
async def test_clients_are_never_sent_to_a_wildcard_address(node: Node, asked: str, told: str) -> None:
    """Section 5.2: a listener has it, nobody can go to it; nor to what is no host at all."""
    body = {"transfer_requests": [{"transfer_request": {"destination_root": "/"}}]}
    headers = {"Host": asked, "Authorization": node.login()}
    for server_name in ("", "0.0.0.0", "::"):
        node.settings(server_name=server_name)
        answer = await node.ask("POST", "files/upload_setup", body, headers=headers)
        assert answer.body["transfer_specs"][0]["transfer_spec"]["remote_host"] == told


@pytest.mark.parametrize(
    ("socket_s", "told"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("/run/socket", "/run/socket"),
    ],
)
def test_an_address_is_told_as_clients_know_it(socket_s: str, told: str) -> None:
    """A server that listens at all addresses has one socket for IPv4 and IPv6."""
    assert plain_address(socket_s) == told


async def test_null_is_never_sent_and_an_unknown_key_is_left_out(node: Node) -> None:
    node.settings(sshfp=None)
    spec = await upload(node, destination_root="/")
    assert None not in spec.values()
    assert "sshfp" not in spec
    assert SETTINGS.sshfp == "ab12"


async def test_sync_is_refused_per_request(node: Node) -> None:
    wish = {"type": "sync", "paths": [{"source": "/a", "destination": "/b"}]}
    answers = await specs(node, "sync_setup", wish, wish)
    assert [answer["error"]["code"] for answer in answers] == [501, 501]
