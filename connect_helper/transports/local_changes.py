"""Changes what the user gave, as far as the user agreed: removes and moves sources, clears destinations.

Like reading, everything happens relative to the descriptor of a granted folder and never through a link. A
file goes only while it is still the one that was sent. All functions block: run them in a thread.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from connect_helper.errors import SourceChanged, SourceError
from connect_helper.spec.names import display, numbered_name
from connect_helper.transports.base import Facts
from connect_helper.transports.error_map import Side, local_error
from connect_helper.transports.local_files import Granted, Identity, changed, open_below, open_granted
from connect_helper.transports.local_target import move_fresh, open_target_folder
from connect_helper.transports.local_walk import facts_of

NUMBERS: Final = 1_000  # tries for a free "name (1)"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY


def remove_source(granted: Granted, below: Sequence[bytes], sent: Identity) -> None:
    """Remove a file that was sent. Raises SourceChanged when it is another one by now, SourceError."""
    with _parent(granted, below, "source") as (folder, name):
        _same(folder, name, sent, granted, below)
        os.unlink(name, dir_fd=folder)


def remove_link(granted: Granted, below: Sequence[bytes], content: bytes) -> None:
    """Remove a link that was copied. Raises SourceChanged, SourceError."""
    with _parent(granted, below, "source") as (folder, name):
        _same_link(folder, name, content, granted, below)
        os.unlink(name, dir_fd=folder)


def move_source(
    granted: Granted, below: Sequence[bytes], sent: Identity | bytes, to: Granted, names: Sequence[bytes]
) -> None:
    """Move a file that was sent (for a link: what it says) to `names` below `to`, on the same file system.

    Folders are made; a name that is taken is numbered. Raises SourceChanged, SourceError, TargetError.
    """
    target = open_target_folder(to, names[:-1])
    try:
        with _parent(granted, below, "source") as (folder, name):
            if isinstance(sent, bytes):
                _same_link(folder, name, sent, granted, below)
            else:
                _same(folder, name, sent, granted, below)
            for number in range(NUMBERS):
                try:
                    free = numbered_name(names[-1], number) if number else names[-1]
                    move_fresh(folder, name, target, free)
                except FileExistsError:
                    continue
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    raise SourceError(
                        f"{display(_path(granted, below))} cannot be moved there: it lies on another disk."
                    ) from error
                return
    finally:
        target.close()
    raise SourceError(f"{display(_path(granted, below))}: too many files of that name where it is to go.")


def remove_empty(granted: Granted, below: Sequence[bytes]) -> None:
    """Remove a folder if it is empty. Raises SourceError, also for one that is not."""
    with _parent(granted, below, "source") as (folder, name):
        os.rmdir(name, dir_fd=folder)


def list_folder(granted: Granted, below: Sequence[bytes], side: Side) -> list[tuple[bytes, Facts]] | None:
    """Everything in one folder, links told apart; None when there is no folder. Raises TransferError."""
    top = open_granted(granted, side)
    try:
        handle = open_below(top, below, _FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise local_error(error, side, _path(granted, below)) from error
    finally:
        os.close(top)
    try:
        with os.scandir(handle) as entries:
            return [(os.fsencode(one.name), facts_of(one.stat(follow_symlinks=False))) for one in entries]
    except OSError as error:
        raise local_error(error, side, _path(granted, below)) from error
    finally:
        os.close(handle)


def remove_whole(granted: Granted, below: Sequence[bytes], *, folder: bool) -> None:
    """Remove a file, a link or a folder with everything in it, below a granted folder. Raises TargetError."""
    with _parent(granted, below, "target") as (parent, name):
        if folder:
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


@contextmanager
def _parent(granted: Granted, below: Sequence[bytes], side: Side) -> Iterator[tuple[int, bytes]]:
    """The open folder something lies in, and its name there; translates errors of what is done with it.

    Of the granted object itself it is the folder it was granted in, if it still lies there.
    """
    handle = -1
    try:
        if below:
            top = open_granted(granted, side)
            try:
                handle = open_below(top, below[:-1], _FOLDER)
            finally:
                os.close(top)
            name = below[-1]
        else:
            above, _, name = granted.path.rpartition(b"/")
            handle = os.open(above or b"/", _FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC)
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if (found.st_dev, found.st_ino) != (granted.device, granted.inode):
                raise changed(granted.path)
        yield handle, name
    except OSError as error:
        raise local_error(error, side, _path(granted, below)) from error
    finally:
        if handle >= 0:
            os.close(handle)


def _same(folder: int, name: bytes, sent: Identity, granted: Granted, below: Sequence[bytes]) -> None:
    if Identity.of(os.stat(name, dir_fd=folder, follow_symlinks=False)) != sent:
        raise SourceChanged(f"{display(_path(granted, below))} changed after it was read.")


def _same_link(folder: int, name: bytes, content: bytes, granted: Granted, below: Sequence[bytes]) -> None:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISLNK(mode) or os.readlink(name, dir_fd=folder) != content:
        raise SourceChanged(f"{display(_path(granted, below))} changed after it was read.")


def _path(granted: Granted, below: Sequence[bytes]) -> bytes:
    return b"/".join((granted.path.rstrip(b"/"), *below))
