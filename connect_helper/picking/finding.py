"""Looking for dropped files in folders where they likely are, where the system does not show drags.

What is found is a guess that the user has to confirm. The names a page tells never become paths: folders are
listed, and their entries compared. The search goes on to its end whatever it finds, so that the time it
takes tells nothing. Everything here touches the disk and belongs in a thread.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connect_helper.consent.drops import Dropped, OnDisk, matches, name_key

DEPTH: Final = 4  # folders below the one to start from
ENTRY_LIMIT: Final = 100_000
_WINDOWS_HIDDEN: Final = getattr(stat, "FILE_ATTRIBUTE_HIDDEN", 2)
_MATCHES_KEPT: Final = 16  # for one dropped thing; more than one is too many already


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to look into, and how many folders deep."""

    path: str
    depth: int = DEPTH


@dataclass(frozen=True, slots=True)
class Match:
    """One thing that may have been dropped."""

    path: str  # absolute, no links in it
    is_folder: bool


@dataclass(slots=True)
class Found:
    """What a search found."""

    matches: list[list[Match]]  # for each dropped thing
    complete: bool = True  # all places were looked through
    folders: list[str] = field(default_factory=list)  # the places that are there

    @property
    def only(self) -> list[Match] | None:
        """For each dropped thing the one that it must be; None unless there is just one for each.

        Of a folder only the name is known to fit: where a file fits as well, that is meant.
        """
        groups = [[match for match in group if not match.is_folder] or group for group in self.matches]
        ones = [group[0] for group in groups if len(group) == 1]
        return ones if self.complete and len(set(ones)) == len(self.matches) else None

    @property
    def best_folder(self) -> str | None:
        """Where to go on looking by hand: next to what matched, else at the first place."""
        for group in self.matches:
            if group:
                return os.path.dirname(group[0].path)  # noqa: PTH120
        return self.folders[0] if self.folders else None


def find_dropped(
    dropped: Sequence[Dropped],
    places: Sequence[Place],
    refuse_folder: Callable[[str], str | None],
    *,
    within_s: float,
) -> Found:
    """Look for each of `dropped` in `places`, but not in hidden folders, through links, or where
    `refuse_folder` tells why no page should look."""
    search = _Search(dropped, refuse_folder, time.monotonic() + within_s)
    search.run(places)
    return search.found


class _Search:
    def __init__(
        self, dropped: Sequence[Dropped], refuse_folder: Callable[[str], str | None], until: float
    ) -> None:
        self._wanted: dict[str, list[int]] = {}
        for number, told in enumerate(dropped):
            self._wanted.setdefault(name_key(told.name), []).append(number)
        self._dropped = dropped
        self._refuse_folder = refuse_folder
        self._until = until
        self._looked_into: dict[str, int] = {}  # and how deep from there
        self._entries = 0
        self.found = Found([[] for _ in dropped])

    def run(self, places: Sequence[Place]) -> None:
        """Nearest folders first, so that a search that is cut short has seen the likely ones."""
        waiting = deque(self._beginnings(places))
        while waiting:
            if self._entries > ENTRY_LIMIT or time.monotonic() > self._until:
                self.found.complete = False
                return
            folder, depth = waiting.popleft()
            if self._looked_into.get(folder, -1) >= depth:
                continue
            self._looked_into[folder] = depth
            for path in self._look_into(folder):
                if depth and not self._refuse_folder(path):
                    waiting.append((path, depth - 1))

    def _beginnings(self, places: Sequence[Place]) -> Iterator[tuple[str, int]]:
        for place in places:
            real = os.path.realpath(place.path)
            hidden = any(part.startswith(".") for part in Path(real).parts)
            if not hidden and os.path.isdir(real) and not self._refuse_folder(real):  # noqa: PTH112
                self.found.folders.append(real)
                yield real, place.depth

    def _look_into(self, folder: str) -> Iterator[str]:
        """Note what matches; give the folders in it."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entries += 1
                    if entry.name.startswith("."):
                        continue
                    try:
                        if self._note(entry):
                            yield entry.path
                    except OSError:  # just gone, or not for us to look at
                        continue
        except OSError:
            return

    def _note(self, entry: os.DirEntry[str]) -> bool:
        """Compare one entry; True for a folder to look into."""
        numbers = self._wanted.get(name_key(entry.name))
        is_folder = entry.is_dir(follow_symlinks=False)
        if numbers is None and (not is_folder or os.name != "nt"):
            return is_folder
        facts = entry.stat(follow_symlinks=False)
        if getattr(facts, "st_file_attributes", 0) & _WINDOWS_HIDDEN:
            return False
        may_be_given = not self._refuse_folder(entry.path) if is_folder else stat.S_ISREG(facts.st_mode)
        if numbers and may_be_given:
            thing = OnDisk(entry.name, is_folder, facts.st_size, facts.st_mtime_ns / 1_000_000)
            self._add(numbers, thing, Match(entry.path, is_folder))
        return is_folder

    def _add(self, numbers: Sequence[int], thing: OnDisk, match: Match) -> None:
        for number in numbers:
            group = self.found.matches[number]
            if len(group) < _MATCHES_KEPT and match not in group and matches(self._dropped[number], thing):
                group.append(match)
