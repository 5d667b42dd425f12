"""The drag pasteboard by PyObjC, which the extra `macos` installs."""

from __future__ import annotations

from collections.abc import Sequence

from AppKit import NSEvent, NSPasteboard, NSPasteboardNameDrag, NSPasteboardURLReadingFileURLsOnlyKey
from Foundation import NSURL


class MacBoard:
    """A DragBoard. NSPasteboard may be asked from any thread, and so may the state of the mouse."""

    def __init__(self) -> None:
        self._board = NSPasteboard.pasteboardWithName_(NSPasteboardNameDrag)

    def count(self) -> int:
        return int(self._board.changeCount())

    def types(self) -> Sequence[str]:
        return [str(kind) for kind in self._board.types() or ()]

    def paths(self) -> Sequence[str]:
        """See `DragBoard.paths`. The Finder drags references by number (file:///.file/id=...)."""
        only_files = {NSPasteboardURLReadingFileURLsOnlyKey: True}
        addresses = self._board.readObjectsForClasses_options_([NSURL], only_files) or ()
        named = (address.filePathURL() for address in addresses)
        return [str(address.path()) for address in named if address is not None]

    def is_button_down(self) -> bool:
        return bool(NSEvent.pressedMouseButtons())
