"""The watch over macOS's drag pasteboard, on a pasteboard and a PyObjC that only look like the real ones."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest

from connect_helper.picking.drags import NoDragWatch
from connect_helper.picking.macos_drags import PasteboardWatch
from connect_helper.picking.native import find_drag_watch


@dataclass
class Board:
    """A pasteboard with what the test put there; it still holds the drag before."""

    changes: int = 7
    held: list[str] = field(default_factory=lambda: ["/before"])
    kinds: list[str] = field(default_factory=lambda: ["public.file-url"])
    down: bool = False
    counted: int = 0

    def count(self) -> int:
        self.counted += 1
        return self.changes

    def types(self) -> Sequence[str]:
        return self.kinds

    def paths(self) -> Sequence[str]:
        return self.held

    def is_button_down(self) -> bool:
        return self.down

    def drag(self, *paths: str, kinds: Sequence[str] = ("public.file-url",)) -> None:
        self.held, self.kinds, self.down = list(paths), list(kinds), True
        self.changes += 1

    async def looked_at(self, times: int = 2) -> None:
        """Wait until the watch has looked so many times more."""
        goal = self.counted + times
        for _ in range(3_000):
            if self.counted >= goal:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("The pasteboard is not looked at.")


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
async def watch(board: Board) -> AsyncIterator[PasteboardWatch]:
    watch = PasteboardWatch(board)
    assert await watch.start()
    await board.looked_at()
    yield watch
    await watch.close()
    assert watch.recent() == ()


async def test_a_drag_counts_once_the_button_is_let_go(board: Board, watch: PasteboardWatch) -> None:
    assert watch.recent() == ()  # the drag before is none of ours
    board.drag("/Users/ann/a b.txt", "/Users/ann/c")
    await asyncio.sleep(0.3)
    assert watch.recent() == ()
    board.down = False
    await board.looked_at()
    (drag,) = watch.recent()
    assert drag.paths == ("/Users/ann/a b.txt", "/Users/ann/c")
    assert (drag.source, drag.target) == (None, None)


async def test_every_drag_is_another(board: Board, watch: PasteboardWatch) -> None:
    for _ in range(2):
        board.drag("/a")
        board.down = False
        await board.looked_at()
    first, second = watch.recent()
    assert first.id != second.id


@pytest.mark.parametrize(
    "kind",
    [
        "org.chromium.web-custom-data",
        "org.mozilla.custom-clipdata",
        "com.apple.WebKit.custom-pasteboard-data",
    ],
)
async def test_sec_12_a_drag_out_of_a_page_proves_nothing(
    board: Board, watch: PasteboardWatch, kind: str
) -> None:
    board.drag("/Users/ann/.ssh/id_ed25519", kinds=["public.file-url", kind])
    board.down = False
    await board.looked_at()
    assert watch.recent() == ()


class Url:
    """An NSURL of a file reference, or of nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def filePathURL(self) -> Url | None:  # noqa: N802 - Apple's name
        return self if self._path else None

    def path(self) -> str | None:
        return self._path


@pytest.fixture
def pasteboard(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Puts modules named like PyObjC's in place; what the drag pasteboard was asked is kept."""
    asked: dict[str, Any] = {}

    class NSPasteboard:
        @classmethod
        def pasteboardWithName_(cls, name: str) -> NSPasteboard:  # noqa: N802
            asked["name"] = name
            return cls()

        def changeCount(self) -> int:  # noqa: N802
            return 12

        def types(self) -> list[str] | None:
            return None

        def readObjectsForClasses_options_(self, kinds: list[type], options: Any) -> list[Url]:  # noqa: N802
            asked["kinds"], asked["options"] = kinds, options
            return [Url("/Users/ann/a"), Url(None)]

    class NSEvent:
        @staticmethod
        def pressedMouseButtons() -> int:  # noqa: N802
            return 1

    appkit: Any = types.ModuleType("AppKit")
    appkit.NSPasteboard, appkit.NSEvent = NSPasteboard, NSEvent
    appkit.NSPasteboardNameDrag = "Apple CFPasteboard drag"
    appkit.NSPasteboardURLReadingFileURLsOnlyKey = "only files"
    foundation: Any = types.ModuleType("Foundation")
    foundation.NSURL = Url
    monkeypatch.setitem(sys.modules, "AppKit", appkit)
    monkeypatch.setitem(sys.modules, "Foundation", foundation)
    monkeypatch.delitem(sys.modules, "connect_helper.picking.macos_board", raising=False)
    return asked


def test_the_drag_pasteboard_is_asked_for_files_only(pasteboard: dict[str, Any]) -> None:
    board = import_module("connect_helper.picking.macos_board").MacBoard()
    assert pasteboard["name"] == "Apple CFPasteboard drag"
    assert (board.count(), board.types(), board.paths()) == (12, [], ["/Users/ann/a"])
    assert pasteboard["kinds"] == [Url]
    assert pasteboard["options"] == {"only files": True}
    assert board.is_button_down()


def test_a_mac_with_the_extra_watches_and_one_without_does_not(
    pasteboard: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(find_drag_watch({}, platform="darwin"), PasteboardWatch)
    monkeypatch.setitem(sys.modules, "AppKit", None)
    monkeypatch.delitem(sys.modules, "connect_helper.picking.macos_board")
    assert isinstance(find_drag_watch({}, platform="darwin"), NoDragWatch)
