"""Questions to the person at the terminal: secrets, never echoed, and the key of a new server."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
import threading
from typing import Final

import typer
from pydantic import SecretStr

from connect_helper.client.settling import secret
from connect_helper.errors import InvalidRequest
from connect_helper.spec.names import display
from connect_helper.spec.protection import Action, read_passphrase
from connect_helper.transfers.messages import Question

_LINE: Final = 4096  # bytes; what a terminal hands over at once
_SECRET_LIMIT: Final = 65_536  # characters
_FILE_PASSPHRASE: Final = "content_protection_passphrase"  # noqa: S105 - the name of a field


def can_ask() -> bool:
    """Tell whether a person is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_secret(prompt: str) -> SecretStr:
    """Ask for a secret. Raises InvalidRequest when there is no terminal, or for what is no UTF-8."""
    if not can_ask():
        raise InvalidRequest(
            "There is no terminal to ask for the password: give -i KEY or --password-stdin.", field="password"
        )
    return secret(getpass.getpass(f"{prompt}: "), "password")


def read_secret() -> SecretStr:
    """The next line of standard input. Raises InvalidRequest when it is empty or no UTF-8."""
    line = _next_line()
    if not line:
        raise InvalidRequest("Standard input holds no password.", field="password")
    return secret(line, "password")


def _next_line() -> str:
    return sys.stdin.readline(_SECRET_LIMIT).rstrip("\r\n")


def read_file_passphrase() -> SecretStr:
    """The next line of standard input as the passphrase of content protection. Raises InvalidRequest."""
    passphrase = _as_passphrase(_next_line())
    if passphrase is None:
        raise InvalidRequest(
            "Standard input holds no passphrase for --passphrase-stdin.", field=_FILE_PASSPHRASE
        )
    return passphrase


def ask_file_passphrase(action: Action) -> SecretStr:
    """Ask for the passphrase of content protection, to encrypt twice: a slip would lose the files.

    Raises InvalidRequest.
    """
    if not can_ask():
        raise InvalidRequest(
            "There is no terminal to ask for the passphrase of the files: give --passphrase-stdin.",
            field=_FILE_PASSPHRASE,
        )
    typed = getpass.getpass(f"Passphrase to {action} the files with: ")
    if action == "encrypt" and typed and getpass.getpass("The same again: ") != typed:
        raise InvalidRequest("The two passphrases are not the same.", field=_FILE_PASSPHRASE)
    passphrase = _as_passphrase(typed)
    if passphrase is None:
        raise InvalidRequest("--content-protection needs a passphrase.", field=_FILE_PASSPHRASE)
    return passphrase


def _as_passphrase(text: str) -> SecretStr | None:
    return read_passphrase({_FILE_PASSPHRASE: text or None})


def key_is_locked(key: SecretStr) -> bool:
    """Tell whether a private key needs a passphrase. Raises InvalidRequest when it is no key."""
    import asyncssh

    try:
        asyncssh.import_private_key(key.get_secret_value())
    except asyncssh.KeyEncryptionError:
        return True
    except asyncssh.KeyImportError as error:
        if "assphrase" in str(error):
            return True
        raise InvalidRequest(
            "The key file holds no private key this program can read.", field="key"
        ) from None
    return False


async def ask_host_key(question: Question) -> bool:
    """Show the fingerprint of a new server and wait for yes or no; no terminal is a no."""
    if not can_ask():
        return False
    typer.echo(
        f"{display(question.host)}, port {question.port}, was never seen before. Its key has the fingerprint"
        f"\n  {question.fingerprint}",
        err=True,
    )
    while True:
        typer.echo("Trust it and remember it? (yes/no) ", nl=False, err=True)
        answer = (await _line()).strip().lower()
        if answer in ("yes", "y"):
            return True
        if answer in ("no", "n", ""):
            return False


async def _line() -> str:
    """One line of the terminal, "" at its end. Cancelled, the thread stays behind until the program ends."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(text: str) -> None:
        if not answer.done():
            answer.set_result(text)

    def read() -> None:
        # Not through sys.stdin: a thread that blocks in it would hold its lock when the program ends.
        try:
            data = os.read(sys.stdin.fileno(), _LINE)
        except OSError:
            data = b""
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, data.decode(errors="replace"))

    threading.Thread(target=read, name="answer", daemon=True).start()
    return await answer
