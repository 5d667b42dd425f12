"""The commands of the helper itself: `run`, `open`, `status`, `stop`."""

from __future__ import annotations

import asyncio
import json
import os
import webbrowser
from typing import Annotated

import typer

from connect_helper import __version__
from connect_helper.api.app import Running, serve
from connect_helper.api.instance import AlreadyRunning, Instance
from connect_helper.commands.common import (
    EXIT_FAILED,
    EXIT_RUNNING,
    Home,
    fail,
    log_to,
    own_folders,
    stop_on_signals,
)
from connect_helper.commands.control import ask, running_or_exit, stop_running
from connect_helper.errors import ConnectHelperError
from connect_helper.settings import Folders


def run(
    debug: Annotated[bool, typer.Option(help="Log more, for hunting faults.")] = False,
    home: Home = None,
) -> None:
    """Run the helper until it is stopped."""
    folders = own_folders(home)
    log_to(folders, debug=debug)
    _warn_of_root()
    try:
        with Instance(folders) as instance:
            asyncio.run(_run(folders, instance))
    except AlreadyRunning as error:
        fail(error, EXIT_RUNNING)
    except ConnectHelperError as error:
        fail(error, EXIT_FAILED)


async def _run(folders: Folders, instance: Instance) -> None:
    stopping = asyncio.Event()
    stop_on_signals(stopping.set)
    await serve(folders, instance, stopping, _say_running)


def _say_running(running: Running) -> None:
    record = running.record
    for warning in running.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(f"connect-helper {__version__} runs.")
    typer.echo(f"  for pages    {record.pages}")
    if record.desktop:
        typer.echo(f"  and          {record.desktop}   (for the Aspera SDK)")
    typer.echo(f"  its window   {record.window}   (connect-helper open)")
    typer.echo("  to end it    Ctrl-C, or connect-helper stop")


def open_window() -> None:
    """Open the helper's window in the browser."""
    record = running_or_exit(own_folders())
    code = ask(record, "code")["code"]
    address = f"{record.window}/#code={code}"
    if not webbrowser.open_new_tab(address):
        typer.echo(f"No browser could be opened. Within a minute, open {address}")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell whether the helper runs, where, and what it is doing."""
    record = running_or_exit(own_folders())
    facts = ask(record, "status")
    if as_json:
        typer.echo(json.dumps(facts))
        return
    counts = ", ".join(f"{count} {word}" for word, count in facts["transfers"].items() if count)
    typer.echo(f"connect-helper {facts['version']} runs (process {record.pid}).")
    typer.echo(f"  for pages    {record.pages}")
    if record.desktop:
        typer.echo(f"  and          {record.desktop}   (for the Aspera SDK)")
    typer.echo(f"  its window   {record.window}")
    typer.echo(f"  transfers    {counts or 'none'}")


def stop() -> None:
    """End the helper; partial files and the list of transfers are kept."""
    folders = own_folders()
    stop_running(folders, running_or_exit(folders))
    typer.echo("connect-helper has ended.")


def _warn_of_root() -> None:
    if os.name == "posix" and os.geteuid() == 0:
        typer.echo(
            "Warning: running as root. Pages get no more than what you pick, but pick with care.", err=True
        )
