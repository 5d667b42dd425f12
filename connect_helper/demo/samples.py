"""The files the demo starts with: enough kinds and sizes to try everything on, 100 MB in all."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1024 * 1024

_WELCOME = """\
This file came from the demo's SSH server.

The page asked connect-helper for it, connect-helper fetched it over SSH and checked its length,
and only then gave it its name in your download folder.

Try next: the folder "Photos" (many small files), "Film rushes" (a few large ones), and stopping a
transfer half-way, then resuming it.
"""

_ROWS = 20_000


def fill_server(folder: Path) -> None:
    """Write what the demo's server offers. Takes about a second; call it off the event loop."""
    (folder / "Read me first.txt").write_text(_WELCOME, encoding="utf-8")
    (folder / "Survey – Ærø 2026.csv").write_text(_survey(), encoding="utf-8")
    rushes = folder / "Film rushes"
    rushes.mkdir()
    for scene in range(1, 4):
        _write_random(rushes / f"Scene {scene}, take 1.mov", 24 * MIB)
    photos = folder / "Photos"
    for day in ("Monday", "Tuesday"):
        (photos / day).mkdir(parents=True)
        for number in range(1, 61):
            _write_random(photos / day / f"IMG_{number:04}.jpg", 64 * 1024 + number * 512)
    (folder / "Inbox").mkdir()


def fill_uploads(folder: Path) -> None:
    """Write files to send, for a machine that has none of its own at hand."""
    (folder / "Letter.txt").write_text("A letter to the other side.\n", encoding="utf-8")
    _write_random(folder / "Recording.wav", 16 * MIB)
    album = folder / "Album"
    album.mkdir()
    for number in range(1, 13):
        _write_random(album / f"Track {number:02}.flac", MIB // 2)


def _survey() -> str:
    rows = [f"{row},station-{row % 40:02},{(row * 7919) % 1000 / 10:.1f}" for row in range(1, _ROWS + 1)]
    return "\n".join(["row,station,value", *rows, ""])


def _write_random(path: Path, size: int) -> None:
    """Random content: neither compression nor sparse files can make the demo look faster than it is."""
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
