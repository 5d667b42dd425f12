"""Folders that could not be made: each counts as a failed file only where nothing else tells of it."""

from __future__ import annotations

from collections.abc import Iterator

from connect_helper.errors import TransferError


class UnmadeFolders:
    """Keeps them to the end, for what was to go into one may fail before or after it does.

    Paths are those of the targets, all of one side.
    """

    def __init__(self) -> None:
        self._folders: list[tuple[str, TransferError]] = []
        self._told: set[str] = set()  # folders something failed in

    def add(self, path: str, error: TransferError) -> None:
        """A folder could not be made."""
        self._folders.append((path.rstrip("/"), error))

    def failed(self, path: str) -> None:
        """Something that was to be at `path` failed, and is told of."""
        self._told.add(path.rpartition("/")[0])

    def untold(self) -> Iterator[tuple[str, TransferError]]:
        """Those in which nothing failed, the deepest first; each is taken to be told of from then on."""
        for path, error in sorted(self._folders, key=lambda one: -one[0].count("/")):
            if path not in self._told:
                yield path, error
            self.failed(path)
