"""The commands `send` and `receive`: transfers of the person at the terminal, without a running helper."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Final

import typer

from connect_helper.client.interface import remote_sources
from connect_helper.client.planning import (
    download_items,
    local_user,
    plan_for,
    upload_items,
    with_afterwards,
)
from connect_helper.client.receipts import NoReceipts, SpooledReceipts
from connect_helper.client.results import Result
from connect_helper.client.settling import Options as ClientOptions
from connect_helper.client.settling import Settings, settle
from connect_helper.client.transfer import Transfer
from connect_helper.commands.asking import (
    ask_file_passphrase,
    ask_host_key,
    ask_secret,
    key_is_locked,
    read_file_passphrase,
    read_secret,
)
from connect_helper.commands.common import fail, own_folders, stop_on_signals
from connect_helper.commands.options import Options, in_options, takes_options
from connect_helper.commands.views import view_for
from connect_helper.errors import (
    ConnectError,
    ConnectHelperError,
    InvalidRequest,
    SourceError,
    TargetError,
)
from connect_helper.settings import Folders
from connect_helper.spec.rate_words import parse_rate
from connect_helper.spec.remote_address import RemoteAddress, is_remote, parse_address
from connect_helper.spec.words import Direction
from connect_helper.transfers.messages import Question
from connect_helper.transfers.plan import Item, Policies, Upload

EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3  # connection or login
EXIT_INTERRUPTED: Final = 130  # as shells say it of Ctrl-C

GOES_ON: Final = "Stopped. What was sent so far is kept: the same command goes on from there."
BEGINS_ANEW: Final = "Stopped. The same command sends everything again: hidden names are others each time."
ALL_ANEW: Final = "Stopped. The same command begins with every file anew, as its options want it."
OTHERS_ANEW: Final = "Stopped. Files that arrived whole are kept: the same command begins the others anew."


@takes_options("send")
def send(
    sources: Annotated[list[str], typer.Argument(metavar="SRC...", help="Files and folders.")],
    address: Annotated[
        str, typer.Argument(metavar="ssh://USER@HOST[:PORT]/FOLDER", help="Folder on the server.")
    ],
    options: Options,
    policies: Policies,
) -> None:
    """Send files and folders into a folder of a server, over SSH.

    A path after the host is absolute; /~/ is the folder the login leads to. Missing folders are made.
    Interrupted, the same command goes on where it was. Ends with 0 when all is there, 1 when some files
    failed, 2 for a wrong command line, 3 when the server was not reached or refused the login.
    """
    with _Failing(options):
        place = parse_address(address)
        for source in sources:
            if is_remote(source):
                raise InvalidRequest("Sources of send are local: see receive for fetching.", field="sources")
        named = [(source, _name(options, sources)) for source in sources]
        _transfer(place, lambda: upload_items(named, place), options, _settings(options, policies, "send"))


@takes_options("receive")
def receive(
    sources: Annotated[
        list[str], typer.Argument(metavar="ssh://USER@HOST[:PORT]/PATH...", help="Files and folders.")
    ],
    folder: Annotated[str, typer.Argument(metavar="LOCAL", help="Folder here.")],
    options: Options,
    policies: Policies,
) -> None:
    """Fetch files and folders of a server into a local folder, over SSH.

    A path after the host is absolute; /~/ is the folder the login leads to. The local folder is made when
    missing. Interrupted, the same command goes on where it was. Ends with 0, 1, 2 or 3 as send does.
    """
    with _Failing(options):
        if is_remote(folder):
            raise InvalidRequest("The last argument of receive is a local folder.", field="folder")
        named = remote_sources([(source, _name(options, sources)) for source in sources])
        settings = _settings(options, policies, "receive")
        _transfer(named[0][0], lambda: download_items(named, folder), options, settings)


def _name(options: Options, sources: Sequence[object]) -> str:
    if options.rename is not None and len(sources) > 1:
        raise InvalidRequest('"--as" names one source: there are several.', field="as")
    if options.rename == "":
        raise InvalidRequest('"--as" needs a name.', field="as")
    return options.rename or ""


class _Failing:
    """Turns errors before the transfer into a sentence and the exit code."""

    def __init__(self, options: Options) -> None:
        self._debug = options.debug

    def __enter__(self) -> None:
        level = logging.DEBUG if self._debug else logging.CRITICAL
        logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s")
        for name in ("asyncssh", "asyncio"):  # at DEBUG they log what they carry
            logging.getLogger(name).setLevel(max(level, logging.WARNING))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        match error:
            case InvalidRequest():
                fail(InvalidRequest(in_options(error.user_message)), EXIT_USAGE)
            case SourceError() | TargetError():
                fail(error, EXIT_USAGE)
            case ConnectHelperError():
                fail(error, EXIT_SOME_FAILED)
            case KeyboardInterrupt():
                raise typer.Exit(EXIT_INTERRUPTED) from error
            case _:
                return


def _transfer(
    place: RemoteAddress, items: Callable[[], Sequence[Item]], options: Options, settings: Settings
) -> None:
    """Ask what is missing, run the transfer, exit. Whatever can be wrong here is found before asking."""
    folders = own_folders()
    found = items()
    settings = with_afterwards(settings, found)
    settings = _with_file_passphrase(_with_secrets(settings, place, options), options)
    result = asyncio.run(_run(place, found, settings, options, folders))
    raise typer.Exit(_exit_code(result))


def _exit_code(result: Result) -> int:
    match result.outcome:
        case "completed":
            return 0
        case "stopped":
            return EXIT_INTERRUPTED
        case "failed":
            return EXIT_REFUSED if result.refused else EXIT_SOME_FAILED


def _settings(options: Options, policies: Policies, direction: Direction) -> Settings:
    if options.passphrase_stdin and options.content_protection is None:
        raise InvalidRequest('"passphrase_stdin" needs "content_protection".', field="passphrase_stdin")
    given = ClientOptions(
        key=options.key,
        host_key="known" if options.host_key == "ask" else options.host_key,
        rate_kbps=_rate(options.rate, "rate"),
        target_rate_cap_kbps=_rate(options.target_rate_cap, "target_rate_cap"),
        connections=options.connections,
        multi_session_threshold=options.multi_session_threshold,
        policies=policies,
        remove_after_transfer=options.remove_after_transfer,
        remove_skipped=options.remove_skipped,
        move_after_transfer=options.move_after_transfer,
        remove_empty_directories=options.remove_empty_directories,
        remove_empty_source_directory=options.remove_empty_source_directory,
        delete_source=options.delete_source or None,  # False would overrule the others
        obfuscate_file_names=options.obfuscate_file_names,
        content_protection=options.content_protection,
        fail_bad_filepass=options.fail_bad_filepass,
        retries=options.retries,
        retry_duration=options.retry_duration,
    )
    return settle(given, direction)


def _rate(text: str | None, field: str) -> int | None:
    return None if text is None else parse_rate(text, field)


def _with_secrets(settings: Settings, place: RemoteAddress, options: Options) -> Settings:
    """Add the password, or the passphrase of the key where it has one."""
    key = settings.private_key
    if key is None:
        prompt = f"Password of {place.user or local_user()} on {place.host}"
        return replace(settings, password=read_secret() if options.password_stdin else ask_secret(prompt))
    if options.password_stdin:
        return replace(settings, key_passphrase=read_secret())
    if key_is_locked(key):
        return replace(settings, key_passphrase=ask_secret(f"Passphrase of {options.key}"))
    return settings


def _with_file_passphrase(settings: Settings, options: Options) -> Settings:
    """Add the passphrase of content protection; on standard input it comes after the secret of the login."""
    action = settings.protection.action
    if action is None:
        return settings
    passphrase = read_file_passphrase() if options.passphrase_stdin else ask_file_passphrase(action)
    return replace(settings, protection=replace(settings.protection, passphrase=passphrase))


async def _run(
    place: RemoteAddress, items: Sequence[Item], settings: Settings, options: Options, folders: Folders
) -> Result:
    async def decide(question: Question) -> bool:
        if settings.accept_new:
            return True
        return options.host_key == "ask" and await ask_host_key(question)

    with closing(SpooledReceipts()) as spooled:
        receipts = spooled if options.as_json else NoReceipts()
        view = view_for(as_json_lines=options.as_json, quiet=options.quiet, ask=decide, receipts=receipts)
        try:
            plan = await plan_for(place, items, settings, folders)
        except ConnectError as error:
            result = _unreached(place, items, error)
        else:
            with view:
                transfer = Transfer(plan, view, folders, rules=settings.retry_rules, receipts=receipts)
                stop_on_signals(transfer.stop)
                result = await transfer.run()
        if result.outcome == "stopped":
            result = replace(result, message=_after_a_stop(settings))
        view.over(result)
    return result


def _after_a_stop(settings: Settings) -> str:
    """What the same command does: it is another transfer, of other hidden names and another encryption."""
    overwrite, resume = settings.policies.overwrite, settings.policies.resume
    if settings.hide_names:
        return BEGINS_ANEW
    if overwrite == "always" or (overwrite == "diff" and resume == "none"):
        return ALL_ANEW
    if resume == "none" or settings.protection.action == "encrypt":
        return OTHERS_ANEW
    return GOES_ON


def _unreached(place: RemoteAddress, items: Sequence[Item], error: ConnectError) -> Result:
    """The result of a transfer whose server was not even found."""
    return Result(
        outcome="failed",
        direction="send" if isinstance(items[0], Upload) else "receive",
        host=place.host,
        port=place.port,
        bytes_written=0,
        files_done=0,
        files_skipped=0,
        files_failed=0,
        elapsed_s=0.0,
        sessions=0,
        code=error.code,
        message=error.user_message,
    )
