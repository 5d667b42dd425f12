"""Reading request bodies of the Node API: bounded JSON, whatever the content type says.

Members nobody knows are left alone (reference, traps 2 and 3); a member that is missing or has the wrong type
makes the request fail with 400 and its name. Numbers and booleans may be text, as scripts and old pages write
them (transfer spec reference, 0.1), and empty text there means that the member was left out.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Annotated, Any, Final, NoReturn, TypeVar

from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticUseDefault

from connect_helper.errors import InvalidRequest
from connect_helper.server.http.node.faults import fault, malformed
from connect_helper.server.http.threads import in_thread
from connect_helper.spec.lenient import as_bool, as_int
from connect_helper.spec.words import rate_number

BODY_LIMIT: Final = 8 * 1024 * 1024  # bytes; some 50,000 paths
DEPTH_LIMIT: Final = 32
SHORT: Final = 16 * 1024  # bytes that are parsed sooner than a thread is woken; 8 MiB take a second
MAX_PATHS: Final = 50_000
_IDLE_S: Final = 30.0


class Body(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _read_by(reader: Callable[[Any, str], Any]) -> BeforeValidator:
    """Let `reader` take a value as it was sent; what it cannot read is left to be refused under its name."""

    def read_value(value: Any) -> Any:
        try:
            read = reader(value, "")
        except InvalidRequest:
            return value
        if read is None:
            raise PydanticUseDefault
        return read

    return BeforeValidator(read_value)


def _rate(value: Any, field: str) -> int | None:
    return rate_number(value, field) or None  # 0: no wish


def _fallback(value: Any, field: str) -> bool | None:
    """Also `force`, which is a wish to have it."""
    return True if isinstance(value, str) and value.strip().lower() == "force" else as_bool(value, field)


def _shorter_than(limit: int) -> AfterValidator:
    """A bound that does not ask whether the text is UTF-8: names need not be, nor patterns that find them."""

    def check(text: str) -> str:
        if len(text) >= limit:
            raise ValueError(f"more than {limit - 1} characters")
        return text

    return AfterValidator(check)


M = TypeVar("M", bound=Body)
LARGEST: Final = 2**63 - 1
Size = Annotated[int, Field(ge=0, le=LARGEST), _read_by(as_int)]
Flag = Annotated[bool, _read_by(as_bool)]
Rate = Annotated[int, Field(ge=1, le=LARGEST), _read_by(_rate)]  # kbit/s
NewRate = Annotated[int, Field(ge=0, le=LARGEST), _read_by(rate_number)]  # kbit/s
Life = Annotated[int, Field(ge=1, le=366 * 86_400), _read_by(as_int)]  # seconds
NameGlob = Annotated[str, _shorter_than(1001), WithJsonSchema({"type": "string", "maxLength": 1000})]
PathGlob = Annotated[str, _shorter_than(4001), WithJsonSchema({"type": "string", "maxLength": 4000})]


class Filters(Body):
    """`filters` of browse and search (section 4.4)."""

    types: list[str] | None = None
    basenames: list[NameGlob] | None = Field(None, max_length=100)
    paths: list[PathGlob] | None = Field(None, max_length=100)
    size_min: Size | None = None
    size_max: Size | None = None
    mtime_min: str | None = None
    mtime_max: str | None = None
    depth_min: Size | None = None  # search only
    depth_max: Size | None = None


class Browse(Body):
    """`files/browse` and `files/search`."""

    path: str
    skip: Size = 0
    count: Size = 100
    sort: str = "path"
    case_sensitive: Flag = False
    filters: Filters = Filters()


class OnePath(Body):
    """A path of `files/info`, `files/delete` and `space`."""

    path: str
    recursive_delete: Flag = True


class Target(Body):
    """Where a symbolic link leads."""

    path: str


class NewPath(Body):
    """One thing that `files/create` makes."""

    path: str
    type: str
    contents: str | None = None  # base64
    target: Target | None = None


class Renaming(Body):
    """One renaming: names inside `path`."""

    path: str
    source: str
    destination: str


class Paths(Body):
    """`files/info`, `files/delete`, `space`."""

    paths: list[OnePath] = Field(max_length=MAX_PATHS)


def _one_path_each(value: Any) -> Any:
    """aspera-cli's `mkdir` put all names it was given into `path` of one item, for years."""
    if not isinstance(value, list):
        return value
    return [one for item in value for one in _by_path(item)]


def _by_path(item: Any) -> list[Any]:
    if not isinstance(item, dict) or not isinstance(item.get("path"), list):
        return [item]
    return [{**item, "path": path} for path in item["path"]]


class NewPaths(Body):
    """`files/create`."""

    paths: Annotated[list[NewPath], BeforeValidator(_one_path_each)] = Field(max_length=MAX_PATHS)


class Renamings(Body):
    """`files/rename`."""

    paths: list[Renaming] = Field(max_length=MAX_PATHS)


class SetupPath(Body):
    """One of the paths a token is asked for."""

    source: str | None = None
    destination: str | None = None


class TransferRequest(Body):
    """What a transfer is wanted for (section 5.1). Wishes that the server decides itself are not read."""

    paths: list[SetupPath] = Field(default_factory=list, max_length=MAX_PATHS)
    source_root: str | None = None
    destination_root: str | None = None
    token_life_seconds: Life | None = None
    cipher_allowed: str | None = None
    content_protection: str | None = None
    cookie: str | None = Field(None, max_length=1024)
    tags: dict[str, Any] | None = None
    rate_policy: str | None = None
    rate_policy_allowed: str | None = None
    target_rate_kbps: Rate | None = None
    target_rate_cap_kbps: Rate | None = None
    http_fallback: Annotated[bool, _read_by(_fallback)] | None = None


class RequestItem(Body):
    """The wrapper around each."""

    transfer_request: TransferRequest


class Setup(Body):
    """`files/upload_setup`, `files/download_setup`, `files/sync_setup`."""

    transfer_requests: list[RequestItem] = Field(max_length=1000)


class Change(Body):
    """`PUT ops/transfers/{id}` (section 6.4)."""

    status: str | None = None
    target_rate_kbps: NewRate | None = None
    min_rate_kbps: NewRate | None = None
    rate_policy: str | None = None


async def read(request: web.Request, model: type[M], threads: Executor, *, limit: int = BODY_LIMIT) -> M:
    """The body as `model`; a long one is parsed in one of `threads`. Raises Problem: 400, 408, 413."""
    data = await _raw(request, limit)
    if len(data) <= SHORT:
        return parsed(model, data)
    return await in_thread(threads, partial(parsed, model, data))


def parsed(model: type[M], data: bytes) -> M:
    """`data` as `model`. Raises Problem 400."""
    try:
        return model.model_validate(_without_nulls(_json(data), DEPTH_LIMIT))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "The body"
        raise malformed(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None


async def _raw(request: web.Request, limit: int) -> bytes:
    too_large = fault(413, f"The request is larger than {limit // 1024} KiB.")
    if (request.content_length or 0) > limit:
        raise too_large
    data = bytearray()
    try:
        while True:
            async with asyncio.timeout(_IDLE_S):
                piece = await request.content.readany()
            if not piece:
                return bytes(data)
            data += piece
            if len(data) > limit:
                raise too_large
    except TimeoutError:
        raise fault(408, "The request did not arrive in time.") from None
    except web.RequestPayloadError:  # chunks or a compression that are none
        raise malformed("The body of the request cannot be read.") from None


def _json(data: bytes) -> object:
    try:
        return json.loads(data, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise malformed(f"The JSON is nested deeper than {DEPTH_LIMIT}.") from None
    except ValueError:
        raise malformed("The body is not JSON.") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # echoed, it would be no JSON
        raise ValueError(text[:40])
    return number


def _without_nulls(value: object, depth: int) -> object:
    if depth < 0:
        raise malformed(f"The JSON is nested deeper than {DEPTH_LIMIT}.")
    match value:
        case dict():
            return {
                key: _without_nulls(inner, depth - 1) for key, inner in value.items() if inner is not None
            }
        case list():
            return [_without_nulls(inner, depth - 1) for inner in value]
        case _:
            return value
