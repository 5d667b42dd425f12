"""How sites want to be shown: the name and colours a page gave its application.

They decorate a site's card in the helper's window and prove nothing: the origin stands above them. Those of
sites the user ever gave anything are kept on disk, others until the helper ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from connect_helper.api.sites import Sites
from connect_helper.errors import InvalidRequest
from connect_helper.settings import Folders, write_private
from connect_helper.spec.lenient import as_bool, as_text

log = logging.getLogger(__name__)

ORIGINS_KEPT: Final = 50
IDS_KEPT: Final = 4  # of one origin
CHARACTERS: Final = 32 * 1024  # of one branding; that of the reference has about half of it
VALUES: Final = 200  # of one theme; the reference knows 140
VALUE_LIMIT: Final = 500  # characters
NAME_LIMIT: Final = 100
THEMES: Final = ("g10", "g100")  # light and dark
_COLOUR: Final = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})", re.ASCII | re.IGNORECASE)

Theme = dict[str, str]


@dataclass(frozen=True, slots=True)
class Branding:
    """One template. `themes` has CSS values by name, for "g10" (light) and "g100" (dark)."""

    id: str
    name: str
    themes: Mapping[str, Theme]
    one_theme_only: bool  # disableLightDarkMode

    def colours(self) -> dict[str, list[str]]:
        """The plain colours of each theme that are fit to be shown, each once: at most four."""
        return {theme: _colours(self.themes.get(theme, {})) for theme in THEMES}


_SHOWN: Final = ("headerBackground", "buttonPrimaryBackground", "leftNavBackground", "$background")


def _colours(theme: Theme) -> list[str]:
    found = [theme[name].lower() for name in _SHOWN if _COLOUR.fullmatch(theme.get(name, ""))]
    return list(dict.fromkeys(found))


def read_branding(value: Mapping[str, Any]) -> Branding:
    """Read `{"id", "name", "theme": {"g10", "g100", "disableLightDarkMode"}}`. Raises InvalidRequest."""
    theme = value.get("theme") or {}
    if not isinstance(theme, Mapping):
        raise InvalidRequest("branding.theme must be an object.", field="theme")
    branding = Branding(
        id=_named(value, "id"),
        name=_named(value, "name"),
        themes={name: _theme(theme.get(name), name) for name in THEMES},
        one_theme_only=as_bool(theme.get("disableLightDarkMode"), "disableLightDarkMode") is True,
    )
    if len(json.dumps(branding.themes)) > CHARACTERS:
        raise InvalidRequest(f"branding.theme may have {CHARACTERS // 1024} KiB.", field="theme")
    return branding


def _named(value: Mapping[str, Any], field: str) -> str:
    text = as_text(value.get(field), field, limit=NAME_LIMIT)
    if text is None:
        raise InvalidRequest(f"branding.{field} is missing.", field=field)
    return text


def _theme(value: Any, field: str) -> Theme:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > VALUES:
        raise InvalidRequest(
            f"branding.theme.{field} must be an object of at most {VALUES} values.", field=field
        )
    texts = {name: as_text(one, f"{field}.{name[:80]}", limit=VALUE_LIMIT) for name, one in value.items()}
    return {name[:NAME_LIMIT]: text for name, text in texts.items() if text is not None}


class Brandings:
    """All of them, by origin; the oldest go first."""

    def __init__(self, folders: Folders, sites: Sites) -> None:
        self._path = folders.state / "brandings.json"
        self._sites = sites
        self._by_origin: OrderedDict[str, OrderedDict[str, Branding]] = self._load()
        self._saving = asyncio.Lock()
        sites.on_revoke(self._forget)

    async def keep(self, origin: str, branding: Branding) -> None:
        """Put it in the place of an earlier one with the same id."""
        ours = self._by_origin.setdefault(origin, OrderedDict())
        self._by_origin.move_to_end(origin)
        if ours.get(branding.id) == branding:
            return
        ours.pop(branding.id, None)
        ours[branding.id] = branding
        while len(ours) > IDS_KEPT:
            ours.popitem(last=False)
        while len(self._by_origin) > ORIGINS_KEPT:
            self._by_origin.pop(self._one_to_forget())
        self._sites.announce()
        if self._sites.has_history(origin):
            await self._save()

    def newest(self, origin: str) -> Branding | None:
        """The one the site gave last."""
        ours = self._by_origin.get(origin)
        return next(reversed(ours.values())) if ours else None

    def _one_to_forget(self) -> str:
        """The oldest stranger: pages the user gave nothing must not push out the others."""
        origins = list(self._by_origin)
        return next((one for one in origins if not self._sites.has_history(one)), origins[0])

    def _forget(self, origin: str) -> None:
        if self._by_origin.pop(origin, None) is not None and self._path.exists():
            write_private(self._path, self._text())

    async def _save(self) -> None:
        """One write at a time; a page that calls often waits for those before."""
        async with self._saving:
            await asyncio.to_thread(write_private, self._path, self._text())

    def _text(self) -> str:
        known = {
            origin: [asdict(branding) for branding in ours.values()]
            for origin, ours in self._by_origin.items()
            if self._sites.has_history(origin)
        }
        return json.dumps(known, indent=2) + "\n"

    def _load(self) -> OrderedDict[str, OrderedDict[str, Branding]]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            return OrderedDict(
                (origin, OrderedDict((one["id"], Branding(**one)) for one in ours))
                for origin, ours in known.items()
            )
        except FileNotFoundError:
            return OrderedDict()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the names and colours of sites cannot be read: %s", type(error).__name__)
            return OrderedDict()
