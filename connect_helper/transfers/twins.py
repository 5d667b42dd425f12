"""Two names of one upload that differ in case or composition only, which some servers take for one (REL-16).

Where a server keeps them apart, both files arrive. Where it does not, the second is refused, and not put in
the place of the first. Which of the two it is, nobody says: it shows in what else is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from connect_helper.errors import NameCollision, TransferError
from connect_helper.spec.names import (
    differ_in_cases,
    differ_in_forms,
    display,
    first_letters,
    has_cases,
    has_forms,
    other_cases,
    other_forms,
)
from connect_helper.transfers.job import RemoteLinkJob, UploadJob, Work, ends_session


@dataclass(frozen=True, slots=True)
class _Way:
    """One way in which two names can differ that are one for some servers."""

    spell: Callable[[str], tuple[str, ...]]  # a name so that only such servers take it for the same
    differ: Callable[[str, str], bool]  # in this way alone


async def tells_apart(work: Work, job: UploadJob | RemoteLinkJob) -> bool:
    """Tell whether what is at the target of a twin is there under exactly that name.

    So it is where another spelling of the same target is not there. In cases that takes in only the letters
    that most servers would take for one: of them it says nothing that others are told apart. Looked at are
    the name and the folders of the set around it, but not the set's own folder: there another file system may
    begin, or a token end. Where none of them can be spelled otherwise, the two differ in a folder above, and
    the last one that can be is looked at. Where all other spellings are there, as the twin itself of a name
    of one letter is, the folder's list tells whether it is another entry. False when in doubt: with a token
    nothing can be listed.
    """
    root = os.fsencode(work.plan.destination).rstrip(b"/")
    below = os.fsdecode(job.target.removeprefix(root))  # somewhere in it the two differ
    look = _Look(work, job, root.count(b"/") + 1 if root and job.target.startswith(root + b"/") else 0)
    if has_cases(below):
        letters = first_letters(below)
        if letters is None or not await look.tells(_cases(letters)):
            return False
    return not has_forms(below) or await look.tells(_Way(other_forms, differ_in_forms))


def _cases(letters: range) -> _Way:
    return _Way(
        lambda name: other_cases(name, letters), lambda one, other: differ_in_cases(one, other, letters)
    )


class _Look:
    """A look at what is around one target."""

    def __init__(self, work: Work, job: UploadJob | RemoteLinkJob, root: int) -> None:
        """`root` is how many of the target's names make up the destination."""
        self._work = work
        self._names = job.target.split(b"/")
        last, inside = len(self._names) - 1, max(1, len(job.place) - 1)
        self._inside = range(last, last - inside, -1)
        self._above = range(last - inside, root - 1, -1)

    async def tells(self, way: _Way) -> bool:
        """Tell whether names that differ in this way are two here."""
        spelled = self._spelled(self._inside, way)
        # Other spellings of what a token opens are not there for it, whoever the server takes them for.
        may_ask = bool(spelled) or self._work.plan.login.token is None
        spelled = spelled or self._spelled(self._above, way)[:1]
        for at, others in spelled if may_ask else ():
            for other in others:
                if await self._is_missing(at, other):
                    return True
        for at, _ in spelled:
            if await self._are_both_listed(at, way):
                return True
        return False

    def _spelled(self, places: range, way: _Way) -> list[tuple[int, tuple[str, ...]]]:
        return [(at, others) for at in places if (others := way.spell(os.fsdecode(self._names[at])))]

    async def _is_missing(self, at: int, other: str) -> bool:
        path = b"/".join([*self._names[:at], os.fsencode(other), *self._names[at + 1 :]])
        return await self._work.transport.facts(path) is None

    async def _are_both_listed(self, at: int, way: _Way) -> bool:
        folder = b"/".join(self._names[:at]) or (b"." if at == 0 else b"/")
        try:
            listed = {name for name, _facts in await self._work.transport.list_names(folder)}
        except TransferError as error:
            if ends_session(error):
                raise
            return False
        name = os.fsdecode(self._names[at])
        return self._names[at] in listed and any(way.differ(name, os.fsdecode(one)) for one in listed)


def collision(job: UploadJob | RemoteLinkJob) -> NameCollision:
    """The error for the second of two files that the server takes for one."""
    return NameCollision(
        f"{display(job.target)}: the server takes the name for that of another file sent there. Rename one of"
        " them and start again."
    )
