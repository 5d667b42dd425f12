"""The `connect-helper` command: its parts put together. Only what is reached from here prints."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from connect_helper import __version__
from connect_helper.commands.edge import at_the_edge
from connect_helper.loading import quickly

_TRANSFER_SERVER: Final = {
    "server": "connect_helper.commands.server:server",
    "token": "connect_helper.commands.token:token",
}
COMMANDS: Final = {
    "run": "connect_helper.commands.helper:run",
    "open": "connect_helper.commands.helper:open_window",
    "status": "connect_helper.commands.helper:status",
    "stop": "connect_helper.commands.helper:stop",
    "send": "connect_helper.commands.transfer:send",
    "receive": "connect_helper.commands.transfer:receive",
    "open-link": "connect_helper.commands.links:open_link",
    "install": "connect_helper.commands.installation:install",
    "uninstall": "connect_helper.commands.installation:uninstall",
    "doctor": "connect_helper.commands.doctor:doctor",
    "demo": "connect_helper.commands.demo:demo",
    # The transfer server stands on what POSIX systems have.
    **({} if sys.platform == "win32" else _TRANSFER_SERVER),
}
"""Each command's place: module and name of a function, or of a group of commands."""

NOT_ON_WINDOWS: Final = "connect-helper runs on Linux and macOS; Windows is not supported yet."


class CommandsAtNeed(TyperGroup):
    """Imports a command when it is asked for: the helper starts without what the server is made of."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name all commands, in the order in which help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # the types are private to typer
        """Return the command of that name, or None."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        with quickly():
            found = getattr(import_module(module), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)


app = typer.Typer(
    name="connect-helper",
    cls=CommandsAtNeed,
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


def main() -> None:
    """Entry point of the command."""
    refuse_windows(sys.platform)
    with at_the_edge():
        app()


def refuse_windows(platform: str) -> None:
    """End with a sentence where the helper cannot work yet, before anything is imported that fails there."""
    if platform == "win32":
        typer.echo(NOT_ON_WINDOWS, err=True)
        raise SystemExit(1)
