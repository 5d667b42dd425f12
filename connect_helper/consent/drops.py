"""Which dropped things a page tells of are which things on disk, and which drags may prove it.

A page learns of a drop by names, sizes and times alone, and any page can make such words up. They prove
nothing by themselves: they are held against what the system saw being dragged, or against files that are
then shown to the user.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

FRESH_S: Final = 2.0  # a drop is told of at once; what comes later was made up
TRIES: Final = 3  # origins that may claim one drag; who guesses rarely guesses right at once
DRAGS_KEPT: Final = 64
_TIME_TOLERANCE_MS: Final = 1_000  # some browsers blur times, so that nobody is known again by them
_NO_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # halves of characters that stand for no byte

# Programs whose drags a page can fill with paths of its own making, when the user drags a part of that page.
_WEB_PROGRAMS: Final = (
    *("chrome", "chromium", "msedge", "microsoft-edge", "brave", "opera", "vivaldi", "yandex"),
    *("firefox", "librewolf", "waterfox", "palemoon", "seamonkey", "thunderbird", "tor-browser"),
    *("epiphany", "falkon", "midori", "qutebrowser", "webkit", "electron", "safari"),
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """One dropped thing as the page tells of it."""

    name: str  # bare, never a path
    size: int | None  # bytes; None when the page did not tell
    media_type: str  # "" for folders and unknown types
    modified_ms: float | None  # since the epoch; None when the page did not tell


@dataclass(frozen=True, slots=True)
class OnDisk:
    """One thing that may be it."""

    name: str  # undecodable bytes as lone surrogates
    is_folder: bool
    size: int  # bytes; of no meaning for a folder
    modified_ms: float


def matches(dropped: Dropped, found: OnDisk) -> bool:
    """Whether the page's words are true of what was found.

    A file has to have the name, the size and, if the page told it, the time. A folder has to have the name:
    some browsers tell of none or of blocks as its size, others what the file system says, which is any
    number and changes with what is in it; and they tell a type where the name has an ending.
    """
    if name_key(dropped.name) != name_key(found.name):
        return False
    if found.is_folder:
        return True
    if dropped.size != found.size:
        return False
    return dropped.modified_ms is None or abs(dropped.modified_ms - found.modified_ms) <= _TIME_TOLERANCE_MS


def name_key(name: str) -> str:
    """A name as browsers tell it: accents in one form, what is no character replaced."""
    if name.isascii():
        return name
    readable = _NO_BYTE.sub("\ufffd", name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return unicodedata.normalize("NFC", readable)


def pair(dropped: Sequence[Dropped], found: Sequence[OnDisk]) -> list[int] | None:
    """Find for each dropped thing its place in `found`, each place once; None unless all of both pair up.

    Things that are alike in all that is known keep the order of the drag. Files come before folders, of which
    less is known.
    """
    if not dropped or len(dropped) != len(found):
        return None
    by_name: dict[str, list[int]] = {}
    for index in sorted(range(len(found)), key=lambda index: found[index].is_folder):
        by_name.setdefault(name_key(found[index].name), []).append(index)
    places: list[int] = []
    for told in dropped:
        left = by_name.get(name_key(told.name), [])
        place = next((index for index in left if matches(told, found[index])), None)
        if place is None:
            return None
        left.remove(place)
        places.append(place)
    return places


def shows_web_pages(program: str) -> bool:
    """Whether `program` (the path of its file) is known to show what others wrote, and lets it be dragged."""
    name = program.replace("\\", "/").rsplit("/", 1)[-1].casefold()
    return any(known in name for known in _WEB_PROGRAMS)


@dataclass(slots=True)
class _Claimed:
    origins: set[str] = field(default_factory=set)
    used: bool = False


class Claims:
    """Lets each drag prove one drop, and keeps pages from guessing: one try an origin, three in all."""

    def __init__(self) -> None:
        self._drags: OrderedDict[int, _Claimed] = OrderedDict()

    def may_try(self, drag: int, origin: str) -> bool:
        """Whether the origin has its one try left, and anybody may try at all."""
        claimed = self._drags.get(drag, _Claimed())
        return not claimed.used and origin not in claimed.origins and len(claimed.origins) < TRIES

    def try_once(self, drag: int, origin: str) -> bool:
        """Take the origin's one try; False when it may not try."""
        if not self.may_try(drag, origin):
            return False
        self._drags.setdefault(drag, _Claimed()).origins.add(origin)
        self._forget_old()
        return True

    def use(self, drag: int) -> bool:
        """Spend the drag; False when it is spent already."""
        claimed = self._drags.setdefault(drag, _Claimed())
        used, claimed.used = claimed.used, True
        return not used

    def _forget_old(self) -> None:
        while len(self._drags) > DRAGS_KEPT:
            self._drags.popitem(last=False)
