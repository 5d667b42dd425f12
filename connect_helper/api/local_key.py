"""The key of http.uri: who shows it can read the user's files anyway (Connect reference 2.5, open point 13).

It counts for local programs only, and lets them name paths only where the user chose that in the
preferences. In a request with a web origin it is void: one leaked key must not open the disk to a page.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from pathlib import Path

from connect_helper.api.callers import Caller
from connect_helper.api.choosing import Choosing
from connect_helper.picking.facts import look_at
from connect_helper.settings import PreferencesStore
from connect_helper.spec.lenient import is_unset

log = logging.getLogger(__name__)

FIELD = "authorization_key"


class LocalKey:
    """Knows the key of this run of the helper; "" fits nothing."""

    def __init__(self, key: str, choosing: Choosing, preferences: PreferencesStore) -> None:
        self._key = key
        self._choosing = choosing
        self._preferences = preferences

    async def give(self, caller: Caller, app_id: str, shown: object, paths: Iterable[str]) -> None:
        """Grant `paths` to a caller that has `shown` the right key, where the user wants that.

        Else nothing happens, and nothing on disk is touched: the paths need a dialog as ever. Only full
        paths without links are of use. Raises InvalidRequest for one that is not there, Refused for a folder
        that is given to nobody whole.
        """
        if is_unset(shown) or not self._fits(caller, shown):
            return
        if not self._preferences.current.local_key_opens_paths:
            return
        named = [Path(path) for path in dict.fromkeys(paths) if Path(path).is_absolute()]
        self._choosing.give(caller, app_id, await asyncio.to_thread(look_at, named, save=False))

    def _fits(self, caller: Caller, shown: object) -> bool:
        if not caller.is_local:
            log.warning("an authorization_key of %s is void: it came from no local program", caller.origin)
            return False
        text = shown if isinstance(shown, str) else ""
        fits = bool(self._key) and secrets.compare_digest(text.encode("utf-8", "replace"), self._key.encode())
        if not fits:
            log.warning("a wrong authorization_key was sent by %s", caller.origin)
        return fits
