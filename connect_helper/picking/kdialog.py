"""Dialogs by kdialog (KDE Plasma).

Qt shows a text as HTML when it looks like HTML, so every text is sent as HTML, with what a page wrote
escaped. Questions are a list with "no" chosen in advance: kdialog's yes-no boxes have yes as the default
and end alike for "no" and for a closed window.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

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


class Kdialog:
    """Picker and Asker by the program at `program`."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = utf8_environment(environment)

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """See `Picker.pick`."""
        finished = await self._run(pick_arguments(request))
        return [] if finished.code else chosen_paths(finished.output, request)

    async def ask(self, question: Question) -> Answer:
        """See `Asker.ask`."""
        finished = await self._run(question_arguments(question))
        choice = finished.output.strip() if finished.code == 0 else b"deny"
        always = choice == b"always" and bool(question.remember)
        return Answer(accepted=always or choice == b"allow", remember=always)

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """See `Asker.ask_credentials`; an unknown user name is asked for in a dialog before."""
        user = question.user
        if user is None:
            named = await self._run(_prompt("--inputbox", question, "User name"))
            user = named.output.decode("utf-8", "replace").strip()
            if named.code or not user:
                return None
        secret = await self._run(_prompt("--password", question, question.secret_label))
        if secret.code:
            return None
        return Credentials(user, secret.output.decode("utf-8", "replace").removesuffix("\n"))

    async def _run(self, arguments: Sequence[str]) -> Finished:
        finished = await run_program([self._program, *arguments], environment=self._environment)
        if finished.code in (0, 1):
            return finished
        if finished.closed_from_outside:
            return Finished(1, b"", b"")
        raise Unavailable(
            "The dialog could not be shown on this desktop.",
            internal_message=f"kdialog ended with {finished.code}: {finished.complaints[:300]!r}",
        )


def pick_arguments(request: DialogRequest) -> list[str]:
    """The command line of a file dialog, without the program."""
    folder = str(request.start_folder or Path.home())
    arguments = [f"--title={request_title(request)}"]
    if request.kind == "open-folder":
        return [*arguments, "--getexistingdirectory", folder]
    if request.kind == "save-file":
        name = suggested_name(request)
        start = f"{folder.rstrip('/')}/{name}" if name else folder
        return [*arguments, "--getsavefilename", start, *_filter(request)]
    if request.multiple:
        arguments += ["--multiple", "--separate-output"]
    return [*arguments, "--getopenfilename", folder, *_filter(request)]


def _filter(request: DialogRequest) -> list[str]:
    """The types as "*.png *.jpg|Images", one a line; no argument when there are none."""
    lines = [f"{' '.join(patterns(entry))}|{entry.name}" for entry in clean_filters(request.filters)]
    return ["\n".join(lines)] if lines else []


def question_arguments(question: Question) -> list[str]:
    """The command line of a question."""
    arguments = [
        f"--title={caller_text(question.caller)}",
        "--radiolist",
        as_html(question_lines(question.heading, question.details)),
    ]
    choices = [("deny", question.refuse, "on"), ("allow", question.accept, "off")]
    if question.remember:
        choices.append(("always", question.remember, "off"))
    for tag, label, state in choices:
        arguments += [tag, " ".join(question_lines(label, ())).lstrip("-"), state]
    return arguments


def _prompt(option: str, question: CredentialsQuestion, label: str) -> list[str]:
    text = as_html([credentials_heading(question), *question_lines(f"{label}:", ())])
    return [f"--title={caller_text(question.caller)}", option, text]


def as_html(lines: Iterable[str]) -> str:
    """Lines as HTML that shows them as they are; kdialog turns a backslash and n into a new line."""
    return "<qt>" + "<br>".join(html.escape(line).replace("\\", "&#92;") for line in lines) + "</qt>"


def chosen_paths(output: bytes, request: DialogRequest) -> list[Path]:
    """The chosen paths, one a line. A name may hold a new line: then what exists decides.

    Raises Unavailable when a path cannot be made out.
    """
    if request.kind == "save-file" or not request.multiple:
        whole = Path(os.fsdecode(output.removesuffix(b"\n")))
        if not whole.is_absolute() or not os.path.lexists(whole.parent):
            raise _lost(whole)
        return [whole]
    pieces: list[bytes] = []
    for line in output.removesuffix(b"\n").split(b"\n"):
        # A line that begins with a slash may still go on with a folder whose name ends in a new line.
        if line.startswith(b"/") and (not pieces or os.path.lexists(pieces[-1])):
            pieces.append(line)
        elif pieces:
            pieces[-1] += b"\n" + line
        else:
            raise _lost(Path(os.fsdecode(line)))
    for piece in pieces:
        if not os.path.lexists(piece):
            raise _lost(Path(os.fsdecode(piece)))
    return [Path(os.fsdecode(piece)) for piece in pieces]


def _lost(path: Path) -> Unavailable:
    return Unavailable(
        "The dialog could not hand over the name of a chosen file.",
        internal_message=f"not a usable path: {path!r}",
    )
