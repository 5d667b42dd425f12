"""The commands of the helper itself: `run`, `open`, `status`, `stop`."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
import webbrowser
from typing import Annotated, Any, Final

import typer

from connect_helper import __version__
from connect_helper.api.app import Running, serve
from connect_helper.api.instance import AlreadyRunning, Instance, Record, running_record
from connect_helper.commands.common import (
    EXIT_FAILED,
    EXIT_RUNNING,
    EXIT_STOPPED,
    fail,
    log_to,
    own_folders,
    stop_on_signals,
)
from connect_helper.errors import ConnectHelperError, Unavailable
from connect_helper.settings import Folders

_STOP_LIMIT_S: Final = 10.0


def run(
    debug: Annotated[bool, typer.Option(help="Log more, for hunting faults.")] = False,
) -> None:
    """Run the helper until it is stopped."""
    folders = own_folders()
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
    record = _running_or_exit(own_folders())
    code = _ask(record, "code")["code"]
    address = f"{record.window}/#code={code}"
    if not webbrowser.open_new_tab(address):
        typer.echo(f"No browser could be opened. Within a minute, open {address}")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell whether the helper runs, where, and what it is doing."""
    record = _running_or_exit(own_folders())
    facts = _ask(record, "status")
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
    record = _running_or_exit(folders)
    _ask(record, "stop")
    deadline = time.monotonic() + _STOP_LIMIT_S
    while running_record(folders) is not None:
        if time.monotonic() > deadline:
            fail(Unavailable(f"The helper (process {record.pid}) has not ended yet."), EXIT_FAILED)
        time.sleep(0.05)
    typer.echo("connect-helper has ended.")


def _running_or_exit(folders: Folders) -> Record:
    record = running_record(folders)
    if record is None:
        typer.echo("connect-helper does not run. Start it with: connect-helper run", err=True)
        raise typer.Exit(EXIT_STOPPED)
    return record


def _ask(record: Record, what: str) -> dict[str, Any]:
    """Ask the running helper over its control routes."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback address, from a file only we can read
        f"{record.window}/api/control/{what}",
        data=b"{}",
        headers={"Authorization": f"Bearer {record.key}", "Content-Type": "application/json"},
    )
    try:
        # No proxy of the environment: the request carries the control key.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            found: dict[str, Any] = json.load(response)
    except (OSError, ValueError) as error:
        fail(Unavailable(f"The helper at {record.window} does not answer ({error})."), EXIT_FAILED)
    return found


def _warn_of_root() -> None:
    if os.name == "posix" and os.geteuid() == 0:
        typer.echo(
            "Warning: running as root. Pages get no more than what you pick, but pick with care.", err=True
        )
