"""The commands `install` and `uninstall`: the helper known to the desktop, and forgotten by it."""

from __future__ import annotations

from typing import Annotated

import typer

from connect_helper.api.instance import running_record
from connect_helper.commands.common import ends_with_error, folders_of, own_folders
from connect_helper.commands.control import stop_running
from connect_helper.installing.carrying_out import Done, Installer
from connect_helper.installing.here import plan_here
from connect_helper.installing.wording import shown
from connect_helper.settings import Folders
from connect_helper.spec.launch_links import SCHEMES

RECORD = "installed.json"


def install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be written.")] = False,
) -> None:
    """Start the helper at login, and have it open fasp: and aspera: links."""
    plan = plan_here()
    if dry_run:
        for step in plan.steps:
            typer.echo(shown(step))
        return
    with ends_with_error():
        done = _installer(own_folders()).install(plan)
    _say(done)
    typer.echo(
        f"Links with {', '.join(f'{scheme}:' for scheme in SCHEMES)} open in connect-helper from now on."
    )
    typer.echo("It starts at the next login, or with such a link; to start it now: connect-helper run")


def uninstall(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
) -> None:
    """Stop the helper, and remove what install made; preferences and transfers are kept."""
    plan = plan_here()
    if dry_run:
        for step in plan.everything:
            typer.echo(shown(step))
        return
    folders = folders_of()
    record = running_record(folders) if folders.run.is_dir() else None
    if record is not None:
        stop_running(folders, record)
        typer.echo("connect-helper has ended.")
    with ends_with_error():
        done = _installer(folders).uninstall(plan)
    _say(done)
    if not done:
        typer.echo("There was nothing to remove.")
    typer.echo(f"Kept: preferences in {folders.config}, the list of transfers in {folders.state}.")


def _installer(folders: Folders) -> Installer:
    return Installer(folders.state / RECORD)


def _say(done: list[Done]) -> None:
    for one in done:
        typer.echo(f"{one.what:<10}  {one.where}{f' ({one.why})' if one.why else ''}")
