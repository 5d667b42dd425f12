"""Every error the SSH library and the system can raise has a word in our tree."""

from __future__ import annotations

import errno
import inspect

import asyncssh
import pytest

from connect_helper.errors import DiskFull, TransferError
from connect_helper.transports.error_map import local_error
from connect_helper.transports.ssh_errors import LIBRARY, remote_error


def library_errors() -> set[type[Exception]]:
    kinds = (asyncssh.SFTPError, asyncssh.DisconnectError, asyncssh.ChannelOpenError)
    return {
        kind for _, kind in inspect.getmembers(asyncssh, inspect.isclass) if issubclass(kind, kinds)
    }  # fmt: skip


def test_no_error_of_the_library_is_missing() -> None:
    assert library_errors() - set(LIBRARY) == set()


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_errno_becomes_a_sentence(code: int, side: str) -> None:
    error = local_error(OSError(code, "reason"), side, "a\x1bname")  # type: ignore[arg-type] # one of two
    assert isinstance(error, TransferError)
    assert "\x1b" not in error.user_message + error.internal_message
    assert error.user_message.endswith(".")
    assert errno.errorcode[code] in error.internal_message


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("kind", sorted(LIBRARY, key=lambda kind: kind.__name__))
def test_every_library_error_becomes_a_sentence(kind: type[Exception], side: str) -> None:
    raised = kind.__new__(kind)
    error = remote_error(raised, side, b"name\n\xff")  # type: ignore[arg-type] # one of two words
    assert isinstance(error, TransferError)
    assert "\n" not in error.user_message
    assert kind.__name__ in error.internal_message


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_called_so(code: int) -> None:
    assert isinstance(local_error(OSError(code, "x"), "target", "f"), DiskFull)
