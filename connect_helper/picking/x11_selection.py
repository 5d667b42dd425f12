"""Reading what the owner of an X11 selection offers, at once or in pieces (ICCCM 2.4 and 2.7.2)."""

from __future__ import annotations

from typing import Any, Final

from Xlib import X
from Xlib.display import Display
from Xlib.protocol.rq import Event

LIMIT: Final = 4 * 1024 * 1024  # bytes of one answer; who offers more is not read


class SelectionReader:
    """Asks for a selection in one form and puts the answer together from the events that bring it.

    One question at a time: a new one forgets the one before.
    """

    def __init__(self, display: Display, selection: int, form: str) -> None:
        self._selection = selection
        self._form = display.intern_atom(form)
        self._property = display.intern_atom("CONNECT_HELPER_SELECTION")
        self._in_pieces = display.intern_atom("INCR")
        self._window = display.screen().root.create_window(
            0, 0, 1, 1, 0, X.CopyFromParent, X.InputOnly, event_mask=X.PropertyChangeMask
        )
        self._asked_at: int | None = None
        self._pieces: bytearray | None = None

    def ask(self, moment: int) -> None:
        """Ask whoever has owned the selection since `moment`, a time of the X server."""
        self._asked_at, self._pieces = moment, None
        self._window.delete_property(self._property)
        self._window.convert_selection(self._selection, self._form, self._property, moment)

    def take(self, event: Event) -> bytes | None:
        """The whole answer once `event` completes it, b"" when there is none, else None."""
        if self._asked_at is None:
            return None
        if event.type == X.SelectionNotify and event.selection == self._selection:
            return self._begin(event) if event.time == self._asked_at else None
        more = event.type == X.PropertyNotify and event.state == X.PropertyNewValue
        if more and self._pieces is not None and event.atom == self._property:
            return self._go_on(self._pieces)
        return None

    def _begin(self, event: Event) -> bytes | None:
        if event.property == X.NONE:
            return self._end(b"")
        answer = self._window.get_property(self._property, X.AnyPropertyType, 0, LIMIT // 4)
        in_pieces = answer is not None and answer.property_type == self._in_pieces
        if in_pieces:
            self._pieces = bytearray()
        self._window.delete_property(self._property)  # which also asks for the first piece
        return None if in_pieces else self._end(_content(answer))

    def _go_on(self, pieces: bytearray) -> bytes | None:
        answer = self._window.get_property(self._property, X.AnyPropertyType, 0, LIMIT // 4)
        self._window.delete_property(self._property)
        piece = _content(answer)
        pieces += piece
        if len(pieces) > LIMIT:
            return self._end(b"")
        return None if piece else self._end(bytes(pieces))

    def _end(self, answer: bytes) -> bytes:
        self._asked_at, self._pieces = None, None
        return answer


def _content(answer: Any) -> bytes:
    """The bytes of a property; b"" when it is missing, too long or no text."""
    usable = answer is not None and answer.format == 8 and not answer.bytes_after
    return bytes(answer.value) if usable else b""
