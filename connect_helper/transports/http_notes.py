"""Remembers under which address a server keeps an unfinished upload, so that a later session finds it.

One small private file for each, named by a hash of server and path. It holds no secret: the address opens
nothing without a token. What the server has long forgotten is swept.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Final

from connect_helper.settings import write_private

FOLDER: Final = "http"
KEPT_S: Final = 14 * 86_400.0  # servers forget unfinished uploads sooner
LIMIT: Final = 4096  # characters


class UploadNotes:
    """Notes of uploads to one server. All methods block."""

    def __init__(self, resume_folder: Path, server: str) -> None:
        self._folder = resume_folder / FOLDER
        self._server = server.encode()

    def _path(self, name: bytes) -> Path:
        return self._folder / hashlib.sha256(self._server + b"\0" + name).hexdigest()

    def put(self, name: bytes, upload: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._path(name), upload)

    def get(self, name: bytes) -> str | None:
        try:
            text = self._path(name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
        return text if text.startswith("/") and len(text) < LIMIT and text.isprintable() else None

    def drop(self, name: bytes) -> None:
        self._path(name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Forget what is too old to be of use."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if path.lstat().st_mtime < time.time() - KEPT_S:
                path.unlink(missing_ok=True)
