"""Whether a transfer may go over HTTP where SSH does not get through (server reference, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_bool, as_int, as_text
from connect_helper.spec.login import read_authentication

HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class FallbackWish:
    """Where to go; `forced` means at once, without trying SSH."""

    port: int
    tls: bool
    forced: bool = False


def parse_fallback(raw: Mapping[str, Any]) -> FallbackWish | None:
    """Read `http_fallback` and its ports; None where only SSH may be used or there is no token to show.

    `http_fallback_port` stands for either scheme, as older page libraries know no other; 0 means the
    default. Raises InvalidRequest naming the field.
    """
    http_port = as_int(raw.get("http_fallback_port"), "http_fallback_port", maximum=65_535)
    https_port = as_int(raw.get("https_fallback_port"), "https_fallback_port", maximum=65_535)
    value = raw.get("http_fallback")
    forced = isinstance(value, str) and value.strip().lower() == "force"
    allowed = forced or as_bool(value, "http_fallback") is True
    has_token = read_authentication(raw) == "token"
    if forced and not has_token:
        raise InvalidRequest(
            '"http_fallback" is "force", but only a token opens a transfer over HTTP: give "token", or leave'
            ' "http_fallback" out.',
            field="http_fallback",
        )
    if not allowed or not has_token:
        return None
    tls = (as_text(raw.get("cipher"), "cipher") or "").lower() != "none"
    if tls:
        return FallbackWish(https_port or http_port or HTTPS_PORT, tls, forced)
    return FallbackWish(http_port or HTTP_PORT, tls, forced)
