"""Which requests about paths must wait for which: those that touch the same place, in the order they came.

A client may send REMOVE, RENAME and STAT without waiting for answers and expects what a server would do that
takes one after the other. So a request waits for every earlier one whose paths lie on, above or below its
own, when one of the two changes something; all others run side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from connect_helper.storage.docpath import DocPath, covers


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A request that is not answered yet."""

    paths: tuple[DocPath, ...]
    changes: bool
    over: asyncio.Future[None]


class Order:
    """The requests of one session that are under way."""

    def __init__(self) -> None:
        self._turns: dict[Turn, None] = {}

    def enter(self, paths: Sequence[DocPath], *, changes: bool) -> tuple[Turn, list[asyncio.Future[None]]]:
        """A turn, to be left with `leave`, and what must be over before it."""
        turn = Turn(tuple(paths), changes, asyncio.get_running_loop().create_future())
        before = [other.over for other in self._turns if _meet(turn, other)]
        self._turns[turn] = None
        return turn, before

    def leave(self, turn: Turn) -> None:
        """The request is answered."""
        self._turns.pop(turn, None)
        if not turn.over.done():
            turn.over.set_result(None)

    @staticmethod
    async def wait(before: list[asyncio.Future[None]]) -> None:
        """Wait until all of `before` are over."""
        if before:
            await asyncio.wait(before)


def _meet(one: Turn, other: Turn) -> bool:
    if not (one.changes or other.changes):
        return False
    return any(covers(a, b) or covers(b, a) for a in one.paths for b in other.paths)
