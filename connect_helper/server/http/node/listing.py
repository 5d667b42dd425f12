"""What browse and search do with a folder's entries: filter, order, cut to a page (reference, 4.4). Pure."""

from __future__ import annotations

import fnmatch
import heapq
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from connect_helper.server.http.node.bodies import Browse, Filters
from connect_helper.server.http.node.entries import kind_of, text_of
from connect_helper.server.http.node.faults import malformed
from connect_helper.storage.docpath import DocPath

_BY_FILES: Final = ("size_a", "size_d", "mtime_a", "mtime_d")
_FOLDERS_FIRST: Final = {"directory": 0, "symbolic_link": 1, "file": 2}


@dataclass(frozen=True, slots=True)
class Found:
    """One entry before it is described; `depth` is 1 for what lies in the folder itself."""

    path: DocPath
    facts: os.stat_result
    depth: int = 1


@dataclass(slots=True)
class Page:
    """The entries asked for, and how many there would be without skip and count."""

    entries: list[Found] = field(default_factory=list)
    total: int = 0


def cut(
    found: Iterable[Found], asked: Browse, count: int, longest: int = 0
) -> tuple[Page, tuple[bytes, ...]]:
    """Order what was found and keep `count` entries after `asked.skip`; holds no more than it must.

    With it come the names of all entries in order, if there are no more than `longest`, else none.
    """
    page = Page()
    key = order(asked.sort, asked.case_sensitive)
    all_names: list[tuple[Any, bytes]] = []

    def counted() -> Iterator[Found]:
        for one in found:
            page.total += 1
            if page.total <= longest:
                all_names.append((key(one), one.path[-1]))
            elif all_names:
                all_names.clear()
            yield one

    looking = counted()
    first = heapq.nsmallest(asked.skip + count, looking, key=key)
    for _ in looking:  # asked for none, it did not look
        pass
    page.entries = first[asked.skip :]
    # Ties in the order are settled by path, so the names are never compared themselves.
    return page, tuple(name for _, name in sorted(all_names))


def asks_about_files(asked: Browse) -> bool:
    """Tell whether the answer depends on sizes or times of files: these change, and the folder does not."""
    chosen = asked.filters
    bounds = (chosen.size_min, chosen.size_max, chosen.mtime_min, chosen.mtime_max)
    return asked.sort in _BY_FILES or any(bound is not None for bound in bounds)


def order(sort: str, case_sensitive: bool) -> Callable[[Found], Any]:
    """The key to order by. Words nobody knows mean `path`. Ties are settled by path, so paging is stable."""

    def name(one: Found) -> tuple[str, DocPath]:
        text = text_of(one.path)
        return (text if case_sensitive else text.casefold()), one.path

    keys: dict[str, Callable[[Found], Any]] = {
        "type": lambda one: (_FOLDERS_FIRST[kind_of(one.facts) or "file"], name(one)),
        "size_a": lambda one: (_size(one.facts), name(one)),
        "size_d": lambda one: (-_size(one.facts), name(one)),
        "mtime_a": lambda one: (one.facts.st_mtime_ns, name(one)),
        "mtime_d": lambda one: (-one.facts.st_mtime_ns, name(one)),
    }
    return keys.get(sort, name)


def matcher(filters: Filters, *, case_sensitive: bool) -> Callable[[Found], bool]:
    """Tell which entries pass all filters. Raises Problem for a time that is none."""
    tests: list[Callable[[Found], bool]] = [lambda one: kind_of(one.facts) is not None]
    if filters.types is not None:
        wanted = frozenset(filters.types)
        tests.append(lambda one: kind_of(one.facts) in wanted)
    if filters.basenames is not None:
        basename = _any_glob(filters.basenames, case_sensitive)
        tests.append(lambda one: basename(text_of(one.path[-1:])[1:]))
    if filters.paths is not None:
        whole = _any_glob([_rooted(glob) for glob in filters.paths], True)
        tests.append(lambda one: whole(text_of(one.path)))
    tests += _size_tests(filters.size_min, filters.size_max)
    tests += _time_tests(filters.mtime_min, filters.mtime_max)
    return lambda one: all(test(one) for test in tests)


def _size_tests(least: int | None, below: int | None) -> Iterator[Callable[[Found], bool]]:
    if least is None and below is None:
        return
    yield lambda one: kind_of(one.facts) == "file"
    if least is not None:
        yield lambda one: one.facts.st_size >= least
    if below is not None:
        yield lambda one: one.facts.st_size < below


def _time_tests(after: str | None, before: str | None) -> Iterator[Callable[[Found], bool]]:
    if after is not None:
        start = moment(after, "filters.mtime_min")
        yield lambda one: one.facts.st_mtime > start
    if before is not None:
        end = moment(before, "filters.mtime_max")
        yield lambda one: one.facts.st_mtime < end


def moment(text: str, field_name: str) -> float:
    """Seconds since the epoch; `T` or a blank in the middle, `Z` optional, no zone means UTC."""
    try:
        read = datetime.fromisoformat(text.strip())
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise malformed(f"{field_name}: not a time such as 2026-02-26T17:20:11Z.") from None


def _size(facts: os.stat_result) -> int:
    return facts.st_size if kind_of(facts) == "file" else 0


def _rooted(glob: str) -> str:
    return glob if glob.startswith(("/", "*")) else "/" + glob


def _any_glob(globs: list[str], case_sensitive: bool) -> Callable[[str], bool]:
    flags = 0 if case_sensitive else re.IGNORECASE
    patterns = [re.compile(fnmatch.translate(glob), flags) for glob in globs]
    return lambda text: any(pattern.match(text) for pattern in patterns)
