"""A configuration file with every key explained, written from the table in `configuration.py`.

Keys that have a value stand in the open; the others stand as comments that show the default or an example.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from connect_helper.server.configuration import ServerConfig, UserSection

_WIDTH: Final = 100
_HEAD: Final = """\
# Configuration of `connect-helper server`. TOML; rates in kbit/s of 1000 bit.
# Relative paths are relative to this file. Lines that begin with "# key =" show the default or an example.
# Try it with:    connect-helper server check --config THIS_FILE
# A running server takes changes of users, limits, token settings and the certificate at SIGHUP.
"""


def render(values: Mapping[str, Any]) -> str:
    """The file's text; `values` are nested as TOML has them. Raises ValueError for what no TOML can say."""
    parts = [_HEAD]
    for name, field in ServerConfig.model_fields.items():
        if name != "user":
            section = field.annotation
            parts.append(_section(f"[{name}]", section, values.get(name, {})))
    users = values.get("user", [])
    for number, user in enumerate(users or [{}]):
        head = "[[user]]" if users else "# [[user]]"
        parts.append(_section(head, UserSection, user, explained=number == 0))
    return "\n".join(parts)


def toml_value(value: object) -> str:
    """One value as TOML. Raises ValueError for a value that TOML has no form for."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() | Path():
            text = str(value)
            text.encode()  # lone surrogates: bytes that are no UTF-8, which TOML cannot hold
            return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Sequence():
            return "[" + ", ".join(toml_value(one) for one in value) + "]"
        case _:
            raise ValueError(f"TOML has no form for {type(value).__name__}")


def _section(head: str, model: Any, values: Mapping[str, Any], *, explained: bool = True) -> str:
    lines = [head]
    if explained:
        lines.insert(0, f"# {model.__doc__}")
    for name, field in model.model_fields.items():
        if explained:
            lines.extend(_explained(field))
        if name in values:
            lines.append(f"{name} = {toml_value(values[name])}")
        elif explained:
            lines.append(f"# {name} = {toml_value(_shown(field))}")
    return "\n".join(lines) + "\n"


def _explained(field: FieldInfo) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(field.description or "", _WIDTH))


def _shown(field: FieldInfo) -> object:
    """The default, or where that is nothing, an example."""
    return field.examples[0] if field.examples else field.default
