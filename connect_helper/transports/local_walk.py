"""Lists what is below a granted local folder, one entry at a time.

Links are followed only where they stay inside the granted folder (security rules, SEC-15), and every
other one, like everything that is no file, is reported with its reason. Blocks: run it in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import LinkSkipped, SourceMissing, TransferError, UnsafeName
from connect_helper.spec.names import display
from connect_helper.spec.words import Links
from connect_helper.transports.base import NOT_SEEN, Enters, Facts, everywhere
from connect_helper.transports.error_map import local_error
from connect_helper.transports.local_files import (
    Granted,
    changed,
    open_below,
    open_granted,
    resolve_links,
    special,
)

DEPTH_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """One thing found. `below` names it as the user sees it, `real` as `open_source` wants it (of a link that
    is copied, the link).

    Both are names below the granted object. With `error` it cannot be sent.
    """

    below: tuple[bytes, ...]
    real: tuple[bytes, ...]
    facts: Facts
    error: TransferError | None = None
    content: bytes = b""  # of a link that is to be copied


@dataclass(frozen=True, slots=True)
class _Folder:
    below: tuple[bytes, ...]
    real: tuple[bytes, ...]
    inside: frozenset[tuple[int, int]]  # device and inode of the folders above


def walk(
    granted: Granted, start: tuple[bytes, ...], *, links: Links = "follow", enters: Enters = everywhere
) -> Generator[LocalEntry, None, None]:
    """Everything at and below `start` (names below the grant), folders before what is in them.

    Folders for which `enters` (names below `start`) says no are left out with all they hold.
    Raises SourceMissing, SourceChanged, SourceDenied when `start` itself cannot be opened.
    """
    top = open_granted(granted, "source")
    try:
        facts = os.fstat(top)
        if not start and not stat.S_ISDIR(facts.st_mode):
            yield _single((), (), facts, granted.path)
            return
        walker = _Walker(granted, top, links, lambda below: enters(below[len(start) :]))
        yield from walker.run(start)
    finally:
        os.close(top)


def facts_of(found: os.stat_result) -> Facts:
    """What one stat says, links told apart."""
    mode = found.st_mode
    if stat.S_ISREG(mode):
        return Facts("file", found.st_size, found.st_mtime_ns, found.st_atime_ns)
    if stat.S_ISDIR(mode):
        return Facts("folder", 0, found.st_mtime_ns, found.st_atime_ns)
    return Facts("link" if stat.S_ISLNK(mode) else "special", 0, found.st_mtime_ns, found.st_atime_ns)


def _single(
    below: tuple[bytes, ...], real: tuple[bytes, ...], found: os.stat_result, path: bytes
) -> LocalEntry:
    facts = facts_of(found)
    return LocalEntry(below, real, facts, None if facts.kind == "file" else special(path))


class _Walker:
    def __init__(self, granted: Granted, top: int, links: Links, enters: Enters) -> None:
        self._granted = granted
        self._top = top
        self._links = links
        self._enters = enters
        self._folders: list[_Folder] = []

    def run(self, start: tuple[bytes, ...]) -> Iterator[LocalEntry]:
        yield from self._look(start, frozenset())
        while self._folders:
            yield from self._visit(self._folders.pop())

    def _path(self, below: tuple[bytes, ...]) -> bytes:
        return b"/".join((self._granted.path.rstrip(b"/"), *below))

    def _look(self, start: tuple[bytes, ...], inside: frozenset[tuple[int, int]]) -> Iterator[LocalEntry]:
        """The start of the walk, which has to be there. Links above it are followed in any case."""
        above = start if self._links == "follow" else start[:-1]
        try:
            real = (*resolve_links(self._top, self._granted.path, above), *start[len(above) :])
            found = self._stat(real)
            if stat.S_ISLNK(found.st_mode) and self._links != "follow":
                yield self._unfollowed(start, real, found)
                return
        except OSError as error:
            raise local_error(error, "source", self._path(start)) from error
        except LinkSkipped as error:
            raise changed(self._path(start)) from error
        if stat.S_ISDIR(found.st_mode):
            self._folders.append(_Folder(start, real, inside))
        elif stat.S_ISLNK(found.st_mode):
            raise changed(self._path(start))  # it became one a moment ago
        else:
            yield _single(start, real, found, self._path(start))

    def _unfollowed(
        self, below: tuple[bytes, ...], real: tuple[bytes, ...], found: os.stat_result
    ) -> LocalEntry:
        """The entry of a link that is copied or left out. Raises OSError when it is gone by now."""
        if self._links == "skip":
            skipped = LinkSkipped(f"{display(self._path(below))} is a link; links are left out.")
            return LocalEntry(below, real, facts_of(found), skipped)
        parent = open_below(self._top, real[:-1], os.O_RDONLY | os.O_DIRECTORY)
        try:
            content = os.readlink(real[-1], dir_fd=parent)
        finally:
            os.close(parent)
        return LocalEntry(below, real, facts_of(found), None, content)

    def _stat(self, real: tuple[bytes, ...]) -> os.stat_result:
        if not real:
            return os.fstat(self._top)
        parent = open_below(self._top, real[:-1], os.O_RDONLY | os.O_DIRECTORY)
        try:
            return os.stat(real[-1], dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _visit(self, folder: _Folder) -> Iterator[LocalEntry]:
        try:
            handle = open_below(self._top, folder.real, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            failed = local_error(error, "source", self._path(folder.below))
            yield LocalEntry(folder.below, folder.real, Facts("folder", 0, 0), failed)
            return
        try:
            found = os.fstat(handle)
            identity = (found.st_dev, found.st_ino)
            problem = self._problem(folder, identity)
            yield LocalEntry(folder.below, folder.real, facts_of(found), problem)
            if problem is None:
                with os.scandir(handle) as entries:
                    for entry in entries:
                        yield from self._entry(folder, entry, folder.inside | {identity})
        except OSError as error:
            failed = local_error(error, "source", self._path(folder.below))
            yield LocalEntry(folder.below, folder.real, Facts("folder", 0, 0), failed)
        finally:
            os.close(handle)

    def _problem(self, folder: _Folder, identity: tuple[int, int]) -> TransferError | None:
        if identity in folder.inside:
            return LinkSkipped(
                f"{display(self._path(folder.below))} is a link that leads back to a folder above it."
            )
        if len(folder.below) > DEPTH_LIMIT:
            return UnsafeName(
                f"{display(self._path(folder.below))} lies more than {DEPTH_LIMIT} folders deep."
            )
        return None

    def _entry(
        self, folder: _Folder, entry: os.DirEntry[str], inside: frozenset[tuple[int, int]]
    ) -> Iterator[LocalEntry]:
        name = os.fsencode(entry.name)
        below, real = (*folder.below, name), (*folder.real, name)
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode) and self._links != "follow":
                yield self._unfollowed(below, real, found)
                return
            if stat.S_ISLNK(found.st_mode):
                real, found = self._follow(below, real)
        except FileNotFoundError:
            gone = SourceMissing(f"{display(self._path(below))} is not there any more.")
            yield LocalEntry(below, real, NOT_SEEN, gone)
        except OSError as error:
            yield LocalEntry(below, real, NOT_SEEN, local_error(error, "source", self._path(below)))
        except LinkSkipped as error:
            yield LocalEntry(below, real, Facts("link", 0, 0), error)
        else:
            if not stat.S_ISDIR(found.st_mode):
                yield _single(below, real, found, self._path(below))
            elif self._enters(below):
                self._folders.append(_Folder(below, real, inside))

    def _follow(
        self, below: tuple[bytes, ...], real: tuple[bytes, ...]
    ) -> tuple[tuple[bytes, ...], os.stat_result]:
        try:
            resolved = resolve_links(self._top, self._granted.path, real)
            return resolved, self._stat(resolved)
        except (FileNotFoundError, NotADirectoryError) as error:  # or to something inside of a file
            raise LinkSkipped(f"{display(self._path(below))} is a link that leads nowhere.") from error
