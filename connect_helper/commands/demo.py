"""The command `demo`: everything there is, on this computer."""

from __future__ import annotations

import asyncio
import webbrowser
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from connect_helper.api.app import Running, serve
from connect_helper.api.instance import AlreadyRunning, Instance, running_record
from connect_helper.commands.common import (
    EXIT_FAILED,
    EXIT_RUNNING,
    fail,
    log_to,
    own_folders,
    stop_on_signals,
)
from connect_helper.errors import ConnectHelperError


def demo(
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the example site.")] = True,
) -> None:
    """Try it all on this computer: an SSH server, an example site and the helper."""
    try:
        asyncio.run(_demo(open_browser=open_browser))
    except* ConnectHelperError as group:
        error = _first(group)
        fail(error, EXIT_RUNNING if isinstance(error, AlreadyRunning) else EXIT_FAILED)


def _first(group: BaseExceptionGroup[ConnectHelperError]) -> ConnectHelperError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _demo(*, open_browser: bool) -> None:
    """The helper, when none runs yet, and beside it what it needs to be tried out."""
    # Here, for its SSH server takes a third of the start of every other command.
    from connect_helper.demo.run import Demo

    stopping = asyncio.Event()
    stop_on_signals(stopping.set)
    folders = own_folders()
    log_to(folders, debug=False)
    found = running_record(folders)
    async with AsyncExitStack() as stack:
        if found is None:
            instance = stack.enter_context(Instance(folders))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            started: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
            tasks.create_task(serve(folders, instance, stopping, started.set_result), name="helper")
            found = (await started).record
        site = await stack.enter_async_context(Demo(found.pages))
        typer.echo("The demo runs; Ctrl-C ends it and removes its server and sample files.")
        typer.echo(f"  example site  {site.site_url}")
        typer.echo(f"  SSH server    {site.ssh_address}   password {site.password}")
        typer.echo(f"  helper        {found.pages}   (its window: connect-helper open)")
        typer.echo(f"  files to send {site.samples}")
        if open_browser and not webbrowser.open_new_tab(site.site_url):
            typer.echo("No browser could be opened; open the address of the example site yourself.")
        await stopping.wait()
