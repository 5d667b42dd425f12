"""Folders no page may be given whole, even by a user who clicks "Open" without reading."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

Parts = tuple[str, ...]

# Below the home folder: keys, passwords, keychains and the profiles of browsers, on any platform.
_SECRETS: Final = (
    *(".ssh", ".gnupg", ".pki", ".aws", ".azure", ".kube", ".docker", ".password-store"),
    *(".config/gcloud", ".local/share/keyrings", ".local/share/kwalletd"),
    *(".mozilla", ".thunderbird", ".config/google-chrome", ".config/google-chrome-beta", ".config/chromium"),
    *(".config/microsoft-edge", ".config/BraveSoftware", ".config/vivaldi", ".config/opera"),
    *("snap/firefox", "snap/chromium", ".var/app/org.mozilla.firefox", ".var/app/com.google.Chrome"),
    *("Library/Keychains", "Library/Cookies", "Library/Safari", "Library/Application Support/Firefox"),
    *("Library/Application Support/Google/Chrome", "Library/Application Support/Chromium"),
    *("Library/Application Support/Microsoft Edge", "Library/Application Support/BraveSoftware"),
    *("AppData/Local/Google/Chrome", "AppData/Local/Chromium", "AppData/Local/Microsoft/Edge"),
    *("AppData/Local/BraveSoftware", "AppData/Roaming/Mozilla", "AppData/Local/Mozilla"),
    *("AppData/Roaming/Microsoft/Credentials", "AppData/Local/Microsoft/Credentials"),
    *("AppData/Roaming/Microsoft/Protect", "AppData/Local/Microsoft/Vault"),
)
# What belongs to the system; endless files, other people's mail and databases, keys of services. A home
# folder below one of these, as some services and image-based systems have it, is not meant.
_SYSTEM: Final = (
    *("/proc", "/sys", "/dev", "/etc", "/boot", "/root", "/private/etc"),
    *("/var/lib", "/var/log", "/var/spool", "/var/mail", "/var/cache", "/var/db", "/var/backups"),
    *("/var/run", "/var/lock", "/var/roothome", "/private/var/db", "/private/var/log", "/private/var/root"),
)
# Of these, the folder alone: disks are mounted and temporary files kept below them.
_SYSTEM_TOPS: Final = ("/run", "/run/media", "/var", "/private", "/private/var")
# Below /run, but not the system's: disks, and within an account's own folder what the desktop mounts there.
_MOUNTS_BELOW_RUN: Final = ("media", "mount")
_MOUNTS_OF_ACCOUNT: Final = ("gvfs", "doc")  # /run/user/1000/gvfs
_SYSTEM_OF_WINDOWS: Final = ("Windows", "Program Files", "Program Files (x86)", "ProgramData")
_ROOT_OF_WINDOWS: Final = re.compile(r"[A-Za-z]:[\\/]*|\\\\[?.]\\[^\\]*\\?|\\\\[^\\]+\\?")


def refused_folder(path: str, *, home: str, own: Iterable[str], windows: bool) -> str | None:
    """Return why the folder `path` may not be granted whole, in words for the user; None if it may.

    `path`, `home` and `own` (this program's own folders) are absolute, links resolved. Upper and lower case
    are not told apart: many file systems do not, and the others lose nothing by it. A folder above one that
    is refused is refused as well, for it would be given with everything below it.
    """
    parts, at_home = _parts(path, windows), _parts(home, windows)
    if not parts or (windows and _ROOT_OF_WINDOWS.fullmatch(path)):
        return "This is a whole disk. Choose a folder inside of it."
    if _is_inside(at_home, parts):
        return "This folder holds everything of yours. Choose a folder inside of it."
    secrets = [at_home + _parts(secret, windows) for secret in _SECRETS]
    if any(_is_inside(parts, secret) for secret in secrets):
        return "This folder holds keys or passwords. Choose another one."
    if any(_is_inside(secret, parts) for secret in secrets):
        return "This folder holds keys or passwords. Choose a folder inside of it."
    mine = [_parts(folder, windows) for folder in own]
    if any(_is_inside(parts, folder) for folder in mine):
        return "This folder belongs to this program. Choose another one."
    if any(_is_inside(folder, parts) for folder in mine):
        return "This folder holds files of this program. Choose a folder inside of it."
    if not _is_inside(parts, at_home) and _is_of_the_system(parts, windows):
        return "This folder belongs to the system. Choose another one."
    return None


def _is_of_the_system(parts: Parts, windows: bool) -> bool:
    if windows:
        tops = {name.casefold() for name in _SYSTEM_OF_WINDOWS}
        return len(parts) > 1 and parts[0].endswith(":") and parts[1] in tops
    if any(parts == _parts(folder, windows) for folder in _SYSTEM_TOPS):
        return True
    if parts[0] == "run":
        of_account = parts[1] == "user" and len(parts) > 3 and parts[3] in _MOUNTS_OF_ACCOUNT
        return parts[1] not in _MOUNTS_BELOW_RUN and not of_account
    return any(_is_inside(parts, _parts(folder, windows)) for folder in _SYSTEM)


def _parts(path: str, windows: bool) -> Parts:
    if windows:
        path = path.replace("\\", "/").removeprefix("//?/")
    return tuple(part.casefold() for part in path.split("/") if part)


def _is_inside(parts: Parts, folder: Parts) -> bool:
    return parts[: len(folder)] == folder
