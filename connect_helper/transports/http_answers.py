"""Whether an answer to GET holds exactly the part of exactly the version that was asked for (REL-6).

The status and headers are judged alone: what follows is read only when they are right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from connect_helper.errors import SourceChanged, SourceError
from connect_helper.spec.names import display
from connect_helper.transports.base import ReceiveItem

JUDGED: Final = frozenset({200, 206, 416})  # of any other status the answer itself says what it means
_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)
_OUTSIDE: Final = re.compile(r"bytes \*/([0-9]{1,19})", re.ASCII)
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]{1,200}"')  # RFC 9110 section 8.8.3, ASCII only


def strong_tag(text: object) -> str:
    """`text` if it is a strong entity tag, "" for a weak one or anything else."""
    return text if isinstance(text, str) and _STRONG.fullmatch(text) else ""


def check_part(status: int, headers: Mapping[str, str], item: ReceiveItem, start: int, length: int) -> None:
    """Raise SourceChanged or SourceError unless the answer is that part of the file. `status` is JUDGED."""
    if status == 416:
        raise _outside(headers, item)
    if status == 200 and not is_whole(headers, item, start, length):
        raise changed(item.path)
    if status == 206:
        begin, end, size = content_range(headers, item.path)
        if size != item.size:
            raise changed(item.path)
        if (begin, end) != (start, start + length):
            raise other_part(item.path)
    if not fits(headers, item):
        raise changed(item.path)


def is_whole(headers: Mapping[str, str], item: ReceiveItem, start: int, length: int) -> bool:
    """Whether an answer without ranges is what was asked for all the same: all of the file."""
    all_of_it = (start, length) == (0, item.size) == (0, length_told(headers))
    return all_of_it and headers.get("Content-Encoding", "identity") == "identity"


def length_told(headers: Mapping[str, str]) -> int | None:
    """Bytes of the body; None when that is not told."""
    told = headers.get("Content-Length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 20 else None


def content_range(headers: Mapping[str, str], path: bytes) -> tuple[int, int, int]:
    """Start, end (exclusive) and the whole size. Raises SourceError."""
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if found is None or headers.get("Content-Encoding", "identity") != "identity":
        raise other_part(path)
    start, last, size = (int(text) for text in found.groups())
    if not start <= last < size:
        raise other_part(path)
    return start, last + 1, size


def fits(headers: Mapping[str, str], item: ReceiveItem) -> bool:
    """Whether an answer is about the version of the file that is being fetched."""
    tag = strong_tag(item.etag)
    return _same_second(headers, item.mtime_ns) and (not tag or headers.get("ETag") == tag)


def changed(path: bytes) -> SourceChanged:
    """The error for a file that is another one by now."""
    return SourceChanged(f"{display(path)} changed on the server; fetch it again.")


def other_part(path: bytes) -> SourceError:
    """The error for an answer that holds something else."""
    return SourceError(f"The server sent another part of {display(path)} than was asked for.")


def _outside(headers: Mapping[str, str], item: ReceiveItem) -> SourceError:
    """What it means that the server has no such part."""
    found = _OUTSIDE.fullmatch(headers.get("Content-Range", ""))
    same = found is not None and int(found.group(1)) == item.size
    return other_part(item.path) if same else changed(item.path)


def _same_second(headers: Mapping[str, str], mtime_ns: int) -> bool:
    try:
        moment = parsedate_to_datetime(headers.get("Last-Modified", "")).timestamp()
    except (ValueError, OverflowError):
        return False
    return int(moment) == max(0, mtime_ns) // 10**9
