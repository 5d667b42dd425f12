"""The ports of this room: how the rest of the program asks the user.

Whatever shows the dialog, page text in it (titles, names, origins) is data: controls and bidirectional
marks are removed, markup is off, lengths are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

DialogKind = Literal["open-file", "open-folder", "save-file"]


@dataclass(frozen=True, slots=True)
class FileFilter:
    """One entry of a dialog's list of types; `extensions` without dot, "*" means everything."""

    name: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DialogRequest:
    """A file dialog for one caller."""

    kind: DialogKind
    caller: str  # who asks, shown in the title: "https://portal.example", "curl (pid 4711)"
    title: str = ""  # the page's own words; "" means a default
    suggested_name: str = ""
    multiple: bool = False
    filters: tuple[FileFilter, ...] = ()
    start_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A yes-or-no question. The default is no."""

    caller: str
    heading: str  # the question itself: "Allow https://a.example to upload 3 files (1.2 GB) to b.example?"
    details: tuple[str, ...] = ()  # one fact a line: fingerprints, names of files, "A private address."
    accept: str = "Allow"
    refuse: str = "Deny"
    remember: str = ""  # label of a third choice, "Always allow ..."; "" means there is none


@dataclass(frozen=True, slots=True)
class Answer:
    """What the user said; a closed window, a time-out and an aborted request are a no."""

    accepted: bool
    remember: bool = False


@dataclass(frozen=True, slots=True)
class CredentialsQuestion:
    """Asks for what is missing for a login or a protected file."""

    caller: str
    heading: str  # "Sign in to b.example"
    user: str | None  # known user, shown and not asked for; None: ask for it too
    secret_label: str = "Password"  # noqa: S105 - a label, not a secret


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """The user's answer. No repr: it holds a secret."""

    user: str
    secret: str


class Picker(Protocol):
    """Opens file dialogs. Several may be open at once; each answer goes to its asker only."""

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """Show the dialog and wait, for hours if need be.

        Returns absolute paths in the user's order, [] when the user cancelled, closed the window or
        the time limit passed. Cancelling the call closes the dialog. Raises Unavailable when this
        picker cannot show anything.
        """
        ...


class Asker(Protocol):
    """Asks questions."""

    async def ask(self, question: Question) -> Answer:
        """Show the question and wait. Cancelling the call closes it. Raises Unavailable."""
        ...

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """Ask for a user name and a secret; None when the user declined. Raises Unavailable."""
        ...
