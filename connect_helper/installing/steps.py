"""What an installation consists of, as plain values: made by one module a system, carried out by another.

Everything made is marked, and what carries no mark of ours is neither replaced nor removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MARK: Final = "Made by connect-helper install; connect-helper uninstall removes it."


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of our own; `text` holds MARK."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Symlink:
    """A link of our own."""

    path: Path
    target: Path


@dataclass(frozen=True, slots=True)
class DefaultHandler:
    """An entry in front of what a list of default programs (mimeapps.list) has for each of `kinds`."""

    path: Path
    entry: str  # "connect-helper.desktop"
    kinds: tuple[str, ...]  # "x-scheme-handler/fasp"


@dataclass(frozen=True, slots=True)
class Applet:
    """A macOS program compiled from AppleScript; `info` is added to its Info.plist."""

    path: Path  # ".../connect-helper.app"
    script: str
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RegistryTree:
    """A key below HKEY_CURRENT_USER that is wholly ours.

    `values` has the values by name of each key below it, "" being the key itself and the default value.
    """

    key: str
    values: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class RegistryValue:
    """One value of ours in a key that others use as well."""

    key: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Have a program of the system take notice; without it, the system does so at the next login."""

    program: str
    arguments: tuple[str, ...]
    undo: tuple[str, ...] = ()  # its arguments after the removal, () for none
    folders: tuple[str, ...] = ()  # where else than in the usual folders it may be


Step = TextFile | Symlink | DefaultHandler | Applet | RegistryTree | RegistryValue | Tell


@dataclass(frozen=True, slots=True)
class Plan:
    """What one system needs."""

    steps: tuple[Step, ...]
    instead: tuple[Step, ...] = field(default=())
    """What another set-up of the same system would have needed: removed at installing, too."""

    @property
    def everything(self) -> tuple[Step, ...]:
        """All that may have been made, the last first."""
        return (*reversed(self.instead), *reversed(self.steps))
