"""The command `open-link`, which the desktop calls for fasp: and aspera: links. Light, for it starts often.

A link may hold a password or token, and the arguments of a process can be read by every account of the
computer. So this process ends as soon as it can: a running helper is handed the link and answers at once;
where one has to be started first, that is left to a second process, which gets the link over a pipe.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from connect_helper.api.instance import Record, running_record
from connect_helper.commands.common import EXIT_FAILED, EXIT_RUNNING, Home, fail, own_folders
from connect_helper.commands.control import ask, tell
from connect_helper.errors import InvalidRequest, Unavailable
from connect_helper.installing.program import command, detached
from connect_helper.settings import Folders
from connect_helper.spec.launch_links import LINK_LIMIT, StartLink, parse_link

_START_LIMIT_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.05
_FROM_STDIN: Final = "-"


def open_link(
    link: Annotated[str, typer.Argument(help="A fasp:, faspe: or aspera: link; - reads it from the input.")],
    home: Home = None,
) -> None:
    """Open a link: start the helper, or have it ask whether to download what the link names."""
    folders = own_folders(home)
    given_over = link == _FROM_STDIN
    text = sys.stdin.read(LINK_LIMIT + 1).strip() if given_over else link
    record = running_record(folders)
    try:
        parsed = parse_link(text)
    except InvalidRequest as error:
        if record is not None:
            ask(record, "open-link", {"link": text})  # the helper tells the user; here nobody may look
        fail(error, EXIT_FAILED)
    if isinstance(parsed, StartLink):
        record = record or _started(folders, home)
        if parsed.session_id:
            # A page asks for it on a port that the helper may not have; then nobody wants to know.
            tell(record, "launched", {"app_id": parsed.app_id, "session_id": parsed.session_id})
    elif record is None and not given_over:
        _hand_over(text, home)
    else:
        ask(record or _started(folders, home), "open-link", {"link": text})


def _hand_over(link: str, home: Path | None) -> None:
    """Let a second process do the rest, with the link on its standard input."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        command("open-link", "--", _FROM_STDIN, home=home), stdin=subprocess.PIPE, **detached(errors=True)
    )
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    with process.stdin as pipe:
        pipe.write(link.encode("ascii"))
    process.returncode = 0  # it goes on by itself: no warning that it still runs


def _started(folders: Folders, home: Path | None) -> Record:
    """Start the helper and wait for its record; of several started at once, one stays."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        command("run", home=home), stdin=subprocess.DEVNULL, **detached()
    )
    deadline = time.monotonic() + _START_LIMIT_S
    while (record := running_record(folders)) is None:
        ended = process.poll() not in (None, EXIT_RUNNING)
        if ended or time.monotonic() > deadline:
            fail(Unavailable(f"The helper did not start. Its log may say why: {folders.logs}"), EXIT_FAILED)
        time.sleep(_LOOK_AGAIN_S)
    process.returncode = process.poll() or 0  # as above
    return record
