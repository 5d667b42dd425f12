"""The parts of a running helper, built once in `app.py` and handed to the handlers under one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from connect_helper.api.choosing import Choosing
from connect_helper.api.dropping import Dropping
from connect_helper.api.extensions import Extensions
from connect_helper.api.ladder import Ladder
from connect_helper.api.local_key import LocalKey
from connect_helper.api.login_guard import LoginGuard
from connect_helper.api.pairing import Pairing
from connect_helper.api.probing import Probing
from connect_helper.api.reading import Reading
from connect_helper.api.showing import Showing
from connect_helper.api.sites import Sites
from connect_helper.api.starting import Starting
from connect_helper.settings import PreferencesStore
from connect_helper.transfers.manager import TransferManager


@dataclass(frozen=True, slots=True)
class Parts:
    """What the faces for pages work with."""

    preferences: PreferencesStore
    sites: Sites
    extensions: Extensions
    pairing: Pairing
    ladder: Ladder
    choosing: Choosing
    dropping: Dropping
    showing: Showing
    reading: Reading
    probing: Probing
    login_guard: LoginGuard
    starting: Starting
    manager: TransferManager
    local_key: LocalKey


PARTS: Final = web.AppKey("parts", Parts)
