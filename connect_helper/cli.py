"""The `connect-helper` command: composition, and the only place that prints."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, NoReturn

import typer

from connect_helper import __version__
from connect_helper.api.app import Running, serve
from connect_helper.api.instance import AlreadyRunning, Instance, Record, running_record
from connect_helper.demo.run import Demo
from connect_helper.errors import ConnectHelperError, Unavailable
from connect_helper.settings import Folders

EXIT_FAILED: Final = 1
EXIT_RUNNING: Final = 3  # another helper of this user runs
EXIT_STOPPED: Final = 4  # none runs
_STOP_LIMIT_S: Final = 10.0

app = typer.Typer(
    name="connect-helper",
    help="Lets web pages move big files between this computer and a server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Entry point of the command."""
    app()


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Lets web pages move big files between this computer and a server."""
    if version:
        typer.echo(f"connect-helper {__version__}")
        raise typer.Exit


@app.command()
def run(
    debug: Annotated[bool, typer.Option(help="Log more, for hunting faults.")] = False,
) -> None:
    """Run the helper until it is stopped."""
    folders = _own_folders()
    _log_to(folders, debug=debug)
    _warn_of_root()
    try:
        with Instance(folders) as instance:
            asyncio.run(_run(folders, instance))
    except AlreadyRunning as error:
        _fail(error, EXIT_RUNNING)
    except ConnectHelperError as error:
        _fail(error, EXIT_FAILED)


async def _run(folders: Folders, instance: Instance) -> None:
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    await serve(folders, instance, stopping, _say_running)


def _say_running(running: Running) -> None:
    record = running.record
    for warning in running.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo(f"connect-helper {__version__} runs.")
    typer.echo(f"  for pages    {record.pages}")
    typer.echo(f"  its window   {record.window}   (connect-helper open)")
    typer.echo("  to end it    Ctrl-C, or connect-helper stop")


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "posix":
            loop.add_signal_handler(number, stopping.set)
        else:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopping.set))


@app.command("open")
def open_window() -> None:
    """Open the helper's window in the browser."""
    record = _running_or_exit(_own_folders())
    code = _ask(record, "code")["code"]
    address = f"{record.window}/#code={code}"
    if not webbrowser.open_new_tab(address):
        typer.echo(f"No browser could be opened. Within a minute, open {address}")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell whether the helper runs, where, and what it is doing."""
    record = _running_or_exit(_own_folders())
    facts = _ask(record, "status")
    if as_json:
        typer.echo(json.dumps(facts))
        return
    counts = ", ".join(f"{count} {word}" for word, count in facts["transfers"].items() if count)
    typer.echo(f"connect-helper {facts['version']} runs (process {record.pid}).")
    typer.echo(f"  for pages    {record.pages}")
    typer.echo(f"  its window   {record.window}")
    typer.echo(f"  transfers    {counts or 'none'}")


@app.command()
def stop() -> None:
    """End the helper; partial files and the list of transfers are kept."""
    folders = _own_folders()
    record = _running_or_exit(folders)
    _ask(record, "stop")
    deadline = time.monotonic() + _STOP_LIMIT_S
    while running_record(folders) is not None:
        if time.monotonic() > deadline:
            _fail(Unavailable(f"The helper (process {record.pid}) has not ended yet."), EXIT_FAILED)
        time.sleep(0.05)
    typer.echo("connect-helper has ended.")


@app.command()
def demo(
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the example site.")] = True,
) -> None:
    """Try it all on this computer: an SSH server, an example site and the helper."""
    try:
        asyncio.run(_demo(open_browser=open_browser))
    except* ConnectHelperError as group:
        error = _first(group)
        _fail(error, EXIT_RUNNING if isinstance(error, AlreadyRunning) else EXIT_FAILED)


def _first(group: BaseExceptionGroup[ConnectHelperError]) -> ConnectHelperError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _demo(*, open_browser: bool) -> None:
    """The helper, when none runs yet, and beside it what it needs to be tried out."""
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    folders = _own_folders()
    _log_to(folders, debug=False)
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


def _own_folders() -> Folders:
    folders = Folders.from_environment()
    try:
        folders.create()
    except ConnectHelperError as error:
        _fail(error, EXIT_FAILED)
    return folders


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
        _fail(Unavailable(f"The helper at {record.window} does not answer ({error})."), EXIT_FAILED)
    return found


def _log_to(folders: Folders, *, debug: bool) -> None:
    handler = logging.handlers.RotatingFileHandler(
        folders.logs / "connect-helper.log", maxBytes=5_000_000, backupCount=3, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    # These log what they carry: names from the other side, and at DEBUG far more.
    for name in ("asyncssh", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It quotes the headers of requests it cannot read; those are answered with 400 and no more.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL + 1)


def _warn_of_root() -> None:
    if os.name == "posix" and os.geteuid() == 0:
        typer.echo(
            "Warning: running as root. Pages get no more than what you pick, but pick with care.", err=True
        )


def _fail(error: ConnectHelperError, code: int) -> NoReturn:
    typer.echo(error.user_message, err=True)
    sys.exit(code)
