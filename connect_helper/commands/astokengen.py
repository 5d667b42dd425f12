"""The command `astokengen`: makes, checks and shows transfer tokens, with the options of its namesake.

    astokengen --mode=send -u USER --dest=PATH [--file-pair-list=FILE]
    astokengen --mode=recv -u USER -p PATH [-p PATH ...] | --file-list=FILE | --file-pair-list=FILE
    astokengen ... -v TOKEN            checks TOKEN against that user and those paths
    astokengen -t TOKEN [-k KEY]       shows what TOKEN says

Standard output carries the token alone; everything that goes wrong is one line on standard error and exit
code 1. Source: Aspera server configuration reference, section 2.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import codecs
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NoReturn

import typer

from connect_helper import __version__
from connect_helper.commands.edge import EXIT_FAILED, at_the_edge
from connect_helper.commands.server_books import Books, docroot_path, list_unreadable, open_books
from connect_helper.errors import ConnectHelperError, InvalidRequest
from connect_helper.server.issuing import Extras, download_claims, upload_claims
from connect_helper.server.revocations import RevocationsUnreadable
from connect_helper.server.token_contents import TokenClaims
from connect_helper.server.tokens import Refusal, TokenAuthority, TokenRefused
from connect_helper.spec.names import display
from connect_helper.storage.docpath import DocPath, absolute, parse


@dataclass(frozen=True, slots=True)
class Pair:
    """Two lines of a pair list."""

    source: bytes
    destination: bytes


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(f"{message[:1].upper()}{message[1:]}. See astokengen --help.")


def parser() -> argparse.ArgumentParser:
    """Every option, as the reference lists them in section 2.1, and ours."""
    made = _Parser(
        prog="astokengen", allow_abbrev=False, description="Makes, checks and shows transfer tokens."
    )
    add = made.add_argument
    add("-A", "--version", action="store_true", help="print the version")
    add("--mode", choices=("send", "recv"), help="send: upload; recv: download")
    add("-d", dest="download", action="store_true", help="older form of --mode=recv")
    add("-u", "--user", metavar="USER", help="transfer user")
    add("--dest", metavar="PATH", help="destination root of an upload")
    add("-p", "--path", dest="paths", action="append", default=[], metavar="PATH", help="source; repeatable")
    add("--file-list", metavar="FILE", type=Path, help="sources, one a line")
    add("--file-pair-list", metavar="FILE", type=Path, help="lines: source, destination, source, ...")
    add("--source-prefix", metavar="PREFIX", help="put in front of each source")
    add("--full-paths", action="store_true", help="keep paths in full; tokens of this server always do")
    add("-v", dest="verify", metavar="TOKEN", help="check this token against user and paths")
    add("-t", dest="show", metavar="TOKEN", help="show what this token says")
    add("-k", dest="key", metavar="PASSPHRASE", help="with -t: the token key, if not the configured ones")
    add("-b", dest="encoded", action="store_true", help="user and paths of this command line are base64")
    add("--config", metavar="FILE", type=Path, help="the server's configuration")
    add("--aspera-conf", metavar="FILE", type=Path, help="read this aspera.conf too")
    return made


def main() -> None:
    """Entry point of the command."""
    with at_the_edge():
        try:
            for line in run(sys.argv[1:]):
                typer.echo(line)
        except ConnectHelperError as error:
            heading, *reasons = error.user_message.splitlines()
            typer.echo(f"astokengen: {' '.join((heading, '; '.join(reasons))).strip()}", err=True)
            sys.exit(EXIT_FAILED)


def run(arguments: Sequence[str]) -> Iterator[str]:
    """The lines for standard output. Raises ConnectHelperError, with the line for standard error."""
    given = parser().parse_args(arguments)
    if given.version:
        yield f"astokengen {__version__}"
    elif given.show is not None:
        yield from _shown(given)
    else:
        mode = _mode(given)
        books = open_books(given.config, given.aspera_conf)
        claims = _claims(given, mode, books)
        if given.verify is not None:
            check(books, given.verify, claims)
        else:
            yield books.keyring.issue(claims)


def check(books: Books, text: str, wanted: TokenClaims) -> None:
    """Raise an error with the reason unless `text` is a good token for all that `wanted` would open."""
    try:
        claims = books.keyring.verify(text, time.time(), user=wanted.user)
        if claims.direction != wanted.direction:
            raise TokenRefused(Refusal.FOREIGN_DIRECTION)
        if not all(claims.covers(path) for path in wanted.granted):
            raise TokenRefused(Refusal.FOREIGN_PATH)
    except TokenRefused as error:
        raise InvalidRequest(f"The token is no good: {error.reason.value}.") from error
    except RevocationsUnreadable as error:
        raise list_unreadable(error) from error


def contents(claims: TokenClaims) -> Iterator[str]:
    """What a token says, as `name: value` lines; times in UTC, names made fit for a terminal."""
    yield f"id: {display(claims.id)}"
    yield f"user: {display(claims.user)}"
    yield f"mode: {'send' if claims.direction == 'send' else 'recv'}"
    yield f"issued: {datetime.fromtimestamp(claims.issued_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    yield f"expiry: {datetime.fromtimestamp(claims.expires_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    yield f"user value: {claims.user_value}"
    if claims.rate_cap_kbps is not None:
        yield f"rate cap: {claims.rate_cap_kbps} kbit/s"
    if claims.cookie is not None:
        yield f"cookie: {display(claims.cookie, 1024)}"
    if claims.destination_root is not None:
        yield f"destination root: {_shown_path(claims.destination_root)}"
    for path in claims.sources or claims.destinations:
        yield f"path: {_shown_path(path)}"


def _shown_path(path: DocPath) -> str:
    return display(absolute(path), 8000)


def _shown(given: argparse.Namespace) -> Iterator[str]:
    others = ("mode", "user", "dest", "file_list", "file_pair_list", "source_prefix", "verify")
    switches = given.paths or given.download or given.encoded or given.full_paths
    if switches or any(getattr(given, name) is not None for name in others):
        raise InvalidRequest("-t shows a token and goes with -k and --config only.")
    try:
        if given.key is not None:
            claims = TokenAuthority(given.key).open(given.show)
        else:
            claims = open_books(given.config, given.aspera_conf).keyring.open(given.show)
    except TokenRefused as error:
        raise InvalidRequest(f"The token cannot be shown: {error.reason.value}.") from error
    yield from contents(claims)


def _mode(given: argparse.Namespace) -> Literal["send", "recv"]:
    """Which kind of token, once the combination of options is one that section 2.2 lists."""
    if given.key is not None:
        raise InvalidRequest("-k goes with -t only.")
    if given.download and given.mode == "send":
        raise InvalidRequest("-d asks for a download, --mode=send for an upload.")
    mode = given.mode or ("recv" if given.download else None)
    if mode is None:
        raise InvalidRequest("Say --mode=send or --mode=recv, or -t TOKEN. See astokengen --help.")
    if given.user is None:
        raise InvalidRequest("Say the transfer user with -u.")
    refused = _refused_with(given, mode)
    for option, used in refused.items():
        if used:
            raise InvalidRequest(f"{option} does not go with the other options. See astokengen --help.")
    if mode == "send" and given.dest is None:
        raise InvalidRequest("--mode=send needs --dest.")
    if mode == "recv" and not (given.paths or given.file_list or given.file_pair_list):
        raise InvalidRequest("--mode=recv needs -p, --file-list or --file-pair-list.")
    return "send" if mode == "send" else "recv"


def _refused_with(given: argparse.Namespace, mode: str) -> dict[str, bool]:
    single = {"--path": bool(given.paths), "--file-list": given.file_list is not None}
    if mode == "send":
        lone_prefix = given.source_prefix is not None and given.file_pair_list is None
        return {**single, "--source-prefix": lone_prefix}
    paired = single if given.file_pair_list is not None else {}
    return {"--dest": given.dest is not None, **paired}


def _claims(given: argparse.Namespace, mode: Literal["send", "recv"], books: Books) -> TokenClaims:
    user = _bytes(given.user, given).decode("utf-8", "replace")
    account = books.account(user)
    pairs = list(_pairs(given.file_pair_list)) if given.file_pair_list is not None else []
    now = int(time.time())
    if mode == "send":  # the sources of its pairs are paths of the client's machine
        destinations = [parse(pair.destination) for pair in pairs]
        root = docroot_path(_bytes(given.dest, given))
        return upload_claims(account, root, destinations, now=now, extras=Extras())
    prefix = parse(_bytes(given.source_prefix or "", given))
    # Each is a path of its own: a source with ".." does not lead out of the prefix.
    sources = [
        (*prefix, *docroot_path(text)) for text in (*_sources(given), *(pair.source for pair in pairs))
    ]
    return download_claims(account, sources, now=now, extras=Extras())


def _bytes(text: str, given: argparse.Namespace) -> bytes:
    raw = os.fsencode(text)
    if not given.encoded:
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error as error:
        raise InvalidRequest("With -b, user and paths must be base64.") from error


def _sources(given: argparse.Namespace) -> Iterator[bytes]:
    for path in given.paths:
        yield _bytes(path, given)
    if given.file_list is not None:
        yield from _lines(given.file_list)


def _pairs(path: Path) -> Iterator[Pair]:
    lines = list(_lines(path))
    if not lines or len(lines) % 2:
        raise InvalidRequest("The pair list needs lines in pairs: a source, then its destination.")
    for source, destination in zip(lines[::2], lines[1::2], strict=True):
        yield Pair(source, destination)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"The list {path} cannot be read: {error.strerror}.") from error
    for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        if line := line.removesuffix(b"\r"):
            yield line
