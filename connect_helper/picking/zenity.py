"""Dialogs by zenity (GTK desktops).

Behaviour relied upon, seen with 3.44: exit code 0 for yes, 1 for no, cancel and close; a third button
prints its label and exits 1; the text of a question is plain under `--no-markup`, that of a form is
always markup with C escapes; chosen names that are no UTF-8 come back as "(null)".
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from connect_helper.errors import Unavailable
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.programs import Finished, run_program, utf8_environment
from connect_helper.picking.wording import (
    caller_text,
    clean_filters,
    credentials_heading,
    patterns,
    question_lines,
    request_title,
    suggested_name,
)

# Chosen paths are absolute and in their shortest form, so none of them holds two slashes in a row.
SEPARATOR: Final = "\x1f//\x1f"
_NO_DISPLAY: Final = b"cannot open display"


class Zenity:
    """Picker and Asker by the program at `program`."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = utf8_environment(environment)

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """See `Picker.pick`. Unavailable also when a chosen name cannot come through (no UTF-8)."""
        finished = await self._run(pick_arguments(request))
        return [] if finished.code else chosen_paths(finished.output, new=request.kind == "save-file")

    async def ask(self, question: Question) -> Answer:
        """See `Asker.ask`."""
        finished = await self._run(question_arguments(question))
        if finished.code == 0:
            return Answer(accepted=True)
        third = button_label(question.remember)
        said = finished.output.decode("utf-8", "replace").removesuffix("\n")
        always = bool(third) and finished.code == 1 and said == third
        return Answer(accepted=always, remember=always)

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """See `Asker.ask_credentials`."""
        finished = await self._run(credentials_arguments(question))
        if finished.code:
            return None
        fields = finished.output.decode("utf-8", "replace").removesuffix("\n").split(SEPARATOR)
        if question.user is not None:
            return Credentials(question.user, fields[0])
        return Credentials(fields[0].strip(), fields[1]) if len(fields) == 2 and fields[0].strip() else None

    async def _run(self, arguments: Sequence[str]) -> Finished:
        finished = await run_program([self._program, *arguments], environment=self._environment)
        if finished.code in (0, 1) and _NO_DISPLAY not in finished.complaints:
            return finished
        if finished.closed_from_outside:
            return Finished(1, b"", b"")
        raise Unavailable(
            "The dialog could not be shown on this desktop.",
            internal_message=f"zenity ended with {finished.code}: {finished.complaints[:300]!r}",
        )


def pick_arguments(request: DialogRequest) -> list[str]:
    """The command line of a file dialog, without the program."""
    arguments = ["--file-selection", f"--title={request_title(request)}", f"--separator={SEPARATOR}"]
    folder = str(request.start_folder or Path.home()).rstrip("/")
    name = suggested_name(request) if request.kind == "save-file" else ""
    arguments.append(f"--filename={folder}/{name}")
    if request.kind == "save-file":
        arguments += ["--save", "--confirm-overwrite"]
    elif request.multiple:
        arguments.append("--multiple")
    if request.kind == "open-folder":
        arguments.append("--directory")
    else:
        for entry in clean_filters(request.filters):
            arguments.append(f"--file-filter={entry.name} | {' '.join(patterns(entry))}")
    return arguments


def question_arguments(question: Question) -> list[str]:
    """The command line of a question: plain text, and the focus on no."""
    heading, *details = question_lines(question.heading, question.details)
    text = "\n\n".join(part for part in (heading, "\n".join(details)) if part)
    arguments = [
        "--question",
        f"--title={caller_text(question.caller)}",
        f"--text={text}",
        "--no-markup",
        "--width=480",
        f"--ok-label={button_label(question.accept)}",
        f"--cancel-label={button_label(question.refuse)}",
        "--default-cancel",
    ]
    if question.remember:
        arguments.append(f"--extra-button={button_label(question.remember)}")
    return arguments


def credentials_arguments(question: CredentialsQuestion) -> list[str]:
    """The command line of a form with a password and, when it is not known, a user name."""
    heading = html.escape(credentials_heading(question)).replace("\\", "\\\\")
    arguments = [
        "--forms",
        f"--title={caller_text(question.caller)}",
        f"--text={heading}",
        f"--separator={SEPARATOR}",
    ]
    if question.user is None:
        arguments.append("--add-entry=User name")
    arguments.append(f"--add-password={plain_label(question.secret_label)}")
    return arguments


def button_label(text: str) -> str:
    """A button's label: one line; an underscore would mark the next letter as its shortcut."""
    return plain_label(text).replace("_", "__")


def plain_label(text: str) -> str:
    """A label as one line."""
    return " ".join(question_lines(text, ()))


def chosen_paths(output: bytes, *, new: bool) -> list[Path]:
    """The chosen paths in `output`.

    Raises Unavailable when one of them does not exist, which is how a name that is no UTF-8 shows; with
    `new` (a file to be saved) its folder must exist.
    """
    paths = [Path(os.fsdecode(part)) for part in output.removesuffix(b"\n").split(SEPARATOR.encode()) if part]
    for path in paths:
        if not path.is_absolute() or not os.path.lexists(path.parent if new else path):
            raise Unavailable(
                "The dialog could not hand over the name of a chosen file.",
                internal_message=f"not a usable path: {path!r}",
            )
    return paths
