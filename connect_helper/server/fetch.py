"""One answer over HTTP, or one open handle over SFTP, through which a client fetches a file or a part of it.

Whichever brings the last bytes that were missing has finished the file (`sent_files`): once, however many
connections carried parts of it. Where one breaks off, the last of those side by side tells whether the file
failed: clients drop connections they need no more, and fetch over others what one has lost. Belongs to the
event loop's thread.
"""

from __future__ import annotations

import os
from typing import Protocol

from connect_helper.server.sent_files import SentFile, SentFiles
from connect_helper.server.session_reports import Way
from connect_helper.server.set_rates import Transfer
from connect_helper.storage.docpath import DocPath


class Figures(Protocol):
    """What is told to the session."""

    @property
    def transfer(self) -> Transfer: ...

    def file_started(self, path: DocPath, way: Way, size: int | None = None) -> None: ...

    def file_finished(
        self, path: DocPath, way: Way, size: int, digest: str | None = None, error: str | None = None
    ) -> None: ...

    def file_left(self, path: DocPath, way: Way) -> None: ...

    def file_broke_off(self, path: DocPath, size: int, sent: SentFile) -> None: ...


class Fetch:
    """Say what is `handed` to the client, and then once how it ended."""

    def __init__(self, figures: Figures, sent: SentFiles, path: DocPath, facts: os.stat_result) -> None:
        """`facts` are those of the open file."""
        self._figures = figures
        self._sent = sent
        self._which = figures.transfer, path, facts
        self._path = path
        self._size = facts.st_size
        self._run: tuple[int, int] | None = None  # handed last, without a gap
        self._begun: SentFile | None = None  # as it was when that began
        self._mine: SentFile | None = None  # as it was at first
        self._whole = False
        figures.file_started(path, "out", self._size)

    def handed(self, start: int, end: int) -> None:
        """The bytes from `start` up to `end` are on their way; as many as none: they will be."""
        run = self._run
        if run is not None and run[1] == start:
            self._run = run[0], end
            return
        self._arrived()
        self._run = start, end
        self._begun = self._sent.of(*self._which)
        self._begun.asked(start)
        if self._mine is None:
            self._mine = self._begun
            self._mine.fetches += 1

    def finished(self) -> None:
        """The client has what it asked for."""
        self._arrived()
        self._tell()

    def broke_off(self) -> None:
        """The connection ended before: nobody knows what arrived of the last bytes."""
        if self._run is None or self._begun is None or self._whole or self._begun.whole:
            self._tell()  # nothing was asked, or others brought what is missing here
            return
        self._sent.of(*self._which).broke_off(*self._run)
        self._tell(lost=True)

    def failed(self, sentence: str) -> None:
        """The file could not be read."""
        self._is_last()
        self._figures.file_finished(self._path, "out", self._size, error=sentence)

    def _tell(self, *, lost: bool = False) -> None:
        failed = self._is_last(lost=lost)
        if self._whole:
            self._figures.file_finished(self._path, "out", self._size)
        elif failed:
            self._figures.file_broke_off(self._path, self._size, self._sent.of(*self._which))
        else:
            self._figures.file_left(self._path, "out")

    def _is_last(self, *, lost: bool = False) -> bool:
        """Tell whether one that broke off left the verdict to this, the last of those side by side."""
        mine = self._mine
        if mine is None:
            return False
        mine.fetches -= 1
        mine.lost = mine.lost or lost
        if mine.fetches:
            return False
        failed, mine.lost = mine.lost and not mine.whole, False
        return failed

    def _arrived(self) -> None:
        if self._run is None:
            return
        sent = self._sent.of(*self._which)
        sent.arrived(*self._run)
        self._run = None
        if sent.whole:
            self._whole = True
            self._sent.done(*self._which)
