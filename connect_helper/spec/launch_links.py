"""Links that the desktop hands to the helper: those that start it, and those that carry a download.

Sources: Connect reference sections 1.5 and 1.6, desktop reference section 1.1. Any page can open such a
link, so nothing in it is guessed: a link is one of the two kinds, or refused with the part named. Only keys
of the query that are not known here are passed over, for links of other versions may have more. Refusals
never quote a value, which may be a password or a token.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from connect_helper.errors import InvalidRequest
from connect_helper.spec.hosts import clean_host
from connect_helper.spec.lenient import as_bool, as_int, as_text
from connect_helper.spec.login import SECRET_LIMIT
from connect_helper.spec.remote_address import decoded, parse_place, parse_user
from connect_helper.spec.words import RATE_LIMIT

FIELD: Final = "link"
DOWNLOAD_SCHEMES: Final = ("fasp", "faspe")
SCHEMES: Final = (*DOWNLOAD_SCHEMES, "aspera", "aspera-drive", "com.aspera.drive")
"""Every scheme to register. Only the first two may carry a download."""

SESSION_SCHEME: Final = "aspera"
_ID_LIMIT: Final = 1_024  # characters
LINK_LIMIT: Final = 2 * SECRET_LIMIT  # characters: the longest token, percent-encoded in part
_INITIALIZE: Final = "initialize"
_SHAPE: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9.+-]*):(?P<slashes>//)?(?P<rest>.*)", re.DOTALL)
_KEY: Final = re.compile(r"[a-z0-9_]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StartLink:
    """Start the helper if it does not run, and nothing else.

    A page of the newer SDK that minds several people on one computer names itself and a session in the query
    of an aspera: link, and then looks for the helper that knows them; no other query means anything.
    """

    app_id: str = ""
    session_id: str = ""  # "" unless both were named


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """Download what `spec` names, once the user has agreed."""

    spec: Mapping[str, Any] = field(repr=False)  # a transfer spec, secrets included: never log it
    ask_login: bool = True  # whether the user may be asked for what is missing for the login
    ignored: tuple[str, ...] = ()  # keys that mean nothing here, without their values


def parse_link(text: str) -> StartLink | DownloadLink:
    """Read a link. Raises InvalidRequest that names what is wrong; field "link", or a key of the query."""
    if len(text) > LINK_LIMIT:
        raise _wrong("it is too long")
    if not text.isascii() or any(letter <= " " or letter == "\x7f" for letter in text):
        raise _wrong("it holds a space or another character that has to be percent-encoded")
    shape = _SHAPE.fullmatch(text)
    scheme = shape["scheme"].lower() if shape else ""
    if shape is None or scheme not in SCHEMES:
        raise _wrong(f"it must begin with one of {', '.join(f'{one}:' for one in SCHEMES)}")
    address, mark, query = shape["rest"].partition("#")[0].partition("?")
    if _only_starts(address):
        return _session(query) if scheme == SESSION_SCHEME else StartLink()
    if scheme not in DOWNLOAD_SCHEMES:
        raise _wrong(f"links with {scheme}: start the helper and carry nothing else")
    if not shape["slashes"]:
        raise _wrong(f"the server stands behind two slashes, as in {scheme}://server/file")
    return _download(address, query if mark else "")


def _only_starts(address: str) -> bool:
    """Tell whether the part before the query is empty or "initialize" alone."""
    return address.removesuffix("/").lower() in ("", _INITIALIZE)


def _session(query: str) -> StartLink:
    """Read who starts the helper; ids that cannot be any are left out, for the link still starts it."""
    named = dict(part.partition("=")[::2] for part in query.split("&"))
    app_id, session_id = (decoded(named.get(key, "")) for key in ("app_id", "session_id"))
    if not (app_id and session_id) or any(
        len(text) > _ID_LIMIT or not text.isprintable() for text in (app_id, session_id)
    ):
        return StartLink()
    return StartLink(app_id, session_id)


def _download(address: str, query: str) -> DownloadLink:
    authority, slash, rest = address.partition("/")
    login, at, place = authority.rpartition("@")
    host, ssh_port = parse_place(place)
    spec: dict[str, Any] = {
        "direction": "receive",
        "remote_host": clean_host(host, FIELD),
        "ssh_port": ssh_port,
        "paths": [{"source": _path(slash + rest)}],
    }
    if at:
        user, colon, password = login.partition(":")
        spec["remote_user"] = parse_user(user)
        if colon:
            spec["remote_password"] = _password(password)
    wishes, ignored = _query(query)
    spec |= wishes
    ask_login = spec.pop("auth", True)
    if not ask_login and not _can_log_in(spec):
        raise InvalidRequest(
            "The link forbids to ask for a login (auth=no) and brings none; ask its author for another.",
            field="auth",
        )
    return DownloadLink(spec, ask_login, ignored)


def _path(text: str) -> str:
    path = decoded(text)
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names or "\0" in path:
        raise _wrong("it names no file or folder to download")
    if ".." in names:
        raise _wrong('its path climbs with ".."')
    return path


def _password(text: str) -> str:
    password = as_text(decoded(text), FIELD, limit=SECRET_LIMIT)
    if password is None:
        raise _wrong("its password is empty")
    return password


def _can_log_in(spec: Mapping[str, Any]) -> bool:
    return "token" in spec or ("remote_user" in spec and "remote_password" in spec)


# The query ------------------------------------------------------------------------------------------


def _query(query: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read the query, each key at most once: fields of the transfer spec, and the keys that are not known."""
    found: dict[str, Any] = {}
    unknown: list[str] = []
    seen: set[str] = set()
    for part in query.split("&"):
        if not part:
            continue
        # A value may end in "=" as it is: Faspex leaves the padding of base64 unencoded.
        key, _, value = part.partition("=")
        if key in seen:
            raise InvalidRequest(f'The link has "{key}" twice.', field=key)
        seen.add(key)
        if key not in _KEYS:
            if not _KEY.fullmatch(key):
                raise InvalidRequest("The link has something in its query that is no key.", field=key[:20])
            unknown.append(key)
            continue
        name, read = _KEYS[key]
        if name and (meant := read(value, key)) is not None:
            found[name] = meant
    return found, tuple(unknown)


def _yes_or_no(value: str, key: str) -> bool | None:
    return as_bool(_form(value), key)


def _rate(value: str, key: str) -> int | None:
    return as_int(_form(value), key, maximum=RATE_LIMIT)


def _port(value: str, key: str) -> int | None:
    return as_int(_form(value), key, minimum=1, maximum=65_535)


def _text(value: str, key: str) -> str | None:
    return as_text(_form(value), key, limit=SECRET_LIMIT)


def _code(value: str, key: str) -> str | None:
    """Read a value that holds no spaces, so that "+" means itself, as in base64."""
    return as_text(decoded(value), key, limit=SECRET_LIMIT)


def _cipher(value: str, key: str) -> str | None:
    """Write "aes128" and "aes128gcm" as transfer specs have them; what is no cipher is refused there."""
    text = _form(value).lower()
    named = re.fullmatch(r"aes-?(\d{3})(?:-?(cfb|gcm))?", text, re.ASCII)
    if named is None:
        return as_text(text, key)
    return "-".join(part for part in ("aes", *named.groups()) if part)


def _tags(value: str, key: str) -> dict[str, Any] | None:
    text = _code(value, key)
    if text is None:
        return None
    try:
        tags = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        tags = None
    if not isinstance(tags, dict):
        raise InvalidRequest(f'"{key}" of the link is not the base64 form of a JSON object.', field=key)
    return tags


def _form(value: str) -> str:
    """Undo the encoding of forms, where "+" is a space."""
    return unquote_to_bytes(value.replace("+", " ")).decode("utf-8", "surrogateescape")


def _nothing(_value: str, _key: str) -> None:
    return None


_KEYS: Final[Mapping[str, tuple[str, Callable[[str, str], Any]]]] = {
    "auth": ("auth", _yes_or_no),  # taken out again: it is no field of a spec
    "bwcap": ("target_rate_cap_kbps", _rate),
    "cookie": ("cookie", _text),
    "createpath": ("create_dir", _yes_or_no),
    "enc": ("cipher", _cipher),
    "fallback": ("http_fallback", _yes_or_no),
    "httpport": ("http_fallback_port", _port),
    "lockminrate": ("lock_min_rate", _yes_or_no),
    "lockpolicy": ("lock_rate_policy", _yes_or_no),
    "minrate": ("min_rate_kbps", _rate),
    "policy": ("rate_policy", _text),
    "port": ("fasp_port", _port),
    "protect": ("", _nothing),  # says how Connect hides the link from the user
    "sshfp": ("sshfp", _code),
    "tags64": ("tags", _tags),
    "targetrate": ("target_rate_kbps", _rate),
    "token": ("token", _code),
    "v": ("", _nothing),  # the version of the link's form
}
"""Every key, with its field of the transfer spec ("" means none) and its reader."""


def _wrong(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The link cannot be used: {reason}.", field=FIELD)
