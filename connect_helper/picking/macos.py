"""Dialogs on macOS, by osascript and its JavaScript for Automation.

The script is a constant. What it shows travels as one JSON argument of `run(argv)`, so no text of a page
is ever part of the source; the answer comes back as one line of JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import Unavailable
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.programs import run_program
from connect_helper.picking.wording import (
    caller_text,
    credentials_heading,
    plain_extensions,
    question_lines,
    request_title,
    suggested_name,
)

PROGRAM: Final = "/usr/bin/osascript"

# Error -128 is the user's "Cancel". `frontmost` is not asked for: dialogs of osascript come to the front.
SCRIPT: Final = """
function run(argv) {
  const wish = JSON.parse(argv[0]);
  const app = Application.currentApplication();
  app.includeStandardAdditions = true;
  const shown = {
    "open-file": () => paths(app.chooseFile(options(wish, true))),
    "open-folder": () => paths(app.chooseFolder(options(wish, true))),
    "save-file": () => paths(app.chooseFileName(options(wish, false))),
    "question": () => ({button: app.displayDialog(wish.text, {
      withTitle: wish.title, buttons: wish.buttons, defaultButton: 1, cancelButton: 1, withIcon: "caution",
    }).buttonReturned}),
    "field": () => ({text: app.displayDialog(wish.text, {
      withTitle: wish.title, defaultAnswer: "", hiddenAnswer: wish.hidden,
      buttons: ["Cancel", "OK"], defaultButton: 2, cancelButton: 1,
    }).textReturned}),
  };
  try {
    return JSON.stringify(shown[wish.kind]());
  } catch (error) {
    if (error.errorNumber === -128) return JSON.stringify({cancelled: true});
    throw error;
  }
}
function options(wish, open) {
  const made = {withPrompt: wish.title, defaultLocation: Path(wish.folder)};
  if (open) made.multipleSelectionsAllowed = wish.multiple;
  if (open && wish.types.length) made.ofType = wish.types;
  if (!open && wish.name) made.defaultName = wish.name;
  return made;
}
function paths(chosen) {
  return {paths: (Array.isArray(chosen) ? chosen : [chosen]).map(String)};
}
"""


class MacDialogs:
    """Picker and Asker by osascript."""

    def __init__(self, environment: Mapping[str, str], *, program: str = PROGRAM) -> None:
        self._program = program
        self._environment = environment

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """See `Picker.pick`."""
        said = await self._show(pick_wish(request))
        return [Path(text) for text in said.get("paths", ())]

    async def ask(self, question: Question) -> Answer:
        """See `Asker.ask`."""
        wish = question_wish(question)
        button = (await self._show(wish)).get("button")
        labels = wish["buttons"]
        always = len(labels) == 3 and button == labels[1]
        return Answer(accepted=always or button == labels[-1], remember=always)

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """See `Asker.ask_credentials`; an unknown user name is asked for in a dialog before."""
        user = question.user
        if user is None:
            user = (await self._show(field_wish(question, "User name", hidden=False))).get("text", "").strip()
            if not user:
                return None
        secret = (await self._show(field_wish(question, question.secret_label, hidden=True))).get("text")
        return None if secret is None else Credentials(user, secret)

    async def _show(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        finished = await run_program(command_line(self._program, wish), environment=self._environment)
        if finished.closed_from_outside:
            return {}
        if finished.code:
            raise Unavailable(
                "The dialog could not be shown.",
                internal_message=f"osascript ended with {finished.code}: {finished.complaints[:300]!r}",
            )
        said: dict[str, Any] = json.loads(finished.output)
        return said


def command_line(program: str, wish: Mapping[str, Any]) -> list[str]:
    """The whole command line; the JSON begins with a brace and so is never taken for an option."""
    return [program, "-l", "JavaScript", "-e", SCRIPT, json.dumps(wish)]


def pick_wish(request: DialogRequest) -> dict[str, Any]:
    """What the script shows for a file dialog."""
    return {
        "kind": request.kind,
        "title": request_title(request),
        "folder": os.fspath(request.start_folder or Path.home()),
        "multiple": request.multiple,
        "types": list(plain_extensions(request)) if request.kind == "open-file" else [],
        "name": suggested_name(request),
    }


def question_wish(question: Question) -> dict[str, Any]:
    """What the script shows for a question: the first button is no, the default and Escape's."""
    labels = [question.refuse, *([question.remember] if question.remember else []), question.accept]
    heading, *details = question_lines(question.heading, question.details)
    return {
        "kind": "question",
        "title": caller_text(question.caller),
        "text": "\n\n".join(part for part in (heading, "\n".join(details)) if part),
        "buttons": [" ".join(question_lines(label, ())) for label in labels],
    }


def field_wish(question: CredentialsQuestion, label: str, *, hidden: bool) -> dict[str, Any]:
    """What the script shows to ask for one text."""
    text = "\n".join([credentials_heading(question), *question_lines(f"{label}:", ())])
    return {"kind": "field", "title": caller_text(question.caller), "text": text, "hidden": hidden}
