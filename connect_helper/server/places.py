"""Where a server keeps what is its own, and where it listens: looked at, and nothing made, before it starts.

What depends on the account is left to the start: `server check` may be run by another one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from connect_helper.server.configuration import ServerConfig
from connect_helper.server.operating import control_socket
from connect_helper.server.private_files import FolderUnusable, check_private_folder
from connect_helper.server.revocations import Revocations, RevocationsUnreadable

_NO_TOKEN: Final = "0" * 32


def place_problems(config: ServerConfig) -> Iterator[str]:
    """Sentences about what would keep the server from starting."""
    try:
        check_private_folder(config.server.state)
        control_socket(config.server.state)
    except FolderUnusable as error:
        yield f"server.state: {error.user_message.removeprefix('server.state: ')}"
    except OSError as error:
        yield f"server.state: {config.server.state} cannot be reached: {error.strerror}."
    if config.log.file is not None:
        yield from _log_problems(config.log.file)
    yield from _port_problems(config)


def place_warnings(config: ServerConfig) -> Iterator[str]:
    """Sentences about what would keep it from working."""
    try:
        Revocations(config.token.revocations).revoked(_NO_TOKEN)
    except RevocationsUnreadable as error:
        yield f"token.revocations: {error.internal_message}; no token opens anything until that is mended."


def _log_problems(file: Path) -> Iterator[str]:
    try:
        if file.is_dir():
            yield f"log.file: {file} is a folder. Name a file."
        elif not file.parent.is_dir():
            yield f"log.file: there is no folder {file.parent}. Make it, or name another file."
    except OSError as error:
        yield f"log.file: {file} cannot be reached: {error.strerror}."


def _port_problems(config: ServerConfig) -> Iterator[str]:
    """Two services at one port: with an address left out one listens at all of them."""
    services = [
        (name, section.address, section.port)
        for name, section in (("ssh", config.ssh), ("https", config.https), ("http", config.http))
        if section.enabled and section.port
    ]
    for (one, here, port), (other, there, same) in itertools.combinations(services, 2):
        if port == same and (here == there or "" in (here, there)):
            yield f"{one}.port, {other}.port: both are {port}. Set another port for one of them."
