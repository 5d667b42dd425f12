"""`aspera_connect_settings`: what page libraries add to requests (Connect reference section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, as_text, is_unset

FIELD = "aspera_connect_settings"


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """The settings of one call. `raw` is what came, unknown keys included, to be echoed."""

    app_id: str
    request_id: str
    back_link: str
    allow_dialogs: bool
    return_files: bool
    return_paths: bool
    use_absolute_destination_path: bool
    raw: Mapping[str, Any]


def read_settings(body: Mapping[str, Any], per_spec: Mapping[str, Any] | None = None) -> ConnectSettings:
    """Read the top-level settings of `body`, overridden by those of one transfer spec entry.

    Raises InvalidRequest when a field has a type nothing can be made of.
    """
    own = _object((per_spec or {}).get(FIELD))
    raw = {**_object(body.get(FIELD)), **{name: value for name, value in own.items() if not is_unset(value)}}
    return ConnectSettings(
        app_id=as_text(raw.get("app_id"), "app_id") or "",
        request_id=as_text(raw.get("request_id"), "request_id") or "",
        back_link=as_text(raw.get("back_link"), "back_link") or "",
        allow_dialogs=_flag(raw, "allow_dialogs", default=True),
        return_files=_flag(raw, "return_files", default=True),
        return_paths=_flag(raw, "return_paths", default=True),
        use_absolute_destination_path=_flag(raw, "use_absolute_destination_path", default=False),
        raw=raw,
    )


def _object(value: Any) -> Mapping[str, Any]:
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{FIELD} must be an object.", field=FIELD)
    return value


def _flag(raw: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = as_bool(raw.get(name), name)
    return default if value is None else value
