"""How much of a process's memory and attention one connection may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Allowance(Protocol):
    """May change from moment to moment. Bytes."""

    @property
    def socket(self) -> int:
        """What may wait for the socket of one connection."""
        ...

    @property
    def turn(self) -> int:
        """What one connection reads, or sends, before others have their turn."""
        ...


@dataclass(frozen=True, slots=True)
class FixedAllowance:
    """For a process with few connections."""

    socket: int = 1024 * 1024
    turn: int = 1024 * 1024
