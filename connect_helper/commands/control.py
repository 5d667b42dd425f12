"""Asking the running helper over its control routes, which take the key of its record only."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

import typer

from connect_helper.api.instance import Record, running_record
from connect_helper.commands.common import EXIT_FAILED, EXIT_STOPPED, fail
from connect_helper.errors import Unavailable
from connect_helper.settings import Folders

_ANSWER_LIMIT_S: Final = 10.0
_STOP_LIMIT_S: Final = 10.0


def running_or_exit(folders: Folders) -> Record:
    """The record of the running helper; ends the command where none runs."""
    record = running_record(folders)
    if record is None:
        typer.echo("connect-helper does not run. Start it with: connect-helper run", err=True)
        raise typer.Exit(EXIT_STOPPED)
    return record


def ask(record: Record, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Ask for `what`, such as "status"; ends the command with the helper's sentence when it refuses."""
    try:
        return _request(record, what, body)
    except urllib.error.HTTPError as error:
        fail(Unavailable(_sentence(error)), EXIT_FAILED)
    except (OSError, ValueError) as error:
        fail(Unavailable(f"The helper at {record.window} does not answer ({error})."), EXIT_FAILED)


def tell(record: Record, what: str, body: Mapping[str, Any]) -> bool:
    """Tell it something it may not want to know, and whether it took it."""
    try:
        _request(record, what, body)
    except (OSError, ValueError):
        return False
    return True


def _request(record: Record, what: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    """Raises OSError, of which urllib's errors are, and ValueError."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback address, from a file only we can read
        f"{record.window}/api/control/{what}",
        data=json.dumps(body or {}).encode("ascii"),
        headers={"Authorization": f"Bearer {record.key}", "Content-Type": "application/json"},
    )
    # No proxy of the environment: the request carries the control key.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_ANSWER_LIMIT_S) as response:
        found: dict[str, Any] = json.load(response)
        return found


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            return str(json.load(error)["error"]["user_message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"The helper refused ({error.code})."


def stop_running(folders: Folders, record: Record) -> None:
    """Have the helper end and wait for it; ends the command when it does not."""
    ask(record, "stop")
    deadline = time.monotonic() + _STOP_LIMIT_S
    while running_record(folders) is not None:
        if time.monotonic() > deadline:
            fail(Unavailable(f"The helper (process {record.pid}) has not ended yet."), EXIT_FAILED)
        time.sleep(0.05)
