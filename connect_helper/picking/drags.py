"""The port through which the system shows what is being dragged.

What a page tells of a drop proves nothing. Where the system shows drags to other programs, a drag that was
seen proves it; a watch reports only drags whose paths no web page can have made up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

KEPT_S: Final = 5.0  # a drag is remembered so long after its end, and no longer
PATHS_LIMIT: Final = 10_000  # of one drag


@dataclass(frozen=True, slots=True)
class Drag:
    """One drag of files that ended with a drop."""

    id: int  # no two drags of a run have the same
    paths: tuple[str, ...]  # absolute, in the order of the drag; undecodable bytes as lone surrogates
    dropped_at: float  # seconds on the monotonic clock
    # Path of the program it began in, and of the one whose window it was dropped on; None where the system
    # does not tell such things, "" where it could not be told this time.
    source: str | None = None
    target: str | None = None


class DragWatch(Protocol):
    """Sees what the user drags, from `start` on."""

    async def start(self) -> bool:
        """Begin to watch, if that has not begun; tell whether the system shows drags."""
        ...

    def recent(self) -> Sequence[Drag]:
        """The drops of the last seconds (KEPT_S), oldest first; none before `start`. Does not wait."""
        ...

    async def close(self) -> None:
        """Stop watching and forget what was seen."""
        ...


class NoDragWatch:
    """Where the system shows no drags: Windows, Wayland, and machines without a desktop."""

    async def start(self) -> bool:
        return False

    def recent(self) -> Sequence[Drag]:
        return ()

    async def close(self) -> None:
        return None


def local_paths(uri_list: bytes) -> tuple[str, ...]:
    """The local paths in a `text/uri-list` (RFC 2483), in order; what is no local file is left out."""
    paths = (_local_path(line.strip()) for line in uri_list.split(b"\n"))
    return tuple(path for path in paths if path)[:PATHS_LIMIT]


def _local_path(line: bytes) -> str:
    try:
        parts = urlsplit(line.decode("ascii"))
    except ValueError:  # not ASCII, or brackets that close nothing
        return ""
    if parts.scheme != "file" or parts.netloc not in ("", "localhost", socket.gethostname()):
        return ""
    path = unquote_to_bytes(parts.path)
    return os.fsdecode(path) if path.startswith(b"/") and b"\0" not in path else ""
