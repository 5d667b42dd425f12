"""What went wrong where several tasks of one file worked side by side."""

from __future__ import annotations

from typing import Any

from connect_helper.errors import TransferError


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The error to tell of a group: one of ours if there is one."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = next((one for one in found.exceptions if isinstance(one, TransferError)), found.exceptions[0])
    return found
