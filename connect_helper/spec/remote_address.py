"""Addresses of places on a server, as people type them: `ssh://user@host:port/path`.

The path reads as in other tools that take such addresses (RFC 3986; the SFTP URI draft): `/data/in` is
absolute, `/~/in` and a missing path begin in the folder the login leads to. `%HH` stands for a byte; `?`
and `#` mean themselves, for file names may hold them. A password never belongs here: addresses end up in
the shell's history and in lists of processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from connect_helper.errors import InvalidRequest
from connect_helper.spec.hosts import clean_host

SCHEME: Final = "ssh://"
DEFAULT_PORT: Final = 22
FIELD: Final = "address"


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """A place on a server. `path` is absolute, or relative to the login folder ("" is that folder)."""

    host: str  # lower case, ASCII; IPv6 without brackets
    port: int
    user: str | None  # None: not given
    path: str  # lone surrogates stand for bytes that are no UTF-8

    @property
    def names(self) -> tuple[str, ...]:
        """The components of the path."""
        return tuple(name for name in self.path.split("/") if name not in ("", "."))

    @property
    def server(self) -> tuple[str, int, str | None]:
        """What two addresses on one login have in common."""
        return self.host, self.port, self.user


def is_remote(text: str) -> bool:
    """Tell whether `text` is meant as an address on a server, right or wrong."""
    return "://" in text


def parse_address(text: str) -> RemoteAddress:
    """Read an address. Raises InvalidRequest, which never quotes what may be a password."""
    if not text.lower().startswith(SCHEME):
        raise _invalid(f"give the server as {SCHEME}user@host/path")
    authority, slash, path = text[len(SCHEME) :].partition("/")
    login, at, place = authority.rpartition("@")
    if ":" in login:
        raise _invalid("it must not hold a password: leave it out to be asked for it")
    user = parse_user(login) if at else None
    host, port = parse_place(place)
    return RemoteAddress(clean_host(host, FIELD), port, user, _path(slash + path))


def joined(address: RemoteAddress, name: str) -> str:
    """The path of `name` in the folder `address` stands for."""
    folder = address.path.rstrip("/")
    if address.path.startswith("/"):
        return f"{folder}/{name}"
    return f"{folder}/{name}" if folder else name


def parse_user(text: str) -> str:
    """Read the user's name of an authority (RFC 3986 section 3.2.1). Raises InvalidRequest."""
    user = decoded(text)
    if not user or not user.isprintable():
        raise _invalid("the user name is empty or holds a character that is not allowed")
    return user


def parse_place(text: str) -> tuple[str, int]:
    """Read "host", "host:port" or "[2001:db8::1]:port"; the port is 22 when none is given.

    The host is as it came, but for its brackets: `clean_host` judges it. Raises InvalidRequest.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    elif ":" in host and not host.endswith("]"):
        raise _invalid("an IPv6 address stands in brackets, as in //[2001:db8::1]/path")
    if not host:
        raise _invalid("the name of the server is missing")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise _invalid("the port must be a number from 1 to 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _path(text: str) -> str:
    path = decoded(text)
    if "\0" in path:
        raise _invalid("the path holds a NUL")
    return from_login(path)


def from_login(path: str) -> str:
    """The path as servers take it: "/~/in" lies in the folder the login leads to, "in" to them."""
    if path == "/~" or path.startswith("/~/"):
        return path[3:].lstrip("/")
    return path


def decoded(text: str) -> str:
    """Undo percent-encoding; lone surrogates stand for bytes that are no UTF-8."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The address cannot be used: {reason}.", field=FIELD)
