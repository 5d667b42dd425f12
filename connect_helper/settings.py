"""Where the program keeps its things, and what the user prefers.

`Folders` is the only reader of the environment. `Preferences` are the user's choices, kept in one
JSON file that only the user can read; `PreferencesStore` loads, changes and watches over it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connect_helper.errors import InvalidRequest, Unavailable

APP_NAME = "connect-helper"
HOME_VARIABLE = "CONNECT_HELPER_HOME"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Folders:
    """The program's own folders; all are made 0700 and refused when another account owns them."""

    config: Path  # preferences.json
    state: Path  # journal, known_hosts, resume records
    run: Path  # http.uri, control.json, the instance lock
    logs: Path
    downloads: Path  # default download folder of the user; not ours, never chmodded

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Folders:
        """Below `CONNECT_HELPER_HOME` when it is set, else where the platform keeps such things."""
        home = environment.get(HOME_VARIABLE)
        if home:
            base = Path(home).expanduser().absolute()
            return cls(base / "config", base / "state", base / "run", base / "logs", base / "Downloads")
        dirs = platformdirs.PlatformDirs(APP_NAME, appauthor=False)
        state = dirs.user_state_path
        return cls(
            config=dirs.user_config_path,
            state=state,
            run=state / "run",
            logs=dirs.user_log_path,
            downloads=dirs.user_downloads_path,
        )

    def create(self) -> None:
        """Make the folders 0700.

        Raises Unavailable when one of them is a link, belongs to another account or cannot be made:
        a folder somebody else prepared must never receive our key file.
        """
        for folder in (self.config, self.state, self.run, self.logs):
            _make_private(folder)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.lstat()
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(facts.st_mode):
        raise Unavailable(f"{folder} is not a folder of its own (a link or file); remove it and start again.")
    if os.name == "posix":
        if facts.st_uid != os.getuid():
            raise Unavailable(f"The folder {folder} belongs to another account; remove it and start again.")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            folder.chmod(0o700)


def write_private(path: Path, text: str, *, errors: str = "strict") -> None:
    """Replace `path` by one rename with a file only the user can read (0600); `errors` as in `str.encode`.

    Raises OSError, which names `path` whatever step of it failed.
    """
    try:
        _replace_private(path, text, errors)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace_private(path: Path, text: str, errors: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors=errors) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Preferences(BaseModel):
    """What the user chose in the Preferences page. Rates in kbit/s, None means no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    download_folder: str = Field("", description="Where downloads go; empty: the system's download folder.")
    concurrent_transfers: int = Field(3, ge=1, le=20, description="Transfers that run at the same time.")
    upload_limit_kbps: int | None = Field(
        None, ge=8, le=100_000_000, description="Limit of all uploads together."
    )
    download_limit_kbps: int | None = Field(
        None, ge=8, le=100_000_000, description="Limit of all downloads together."
    )
    dialogs: Literal["auto", "native", "browser"] = Field(
        "auto", description="Where questions and file dialogs appear."
    )
    existing_files: Literal["replace", "ask", "keep_both"] = Field(
        "replace", description="What a download does when a file of that name exists."
    )
    free_space_mib: int | None = Field(
        None,
        ge=0,
        le=1_000_000_000,
        description="MiB that downloads leave free on a disk; None: one percent of it, at least 500.",
    )
    retry: bool = Field(True, description="Try again by itself after a lost connection.")
    retry_attempts: int = Field(10, ge=1, le=100, description="Tries without progress before giving up.")
    plain_http: bool = Field(False, description="Transfers over HTTP without encryption are allowed.")
    local_key_opens_paths: bool = Field(
        False, description="A local program that shows the key of http.uri may name files and folders."
    )
    certificates_file: str = Field(
        "", description="PEM file of certificates to trust for HTTPS transfers, beside the system's."
    )
    pinned_certificates: str = Field(
        "",
        max_length=16_384,
        description="HOST=FINGERPRINT (SHA-256), separated by spaces: the only certificate accepted there.",
    )
    reported_version: str = Field(
        "4.2.13.820", pattern=r"^\d+(\.\d+){1,3}$", description="Connect version that pages are told."
    )
    reported_desktop_version: str = Field(
        "1.0.20",
        pattern=r"^\d+(\.\d+){1,3}$",
        description="Version of IBM Aspera for desktop that pages are told.",
    )


class PreferencesStore:
    """Keeps the preferences on disk and tells listeners of changes (called on the event loop's thread)."""

    def __init__(self, folders: Folders) -> None:
        self._path = folders.config / "preferences.json"
        self._folders = folders
        self._listeners: list[Callable[[Preferences], None]] = []
        self.current = self._load()

    def _load(self) -> Preferences:
        try:
            found = Preferences.model_validate_json(self._path.read_text(encoding="utf-8"))
            parse_pins(found.pinned_certificates)
        except FileNotFoundError:
            return Preferences()
        except (OSError, ValueError, InvalidRequest) as error:
            raise Unavailable(
                f"The preferences in {self._path} cannot be read; mend or remove the file and start again.",
                internal_message=str(error),
            ) from error
        return found

    @property
    def download_folder(self) -> Path:
        """The folder downloads are relative to; it may not exist yet."""
        chosen = self.current.download_folder
        return Path(chosen).expanduser() if chosen else self._folders.downloads

    def on_change(self, listener: Callable[[Preferences], None]) -> None:
        self._listeners.append(listener)

    def change(self, changes: Mapping[str, Any]) -> Preferences:
        """Apply a partial change, keep it and tell the listeners.

        Raises InvalidRequest naming the first field that is unknown or out of range.
        """
        try:
            changed = Preferences.model_validate({**self.current.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(f"{field}: {first['msg']}.", field=field) from error
        folder = changed.download_folder
        if folder and not Path(folder).expanduser().is_absolute():
            raise InvalidRequest("download_folder: give a full path.", field="download_folder")
        if changed.certificates_file and not Path(changed.certificates_file).is_absolute():
            raise InvalidRequest("certificates_file: give a full path.", field="certificates_file")
        parse_pins(changed.pinned_certificates)
        write_private(self._path, json.dumps(changed.model_dump(), indent=2) + "\n")
        self.current = changed
        for listener in self._listeners:
            listener(changed)
        return changed


def parse_pins(text: str) -> dict[str, str]:
    """Read `pinned_certificates`: host in small letters -> SHA-256 of its certificate, in hex.

    Fingerprints may have colons and a "sha256:" before them, as programs show them. Raises InvalidRequest.
    """
    pins: dict[str, str] = {}
    for word in text.replace(",", " ").split():
        host, _, fingerprint = word.lower().partition("=")
        digits = fingerprint.removeprefix("sha256:").replace(":", "")
        if not host or _SHA256.fullmatch(digits) is None or pins.setdefault(host, digits) != digits:
            raise InvalidRequest(
                "Give HOST=FINGERPRINT for each server, with the 64 digits of the certificate's SHA-256"
                f" fingerprint; this is none, or a second one for its host: {word[:100]}",
                field="pinned_certificates",
            )
    return pins


def web_folder() -> Path:
    """The folder with our pages and scripts: inside the wheel, or beside the package in a checkout."""
    packaged = Path(__file__).parent / "web"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "web"
