"""Looking at files: browse, search, info, space, contents. All functions block: call them in a thread."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

from connect_helper.errors import UnsafePath
from connect_helper.server.access import Access
from connect_helper.server.http.node.bodies import Browse, OnePath
from connect_helper.server.http.node.entries import entry, kind_of, text_of
from connect_helper.server.http.node.faults import NO_PATH, each, fault, malformed
from connect_helper.server.http.node.listing import Found, Page, asks_about_files, cut, matcher
from connect_helper.server.http.node.listings import LONGEST, Listings
from connect_helper.storage.docpath import DEPTH_LIMIT, DocPath, parse
from connect_helper.storage.docroot import Docroot

CONTENTS_LIMIT: Final = 4096  # bytes that `contents` shows
_SETTLED_S: Final = 2.0  # some disks note the time of a change in steps as wide


def browse(
    docroot: Docroot,
    access: Access,
    asked: Browse,
    listings: Listings,
    *,
    max_count: int,
    limit_s: float,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """{"self", "items", "item_count", "total_count", "parameters"} of one folder. Raises Problem.

    `wanted` tells whether somebody still waits for the answer; it is asked in this thread.
    """
    _may_browse(access)
    path, facts = _looked_up(docroot, asked.path)
    count = min(asked.count, max_count)
    page = Page()
    if kind_of(facts) == "directory":
        key = _key(access, path, facts, asked)
        names = None if asked.skip == 0 and asks_about_files(asked) else listings.get(key)
        page = _kept_page(docroot, path, names, asked.skip, count) or Page()
        if not page.total:
            passes = matcher(asked.filters, case_sensitive=asked.case_sensitive)
            inside = _inside(docroot, path, 1, _deadline(limit_s, wanted))
            page, names = cut((one for one in inside if passes(one)), asked, count, LONGEST)
            if page.total > asked.skip + count and names and _settled(facts):
                listings.put(key, names)
    return {"self": entry(docroot, access, path, facts), **_listed(docroot, access, path, page, asked, count)}


def _key(access: Access, path: DocPath, facts: os.stat_result, asked: Browse) -> Hashable:
    """All that the order of a folder's entries depends on."""
    changed = (facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns)
    wish = repr(asked.model_copy(update={"skip": 0, "count": 0, "path": ""}).model_dump())
    # Filters may be long, and are not what the room of the listings is counted by.
    return access.account.name, path, changed, hashlib.sha256(wish.encode("utf-8", "surrogatepass")).digest()


def _settled(facts: os.stat_result) -> bool:
    """Tell whether a folder's next change will show as another time than the one `facts` tell."""
    return time.time() - max(facts.st_mtime, facts.st_ctime) > _SETTLED_S


def _kept_page(
    docroot: Docroot, path: DocPath, names: tuple[bytes, ...] | None, skip: int, count: int
) -> Page | None:
    """A page out of a listing made before; None when there is none, or an entry of the page has gone."""
    if names is None:
        return None
    page = Page(total=len(names))
    try:
        for name in names[skip : skip + count]:
            page.entries.append(Found((*path, name), docroot.lstat((*path, name))))
    except OSError:
        return None
    return page


def search(
    docroot: Docroot,
    access: Access,
    asked: Browse,
    *,
    max_count: int,
    limit_s: float,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """{"items", "item_count", "total_count", "parameters"} of a folder and all below it. Raises Problem.

    `wanted` is that of `browse`.
    """
    _may_browse(access)
    path, facts = _looked_up(docroot, asked.path)
    count = min(asked.count, max_count)
    page = Page()
    if kind_of(facts) == "directory":
        passes = matcher(asked.filters, case_sensitive=asked.case_sensitive)
        least = asked.filters.depth_min or 1
        most = DEPTH_LIMIT if asked.filters.depth_max is None else asked.filters.depth_max
        check = _deadline(limit_s, wanted)
        everything = _below(docroot, path, most, check) if most else ()
        page, _ = cut((one for one in everything if one.depth >= least and passes(one)), asked, count)
    answer = _listed(docroot, access, path, page, asked, count)
    depths = {"depth_min": asked.filters.depth_min, "depth_max": asked.filters.depth_max}
    given = {name: depth for name, depth in depths.items() if depth is not None}
    answer["parameters"].update(given)
    return answer


def info(docroot: Docroot, access: Access, asked: Sequence[OnePath]) -> list[dict[str, Any]]:
    """The entry at each path, links as what they lead to; {"path", "error"} for those that fail."""
    _may_browse(access)

    def one(item: OnePath) -> dict[str, Any]:
        path = parse(item.path)
        facts = docroot.stat(path)
        if kind_of(facts) is None:
            raise fault(404, NO_PATH)
        described = entry(docroot, access, path, facts)
        if described["type"] == "directory":
            del described["size"]
        return described

    return each(asked, lambda item: {"path": item.path}, one)


def space(docroot: Docroot, access: Access, asked: Sequence[OnePath]) -> list[dict[str, Any]]:
    """The figures of the file system that holds each path, in bytes; or {"path", "error"}."""
    _may_browse(access)

    def one(item: OnePath) -> dict[str, Any]:
        figures = docroot.statvfs(parse(item.path))
        total, free = figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize
        percent = round(100 * free / total, 1) if total else 0.0
        return {"bytes_total": total, "bytes_free": free, "percent_free": percent}

    return each(asked, lambda item: {"path": item.path}, one)


def contents(docroot: Docroot, access: Access, path: DocPath) -> bytes:
    """The first 4096 bytes of a file. Raises Problem, OSError: 400 for what is no file."""
    if not access.account.may_read or access.account.download == "deny":
        raise fault(403, "This account may not read files.")
    if kind_of(docroot.lstat(path)) != "file":
        raise malformed("Only files have contents.")
    handle = docroot.open_read(path)
    try:
        return os.read(handle, CONTENTS_LIMIT)
    finally:
        os.close(handle)


def _may_browse(access: Access) -> None:
    if not access.account.may_browse:
        raise fault(403, "This account may not look into folders.")


def _looked_up(docroot: Docroot, text: str) -> tuple[DocPath, os.stat_result]:
    path = parse(text)
    facts = docroot.lstat(path)
    if kind_of(facts) is None:
        raise fault(404, NO_PATH)
    return path, facts


def _listed(
    docroot: Docroot, access: Access, path: DocPath, page: Page, asked: Browse, count: int
) -> dict[str, Any]:
    items = [entry(docroot, access, one.path, one.facts) for one in page.entries]
    parameters: dict[str, Any] = {
        "path": text_of(path),
        "skip": asked.skip,
        "count": count,
        "sort": asked.sort,
        "case_sensitive": asked.case_sensitive,
    }
    filters = asked.filters.model_dump(exclude_none=True)
    if filters:
        parameters["filters"] = filters
    return {
        "items": items,
        "item_count": len(items),
        "total_count": page.total,
        "parameters": parameters,
    }


def _deadline(limit_s: float, wanted: Callable[[], bool]) -> Callable[[], None]:
    end = time.monotonic() + limit_s

    def check() -> None:
        if time.monotonic() > end or not wanted():  # who has gone hears nothing, and others wait for the turn
            raise fault(503, "There are too many entries to answer in time. Ask for a smaller folder.")

    return check


def _inside(docroot: Docroot, path: DocPath, depth: int, check: Callable[[], None]) -> Iterator[Found]:
    for number, one in enumerate(docroot.scandir(path)):
        if number % 512 == 0:
            check()
        yield Found((*path, one.name), one.facts, depth)


def _below(docroot: Docroot, top: DocPath, deepest: int, check: Callable[[], None]) -> Iterator[Found]:
    """All entries below `top`, no link entered; folders that cannot be read are passed over."""
    todo = [(top, 1)]
    while todo:
        folder, depth = todo.pop()
        check()
        try:
            for one in _inside(docroot, folder, depth, check):
                yield one
                if kind_of(one.facts) == "directory" and depth < deepest:
                    todo.append((one.path, depth + 1))
        except (OSError, UnsafePath):  # not readable, removed since, or too deep for a path
            if folder == top:
                raise
