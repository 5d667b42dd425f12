"""What is in memory of one owner's transfers, so that no poll walks over those of everybody else."""

from __future__ import annotations

from dataclasses import dataclass, field

from connect_helper.transfers.entry import Entry
from connect_helper.transfers.state import FINAL
from connect_helper.transfers.transfer import Owner, Transfer


@dataclass(slots=True, eq=False)
class Owned:
    """The transfers of one owner."""

    entries: dict[str, Entry] = field(default_factory=dict)  # in order of submission
    # In the order of their tokens. A walk over an OrderedDict would look each of them up again.
    news: dict[str, Transfer] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)  # those that have ended


class ByOwner:
    """The owners who have transfers in memory. What is said of others is passed over."""

    def __init__(self) -> None:
        self._owned: dict[Owner, Owned] = {}

    def of(self, owner: Owner) -> Owned:
        """Theirs, to be read only; of an owner who has nothing, nothing."""
        return self._owned.get(owner) or Owned()

    def take(self, entry: Entry) -> None:
        """Have an entry, after all others; `restore_order` when it does not belong there."""
        self._owned.setdefault(entry.transfer.owner, Owned()).entries[entry.transfer.id] = entry

    def drop(self, transfer: Transfer) -> None:
        """Have it no more, nor its owner after their last one."""
        owned = self._owned.get(transfer.owner)
        if owned is None or owned.entries.pop(transfer.id, None) is None:
            return
        owned.news.pop(transfer.id, None)
        owned.over.discard(transfer.id)
        if not owned.entries:
            del self._owned[transfer.owner]

    def settle(self, transfer: Transfer) -> None:
        """Its status changed."""
        owned = self._owned.get(transfer.owner)
        if owned is None or transfer.id not in owned.entries:
            return
        if transfer.status in FINAL:
            owned.over.add(transfer.id)
        else:
            owned.over.discard(transfer.id)

    def stamped(self, transfer: Transfer) -> None:
        """Its token is the newest of all."""
        owned = self._owned.get(transfer.owner)
        if owned is not None and transfer.id in owned.entries:
            owned.news.pop(transfer.id, None)
            owned.news[transfer.id] = transfer

    def restore_order(self, entry: Entry) -> None:
        """Put one that was taken late where it belongs, among entries and news."""
        owned, one = self.of(entry.transfer.owner), entry.transfer
        owned.entries = dict(sorted(owned.entries.items(), key=lambda item: item[1].position))
        by_token = sorted(((one.id, one), *owned.news.items()), key=lambda item: item[1].iteration_token)
        owned.news = dict(by_token)


def between(changed: dict[str, Transfer], after: int, upto: int) -> list[Transfer]:
    """Those with a token above `after` and not above `upto`; both orders are that of the tokens."""
    some = []
    for one in reversed(changed.values()):  # the last of very many are asked about
        token = one.iteration_token
        if token <= after:
            break
        if token <= upto:
            some.append(one)
    some.reverse()
    return some
