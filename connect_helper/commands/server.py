"""`connect-helper server`: set up, check, run and watch the transfer server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from connect_helper.collector import calm_collector, keep_memory
from connect_helper.commands.common import EXIT_FAILED, EXIT_STOPPED, fail
from connect_helper.errors import ConnectHelperError, Unavailable
from connect_helper.server.aspera_conf import convert
from connect_helper.server.checking import examine
from connect_helper.server.fast_lane import new_loop
from connect_helper.server.operating import control_socket
from connect_helper.server.passwords import hash_password
from connect_helper.server.program import Running, serve, signals
from connect_helper.server.setting_up import Made, set_up
from connect_helper.server.source import Source
from connect_helper.server.structured_log import set_up as set_up_log

server = typer.Typer(
    name="server", help="The transfer server: SSH, HTTPS fallback and Node API.", no_args_is_help=True
)
_TIMEOUT_S: Final = 10.0
_PIPE_WIDTH: Final = 200
MORE_OBJECTS: Final = 10_000  # between two looks for garbage, which stop all sessions meanwhile

Config = Annotated[
    Path,
    typer.Option(
        "--config", envvar="CONNECT_HELPER_SERVER_CONFIG", help="The configuration file, server.toml."
    ),
]
AsperaConf = Annotated[
    Path | None,
    typer.Option("--aspera-conf", metavar="FILE", help="Read this aspera.conf too; server.toml wins."),
]


@server.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make the server in.", metavar="DIR")],
    from_aspera_conf: Annotated[
        Path | None,
        typer.Option("--from-aspera-conf", metavar="FILE", help="Take users and settings over from it."),
    ] = None,
) -> None:
    """Write a commented configuration, host keys, a self-signed certificate and an admin account."""
    try:
        taken = None if from_aspera_conf is None else convert(from_aspera_conf)
        made = set_up(folder, None if taken is None else taken.raw)
    except ConnectHelperError as error:
        fail(error)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        fail(Unavailable(f"The server could not be set up: {where}{error.strerror}."))
    except UnicodeEncodeError:
        fail(Unavailable("The folder must have a name in UTF-8: it stands in the configuration."))
    except ValueError as error:
        fail(Unavailable(f"The server could not be set up: {error}."))
    for warning in taken.warnings if taken else ():
        typer.echo(f"Warning: {warning}", err=True)
    _say_made(made)


def _say_made(made: Made) -> None:
    said = (
        f"The server is set up in {made.config.parent}.",
        f"  host key     {made.host_key}",
        f"  certificate  SHA-256 {made.certificate}",
        f"  account      {made.user}, with the folder {made.docroot}",
        f"  password     {made.password}   (shown this once, kept nowhere)",
        f"Start it with: connect-helper server run --config {made.config}",
    )
    try:
        typer.echo("\n".join(said))
    except OSError as error:
        fail(
            Unavailable(
                f"The server is set up in {made.config.parent}, but the password of {made.user} could not be "
                f"shown ({error.strerror}). Put another in {made.config}: see connect-helper server "
                "hash-password."
            )
        )


@server.command()
def check(config: Config, aspera_conf: AsperaConf = None) -> None:
    """Tell whether a server could run with this configuration; exit code 1 if not."""
    source = Source(config, aspera_conf)
    try:
        settings = source.read()
    except ConnectHelperError as error:
        fail(error)
    findings = examine(settings.config, config)
    for warning in (*settings.warnings, *findings.warnings):
        typer.echo(f"Warning: {warning}", err=True)
    if findings.problems:
        fail(Unavailable("\n".join(findings.problems)))
    users = len(settings.config.user)
    typer.echo(f"{config} can be used: {users} {'user' if users == 1 else 'users'}.")


@server.command()
def run(config: Config, aspera_conf: AsperaConf = None) -> None:
    """Run the server until SIGTERM or Ctrl-C; SIGHUP has it read its configuration again."""
    source = Source(config, aspera_conf)
    try:
        set_up_log(source.read().config.log)
        calm_collector(MORE_OBJECTS)
        keep_memory()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_run(source))
    except ConnectHelperError as error:
        fail(error)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        fail(Unavailable(f"The server could not start: {where}{error.strerror}."))


async def _run(source: Source) -> None:
    stopping, reloading = asyncio.Event(), asyncio.Event()
    signals(stopping, reloading)
    await serve(source, stopping, reloading, _say_running)


def _say_running(running: Running) -> None:
    for warning in running.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    typer.echo("connect-helper server runs.")
    for name, port in (("ssh", running.ssh_port), ("https", running.https_port), ("http", running.http_port)):
        if port is not None:
            typer.echo(f"  {name:<9}port {port}")
    if running.fingerprint is not None:
        typer.echo(f"  host key {running.fingerprint}")
    sys.stdout.flush()


@server.command("hash-password")
def hash_of_password() -> None:
    """Ask for a password, print its hash for password_hash in the configuration."""
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        typer.echo(hash_password(password))
    except ValueError as error:
        fail(Unavailable(str(error)))


@server.command()
def sessions(
    config: Config,
    aspera_conf: AsperaConf = None,
    ended: Annotated[bool, typer.Option("--ended", help="Show sessions that have ended too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    cancel: Annotated[
        str | None, typer.Option(metavar="ID", help="End the session with that id instead.")
    ] = None,
) -> None:
    """List who transfers what on the server that runs here."""
    try:
        socket = control_socket(Source(config, aspera_conf).read().config.server.state)
        if cancel is not None:
            asyncio.run(_ask(socket, "POST", f"/operator/sessions/{_checked_id(cancel)}/cancel"))
            return
        answer = asyncio.run(_ask(socket, "GET", "/operator/sessions"))
    except ConnectHelperError as error:
        fail(error, EXIT_STOPPED if isinstance(error, NotRunning) else EXIT_FAILED)
    if as_json:
        typer.echo(json.dumps(answer if ended else {"sessions": answer["sessions"]}))
    else:
        _show([*(answer["ended"] if ended else ()), *answer["sessions"]])


class NotRunning(Unavailable):
    """Nobody answers at the control socket."""

    code = "not_running"


def _checked_id(text: str) -> str:
    if not text.isascii() or not text.isalnum():
        raise Unavailable("A session's id has letters and digits only.")
    return text


async def _ask(socket: Path, method: str, path: str) -> Any:
    """Ask the running server. Raises NotRunning, and Unavailable with the server's own sentence."""
    connector = aiohttp.UnixConnector(path=str(socket))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as client,
            client.request(method, f"http://server{path}") as response,
        ):
            body = await response.json() if response.content_length else {}
            if response.status >= 400:
                raise Unavailable(str(body.get("error", f"The server answered {response.status}.")))
            return body
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise NotRunning(
            "No server answers with this configuration, or it belongs to another account.",
            internal_message=str(error),
        ) from error


def _show(reports: list[dict[str, Any]]) -> None:
    if not reports:
        typer.echo("No sessions.")
        return
    table = Table("user", "from", "by", "status", "since", "in", "out", "files", "now")
    table.add_column("session", no_wrap=True)  # to be copied: for --cancel
    for one in reports:
        table.add_row(
            one["account"],
            one["peer"],
            one["protocol"],
            one["status"],
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["started_at"])),
            _amount(one["bytes_in"]),
            _amount(one["bytes_out"]),
            str(one["files_in"] + one["files_out"]),
            ", ".join(file["path"] for file in one["under_way"][:3]),
            one["id"],
        )
    # A pipe has no width of its own; half an id would be of no use there.
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    with contextlib.suppress(BrokenPipeError):
        Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def _amount(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
