"""The outermost edge of the commands: usable standard streams, and sentences for what the system refuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import typer

from connect_helper.commands.streams import prepare_streams
from connect_helper.spec.names import display

EXIT_FAILED: Final = 1
_PATH: Final = 200  # characters


@contextmanager
def at_the_edge() -> Iterator[None]:
    """Run a command inside; an OSError that nobody had words for ends it with a sentence and exit code 1.

    Such are a full disk and a folder without rights that a command writes to in passing.
    """
    prepare_streams()
    try:
        yield
    except BrokenPipeError:
        _say_no_more()
        sys.exit(EXIT_FAILED)
    except OSError as error:
        _say_no_more()
        where = "" if error.filename is None else f"{display(str(error.filename), _PATH)}: "
        typer.echo(f"This cannot go on: {where}{error.strerror or error}.", err=True)
        sys.exit(EXIT_FAILED)


def _say_no_more() -> None:
    """What standard output still holds cannot be written, and Python would complain of that at its end."""
    with suppress(OSError):
        sys.stdout.flush()
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
