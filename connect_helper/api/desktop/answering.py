"""From a call to its answer, whichever way it came. The outermost edge: every call is answered."""

from __future__ import annotations

from connect_helper.api.callers import Caller
from connect_helper.api.desktop.calls import Asked, DesktopParts, Streamed, Subscriber, bind
from connect_helper.api.desktop.messages import Call, NoSuchMethod, bug, failure, success
from connect_helper.api.desktop.table import METHODS
from connect_helper.api.gate import note_bug
from connect_helper.errors import ConnectHelperError


async def answer_call(
    parts: DesktopParts, caller: Caller, call: Call, subscriber: Subscriber | None = None
) -> str | Streamed:
    """The answer as JSON text, or what is to be sent while it is read."""
    try:
        method = METHODS.get(call.method)
        if method is None:
            raise NoSuchMethod(f"There is no method {call.method[:80]!r}.")
        result = await method.answer(Asked(parts, caller, bind(method, call.params), subscriber))
    except ConnectHelperError as error:
        return failure(call.id, error)
    except Exception as error:  # noqa: BLE001 - a bug of ours must still be an answer
        return bug(call.id, note_bug(error, f"method {call.method[:80]!r}"))
    return result if isinstance(result, Streamed) else success(call.id, result)
