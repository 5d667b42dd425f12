"""The options that `send` and `receive` share: one table for how files are treated, one class for the rest.

`takes_options` gives a command all of them, so that a new policy is one more row of `POLICY_ROWS`.
"""

from __future__ import annotations

import functools
import inspect
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import typer

from connect_helper.client.settling import DEFAULT_RETRIES
from connect_helper.errors import InvalidRequest
from connect_helper.spec.patterns import read_patterns
from connect_helper.spec.sessions import MOST_SESSIONS
from connect_helper.spec.times import NEWER, OLDER, parse_moment
from connect_helper.spec.words import Direction
from connect_helper.transfers import plan
from connect_helper.transfers.plan import Policies

_CONNECTION: Final = "Connection"
_OUTPUT: Final = "Output"
_FILES: Final = "How files are treated"
_SOURCES: Final = "What becomes of the sources"
_PROTECTION: Final = "Encryption of what is stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every option that is no policy. The annotations are what the command line shows."""

    key: Annotated[
        Path | None,
        typer.Option("--key", "-i", metavar="FILE", help="Private key.", rich_help_panel=_CONNECTION),
    ] = None
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Read the password (with -i: the key's passphrase) from standard input, one line.",
            rich_help_panel=_CONNECTION,
        ),
    ] = False
    host_key: Annotated[
        str,
        typer.Option(
            metavar="ask|accept-new|SHA256:...",
            help="A server never seen before: ask, accept and remember it, or demand this fingerprint.",
            rich_help_panel=_CONNECTION,
        ),
    ] = "ask"
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Limit: 200M, 800k, 1.5G bit/s, or a number of kbit/s.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    target_rate_cap: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="A limit on --rate itself: the lower of both counts.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    connections: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_SESSIONS,
            help="Exactly so many connections to the server; as many as help by default.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    multi_session_threshold: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="BYTES",
            help="Smaller files stay on one connection each; 0: all do.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Fruitless tries in a row before a lost connection is given up.",
            rich_help_panel=_CONNECTION,
        ),
    ] = DEFAULT_RETRIES
    retry_duration: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="No try later than this after the last progress: seconds, 90s, 5min, 1h.",
            rich_help_panel=_CONNECTION,
        ),
    ] = None
    rename: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="Name at the target, when there is one source.",
            rich_help_panel=_FILES,
        ),
    ] = None
    obfuscate_file_names: Annotated[
        bool,
        typer.Option(
            "--obfuscate-file-names",
            help="Give files random names on the server; nothing leads back to the real ones.",
            rich_help_panel=_FILES,
        ),
    ] = False
    remove_after_transfer: Annotated[
        bool,
        typer.Option(
            "--remove-after-transfer",
            help="Delete each source file once it arrived.",
            rich_help_panel=_SOURCES,
        ),
    ] = False
    remove_skipped: Annotated[
        bool,
        typer.Option(
            "--remove-skipped",
            help="With --remove-after-transfer: also those that were there already.",
            rich_help_panel=_SOURCES,
        ),
    ] = False
    move_after_transfer: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Move each source file there once it arrived: a folder on the sources' side and disk.",
            rich_help_panel=_SOURCES,
        ),
    ] = None
    remove_empty_directories: Annotated[
        bool,
        typer.Option(
            "--remove-empty-directories",
            help="Afterwards delete empty folders below the sources.",
            rich_help_panel=_SOURCES,
        ),
    ] = False
    remove_empty_source_directory: Annotated[
        bool,
        typer.Option(
            "--remove-empty-source-directory",
            help="The same, and the source folders themselves.",
            rich_help_panel=_SOURCES,
        ),
    ] = False
    delete_source: Annotated[
        bool,
        typer.Option(
            "--delete-source",
            help="Delete files once they arrived, then all folders left empty.",
            rich_help_panel=_SOURCES,
        ),
    ] = False
    content_protection: Annotated[
        str | None,
        typer.Option(
            metavar="encrypt|decrypt",
            help="send: encrypt files before they leave. receive: decrypt those that end in .age.",
            rich_help_panel=_PROTECTION,
        ),
    ] = None
    passphrase_stdin: Annotated[
        bool,
        typer.Option(
            "--passphrase-stdin",
            help="Read its passphrase from standard input: one line, after that of --password-stdin.",
            rich_help_panel=_PROTECTION,
        ),
    ] = False
    fail_bad_filepass: Annotated[
        bool,
        typer.Option(
            "--fail-bad-filepass",
            help="A wrong passphrase ends the transfer, not only the file.",
            rich_help_panel=_PROTECTION,
        ),
    ] = False
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line.", rich_help_panel=_OUTPUT)
    ] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only what went wrong.", rich_help_panel=_OUTPUT)
    ] = False
    debug: Annotated[
        bool, typer.Option(help="Log to standard error, for hunting faults.", rich_help_panel=_OUTPUT)
    ] = False


_ONE_WAY: Final[Mapping[str, Direction]] = {"obfuscate_file_names": "send"}  # all others go both ways


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One field of `Policies` as an option: with words it takes one of them, or as `takes` says; else it is
    a switch."""

    field: str
    option: str
    help: str
    words: Mapping[str, Any] | None = None
    direction: Direction | None = None  # None: both
    takes: Literal["patterns", "moment"] | None = None  # patterns: may be given several times

    def annotation(self) -> Any:
        """What the command line makes of it."""
        option = typer.Option(self.option, help=self.help, rich_help_panel=_FILES)
        if self.takes == "patterns":
            return Annotated[list[str], option]
        if self.takes == "moment":
            return Annotated[str | None, option]
        if self.words is None:
            return Annotated[bool, option]
        # typer takes the choices from an Enum's values.
        return Annotated[Enum(self.field, {word: word for word in self.words}), option]

    def default(self) -> Any:
        """The default of the policy, as the option says it."""
        value = Policies.model_fields[self.field].default
        if self.takes is not None:
            return [] if self.takes == "patterns" else None
        if self.words is None:
            return value
        return next(word for word, meaning in self.words.items() if meaning == value)

    def meaning(self, given: Any) -> Any:
        """The value of the policy. Raises typer.BadParameter."""
        if self.takes is not None:
            return self._read(given)
        if self.words is None:
            return given
        return self.words[given.value if isinstance(given, Enum) else given]

    def _read(self, given: Any) -> Any:
        name = self.option.removeprefix("--")
        try:
            if self.takes == "patterns":
                return read_patterns({name: given}, (name,))
            if given == "":  # in a script, a variable that was never set: all files would take part
                raise InvalidRequest("No time is given.")
            moment = parse_moment({name: given}, name)
        except InvalidRequest as error:
            raise typer.BadParameter(error.user_message, param_hint=self.option) from None
        return None if moment is None else moment.at(time.time())


def _words(literal: Any) -> dict[str, Any]:
    return {word: word for word in get_args(literal)}


POLICY_ROWS: Final = (
    PolicyRow(
        "overwrite",
        "--overwrite",
        "When a file of the name exists: replace it always, never, when it differs, when it is older.",
        _words(plan.Overwrite),
    ),
    PolicyRow(
        "resume",
        "--resume",
        "How a partial or existing file is compared before going on from it.",
        _words(plan.Resume),
    ),
    PolicyRow(
        "existing",
        "--existing",
        'Replace a file that differs, or keep both: "name (1).ext".',
        {"replace": "replace", "keep-both": "keep_both"},
        "receive",
    ),
    PolicyRow(
        "checksum",
        "--checksum",
        "Compare digests of both sides at the end and tell them.",
        _words(Policies.model_fields["checksum"].annotation),
    ),
    PolicyRow(
        "include_patterns",
        "--include",
        "Keep what matches, whatever --exclude says; may be given several times.",
        takes="patterns",
    ),
    PolicyRow(
        "exclude_patterns",
        "--exclude",
        'Leave out what matches, as "*.tmp" or "cache/"; may be given several times.',
        takes="patterns",
    ),
    PolicyRow(
        "newer_than_s",
        "--exclude-newer-than",
        'Leave out files changed after "2026-03-01", or less than so many seconds ago: "-3600".',
        takes="moment",
    ),
    PolicyRow("older_than_s", "--exclude-older-than", "Leave out files changed before.", takes="moment"),
    PolicyRow(
        "count_first",
        "--count-first",
        "Count everything before the first byte, or only as far as a moment goes.",
        _words(plan.CountFirst),
    ),
    PolicyRow("last_duplicate_wins", "--last-duplicate-wins", "Two sources with one target are no failure."),
    PolicyRow(
        "delete_first",
        "--delete-surplus",
        "Before the transfer, delete in a folder at the destination what the folder of its name at the source"
        " has no name for.",
    ),
    PolicyRow("preserve_access_times", "--preserve-access-times", "Keep the times of last access."),
    PolicyRow(
        "quiet_reading", "--quiet-reading", "Leave the times of last access of sources.", direction="send"
    ),
    PolicyRow("preserve_times", "--preserve-times", "Keep the times of files and folders."),
    PolicyRow(
        "links",
        "--symlinks",
        "Links below a folder: follow those that stay inside it, copy them as links (with force in place of"
        " files), or leave them out.",
        _words(Policies.model_fields["links"].annotation),
    ),
    PolicyRow(
        "save_first", "--save-before-overwrite", "With --resume none: keep replaced files under a dated name."
    ),
    PolicyRow("skip_special_files", "--skip-special-files", "Devices, pipes and sockets are no failure."),
)

_OPTION_OF: Final[Mapping[str, str]] = {
    **{one.name: f"--{one.name.replace('_', '-')}" for one in fields(Options)},
    **{row.field: row.option for row in POLICY_ROWS},
    NEWER: "--exclude-newer-than",
    OLDER: "--exclude-older-than",
    "content_protection_passphrase": "--passphrase-stdin",
}
_QUOTED_WORD: Final = re.compile(r'"([a-z_]+)"')


def in_options(sentence: str) -> str:
    """An error's sentence with the options in place of the words they stand for."""
    return _QUOTED_WORD.sub(lambda found: _OPTION_OF.get(found[1], found[0]), sentence)


Command = Callable[..., None]


def takes_options(direction: Direction) -> Callable[[Command], Command]:
    """Give a command `options: Options` and `policies: Policies`, filled from the command line."""
    rows = [row for row in POLICY_ROWS if row.direction in (None, direction)]
    own = {one.name: one for one in fields(Options) if _ONE_WAY.get(one.name, direction) == direction}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = Options(**{name: given.pop(name) for name in own})
            policies = Policies(**{row.field: row.meaning(given.pop(row.field)) for row in rows})
            command(options=options, policies=policies, **given)

        hints = get_type_hints(command, include_extras=True)
        parameters = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in ("options", "policies")
        ]
        option_hints = get_type_hints(Options, include_extras=True)
        for name, field in own.items():
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            parameters.append(_parameter(name, option_hints[name], default))
        parameters += [_parameter(row.field, row.annotation(), row.default()) for row in rows]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer reads
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
