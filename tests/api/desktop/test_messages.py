"""JSON-RPC 2.0 over POST: what is answered to which message (desktop reference, section 1.2 and 1.3)."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper import errors
from connect_helper.api.desktop.messages import (
    CODES,
    BadCall,
    Call,
    Json,
    code_of,
    failure,
    id_at_the_start,
    parse_call,
    success,
)
from connect_helper.consent.limits import CallRate
from tests.api.desktop.conftest import RpcPage

GET_INFO = '{"jsonrpc":"2.0","id":%s,"method":"get_info"%s}'


IDS = ("1", "0", "-7", "2147483648", "9007199254740993", "1.5", '"7"', '""', "null", '"\\u00e4\\ud800"')


@pytest.mark.parametrize("call_id", IDS)
async def test_an_id_comes_back_with_its_type(page: RpcPage, call_id: str) -> None:
    answer = await page.send(GET_INFO % (call_id, ""))
    assert "result" in answer
    assert answer["id"] == json.loads(call_id)
    assert type(answer["id"]) is type(json.loads(call_id))


@pytest.mark.parametrize("call_id", ["true", "false", "[1]", '{"a":1}', '"' + "x" * 201 + '"'])
async def test_an_id_of_another_type_is_no_call(page: RpcPage, call_id: str) -> None:
    answer = await page.send(GET_INFO % (call_id, ""))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize(
    "params", ["", ',"params":null', ',"params":[]', ',"params":{}', ',"params":{"x":1}']
)
async def test_params_may_be_missing_null_a_list_or_an_object(page: RpcPage, params: str) -> None:
    assert (await page.send(GET_INFO % ("3", params)))["result"] == {"version": "1.0.20"}


@pytest.mark.parametrize("params", ["1", '"x"', "true", "[1]"])
async def test_other_params_are_refused(page: RpcPage, params: str) -> None:
    answer = await page.send(GET_INFO % ("3", f',"params":{params}'))
    assert (answer["id"], answer["error"]["code"]) == (3, -32602)


BAD_MESSAGES = (
    ("", -32700, None),
    ("{", -32700, None),
    ("nonsense", -32700, None),
    (b"\xff\xfe", -32700, None),
    ('{"jsonrpc":"2.0","id":5,"method":"get_info"', -32700, 5),
    ('{"jsonrpc":"2.0","method":"get_info","id":"k","params":{"a":NaN}}', -32700, "k"),
    ('{"jsonrpc":"2.0","id":5,"id":6,"method":"get_info"}', -32700, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"get_info","params":' + "[" * 60 + "]" * 60 + "}", -32700, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"get_info","params":' + "[" * 100_000 + "}", -32700, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"get_info","params":[' + "9" * 5_000 + "]}", -32700, 5),
    ("[]", -32600, None),
    ('[{"jsonrpc":"2.0","id":5,"method":"get_info"}]', -32600, None),
    ("null", -32600, None),
    ('"get_info"', -32600, None),
    ("7", -32600, None),
    ("{}", -32600, None),
    ('{"id":5,"method":"get_info"}', -32600, 5),
    ('{"jsonrpc":"1.0","id":5,"method":"get_info"}', -32600, 5),
    ('{"jsonrpc":2.0,"id":5,"method":"get_info"}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5,"method":7}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5,"method":null}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5,"method":""}', -32601, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"no_such_method"}', -32601, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"__class__"}', -32601, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"GET_INFO"}', -32601, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"\\ud800"}', -32601, 5),
)


@pytest.mark.parametrize(("message", "code", "call_id"), BAD_MESSAGES)
async def test_what_is_no_call_is_answered_under_status_200(
    page: RpcPage, message: str | bytes, code: int, call_id: Any
) -> None:
    answer = await page.send(message)
    assert (answer["id"], answer["error"]["code"]) == (call_id, code)
    assert answer["error"]["message"].endswith(".")


async def test_sec_10_ten_megabytes_are_refused_under_the_calls_own_id(page: RpcPage) -> None:
    call = {"jsonrpc": "2.0", "id": 9, "method": "start_transfer", "params": {"app_id": "x" * 10_000_000}}
    answer = await page.send(json.dumps(call))
    assert (answer["id"], answer["error"]["code"]) == (9, -32006)
    assert "1024 KiB" in answer["error"]["message"]


async def test_sec_10_a_body_that_does_not_come_is_not_waited_for(
    page: RpcPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connect_helper.api.desktop.door.READ_LIMIT_S", 0.3)
    host = page.face.desktop.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nOrigin: {page.origin}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 999\r\n\r\n{GET_INFO % (4, ',')[:50]}".encode())
    async with asyncio.timeout(10):
        status = await reader.readline()
        while (await reader.readline()).strip():
            pass
        answer = json.loads(await reader.read(1_000))
    writer.close()
    assert b" 200 " in status
    assert (answer["id"], answer["error"]["code"]) == (4, -32006)


async def test_another_content_type_is_refused_since_a_page_could_send_it_unasked(page: RpcPage) -> None:
    for kind in ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/json-rpc"):
        answer = await page.send(GET_INFO % ("6", ""), **{"Content-Type": kind})
        assert (answer["id"], answer["error"]["code"]) == (6, -32600)
    assert "result" in await page.send(
        GET_INFO % ("6", ""), **{"Content-Type": "application/json; charset=utf-8"}
    )


async def test_a_body_that_is_not_compressed_as_it_says_is_no_json(page: RpcPage) -> None:
    for kind in ("gzip", "deflate"):
        answer = await page.send(b"hello", **{"Content-Encoding": kind, "Connection": "close"})
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)
    call = gzip.compress((GET_INFO % ("4", "")).encode())
    assert (await page.send(call, **{"Content-Encoding": "gzip"}))["id"] == 4


async def test_a_call_without_id_is_done_and_not_answered(page: RpcPage) -> None:
    message = '{"jsonrpc":"2.0","method":"show_about","params":{}}'
    async with page.face.http.post(f"{page.face.desktop}/", data=message, headers=page.headers) as response:
        assert (response.status, await response.read()) == (204, b"")
    assert "/about" in page.face.opened[0]


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("PUT", "/"), ("POST", "/v5"), ("POST", "/rpc")])
async def test_other_addresses_and_verbs_are_no_methods(page: RpcPage, method: str, path: str) -> None:
    url, call = f"{page.face.desktop}{path}", GET_INFO % ("8", "")
    async with page.face.http.request(method, url, data=call, headers=page.headers) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (200, -32601)
    assert answer["id"] == (8 if method == "POST" else None)


async def test_preflights_are_answered_for_post_and_json(page: RpcPage) -> None:
    asked = {
        "Origin": page.origin,
        "Sec-Fetch-Mode": "cors",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
        "Access-Control-Request-Private-Network": "true",
    }
    async with page.face.http.options(f"{page.face.desktop}/", headers=asked) as response:
        assert response.status in (200, 204)
        got = response.headers
    assert got["Access-Control-Allow-Origin"] == page.origin
    assert got["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert got["Access-Control-Allow-Headers"] == "content-type"
    assert got["Access-Control-Allow-Private-Network"] == "true"
    assert int(got["Access-Control-Max-Age"]) > 0


async def test_positional_params_are_taken_in_the_order_of_the_reference(page: RpcPage) -> None:
    assert await page.call("get_all_transfers", [page.app_id]) == []
    assert (await page.error("get_transfer", ["no-such-transfer"]))["code"] == -32001
    assert (await page.error("get_transfer", ["a", "b", "c"]))["code"] == -32602


async def test_a_bug_of_ours_is_an_answer_that_tells_nothing(
    page: RpcPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret-in-a-bug")

    monkeypatch.setattr(type(page.face.parts.manager), "changes", broken)
    answer = await page.ask("get_all_transfers")
    assert answer["error"]["code"] == -32603
    assert "incident" in answer["error"]["message"]
    assert "secret-in-a-bug" not in json.dumps(answer)


async def test_sec_10_a_page_in_a_hurry_is_told_under_its_calls_id(
    page: RpcPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CallRate, "allow", lambda *_: False)
    error = await page.error("get_info")
    assert (error["code"], error["data"]) == (-32000, {"reason": "too_many_requests", "retry_after": 1})
    # Refusing a large call must cost little, so only its beginning is looked at.
    error = await page.error("get_transfer", {"transfer_id": "x" * 900_000})
    assert error["code"] == -32000


ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.ConnectHelperError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_number_and_a_sentence(kind: type[errors.ConnectHelperError]) -> None:
    error = json.loads(failure(1, kind("A sentence.")))["error"]
    assert error["code"] == code_of(kind("A sentence."))
    assert error["code"] in {*CODES.values()}
    assert error["code"] != 0
    assert error["message"] == "A sentence."


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InvalidRequest, -32602),
        (errors.NotFound, -32001),
        (errors.Refused, -32003),
        (errors.NotGranted, -32004),
        (errors.WrongState, -32005),
        (errors.TooLarge, -32006),
        (errors.CallerNotIdentified, -32600),
        (errors.TooManyRequests, -32000),
        (errors.AuthFailed, -32000),
        (errors.ConnectRefused, -32000),
        (errors.SourceMissing, -32000),
    ],
)
def test_errors_have_the_numbers_of_the_reference(kind: type[errors.ConnectHelperError], code: int) -> None:
    assert code_of(kind("A sentence.")) == code


def test_a_result_that_is_json_text_is_put_in_as_it_is() -> None:
    assert json.loads(success(1, Json('{"a":[1]}'))) == {"jsonrpc": "2.0", "id": 1, "result": {"a": [1]}}
    assert json.loads(success("k", None)) == {"jsonrpc": "2.0", "id": "k", "result": None}


@given(st.binary(max_size=400))
def test_any_bytes_are_a_call_or_a_refusal(message: bytes) -> None:
    try:
        call = parse_call(message)
    except BadCall as bad:
        json.loads(failure(bad.id, bad.error))
    else:
        assert isinstance(call, Call)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0") | JSON, "id": JSON, "method": JSON}, optional={"params": JSON}
    )
)
def test_any_object_is_a_call_or_a_refusal_with_an_id_that_can_go_back(value: dict[str, Any]) -> None:
    try:
        call = parse_call(json.dumps(value).encode())
    except BadCall as bad:
        answer = json.loads(failure(bad.id, bad.error))
        assert answer["id"] in (None, value["id"])
    else:
        assert json.loads(success(call.id, None))["id"] == value["id"]


@pytest.mark.parametrize(
    ("start", "call_id"),
    [
        (b'{"jsonrpc":"2.0","id":12,"method":"x","params":{"a', 12),
        (b'{"jsonrpc":"2.0","id":"a-b","method":"x"', "a-b"),
        (b'{"jsonrpc":"2.0","method":"rpc.discover","id":3,"params"', 3),
        (b' {\n "jsonrpc" : "2.0" , "id" : 4 }', 4),
        (b'{"method":"x","params":{"id":12,', None),
        (b'{"jsonrpc":"2.0","params":{"id":12},', None),
        (b'{"jsonrpc":"2.0","id":12', None),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"x"', None),
        (b"", None),
    ],
)
def test_the_id_is_found_where_clients_write_it_and_nowhere_else(start: bytes, call_id: Any) -> None:
    assert id_at_the_start(start) == call_id
