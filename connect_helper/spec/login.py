"""Reading how to log in: user, secrets and the server's fingerprint (transfer spec reference, 2.12, 2.13).

Each reader raises InvalidRequest naming the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from connect_helper.errors import InvalidRequest
from connect_helper.spec import words
from connect_helper.spec.lenient import as_text, is_unset
from connect_helper.spec.words import Authentication, pick, word

SECRET_LIMIT: Final = 65_536  # characters; private keys and signed tokens are long
_FINGERPRINT: Final = re.compile(r"[A-Za-z0-9+/=:_-]{1,200}")


def read_user(raw: Mapping[str, Any]) -> str | None:
    """Read `remote_user`: printable text."""
    user = as_text(raw.get("remote_user"), "remote_user", limit=256)
    if user is not None and not user.isprintable():
        raise InvalidRequest('"remote_user" contains a character that is not allowed.', field="remote_user")
    return user


def read_secret(raw: Mapping[str, Any], name: str) -> SecretStr | None:
    """Read a password, token or key so that it shows in no log."""
    text = as_text(raw.get(name), name, limit=SECRET_LIMIT)
    return None if text is None else SecretStr(text)


def read_authentication(raw: Mapping[str, Any]) -> Authentication:
    """Settle how to log in (section 2.12): a lone token is meant to be used."""
    chosen = word(raw, words.AUTHENTICATION, "authentication")
    has_token = not is_unset(raw.get("token"))
    if chosen == "token" and not has_token:
        raise InvalidRequest('"token" is missing: "authentication" is "token".', field="token")
    if chosen is not None:
        return chosen
    other = any(not is_unset(raw.get(name)) for name in ("remote_password", "ssh_private_key"))
    return "token" if has_token and not other else "password"


def read_fingerprint(raw: Mapping[str, Any]) -> str | None:
    """Read the fingerprint the server's host key must have (section 2.13), in its form as it came."""
    name, value = pick(raw, "sshfp", "ssh_fingerprint")
    text = as_text(value, name)
    if text is not None and not _FINGERPRINT.fullmatch(text):
        raise InvalidRequest(f'"{name}" must be a host key fingerprint in hex or base64.', field=name)
    return text
