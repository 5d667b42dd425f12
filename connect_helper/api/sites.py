"""What each site was allowed: remembered hosts (kept on disk), grants of this run (in memory), refusals.

Joins the pure rules of `consent` with the clock and the disk, and tells the helper's window of changes.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from connect_helper.consent.grants import Found, Grant, GrantTable
from connect_helper.consent.hosts import HostTrust, TrustedHost
from connect_helper.consent.limits import PromptLimits
from connect_helper.consent.origins import Scope
from connect_helper.errors import NotFound
from connect_helper.settings import Folders, write_private

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SiteView:
    """One origin as the Sites page shows it."""

    origin: str
    hosts: tuple[TrustedHost, ...]
    grants: tuple[Grant, ...]
    muted: bool  # refused so often that its questions are answered with no for an hour


@dataclass(frozen=True, slots=True)
class Agreement:
    """The user's yes to one transfer, in this run of the helper."""

    origin: str
    paths: bool  # to its paths too, when their grants were gone; else each of them has to stand


class Sites:
    """All consent and grants of this helper. Used on the event loop's thread only."""

    def __init__(self, folders: Folders) -> None:
        self._path = folders.state / "consent.json"
        self._grants = GrantTable()
        self._hosts = self._load()
        self._limits = PromptLimits()
        self._agreed: dict[str, Agreement] = {}  # by transfer id
        self._listeners: list[Callable[[], None]] = []
        self._revoke_listeners: list[Callable[[str], None]] = []

    def _load(self) -> HostTrust:
        try:
            return HostTrust.from_json(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return HostTrust()
        except (OSError, ValueError, KeyError, TypeError) as error:
            # Forgotten consent is asked for again; a guess at a damaged file would grant by accident.
            aside = self._path.with_suffix(".damaged.json")
            log.warning("remembered hosts cannot be read (%s); set aside as %s", type(error).__name__, aside)
            _set_aside(self._path, aside)
            return HostTrust()

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def on_revoke(self, listener: Callable[[str], None]) -> None:
        """Have `listener` told the origin from which the user took everything back."""
        self._revoke_listeners.append(listener)

    def announce(self) -> None:
        """Tell the listeners that what is known of a site changed elsewhere."""
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    # Hosts -------------------------------------------------------------------------------------

    def knows_host(self, origin: str, host: str, port: int, *, near: bool = False) -> bool:
        return self._hosts.knows(origin, host, port, near=near)

    def has_history(self, origin: str) -> bool:
        """Whether the user ever gave this origin anything that still stands."""
        return bool(self._grants.of_origin(origin)) or any(
            host.origin == origin for host in self._hosts.all()
        )

    def remember_host(self, origin: str, host: str, port: int, *, near: bool = False) -> None:
        if self._hosts.remember(origin, host, port, now=time.time(), near=near):
            self._save()

    def revoke_host(self, origin: str, host: str, port: int) -> None:
        self._hosts.forget(origin, host, port)
        self._disagree(origin)
        self._save()

    def _save(self) -> None:
        write_private(self._path, json.dumps(self._hosts.to_json(), indent=2) + "\n")
        self._changed()

    # Questions ---------------------------------------------------------------------------------

    def is_muted(self, origin: str) -> bool:
        return self._limits.muted(origin, time.monotonic())

    def muted_s(self, origin: str) -> float:
        """Seconds until questions of this origin are shown again; 0.0 if they are shown now."""
        return self._limits.muted_s(origin, time.monotonic())

    def note_acceptance(self, origin: str) -> None:
        self._limits.accepted(origin)

    def note_refusal(self, origin: str) -> None:
        self._limits.refused(origin, time.monotonic())
        self._changed()

    # Agreements --------------------------------------------------------------------------------

    def note_agreement(self, origin: str, transfer_id: str, *, paths: bool = False) -> None:
        """The user agreed to this transfer; `paths` as in `Agreement`."""
        self._agreed[transfer_id] = Agreement(origin, paths)

    def agreement(self, transfer_id: str) -> Agreement | None:
        """The user's yes to the transfer, unless it was taken back since."""
        return self._agreed.get(transfer_id)

    def _disagree(self, origin: str, *, paths_only: bool = False) -> None:
        self._agreed = {
            one: yes
            for one, yes in self._agreed.items()
            if yes.origin != origin or (paths_only and not yes.paths)
        }

    # Grants ------------------------------------------------------------------------------------

    def grant(self, grant: Grant) -> None:
        replaced = self._grants.add(grant)
        if replaced is not None:
            _unpin(replaced)
        self._changed()

    def granted_to(self, origin: str) -> list[Grant]:
        """What an origin was given, oldest first."""
        return self._grants.of_origin(origin)

    def find(self, scope: Scope, path: str) -> Found | None:
        return self._grants.find(scope, path)

    def find_destination(self, scope: Scope, folder: str, target: tuple[str, ...]) -> Found | None:
        return self._grants.covers_destination(scope, folder, target)

    def revoke_grant(self, grant_id: str) -> None:
        """Take one path back, and every yes that stood in for grants of that origin. Raises NotFound."""
        grant = self._grants.forget(grant_id)
        if grant is None:
            raise NotFound("That permission is gone already.")
        _unpin(grant)
        self._disagree(grant.scope.origin, paths_only=True)
        self._changed()

    def revoke_origin(self, origin: str) -> None:
        """Forget everything this origin was allowed, and its refusals."""
        for grant in self._grants.forget_origin(origin):
            _unpin(grant)
        self._limits.accepted(origin)
        self._hosts.forget_origin(origin)
        self._disagree(origin)
        for listener in self._revoke_listeners:
            listener(origin)
        self._save()

    def overview(self) -> list[SiteView]:
        """Every origin that was allowed or refused something, in alphabetical order."""
        hosts, grants = self._hosts.all(), self._grants.all()
        now = time.monotonic()
        origins = {host.origin for host in hosts} | {grant.scope.origin for grant in grants}
        origins |= set(self._limits.muted_origins(now))
        return [
            SiteView(
                origin=origin,
                hosts=tuple(host for host in hosts if host.origin == origin),
                grants=tuple(grant for grant in grants if grant.scope.origin == origin),
                muted=self._limits.muted(origin, now),
            )
            for origin in sorted(origins)
        ]

    def close(self) -> None:
        """Let go of everything that is held open for a grant."""
        for grant in self._grants.all():
            _unpin(grant)


def _unpin(grant: Grant) -> None:
    if grant.pin is not None:
        os.close(grant.pin)


def _set_aside(path: Path, aside: Path) -> None:
    try:
        path.replace(aside)
    except OSError:
        log.warning("%s cannot be set aside", path.name)
