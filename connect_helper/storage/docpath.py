"""Paths below a docroot, as the other side names them. Pure: nothing here touches a disk.

A `DocPath` is a tuple of components, () is the docroot itself. Components are bytes, never normalised
(NFC and NFD are two names), never empty, `.` or `..`, and hold neither `/` nor NUL.
"""

from __future__ import annotations

from typing import Final

from connect_helper.errors import UnsafePath as UnsafePath  # who parses also catches
from connect_helper.spec.names import NAME_LIMIT
from connect_helper.spec.names import display as display_name

DocPath = tuple[bytes, ...]

ROOT: Final[DocPath] = ()
PATH_LIMIT: Final = 4000  # bytes; a kernel takes 4095 with everything that is put before
DEPTH_LIMIT: Final = 256  # folders in each other
_TOO_LONG: Final = f"A path is longer than {PATH_LIMIT} bytes or {DEPTH_LIMIT} folders; use shorter names."


def parse(text: bytes | str, base: DocPath = ROOT) -> DocPath:
    """Return the components `text` means; a path that does not begin with `/` is taken from `base`.

    `.`, doubled and last slashes mean nothing, `..` takes one component away without asking the disk.
    Raises UnsafePath for NUL, text that is no text, a path or name that is too long, and `..` at the root.
    """
    raw = _encoded(text)
    if len(raw) > 2 * PATH_LIMIT:  # to take it apart would cost more than it is worth
        raise UnsafePath(_TOO_LONG)
    if b"\0" in raw:
        raise UnsafePath("A path contains a NUL character; rename the file.")
    parts: list[bytes] = [] if raw.startswith(b"/") else list(base)
    for part in raw.split(b"/"):
        if part == b"..":
            if not parts:
                raise UnsafePath("A path leads out of the folder that is shared here.")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return checked(tuple(parts))


def checked(path: DocPath) -> DocPath:
    """Return `path` if its parts may be used as names and it is not too long. Raises UnsafePath."""
    for part in path:
        if part in (b"", b".", b"..") or b"/" in part or b"\0" in part:
            raise UnsafePath(f'"{display_name(part)}" is not the name of a file.')
        if len(part) > NAME_LIMIT:
            raise UnsafePath(f"A name is longer than {NAME_LIMIT} bytes; shorten it.")
    if len(path) > DEPTH_LIMIT or sum(map(len, path)) + len(path) > PATH_LIMIT:
        raise UnsafePath(_TOO_LONG)
    return path


def _encoded(text: bytes | str) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        # Lone surrogates U+DC80 to U+DCFF stand for bytes that are no UTF-8, as os.fsdecode makes them.
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UnsafePath("A path contains half a character (a lone surrogate).") from error


def absolute(path: DocPath) -> bytes:
    """Return the path as the other side writes it, beginning with `/`."""
    return b"/" + b"/".join(path)


def display(path: DocPath) -> str:
    """Return the path fit for a log or a page."""
    return display_name(absolute(path), 400)


def covers(folder: DocPath, path: DocPath) -> bool:
    """Tell whether `path` is `folder` or lies below it, by whole components."""
    return path[: len(folder)] == folder
