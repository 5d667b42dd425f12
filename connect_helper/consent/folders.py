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
_SYSTEM: Final = ("/proc", "/sys", "/dev")  # no files of the user's, and endless ones
_ROOT_OF_WINDOWS: Final = re.compile(r"[A-Za-z]:[\\/]*|\\\\[?.]\\[^\\]*\\?|\\\\[^\\]+\\?")


def refused_folder(path: str, *, home: str, own: Iterable[str], windows: bool) -> str | None:
    """Return why the folder `path` may not be granted whole, in words for the user; None if it may.

    `path`, `home` and `own` (this program's own folders) are absolute, links resolved. Upper and lower case
    are not told apart: many file systems do not, and the others lose nothing by it.
    """
    parts, at_home = _parts(path, windows), _parts(home, windows)
    if not parts or (windows and _ROOT_OF_WINDOWS.fullmatch(path)):
        return "This is a whole disk. Choose a folder inside of it."
    if at_home[: len(parts)] == parts:
        return "This folder holds everything of yours. Choose a folder inside of it."
    if any(_is_inside(parts, at_home + _parts(secret, windows)) for secret in _SECRETS):
        return "This folder holds keys or passwords. Choose another one."
    if any(_is_inside(parts, _parts(folder, windows)) for folder in own):
        return "This folder belongs to this program. Choose another one."
    if not windows and any(_is_inside(parts, _parts(folder, windows)) for folder in _SYSTEM):
        return "This folder belongs to the system. Choose another one."
    return None


def _parts(path: str, windows: bool) -> Parts:
    if windows:
        path = path.replace("\\", "/").removeprefix("//?/")
    return tuple(part.casefold() for part in path.split("/") if part)


def _is_inside(parts: Parts, folder: Parts) -> bool:
    return parts[: len(folder)] == folder
