"""What of a transfer spec may go back to the page, into the journal and into our window: no secrets.

A page may call a secret whatever it likes, so two nets are spread: names that look like a secret's are left
out wherever they stand, and values that hold a secret seen anywhere in the spec are left out of every field
that is not one of the plain ones below.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connect_helper.spec.lenient import is_unset
from connect_helper.spec.transfer_spec import TransferSpec

# Always checked, and read by page libraries: a password that equals a user name or a piece of a path must
# not make them vanish.
_PLAIN: Final = frozenset(
    {"direction", "remote_host", "remote_user", "ssh_port", "source_root", "destination_root", "src_base"}
)
_PLAIN_OF_PATH: Final = frozenset({"source", "destination"})
_SECRET_NAME: Final = re.compile(
    r"pass(?:wor[dt]|wd|phrase|code|key)|filepass$|pwd|token|secret|private_?key|credential|bearer"
    r"|(?:api|auth\w*)_?key|^authorization$"
)
_STRUCTURE: Final = frozenset({"tags", "aspera"})  # names a secret may happen to equal; they tell nothing
_NOT_SECRET: Final = frozenset({"fail_bad_filepass", "authentication"})
_URL_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]*@")
_NAME_LOOKED_AT: Final = 200  # characters; the page would only hide its own secret behind more
_MOST: Final = 64  # secrets; each is looked for in every value, and a page must not make that slow
_SHORT: Final = 6  # characters; a shorter secret is looked for as a whole value, not inside of one


def echo(spec: TransferSpec) -> dict[str, Any]:
    """Return the spec as it came, unknown keys included, without secrets; `tags64` read into `tags` too.

    Of a spec with more than 64 different secrets only the plain fields come back.
    """
    raw = spec.raw
    if spec.tags and is_unset(raw.get("tags")):
        raw = {**raw, "tags": spec.tags}  # they came as tags64
    secrets = frozenset(secret for secret in _secrets(raw, inside=False) if secret)
    if len(secrets) > _MOST:
        paths = [_only(entry, _PLAIN_OF_PATH) for entry in spec.raw["paths"]]
        return {**_only(spec.raw, _PLAIN), "paths": paths}
    kept = _cleaned(raw, _PLAIN, secrets)
    kept["paths"] = [_cleaned(entry, _PLAIN_OF_PATH, secrets) for entry in spec.raw["paths"]]
    return kept


def echo_field(raw: Mapping[str, Any], name: str) -> Any:
    """Return one field of a request that brings only some of a spec's; None where it is unset, or secret."""
    secrets = frozenset(secret for secret in _secrets(raw, inside=False) if secret)
    clean = _GONE if len(secrets) > _MOST else _without(raw.get(name), secrets)
    return None if clean is _GONE or is_unset(clean) else clean


def _only(fields: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in names}


def _cleaned(fields: Mapping[str, Any], plain: frozenset[str], secrets: frozenset[str]) -> dict[str, Any]:
    others = {name: value for name, value in fields.items() if name not in plain}
    clean = _without(others, secrets)
    return {name: clean.get(name, value) for name, value in fields.items() if name in plain or name in clean}


class _Gone:
    """Marks a value that is left out."""


_GONE: Final = _Gone()


def _is_secret_name(name: str) -> bool:
    plain = name[:_NAME_LOOKED_AT].lower().replace("-", "_").replace(" ", "_")
    return plain not in _NOT_SECRET and bool(_SECRET_NAME.search(plain))


def _secrets(value: Any, *, inside: bool) -> Iterator[str]:
    """Yield every text and number that stands under a secret's name (`inside`), and logins in URLs."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _secrets(below, inside=inside or _is_secret_name(name))
    elif isinstance(value, list):
        for below in value:
            yield from _secrets(below, inside=inside)
    elif isinstance(value, str):
        yield from (login.rstrip("@").rpartition(":")[2] for login in _URL_LOGIN.findall(value))
        if inside:
            yield value
    elif inside and isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)


def _without(value: Any, secrets: frozenset[str]) -> Any:
    """Return `value` without what is secret in it; _GONE when nothing may remain."""
    if isinstance(value, Mapping):
        pairs = (
            (name, _without(below, secrets)) for name, below in value.items() if not _is_secret_name(name)
        )
        return {
            name: below
            for name, below in pairs
            if below is not _GONE and (name in _STRUCTURE or not _holds(name, secrets))
        }
    if isinstance(value, list):
        return [below for below in (_without(item, secrets) for item in value) if below is not _GONE]
    if isinstance(value, str):
        bare = _URL_LOGIN.sub("", value)
        return _GONE if _holds(bare, secrets) or _hidden(bare, secrets) else bare
    return _GONE if str(value) in secrets else value


def _holds(text: str, secrets: frozenset[str]) -> bool:
    return text in secrets or any(len(secret) >= _SHORT and secret in text for secret in secrets)


def _hidden(text: str, secrets: frozenset[str]) -> bool:
    """Look into base64, the form of `tags64` and of Basic authorisation."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(len(secret) >= _SHORT and secret.encode("utf-8", "replace") in decoded for secret in secrets)
