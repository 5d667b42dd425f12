"""Remembers under which addresses a server keeps an unfinished upload, so that a later session finds it.

One small private file for each, named by a hash of server and path:

    {"parts": [{"address": "/...", "start": 0, "length": 0}, ...]}

It holds no secret: the addresses open nothing without a token. What the server has long forgotten is swept.
A disk that takes no notes fails no file: what was not noted is sent again by a later session.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from connect_helper.settings import write_private
from connect_helper.transports.http_upload import PARTS_LIMIT, UploadPart

_log = logging.getLogger(__name__)

FOLDER: Final = "http"
KEPT_S: Final = 14 * 86_400.0  # servers forget unfinished uploads sooner
LIMIT: Final = 4096  # characters of an address


class UploadNotes:
    """Notes of uploads to one server. All methods block."""

    def __init__(self, resume_folder: Path, server: str) -> None:
        self._folder = resume_folder / FOLDER
        self._server = server.encode()

    def _path(self, name: bytes) -> Path:
        return self._folder / hashlib.sha256(self._server + b"\0" + name).hexdigest()

    def put(self, name: bytes, parts: Iterable[UploadPart]) -> None:
        told = [{"address": part.address, "start": part.start, "length": part.length} for part in parts]
        with _logged("an unfinished upload cannot be noted"):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._path(name), json.dumps({"parts": told}))

    def get(self, name: bytes) -> list[UploadPart]:
        """The parts, by their place in the file; none where nothing usable was noted."""
        try:
            told = json.loads(self._path(name).read_text(encoding="utf-8"))["parts"]
            parts = sorted((_part(one) for one in told), key=lambda part: part.start)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []
        apart = all(one.end <= other.start for one, other in pairwise(parts))
        return parts if apart and len(parts) <= PARTS_LIMIT else []

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


def _part(told: dict[str, Any]) -> UploadPart:
    address, start, length = told["address"], told["start"], told["length"]
    usable = isinstance(address, str) and address.startswith("/") and address.isprintable()
    if not usable or len(address) > LIMIT or type(start) is not int or type(length) is not int:
        raise ValueError("no part")
    if start < 0 or length < 0:
        raise ValueError("no part")
    return UploadPart(address, start, length)
