"""Memory and attention for bytes on their way, shared by all SFTP sessions: the more, the less for each.

One session alone gets what makes it fastest. Hundreds at once must neither fill the memory, should the disk
or their lines be slow, nor keep the event loop so busy with one round of all of them that a new login waits.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB


class Room:
    """Belongs to the event loop's thread. All sizes in bytes."""

    def __init__(self) -> None:
        self.sessions = 0  # channels being served

    @property
    def data(self) -> int:
        """Of data that waits to be written to the disk, in one session."""
        return self._share(512 * MIB, 512 * KIB, 8 * MIB)

    @property
    def answers(self) -> int:
        """Of answers that wait to be sent, in one session."""
        return self._share(256 * MIB, 512 * KIB, 4 * MIB)

    @property
    def window(self) -> int:
        """What a client may send before we confirm, for a channel that is opened now."""
        return self._share(256 * MIB, 512 * KIB, 4 * MIB)

    @property
    def socket(self) -> int:
        """What waits for the socket of one connection."""
        return self._share(64 * MIB, 128 * KIB, MIB)

    @property
    def turn(self) -> int:
        """What one connection reads, or sends, before the others have their turn."""
        return self._share(8 * MIB, 32 * KIB, 512 * KIB)

    def _share(self, total: int, least: int, most: int) -> int:
        return min(most, max(least, total // max(self.sessions, 1)))
