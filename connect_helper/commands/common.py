"""What the commands share: folders, log, signals, and how a command fails."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from connect_helper.commands.edge import EXIT_FAILED as EXIT_FAILED
from connect_helper.errors import ConnectHelperError
from connect_helper.settings import HOME_VARIABLE, Folders

EXIT_RUNNING: Final = 3  # another helper of this user runs
EXIT_STOPPED: Final = 4  # none runs


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on the loop at Ctrl-C and at SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if os.name == "posix":
            loop.add_signal_handler(number, stop)
        else:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


Home = Annotated[
    Path | None, typer.Option(help=f"Folder to keep everything in, as {HOME_VARIABLE} does.", hidden=True)
]
"""For what is installed into the desktop, which starts programs without the variables of a shell."""


def folders_of(home: Path | None = None) -> Folders:
    """The program's folders, not made."""
    return Folders.from_environment({**os.environ, HOME_VARIABLE: str(home)} if home else os.environ)


def own_folders(home: Path | None = None) -> Folders:
    """The program's folders, made when missing; ends the command when they cannot be used."""
    folders = folders_of(home)
    try:
        folders.create()
    except ConnectHelperError as error:
        fail(error, EXIT_FAILED)
    return folders


def log_to(folders: Folders, *, debug: bool) -> None:
    """Log to a file of the program's own."""
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


def fail(error: ConnectHelperError, code: int = EXIT_FAILED) -> NoReturn:
    """Say what is wrong and end with `code`."""
    typer.echo(error.user_message, err=True)
    sys.exit(code)


@contextmanager
def ends_with_error() -> Iterator[None]:
    """End the command with an error's sentence."""
    try:
        yield
    except ConnectHelperError as error:
        fail(error, EXIT_FAILED)
