"""Two names of one upload that differ in case or composition only, which some servers take for one (REL-16).

Where a server keeps them apart, both files arrive. Where it does not, the second is refused, and not put in
the place of the first. Which of the two it is, nobody says: it shows in what else is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from connect_helper.errors import NameCollision
from connect_helper.spec.names import display, has_cases, has_forms, other_cases, other_forms
from connect_helper.transfers.job import RemoteLinkJob, UploadJob, Work

_WAYS: Final = ((has_cases, other_cases), (has_forms, other_forms))


async def tells_apart(work: Work, job: UploadJob | RemoteLinkJob) -> bool:
    """Tell whether what is at the target of a twin is there under exactly that name.

    So it is where another spelling of the same target is not there. Looked at are the name and the folders
    of the set around it, but not the set's own folder: there another file system may begin, or a token end.
    False when in doubt, as with a name of one letter.
    """
    names = job.target.split(b"/")
    looked_at = range(len(names) - 1, len(names) - 1 - max(1, len(job.place) - 1), -1)

    async def is_missing(at: int, other: str) -> bool:
        path = b"/".join([*names[:at], os.fsencode(other), *names[at + 1 :]])
        return await work.transport.facts(path) is None

    async def tell(spell: Callable[[str], tuple[str, ...]]) -> bool:
        for at in looked_at:
            for other in spell(os.fsdecode(names[at])):
                if await is_missing(at, other):
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
