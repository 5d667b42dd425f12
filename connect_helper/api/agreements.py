"""What a transfer may change beside its targets, once the user has agreed (L5): sources, and surplus files.

Nothing of it is needed for the transfer: refused, or with nobody to ask, the transfer runs without, and a
note on it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from connect_helper.api.callers import Caller
from connect_helper.api.ladder import Ladder
from connect_helper.api.places import Places
from connect_helper.consent.origins import Scope
from connect_helper.errors import Refused, Unavailable
from connect_helper.picking.base import Question
from connect_helper.spec.aftermath import refuse_inside
from connect_helper.spec.names import display
from connect_helper.spec.transfer_spec import TransferSpec
from connect_helper.transfers.plan import Afterwards, Item, LocalRef, SessionPlan, afterwards_of

SOURCES_KEPT = "Source files were kept."
NOTHING_DELETED = "Nothing was deleted at the destination."
_SHOWN = 5  # sources named in a question


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the plan gets, and what the transfer's note says."""

    afterwards: Afterwards = field(default_factory=Afterwards)
    delete_first: bool = False
    note: str = ""


class Agreements:
    """Asks the questions, each by itself and only where the page allows dialogs."""

    def __init__(self, ladder: Ladder, places: Places) -> None:
        self._ladder = ladder
        self._places = places

    def wish(self, scope: Scope, spec: TransferSpec, items: Sequence[Item]) -> Afterwards:
        """What a spec wants done with its sources; nothing is asked yet.

        Raises NotGranted for a local folder to move to that no dialog gave, InvalidRequest for one inside
        of the sources.
        """
        wishes = spec.aftermath
        root = None
        if wishes.move_to and spec.direction == "send":
            root = self._places.move_folder(scope, wishes.move_to)
        refuse_inside(_full(root) if root else wishes.move_to, (item.source_path for item in items))
        return afterwards_of(wishes, move_root=root)

    async def settle(self, caller: Caller, spec: TransferSpec, plan: SessionPlan, *, may_ask: bool) -> Agreed:
        """Ask about everything a spec wants changed; `plan` holds its `wish`. Raises TooManyRequests."""
        notes = []
        afterwards, delete_first = Afterwards(), False
        if spec.aftermath.changes_sources:
            if may_ask and await self._ask(caller, _about_sources(caller, spec, plan.items)):
                afterwards = plan.afterwards
            else:
                notes.append(SOURCES_KEPT)
        if spec.delete_before_transfer:
            delete_first = may_ask and await self._ask(caller, self._about_surplus(caller, spec, plan.items))
            if not delete_first:
                notes.append(NOTHING_DELETED)
        return Agreed(afterwards, delete_first, " ".join(notes))

    async def _ask(self, caller: Caller, question: Question) -> bool:
        try:
            return await self._ladder.confirm(caller, question)
        except (Unavailable, Refused):
            return False

    def _about_surplus(self, caller: Caller, spec: TransferSpec, items: Sequence[Item]) -> Question:
        place = spec.remote_host if spec.direction == "send" else self._places.shown_destination(items)
        return Question(
            caller.label,
            "Before the transfer, delete what is at the destination but not at the source?",
            (f"At: {display(place)}", *_names(items), "What is deleted cannot be brought back."),
            accept="Delete",
            refuse="Keep everything",
        )


def _about_sources(caller: Caller, spec: TransferSpec, items: Sequence[Item]) -> Question:
    where = "on this computer" if spec.direction == "send" else f"on {display(spec.remote_host)}"
    moved = spec.aftermath.move_to
    what = (
        f"move the source files {where} afterwards"
        if moved
        else f"delete the source files {where} afterwards"
    )
    target = (f"To: {display(moved)}",) if moved else ()
    return Question(
        caller.label,
        f"Let {caller.label} {what}?",
        (*_names(items), *target),
        accept="Move" if moved else "Delete",
        refuse="Keep them",
    )


def _names(items: Sequence[Item]) -> tuple[str, ...]:
    shown = [display(item.source_path) for item in items[:_SHOWN]]
    more = len(items) - len(shown)
    return (*shown, f"and {more} more") if more else tuple(shown)


def _full(ref: LocalRef) -> str:
    return "/".join((ref.path.rstrip("/"), *ref.below))
