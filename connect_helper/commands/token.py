"""`connect-helper token`: issue, show, verify and revoke transfer tokens of a server on this machine.

A token given as `-` is read from standard input, one line, so that it need not show in the list of processes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from connect_helper.commands.astokengen import contents
from connect_helper.commands.common import fail
from connect_helper.commands.server_books import (
    CONFIG_VARIABLE,
    Books,
    NoServerHere,
    docroot_path,
    list_unreadable,
    open_books,
)
from connect_helper.errors import ConnectHelperError, InvalidRequest
from connect_helper.server.issuing import LONGEST_LIFE_S, Extras, download_claims, upload_claims
from connect_helper.server.revocations import RevocationsUnreadable
from connect_helper.server.token_contents import TokenClaims
from connect_helper.server.tokens import Refusal, TokenRefused, is_token_id, looks_like_token
from connect_helper.storage.docpath import DocPath

token = typer.Typer(name="token", help="Transfer tokens of the transfer server.", no_args_is_help=True)
EXIT_NO_GOOD: Final = 1
EXIT_USAGE: Final = 2

Config = Annotated[
    Path | None,
    typer.Option("--config", envvar=CONFIG_VARIABLE, help="The server's configuration, server.toml."),
]
AsperaConf = Annotated[
    Path | None,
    typer.Option("--aspera-conf", metavar="FILE", help="Read this aspera.conf too; server.toml wins."),
]
Text = Annotated[str, typer.Argument(metavar="TOKEN", help="The token; - reads it from standard input.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@token.command()
def issue(
    user: Annotated[str, typer.Option("--user", "-u", help="The account the token acts for.")],
    upload: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Allow bringing files into this folder.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="With --upload: just this path in the folder; repeatable."),
    ] = None,
    download: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Allow fetching this file or folder; repeatable.")
    ] = None,
    life: Annotated[
        int | None, typer.Option(min=1, max=LONGEST_LIFE_S, help="Seconds until it expires.")
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Highest rate in kbit/s.")] = None,
    cookie: Annotated[str | None, typer.Option(help="A word that the server's log shows.")] = None,
    config: Config = None,
    aspera_conf: AsperaConf = None,
    as_json: AsJson = False,
) -> None:
    """Print a token for uploads into a folder, or for downloads of files and folders."""
    with _saying(EXIT_USAGE):
        if (upload is None) is (not download) or (only and upload is None):
            raise InvalidRequest("Say either --upload, with or without --only, or --download.")
        extras = Extras(life_s=life, rate_cap_kbps=rate, cookie=cookie)
        books = open_books(config, aspera_conf)
        account, now = books.account(user), int(time.time())
        if upload is not None:
            targets = [_path(one) for one in only or ()]
            claims = upload_claims(account, _path(upload), targets, now=now, extras=extras)
        else:
            claims = download_claims(account, [_path(one) for one in download or ()], now=now, extras=extras)
        text = books.keyring.issue(claims)
    if as_json:
        typer.echo(json.dumps({"token": text, "id": claims.id, "expires_at": claims.expires_at}))
    else:
        typer.echo(text)


@token.command()
def show(text: Text, config: Config = None, aspera_conf: AsperaConf = None) -> None:
    """Print what a token says, also when it has expired or was revoked."""
    with _saying(EXIT_NO_GOOD):
        for line in contents(open_books(config, aspera_conf).keyring.open(_token(text))):
            typer.echo(line)


@token.command()
def verify(
    text: Text,
    user: Annotated[str | None, typer.Option("--user", "-u", help="It must be this account's.")] = None,
    path: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="It must open this path; repeatable.")
    ] = None,
    config: Config = None,
    aspera_conf: AsperaConf = None,
) -> None:
    """Tell whether a token is good now; exit code 1 and the reason if not."""
    with _saying(EXIT_NO_GOOD):
        books = open_books(config, aspera_conf)
        claims = books.keyring.verify(_token(text), time.time(), user=user)
        _still_allowed(books, claims)
        if not all(claims.covers(_path(one)) for one in path or ()):
            raise TokenRefused(Refusal.FOREIGN_PATH)
    typer.echo(f"The token is good until {_moment(claims.expires_at)}.")


@token.command()
def revoke(
    text: Annotated[
        str, typer.Argument(metavar="TOKEN|ID", help="The token or its id; - reads from standard input.")
    ],
    config: Config = None,
    aspera_conf: AsperaConf = None,
) -> None:
    """Make a token worthless at once. Sessions that it opened go on: see `server sessions --cancel`."""
    with _saying(EXIT_NO_GOOD):
        books = open_books(config, aspera_conf)
        given = _token(text)
        if looks_like_token(given):
            claims = books.keyring.open(given)
            name, until = claims.id, claims.expires_at
        elif is_token_id(given):
            name, until = given, int(time.time()) + LONGEST_LIFE_S
        else:
            raise InvalidRequest("That is neither a token of this server nor the id of one.")
        try:
            books.revocations.revoke(name, until)
        except OSError as error:
            raise NoServerHere(f"The list of revoked tokens cannot be written: {error.strerror}.") from error
    typer.echo(f"The token {name} is revoked.")


def _still_allowed(books: Books, claims: TokenClaims) -> None:
    if books.account(claims.user).right(claims.direction) == "deny":
        raise InvalidRequest("The token is no good: the account may not do that any more.")


def _token(text: str) -> str:
    return sys.stdin.readline().strip() if text == "-" else text.strip()


def _path(text: str) -> DocPath:
    return docroot_path(os.fsencode(text))


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def _saying(code: int) -> Iterator[None]:
    """Say what went wrong in one sentence and end with `code`."""
    try:
        yield
    except TokenRefused as error:
        fail(InvalidRequest(f"The token is no good: {error.reason.value}."), code)
    except RevocationsUnreadable as error:
        fail(list_unreadable(error), code)
    except ConnectHelperError as error:
        fail(error, code)
