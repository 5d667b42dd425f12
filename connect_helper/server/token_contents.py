"""What a transfer token says, and how that is written down. Pure: no key, no clock, no disk.

A token names one transfer user, one direction as the client sees it, and the paths it opens, always in full
(never hashed): the server must be able to show the way to them. Written as compact JSON, deflated:

    {"i": id, "u": user, "d": "send"|"receive", "s": [source, ...], "r": destination root, "t": [target, ...],
     "a": issued at, "e": expires at, "c": rate cap in kbit/s, "k": cookie, "v": user value}

Members that are empty are left out. Paths are strings relative to the docroot, "" is the docroot itself;
bytes that are not UTF-8 travel as lone surrogates. Source: Aspera server configuration, "transfer tokens".
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from connect_helper.errors import UnsafePath
from connect_helper.storage.docpath import DocPath, covers, parse

Direction = Literal["send", "receive"]
_T = TypeVar("_T")
_D = TypeVar("_D")
MAX_CONTENTS: Final = 1_000_000  # bytes of JSON; what a token's length allows stays far below


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClaims:
    """The contents of one token. Times in whole seconds since the epoch.

    An upload ("send") has a destination root and, when it was asked for with pairs, the exact destinations,
    with the root already in front of them. A download ("receive") has sources. Raises ValueError for any
    other mixture.
    """

    id: str
    user: str
    direction: Direction
    sources: tuple[DocPath, ...] = ()
    destination_root: DocPath | None = None
    destinations: tuple[DocPath, ...] = ()
    issued_at: int
    expires_at: int
    rate_cap_kbps: int | None = None
    cookie: str | None = None
    user_value: int = 0
    # What it opens, and the folders above that: asked for every name in a folder, and there may be thousands.
    _opened: frozenset[DocPath] = field(init=False, repr=False, compare=False)
    _above: frozenset[DocPath] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.direction == "send":
            fits = self.destination_root is not None and not self.sources
        else:
            fits = bool(self.sources) and self.destination_root is None and not self.destinations
        if not fits or not self.id or not self.user or self.expires_at < self.issued_at:
            raise ValueError("These token contents contradict themselves.")
        if any(not covers(self.destination_root or (), path) for path in self.destinations):
            raise ValueError("A destination lies outside the destination root.")
        above = {path[:depth] for path in self.granted for depth in range(len(path))}
        object.__setattr__(self, "_opened", frozenset(self.granted))
        object.__setattr__(self, "_above", frozenset(above))

    @property
    def granted(self) -> tuple[DocPath, ...]:
        """The paths the token opens; each opens what is below it too."""
        if self.direction == "receive":
            return self.sources
        return self.destinations or (self.destination_root or (),)

    def covers(self, path: DocPath) -> bool:
        """Tell whether `path` is one of the granted paths or below one: `a/b` does not cover `a/bc`."""
        return any(path[:depth] in self._opened for depth in range(len(path) + 1))

    def leads_to(self, path: DocPath) -> bool:
        """Tell whether `path` is a folder above a granted path: the way to it may be seen, nothing else."""
        return path in self._above and not self.covers(path)


def encode(claims: TokenClaims) -> bytes:
    """Write `claims` down."""
    full: dict[str, Any] = {
        "i": claims.id,
        "u": claims.user,
        "d": claims.direction,
        "s": [_text(path) for path in claims.sources],
        "r": None if claims.destination_root is None else _text(claims.destination_root),
        "t": [_text(path) for path in claims.destinations],
        "a": claims.issued_at,
        "e": claims.expires_at,
        "c": claims.rate_cap_kbps,
        "k": claims.cookie,
        "v": claims.user_value or None,
    }
    short = {name: value for name, value in full.items() if value is not None and value != []}
    return zlib.compress(json.dumps(short, separators=(",", ":")).encode("ascii"), 9)


def decode(data: bytes) -> TokenClaims:
    """Read what `encode` wrote. Raises ValueError for everything else."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, MAX_CONTENTS)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("The token's contents are cut or too long.")
        return _claims(json.loads(text))
    except (zlib.error, RecursionError, UnsafePath) as error:
        raise ValueError("The token's contents cannot be read.") from error


def _claims(raw: object) -> TokenClaims:
    if not isinstance(raw, dict):
        raise ValueError("The token's contents are no object.")
    root = _member(raw, "r", str, None)
    return TokenClaims(
        id=_needed(raw, "i", str),
        user=_needed(raw, "u", str),
        direction=_direction(raw),
        sources=_paths(raw, "s"),
        destination_root=None if root is None else _path(root),
        destinations=_paths(raw, "t"),
        issued_at=_needed(raw, "a", int),
        expires_at=_needed(raw, "e", int),
        rate_cap_kbps=_member(raw, "c", int, None),
        cookie=_member(raw, "k", str, None),
        user_value=_member(raw, "v", int, 0),
    )


def _direction(raw: Mapping[str, object]) -> Direction:
    match raw.get("d"):
        case "send":
            return "send"
        case "receive":
            return "receive"
        case _:
            raise ValueError("The token names no direction.")


def _member(raw: Mapping[str, object], name: str, kind: type[_T], default: _D) -> _T | _D:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"The token's member {name} has the wrong type.")
    return value


def _needed(raw: Mapping[str, object], name: str, kind: type[_T]) -> _T:
    value = _member(raw, name, kind, None)
    if value is None:
        raise ValueError(f"The token lacks its member {name}.")
    return value


def _paths(raw: Mapping[str, object], name: str) -> tuple[DocPath, ...]:
    value: Sequence[object] = _member(raw, name, list, [])
    if not all(isinstance(path, str) for path in value):
        raise ValueError(f"The token's member {name} holds something that is no path.")
    return tuple(_path(str(path)) for path in value)


def _path(text: str) -> DocPath:
    return parse(text.encode("utf-8", "surrogateescape"))


def _text(path: DocPath) -> str:
    return b"/".join(path).decode("utf-8", "surrogateescape")
