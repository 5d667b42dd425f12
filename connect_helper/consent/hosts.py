"""Remembered answers: which origin may reach which server without asking again.

Trust is per (origin, host, port), never per host alone: a server one site uses serves no other site.
Keeping it on disk is the caller's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from connect_helper.consent.origins import WebOrigin
from connect_helper.errors import CallerNotIdentified


@dataclass(frozen=True, slots=True)
class TrustedHost:
    """One remembered yes."""

    origin: str
    host: str  # lower case
    port: int
    since: float  # seconds since the epoch
    near: bool = False  # the user was told that it is at a private or loopback address


class HostTrust:
    """The remembered answers of the user."""

    def __init__(self, trusted: Iterable[TrustedHost] = ()) -> None:
        self._trusted = {(one.origin, one.host, one.port): one for one in trusted}

    def remember(self, origin: str, host: str, port: int, *, now: float, near: bool = False) -> bool:
        """Remember a yes; `now` in seconds since the epoch, `near` as in `TrustedHost`.

        Returns False, remembering nothing, for an origin others can speak for (http beyond loopback).
        """
        if not _may_be_remembered(origin):
            return False
        self._trusted[origin, host.lower(), port] = TrustedHost(origin, host.lower(), port, now, near)
        return True

    def knows(self, origin: str, host: str, port: int, *, near: bool = False) -> bool:
        """Tell whether the user need not be asked; `near`: the name leads to a private address now.

        A yes to a public server is none to whatever its name leads to later.
        """
        found = self._trusted.get((origin, host.lower(), port))
        return found is not None and (found.near or not near)

    def forget(self, origin: str, host: str, port: int) -> bool:
        """Forget one answer; tell whether there was one."""
        return self._trusted.pop((origin, host.lower(), port), None) is not None

    def forget_origin(self, origin: str) -> list[TrustedHost]:
        """Forget all answers for an origin and return them."""
        gone = [one for one in self._trusted.values() if one.origin == origin]
        for one in gone:
            del self._trusted[one.origin, one.host, one.port]
        return gone

    def all(self) -> list[TrustedHost]:
        return list(self._trusted.values())

    def to_json(self) -> list[dict[str, Any]]:
        """Return [{"origin": "https://a.example", "host": "b.example", "port": 22, "since", "near"}, ...]."""
        return [asdict(one) for one in self._trusted.values()]

    @classmethod
    def from_json(cls, data: Any) -> HostTrust:
        """Read what `to_json` wrote. An entry that is not whole is left out: the user is asked again."""
        entries = data if isinstance(data, list) else []
        return cls(one for one in map(_entry, entries) if one is not None)


def _entry(data: Any) -> TrustedHost | None:
    if not isinstance(data, Mapping):
        return None
    origin, host, port, since = (data.get(name) for name in ("origin", "host", "port", "since"))
    if not (isinstance(origin, str) and isinstance(host, str) and host and _may_be_remembered(origin)):
        return None
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65_535:
        return None
    if not isinstance(since, (int, float)) or isinstance(since, bool):
        return None
    return TrustedHost(origin, host.lower(), port, float(since), data.get("near") is True)


def _may_be_remembered(origin: str) -> bool:
    """A local program is known by its name only, but it already runs with the user's rights."""
    if origin.startswith("local:"):
        return len(origin) > len("local:")
    try:
        return WebOrigin.parse(origin).may_be_remembered
    except CallerNotIdentified:
        return False
