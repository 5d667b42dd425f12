"""Looking into folders for the picker page: entries, the way there, and places to start from.

Everything here touches the disk and belongs in a thread. JSON comes as parallel arrays, because a folder
may hold 50,000 entries.
"""

from __future__ import annotations

import os
import stat
import string
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from connect_helper.errors import InvalidRequest, NotFound, Refused, UnsafeName
from connect_helper.spec.names import NAME_LIMIT, display, safe_component

HIDDEN: Final = 1
LINK: Final = 2
UNREADABLE: Final = 4
ENTRY_LIMIT: Final = 500_000
_SHOWN_LIMIT: Final = 2_000  # characters of a name as shown; the page cuts it to the width of its column
_WINDOWS_HIDDEN: Final = getattr(stat, "FILE_ATTRIBUTE_HIDDEN", 2)
_VOLUME_FOLDERS: Final = ("/media", "/mnt", "/run/media", "/Volumes")


@dataclass(slots=True)
class Listing:
    """One folder. The lists run side by side, in the order of the disk; the page sorts."""

    path: str  # absolute, as asked for: links in it are not resolved
    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # "d" folder, "f" file, "o" device, pipe or broken link
    sizes: list[int] = field(default_factory=list)  # bytes; 0 for what is no file
    times: list[int] = field(default_factory=list)  # last change, seconds since the epoch
    flags: list[int] = field(default_factory=list)  # HIDDEN + LINK + UNREADABLE
    shown: dict[int, str] = field(default_factory=dict)  # names that must not be shown as they are, by index
    writable: bool = False  # something can be made in it
    cut: bool = False  # more than ENTRY_LIMIT entries

    def as_json(self) -> dict[str, Any]:
        """`{path, shown_path, parent, crumbs: [[name, path]], names, kinds, sizes, ...}`."""
        steps = crumbs(self.path)
        return {
            "path": self.path,
            "shown_path": display(self.path, limit=_SHOWN_LIMIT),
            "parent": steps[-2][1] if len(steps) > 1 else None,
            "crumbs": steps,
            "names": self.names,
            "kinds": "".join(self.kinds),
            "sizes": self.sizes,
            "times": self.times,
            "flags": self.flags,
            "shown": {str(index): text for index, text in self.shown.items()},
            "writable": self.writable,
            "cut": self.cut,
        }


def list_folder(path: str) -> Listing:
    """Read one folder.

    Raises NotFound, Refused (no permission) or InvalidRequest, each with a sentence for the user.
    """
    listing = Listing(os.path.normpath(full_path(path)))
    try:
        with os.scandir(listing.path) as entries:
            for entry in entries:
                if len(listing.names) >= ENTRY_LIMIT:
                    listing.cut = True
                    break
                _add(listing, entry)
    except OSError as error:
        raise _explained(error, listing.path) from error
    listing.writable = os.access(listing.path, os.W_OK | os.X_OK)
    return listing


def full_path(path: str) -> str:
    """Return `path`; raises InvalidRequest when the system cannot take it for an absolute path."""
    try:
        usable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        usable = False
    if not usable or not Path(path).is_absolute():
        raise InvalidRequest("A full path is needed.", field="path")
    return path


def _explained(error: OSError, path: str) -> NotFound | Refused | InvalidRequest:
    shown = display(path)
    if isinstance(error, FileNotFoundError):
        return NotFound(f"The folder {shown} is not there any more.")
    if isinstance(error, PermissionError):
        return Refused(f"You do not have permission to open {shown}.")
    if isinstance(error, NotADirectoryError):
        return InvalidRequest(f"{shown} is not a folder.", field="path")
    return InvalidRequest(f"{shown} cannot be opened: {error.strerror or 'unknown reason'}.", field="path")


def _add(listing: Listing, entry: os.DirEntry[str]) -> None:
    link = entry.is_symlink()
    try:
        facts = entry.stat()
    except OSError:  # a link to nowhere, or an entry that just went away
        facts = None
    kind = _kind(facts)
    hidden = entry.name.startswith(".") or bool(
        facts and getattr(facts, "st_file_attributes", 0) & _WINDOWS_HIDDEN
    )
    unreadable = facts is not None and kind != "o" and not _readable(entry, facts)
    if not (entry.name.isascii() and entry.name.isprintable()):  # plain names are nearly all of 50,000
        shown = display(entry.name, limit=_SHOWN_LIMIT)
        if shown != entry.name:
            listing.shown[len(listing.names)] = shown
    listing.names.append(entry.name)
    listing.kinds.append(kind)
    listing.sizes.append(facts.st_size if facts and kind == "f" else 0)
    listing.times.append(int(facts.st_mtime) if facts else 0)
    listing.flags.append(HIDDEN * hidden + LINK * link + UNREADABLE * unreadable)


def _kind(facts: os.stat_result | None) -> str:
    if facts is None:
        return "o"
    if stat.S_ISDIR(facts.st_mode):
        return "d"
    return "f" if stat.S_ISREG(facts.st_mode) else "o"


def _readable(entry: os.DirEntry[str], facts: os.stat_result) -> bool:
    """Asked of the system only where the mode does not let everybody read: a call for each of 50,000."""
    wanted = 0o005 if stat.S_ISDIR(facts.st_mode) else 0o004
    if os.name == "nt" or facts.st_mode & wanted == wanted:
        return True
    return os.access(entry.path, os.R_OK | os.X_OK if wanted == 0o005 else os.R_OK)


def crumbs(path: str) -> list[tuple[str, str]]:
    """The way from the root to `path`: names as shown, and the path of each."""
    whole = Path(path)
    steps = [*reversed(whole.parents), whole]
    return [(display(step.name or step.anchor, limit=_SHOWN_LIMIT), os.fspath(step)) for step in steps]


def make_folder(parent: str, name: str) -> str:
    """Make a folder and return its path.

    Raises InvalidRequest with a sentence for the name field, or what `list_folder` raises for `parent`.
    """
    full_path(parent)
    check_name(name)
    made = os.path.join(parent, name)  # noqa: PTH118
    try:
        os.mkdir(made)  # noqa: PTH102
    except FileExistsError:
        raise InvalidRequest(
            f"There already is something named {display(name)} here.", field="name"
        ) from None
    except OSError as error:
        raise _explained(error, parent) from error
    return made


def check_name(name: str) -> None:
    """Raise InvalidRequest, for the name field, unless `name` can only be one entry of one folder."""
    if not name.strip():
        raise InvalidRequest("Type a name.", field="name")
    try:
        safe_component(os.fsencode(name))
    except (UnicodeEncodeError, UnsafeName) as error:
        raise InvalidRequest(
            "That name cannot be used: no slashes or backslashes, not . or .., "
            f"at most {NAME_LIMIT} bytes. Type another.",
            field="name",
        ) from error


def places(recent: Iterable[str]) -> list[dict[str, str]]:
    """Where to start from: `{kind, name, path}`, each folder once and only if it exists.

    `kind` is home, desktop, documents, downloads, recent or drive, and picks the icon.
    """
    home = os.fspath(Path.home())
    wanted = [
        ("home", "Home", home),
        ("desktop", "Desktop", platformdirs.user_desktop_dir()),
        ("documents", "Documents", platformdirs.user_documents_dir()),
        ("downloads", "Downloads", platformdirs.user_downloads_dir()),
        *(("recent", _last_name(path), path) for path in recent),
        *(("drive", name, path) for name, path in _volumes()),
    ]
    seen: set[str] = set()
    found = []
    for kind, name, path in wanted:
        if path not in seen and os.path.isdir(path):  # noqa: PTH112
            seen.add(path)
            found.append({"kind": kind, "name": name, "path": path})
    return found


def _last_name(path: str) -> str:
    return display(os.path.basename(path) or path)  # noqa: PTH119


def _volumes() -> list[tuple[str, str]]:
    """The roots of this machine's disks: drive letters, or "/" and what is mounted for users."""
    if sys.platform == "win32":
        return [(f"{letter}:", f"{letter}:\\") for letter in string.ascii_uppercase]
    mounted = [
        path
        for folder in _VOLUME_FOLDERS
        for path in (*_below(folder), *(deeper for user in _below(folder) for deeper in _below(user)))
        if os.path.ismount(path)
    ]
    return [("Computer", "/"), *((_last_name(path), path) for path in mounted)]


def _below(folder: str) -> list[str]:
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))  # noqa: PTH118, PTH208
    except OSError:
        return []
