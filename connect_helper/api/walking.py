"""Listing what is below a granted folder. All functions block: run them in a thread.

One folder is read at a time, opened as the granted object and below it without following a link. Links,
devices and the like are not listed.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from connect_helper.errors import SourceMissing, TooLarge
from connect_helper.spec.names import display
from connect_helper.transports.error_map import local_error
from connect_helper.transports.local_files import Granted, open_below, open_granted

Kind = Literal["file", "directory"]

ENTRIES: Final = 10_000  # returned by one call
LOOKED_AT: Final = 200_000  # entries looked at by one call
TOO_MUCH: Final = "The folder holds too much; ask for a folder below, or with a depth."


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """Something below the folder."""

    relative_path: str  # "/" as separator on every system; undecodable bytes as lone surrogates
    kind: Kind
    size: int  # bytes; 0 for a folder
    mtime_ns: int

    @property
    def name(self) -> str:
        return self.relative_path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are to be listed."""

    kind: Kind | None  # None: both
    pattern: re.Pattern[str] | None  # on the bare name
    hidden: bool  # names that begin with a dot too; else nothing below such a folder either

    @classmethod
    def reading(cls, kind: Kind | None, glob: str | None, *, hidden: bool) -> Wanted:
        """`glob` as shells know it: "*", "?" and "[...]", upper and lower case told apart."""
        return cls(kind, re.compile(fnmatch.translate(glob)) if glob else None, hidden)

    def takes(self, entry: FolderEntry) -> bool:
        return self.kind in (None, entry.kind) and (
            self.pattern is None or self.pattern.match(entry.name) is not None
        )


def list_folder(granted: Granted, below: Sequence[str], above: str, wanted: Wanted) -> list[FolderEntry]:
    """Everything directly in the folder `below` the granted one that may be seen, by name.

    `above` is put before the names. Raises SourceMissing, SourceDenied, SourceChanged, LinkSkipped; TooLarge
    for a folder with more entries than one call looks at.
    """
    names = [os.fsencode(name) for name in below]
    path = b"/".join((granted.path.rstrip(b"/"), *names))
    top = open_granted(granted, "source")
    try:
        folder = open_below(top, names, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise local_error(error, "source", path) from error
    finally:
        os.close(top)
    try:
        with os.scandir(folder) as entries:
            listed = list(islice(entries, LOOKED_AT + 1))
            if len(listed) > LOOKED_AT:
                raise TooLarge(TOO_MUCH)
            seen = [_entry(one, above) for one in listed if wanted.hidden or not one.name.startswith(".")]
    except NotADirectoryError:
        raise SourceMissing(f"{display(path)} is no folder.") from None
    except OSError as error:
        raise local_error(error, "source", path) from error
    finally:
        os.close(folder)
    return sorted((one for one in seen if one is not None), key=lambda one: one.relative_path)


def _entry(entry: os.DirEntry[str], above: str) -> FolderEntry | None:
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError:  # gone meanwhile
        return None
    path = f"{above}{entry.name}"
    if stat.S_ISDIR(facts.st_mode):
        return FolderEntry(path, "directory", 0, facts.st_mtime_ns)
    if stat.S_ISREG(facts.st_mode):
        return FolderEntry(path, "file", facts.st_size, facts.st_mtime_ns)
    return None
