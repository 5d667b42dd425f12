"""From a dialog to grants: what the user picks becomes what the caller may use (law 1)."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from connect_helper.api.callers import Caller
from connect_helper.api.ladder import Ladder
from connect_helper.api.sites import Sites
from connect_helper.consent.folders import refused_folder
from connect_helper.consent.grants import Grant
from connect_helper.consent.origins import Scope
from connect_helper.errors import Refused
from connect_helper.picking.base import DialogRequest, Picker
from connect_helper.picking.facts import Picked, look_at, release
from connect_helper.settings import Folders

FolderRule = Callable[[str], str | None]
"""Tells why a folder may not be given to a page as a whole; None when it may."""


class Choosing:
    """Opens file dialogs for callers and turns the answers into grants."""

    def __init__(self, ladder: Ladder, sites: Sites, picker: Picker, refuse_folder: FolderRule) -> None:
        self._ladder = ladder
        self._sites = sites
        self._picker = picker
        self._refuse_folder = refuse_folder

    async def choose(
        self, caller: Caller, app_id: str, request: DialogRequest, *, after_question: bool = False
    ) -> list[Picked]:
        """Show the dialog; return what was picked and granted, [] when the user cancelled.

        `after_question` tells that the user had to answer a question before it came up.
        Raises Refused when a whole folder was picked that no page should get, TooManyRequests,
        Unavailable. Cancelled while the dialog is open, it closes the dialog and grants nothing.
        """
        async with self._ladder.dialog(caller):
            paths = await self._picker.pick(request)
        self._ladder.note_dialog(caller, cancelled=not paths, after_question=after_question)
        picked = await asyncio.to_thread(look_at, paths, save=request.kind == "save-file")
        self.give(caller, app_id, picked)
        return picked

    def give(self, caller: Caller, app_id: str, picked: Sequence[Picked]) -> None:
        """Grant what the user is known to have given.

        Raises Refused, with all of it let go of, when one is a whole folder that no page should get.
        """
        try:
            self._refuse_whole_worlds(picked)
        except Refused:
            release(picked)
            raise
        for item in picked:
            self._sites.grant(_grant(caller.scope(app_id), item))

    def _refuse_whole_worlds(self, picked: Sequence[Picked]) -> None:
        for item in picked:
            reason = self._refuse_folder(item.path) if item.kind == "folder" else None
            if reason:
                raise Refused(reason)


def whole_folder_rule(folders: Folders) -> FolderRule:
    """The rule of this machine: which folders no page gets as a whole, and why."""
    # Resolved, as picked paths are: on some systems /home is a link.
    own = tuple(os.path.realpath(path) for path in (folders.config, folders.state, folders.run, folders.logs))
    home = os.path.realpath(Path.home())
    return lambda path: refused_folder(path, home=home, own=own, windows=os.name == "nt")


def _grant(scope: Scope, item: Picked) -> Grant:
    return Grant(
        id=uuid.uuid4().hex,
        scope=scope,
        kind=item.kind,
        path=item.path,
        device=item.device,
        inode=item.inode,
        pin=item.pin,
        given_at=time.time(),
        name=Path(item.path).name if item.kind == "save" else "",
    )
