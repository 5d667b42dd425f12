"""Two names of one upload that differ in case or composition only, which some servers take for one (REL-16).

Where a server keeps them apart, both files arrive. Where it does not, the second is refused, and not put in
the place of the first. Which of the two it is, nobody says: it shows in what else is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from connect_helper.errors import NameCollision, TransferError
from connect_helper.spec.names import display, has_cases, has_forms, other_cases, other_forms
from connect_helper.transfers.job import RemoteLinkJob, UploadJob, Work, ends_session

_WAYS: Final = ((has_cases, other_cases), (has_forms, other_forms))


async def tells_apart(work: Work, job: UploadJob | RemoteLinkJob) -> bool:
    """Tell whether what is at the target of a twin is there under exactly that name.

    So it is where another spelling of the same target is not there. Looked at are the name and the folders
    of the set around it, but not the set's own folder: there another file system may begin, or a token end.
    Where all other spellings are there, as the twin itself of a name of one letter is, the folder's list
    tells whether it is another entry. False when in doubt: with a token nothing can be listed.
    """
    names = job.target.split(b"/")
    looked_at = range(len(names) - 1, len(names) - 1 - max(1, len(job.place) - 1), -1)

    async def is_missing(at: int, other: str) -> bool:
        path = b"/".join([*names[:at], os.fsencode(other), *names[at + 1 :]])
        return await work.transport.facts(path) is None

    async def are_both_listed(at: int, others: tuple[str, ...]) -> bool:
        folder = b"/".join(names[:at]) or (b"/" if job.target.startswith(b"/") else b".")
        try:
            listed = {name for name, _facts in await work.transport.list_names(folder)}
        except TransferError as error:
            if ends_session(error):
                raise
            return False
        return names[at] in listed and any(os.fsencode(other) in listed for other in others)

    async def tell(spell: Callable[[str], tuple[str, ...]]) -> bool:
        spelled = [(at, others) for at in looked_at if (others := spell(os.fsdecode(names[at])))]
        for at, others in spelled:
            for other in others:
                if await is_missing(at, other):
                    return True
        for at, others in spelled:
            if await are_both_listed(at, others):
                return True
        return False

    root = os.fsencode(work.plan.destination).rstrip(b"/")
    below = os.fsdecode(job.target.removeprefix(root))  # somewhere in it the two differ
    for matters, spell in _WAYS:
        if matters(below) and not await tell(spell):
            return False
    return True


def collision(job: UploadJob | RemoteLinkJob) -> NameCollision:
    """The error for the second of two files that the server takes for one."""
    return NameCollision(
        f"{display(job.target)}: the server takes the name for that of another file sent there. Rename one of"
        " them and start again."
    )
