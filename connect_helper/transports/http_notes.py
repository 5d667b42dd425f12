"""Remembers under which addresses a server keeps an unfinished upload, so that a later session finds it.

One small private file for each, named by a hash of server and path and one of the transfer:

    {"parts": [{"address": "/...", "start": 0, "length": 0}, ...]}

Another transfer may go on with an upload, if the server knows it under its token: several accounts may send
to one path of one server, each to a folder of its own, and nobody can tell from a token whose it is. So what
a server does not know is forgotten only for the transfer that noted it. Earlier versions named no transfer.

It holds no secret: the addresses open nothing without a token. What the server has long forgotten is swept.
A disk that takes no notes fails no file: what was not noted is sent again by a later session.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from connect_helper.settings import write_private
from connect_helper.transports.http_upload import PARTS_LIMIT, UploadPart

_log = logging.getLogger(__name__)

FOLDER: Final = "http"
KEPT_S: Final = 14 * 86_400.0  # servers forget unfinished uploads sooner
LIMIT: Final = 4096  # characters of an address


@dataclass(frozen=True, slots=True)
class Noted:
    """One upload as it was noted: its parts by their place in the file, and by which transfer."""

    path: Path
    parts: list[UploadPart]
    by: Literal["own", "other", "unknown"]


class UploadNotes:
    """Notes of uploads to one server, as one transfer sees them. All methods block."""

    def __init__(self, resume_folder: Path, server: str, transfer_id: str = "") -> None:
        self._folder = resume_folder / FOLDER
        self._server = server.encode()
        # The id may come from a page: it is no file name.
        transfer = transfer_id.encode("utf-8", "surrogatepass")
        self._suffix = "-" + hashlib.blake2b(transfer, digest_size=16).hexdigest()

    def _stem(self, name: bytes) -> str:
        return hashlib.sha256(self._server + b"\0" + name).hexdigest()

    def _path(self, name: bytes) -> Path:
        return self._folder / (self._stem(name) + self._suffix)

    def put(self, name: bytes, parts: Iterable[UploadPart]) -> None:
        told = [{"address": part.address, "start": part.start, "length": part.length} for part in parts]
        with _logged("an unfinished upload cannot be noted"):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._path(name), json.dumps({"parts": told}))

    def get(self, name: bytes) -> list[UploadPart]:
        """The parts this transfer noted, by their place in the file; none where nothing usable was noted."""
        return _parts(self._path(name))

    def all(self, name: bytes) -> list[Noted]:
        """What any transfer noted of a name, this one first."""
        own, stem = self._path(name), self._stem(name)
        there = [entry for entry in self._listed() if entry.startswith(stem) and entry != own.name]
        found = [Noted(own, _parts(own), "own")]
        for entry in sorted(there):
            path = self._folder / entry
            found.append(Noted(path, _parts(path), "unknown" if entry == stem else "other"))
        return [one for one in found if one.parts]

    def _listed(self) -> list[str]:
        try:
            return os.listdir(self._folder)  # noqa: PTH208 - as text, since it is done for each file
        except OSError:
            return []

    def take(self, name: bytes, noted: Noted) -> None:
        """Make what another transfer noted this one's."""
        with _logged("an unfinished upload cannot be noted"):
            noted.path.replace(self._path(name))

    def drop(self, name: bytes) -> None:
        with _logged("the note of an upload cannot be removed"):
            self._path(name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Forget what is too old to be of use. Others may remove theirs meanwhile."""
        with _logged("old notes of uploads cannot be swept"):
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                with suppress(FileNotFoundError):
                    if path.lstat().st_mtime < time.time() - KEPT_S:
                        path.unlink()


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.warning("%s: %s", what, error)


def _parts(path: Path) -> list[UploadPart]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["parts"]
        parts = sorted((_part(one) for one in told), key=lambda part: part.start)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    apart = all(one.end <= other.start for one, other in pairwise(parts))
    return parts if apart and len(parts) <= PARTS_LIMIT else []


def _part(told: dict[str, Any]) -> UploadPart:
    address, start, length = told["address"], told["start"], told["length"]
    usable = isinstance(address, str) and address.startswith("/") and address.isprintable()
    if not usable or len(address) > LIMIT or type(start) is not int or type(length) is not int:
        raise ValueError("no part")
    if start < 0 or length < 0:
        raise ValueError("no part")
    return UploadPart(address, start, length)
