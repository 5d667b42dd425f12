"""Drops that no system saw: what they may be is looked for, shown to the user and asked about."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import platformdirs

from connect_helper.api.callers import Caller
from connect_helper.api.choosing import Choosing, FolderRule
from connect_helper.api.drop_proof import on_disk
from connect_helper.api.ladder import Ladder
from connect_helper.api.places import readable_size
from connect_helper.api.sites import Sites
from connect_helper.consent.drops import Dropped, name_key, pair
from connect_helper.errors import Refused
from connect_helper.picking.base import DialogRequest, Question
from connect_helper.picking.facts import Picked, look_at, release, type_of
from connect_helper.picking.finding import Found, Match, Place, find_dropped
from connect_helper.picking.recently_used import recent_folders
from connect_helper.settings import PreferencesStore
from connect_helper.spec.names import display, page_text

SEARCH_S: Final = 0.6  # the search takes no longer
SHOWN_AFTER_S: Final = 1.0  # after the request, whatever was found: the time tells a page nothing
_AT_ONCE: Final = 2
_PATHS_SHOWN: Final = 20  # of more, or of longer ones, nobody reads the end; then the user picks
_PATH_LENGTH: Final = 280


class DropSearch:
    """Finds dropped things with the user's help."""

    def __init__(
        self,
        ladder: Ladder,
        choosing: Choosing,
        sites: Sites,
        preferences: PreferencesStore,
        refuse_folder: FolderRule,
    ) -> None:
        self._ladder = ladder
        self._choosing = choosing
        self._sites = sites
        self._preferences = preferences
        self._refuse_folder = refuse_folder
        self._searches = asyncio.Semaphore(_AT_ONCE)

    async def ask(
        self, caller: Caller, app_id: str, dropped: Sequence[Dropped], *, arrived: float
    ) -> list[Picked]:
        """Show the one match and ask, or open a dialog at the best place; [] when the user declines.

        `arrived` is when the request came, on the monotonic clock. Raises what `Choosing.choose` raises.
        """
        found = await self._search(caller, dropped[:_PATHS_SHOWN])
        await asyncio.sleep(arrived + SHOWN_AFTER_S - time.monotonic())
        matches = found.only or []
        can_be_shown = len(matches) == len(dropped) and all(map(_can_be_shown, matches))
        if can_be_shown:
            question = drop_question(caller, matches, dropped)
            if await self._ladder.confirm(caller, question):
                return await self._give(caller, app_id, matches, dropped)
        return await self._let_choose(caller, app_id, dropped, found, after_question=can_be_shown)

    async def _search(self, caller: Caller, dropped: Sequence[Dropped]) -> Found:
        async with self._searches:
            return await asyncio.to_thread(self._look_around, self._granted(caller), dropped)

    def _granted(self, caller: Caller) -> list[Place]:
        """Folders this origin was given, and those where it was given something, the newest first."""
        return [
            Place(grant.path) if grant.kind == "folder" else Place(os.path.dirname(grant.path), depth=0)  # noqa: PTH120
            for grant in reversed(self._sites.granted_to(caller.origin))
        ]

    def _look_around(self, granted: Sequence[Place], dropped: Sequence[Dropped]) -> Found:
        likely = (
            str(self._preferences.download_folder),
            platformdirs.user_downloads_dir(),
            platformdirs.user_desktop_dir(),
            platformdirs.user_documents_dir(),
        )
        places = [*granted, *map(Place, likely), *(Place(folder, depth=0) for folder in recent_folders())]
        return find_dropped(dropped, places, self._refuse_folder, within_s=SEARCH_S)

    async def _give(
        self, caller: Caller, app_id: str, matches: Sequence[Match], dropped: Sequence[Dropped]
    ) -> list[Picked]:
        """Grant what was shown, if it still is what it was when it was found. Raises Refused."""
        paths = [match.path for match in matches]
        picked = await asyncio.to_thread(look_at, map(Path, paths), save=False)
        things = [on_disk(path, item) for path, item in zip(paths, picked, strict=True)]
        seen = [Match(item.path, item.kind == "folder") for item in picked]
        if pair(dropped, things) is None or seen != list(matches):
            release(picked)
            raise Refused("The dropped file was changed meanwhile. Drop it again.")
        self._choosing.give(caller, app_id, picked)
        return picked

    async def _let_choose(
        self,
        caller: Caller,
        app_id: str,
        dropped: Sequence[Dropped],
        found: Found,
        *,
        after_question: bool,
    ) -> list[Picked]:
        """No dialog of all systems lets files and folders be picked alike: where it may be both, ask."""
        are_files = all(map(_must_be_file, dropped, found.matches))
        are_folders = not are_files and await self._ladder.confirm(caller, kind_question(caller, dropped))
        dialog = DialogRequest(
            kind="open-folder" if are_folders else "open-file",
            caller=caller.label,
            title=f"Find what you dropped: {_names(dropped)}",
            multiple=len(dropped) > 1,
            start_folder=Path(found.best_folder) if found.best_folder else None,
        )
        picked = await self._choosing.choose(
            caller, app_id, dialog, after_question=after_question or not are_files
        )
        order = {name_key(told.name): place for place, told in enumerate(dropped)}
        return sorted(picked, key=lambda item: order.get(name_key(Path(item.path).name), len(order)))


def drop_question(caller: Caller, matches: Sequence[Match], dropped: Sequence[Dropped]) -> Question:
    """Shows what would be given, by full paths, and to whom."""
    one = len(matches) == 1
    folders = sum(match.is_folder for match in matches)
    if one:
        wanted = "the folder {}, with everything in it" if folders else "the file {}"
        wanted = wanted.format(f"“{display(Path(matches[0].path).name, 60)}”")
    else:
        wanted = f"these {len(matches)} {'files and folders' if folders else 'files'}"
    lines = [
        display(match.path, _PATH_LENGTH)
        + (" (folder)" if match.is_folder else f" ({readable_size(told.size or 0)})")
        for match, told in zip(matches, dropped, strict=True)
    ]
    return Question(
        caller=caller.label,
        heading=f"Did you drop {wanted} onto {caller.label}?",
        details=(*lines, "Say yes only if you did: the page can use what you give it."),
        accept="Yes, give it" if one else "Yes, give them",
        refuse="No, let me choose",
    )


def kind_question(caller: Caller, dropped: Sequence[Dropped]) -> Question:
    """Asks what can be told neither by the page's words nor by what was found."""
    one = len(dropped) == 1
    what = f"“{_names(dropped)}” a file or a folder" if one else f"{_names(dropped)} files or folders"
    find = "it" if one else "them"
    return Question(
        caller=caller.label,
        heading=f"{'Is' if one else 'Are'} {what}?",
        details=(
            f"{caller.label} says that you dropped {find} there.",
            f"You can find {find} in the dialog that comes next; cancel that if you dropped nothing.",
        ),
        accept="A folder" if one else "Folders",
        refuse="A file" if one else "Files",
    )


def _names(dropped: Sequence[Dropped]) -> str:
    more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
    return ", ".join(page_text(told.name, 40) for told in dropped[:3]) + more


def _must_be_file(told: Dropped, found: Sequence[Match]) -> bool:
    """Whether a folder is out of the question: a file fits in all, or what is told has a file's type.

    The size tells nothing: of folders, any may be told.
    """
    if found:
        return not all(match.is_folder for match in found)
    return bool(told.media_type or type_of(told.name))


def _can_be_shown(match: Match) -> bool:
    return len(display(match.path, 2 * _PATH_LENGTH)) <= _PATH_LENGTH
