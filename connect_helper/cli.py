"""The `connect-helper` command: its parts put together. Only what is reached from here prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from connect_helper import __version__
from connect_helper.commands.demo import demo
from connect_helper.commands.helper import open_window, run, status, stop
from connect_helper.commands.transfer import receive, send

app = typer.Typer(
    name="connect-helper",
    help="Lets web pages move big files between this computer and a server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Lets web pages move big files between this computer and a server."""
    if version:
        typer.echo(f"connect-helper {__version__}")
        raise typer.Exit


app.command()(run)
app.command("open")(open_window)
app.command()(status)
app.command()(stop)
app.command()(send)
app.command()(receive)
app.command()(demo)
if sys.platform != "win32":  # the transfer server stands on what POSIX systems have
    from connect_helper.commands.server import server
    from connect_helper.commands.token import token

    app.add_typer(server)
    app.add_typer(token)


def main() -> None:
    """Entry point of the command."""
    app()
