"""JSON-RPC 2.0 messages: reading a call, writing its answer (desktop reference, section 1.3).

A caller finds the answer by its id, compared with its type, so an error without the id is one that page
never hears of: wherever an id can still be made out, it goes back. One call a message; no batches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.errors import (
    CallerNotIdentified,
    ConnectHelperError,
    InvalidRequest,
    NotFound,
    NotGranted,
    Refused,
    RequestError,
    TooLarge,
    TooManyRequests,
    UnsafePath,
    WrongState,
)
from connect_helper.spec.strict_json import parse_json

Id = str | int | float | None

ID_LIMIT: Final = 200  # characters of an id that is text
INTERNAL_ERROR: Final = -32603  # a bug of ours

encoded: Final = json.JSONEncoder(separators=(",", ":")).encode


class NoJson(RequestError):
    """The message is no JSON that we take."""

    code = "parse_error"


class InvalidCall(RequestError):
    """JSON, but no call; or one that cannot be made in this way."""

    code = "invalid_call"


class NoSuchMethod(RequestError):
    """A method, address or verb that is not served."""

    code = "no_such_method"


class Cancelled(RequestError):
    """The user closed a dialog; pages compare with its number to stay quiet."""

    code = "cancelled"


CODES: Final[Mapping[type[ConnectHelperError], int]] = {
    NoJson: -32700,
    InvalidCall: -32600,
    CallerNotIdentified: -32600,
    NoSuchMethod: -32601,
    InvalidRequest: -32602,
    UnsafePath: -32602,
    NotFound: -32001,
    Cancelled: -32002,
    Refused: -32003,
    NotGranted: -32004,
    WrongState: -32005,
    TooLarge: -32006,
    ConnectHelperError: -32000,  # every other failure
}


@dataclass(frozen=True, slots=True)
class Json:
    """A result that is JSON text already."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `expects_answer` is false for what JSON-RPC calls a notification: a call without id."""

    id: Id
    method: str
    params: Any
    expects_answer: bool = True


class BadCall(Exception):
    """A message that is no call, with the id it may be answered under."""

    def __init__(self, error: RequestError, call_id: Id = None) -> None:
        super().__init__(error.user_message)
        self.error = error
        self.id = call_id


def parse_call(message: bytes) -> Call:
    """Read a message. Raises BadCall."""
    try:
        value = parse_json(message)
    except InvalidRequest as error:
        raise BadCall(NoJson(error.user_message), id_at_the_start(message)) from None
    if isinstance(value, list):
        raise BadCall(InvalidCall("Batches are not served; send one call a message."))
    if not isinstance(value, dict):
        raise BadCall(InvalidCall("A call must be a JSON object."))
    call_id = value.get("id")
    if not _is_id(call_id):
        raise BadCall(InvalidCall(f"id must be a number, null or text of at most {ID_LIMIT} characters."))
    if value.get("jsonrpc") != "2.0":
        raise BadCall(InvalidCall('jsonrpc must be "2.0".'), call_id)
    if not isinstance(value.get("method"), str):
        raise BadCall(InvalidCall("method must be text."), call_id)
    return Call(call_id, value["method"], value.get("params"), expects_answer="id" in value)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= ID_LIMIT
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# As clients write it, before parameters of any size.
_START: Final = re.compile(
    rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,(?:\s*"method"\s*:\s*"[\w.]{1,80}"\s*,)?'
    rb'\s*"id"\s*:\s*(-?[0-9]{1,18}|"[^"\\\x00-\x1f]{0,200}")\s*[,}]'
)


def id_at_the_start(message: bytes) -> Id:
    """The id of a message that cannot be read as a whole; None where none is found at its beginning."""
    found = _START.match(message)
    if found is None:
        return None
    try:
        call_id: Id = json.loads(found[1])
    except ValueError:  # no UTF-8
        return None
    return call_id


def success(call_id: Id, result: Any) -> str:
    """The answer with a result; never with an error beside it."""
    before, after = around_result(call_id)
    return before + (result.text if isinstance(result, Json) else encoded(result)) + after


def around_result(call_id: Id) -> tuple[str, str]:
    """What stands before and after the result in an answer."""
    return f'{{"jsonrpc":"2.0","id":{encoded(call_id)},"result":', "}"


def failure(call_id: Id, error: ConnectHelperError) -> str:
    """The answer with an error: its number, its sentence, and as data `{"reason", "field"?}`.

    `retry_after` in seconds is there when the caller asked too often.
    """
    return _failure(call_id, _facts(error))


def failure_midway(error: ConnectHelperError) -> bytes:
    """What ends an answer whose result, an object, is being sent when the error comes."""
    return f'}},"error":{encoded(_facts(error))}}}'.encode()


def _facts(error: ConnectHelperError) -> dict[str, Any]:
    # Not error.internal_message: that one may name local paths, and this goes to the page.
    data: dict[str, Any] = {"reason": error.code}
    if isinstance(error, InvalidRequest) and error.field:
        data["field"] = error.field
    if isinstance(error, TooManyRequests):
        data["retry_after"] = error.retry_after
    return {"code": code_of(error), "message": error.user_message, "data": data}


def bug(call_id: Id, sentence: str) -> str:
    """The answer when something went wrong that should not."""
    facts = {"code": INTERNAL_ERROR, "message": sentence, "data": {"reason": "internal"}}
    return _failure(call_id, facts)


def _failure(call_id: Id, error: Mapping[str, Any]) -> str:
    return encoded({"jsonrpc": "2.0", "id": call_id, "error": error})


def code_of(error: ConnectHelperError) -> int:
    """The number of an error: that of its nearest kind in the table."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
