"""Which program an X11 window belongs to, and which one is below the pointer.

A window's own word (_NET_WM_PID) proves nothing; the X server itself knows which process is connected
(X-Resource 1.2).
"""

from __future__ import annotations

from typing import Any, Final

from Xlib import X
from Xlib.display import Display
from Xlib.error import XError

from connect_helper.picking.processes import program_file

_LOCAL_PROCESS: Final = 2  # of the ids a client has, its process id
_BUTTONS: Final = X.Button1Mask | X.Button2Mask | X.Button3Mask
_DEPTH: Final = 32  # windows in windows


class Programs:
    """Answers for one display. Blocks until the X server has answered."""

    def __init__(self, display: Display) -> None:
        self._display: Any = display  # extensions add methods that no type knows
        self._root = display.screen().root
        self._told = display.has_extension("X-Resource")

    def of_window(self, window: int) -> str:
        """The program file of the window's owner; "" for one of another machine, or one just closed."""
        pid = self._pid(window)
        return program_file(pid) if pid else ""

    def pointer(self) -> tuple[int, int, bool]:
        """Where the pointer is, and whether a mouse button is down."""
        seen = self._root.query_pointer()
        return seen.root_x, seen.root_y, bool(seen.mask & _BUTTONS)

    def at(self, x: int, y: int, *, dragging: int) -> str:
        """The program whose window is at this place, not counting the icon that `dragging` draws."""
        try:
            window = self._top_window(x, y, self._pid(dragging))
            for _ in range(_DEPTH):
                child = self._child(window, x, y)
                if child is None:
                    break
                window = child
            return self.of_window(window.id)
        except XError:  # a window that just went away
            return ""

    def _top_window(self, x: int, y: int, dragging: int) -> Any:
        top = self._child(self._root, x, y)
        if top is None or not self._is_icon(top, dragging):
            return top if top is not None else self._root
        for window in reversed(self._root.query_tree().children):
            facts, shape = window.get_attributes(), window.get_geometry()
            inside = shape.x <= x < shape.x + shape.width and shape.y <= y < shape.y + shape.height
            if facts.map_state == X.IsViewable and inside and not self._is_icon(window, dragging):
                return window
        return self._root

    def _is_icon(self, window: Any, dragging: int) -> bool:
        return bool(window.get_attributes().override_redirect) and self._pid(window.id) == dragging

    def _child(self, window: Any, x: int, y: int) -> Any:
        child = window.translate_coords(self._root, x, y).child
        return None if child in (X.NONE, None) or isinstance(child, int) else child

    def _pid(self, window: int) -> int:
        if not self._told:
            return 0
        try:
            reply = self._display.res_query_client_ids([{"client": window, "mask": _LOCAL_PROCESS}])
        except XError:
            return 0
        return next((int(entry.value[0]) for entry in reply.ids if len(entry.value)), 0)
