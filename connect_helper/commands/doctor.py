"""The command `doctor`: what is there and what is missing, in plain words."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from connect_helper.commands.checks import Check, Here, look
from connect_helper.commands.common import EXIT_FAILED, folders_of

_MARKS: Final = {"good": ("ok", "green"), "warning": ("note", "yellow"), "bad": ("bad", "bold red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what is there, what is missing and what to do about it; exit code 1 when something is bad."""
    found = list(look(Here.now(folders_of())))
    works = all(check.state != "bad" for check in found)
    if as_json:
        typer.echo(json.dumps({"works": works, "checks": [check.as_json() for check in found]}))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for check in found:
            console.print(_line(check))
        console.print(_verdict(found))
    if not works:
        raise typer.Exit(EXIT_FAILED)


def _line(check: Check) -> Text:
    word, style = _MARKS[check.state]
    return Text.assemble(
        (f"{word:<6}", style), check.says, (f" {check.advice}" if check.advice else "", "dim")
    )


def _verdict(found: list[Check]) -> str:
    bad = sum(check.state == "bad" for check in found)
    notes = sum(check.state == "warning" for check in found)
    if bad:
        return f"{bad} of {len(found)} things keep the helper from working."
    return f"It works; {notes} things could be better." if notes else "Everything is in order."
