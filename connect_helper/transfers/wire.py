"""The line between the helper and a worker process: one message, one line of ASCII JSON.

pydantic's own JSON refuses lone surrogates, which is how names that are no UTF-8 look in Python, so lines are
made by the standard `json`, and it reads those that pydantic does not. All others pydantic reads in a third
of the time: a thousand transfers that run say something four times a second each.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from connect_helper.transfers.messages import COMMANDS, EVENTS, Command, Event

Message = TypeVar("Message")


class BadLine(Exception):
    """A line that is no message. The text says where it is wrong and never quotes the line."""


def encode(message: BaseModel) -> bytes:
    """Return `message` as one line. Secrets are written in clear: only for the pipe to a worker."""
    return _JSON.encode(message.model_dump()).encode("ascii") + b"\n"


def parse_event(line: bytes) -> Event:
    """Read a worker's line. Raises BadLine."""
    return _parse(EVENTS, line)


def parse_command(line: bytes) -> Command:
    """Read the helper's line. Raises BadLine."""
    return _parse(COMMANDS, line)


def _parse(adapter: TypeAdapter[Message], line: bytes) -> Message:
    with contextlib.suppress(ValidationError):
        return adapter.validate_json(line)
    try:
        return adapter.validate_python(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadLine(f"{place}: {first['type']}") from None
    except (ValueError, RecursionError) as error:
        raise BadLine(type(error).__name__) from None


def _revealed(value: Any) -> str:
    """The text of a secret; `json` asks for what it does not know itself."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


# Made once: two lines go out for each file of a transfer.
_JSON: Final = json.JSONEncoder(separators=(",", ":"), default=_revealed)
