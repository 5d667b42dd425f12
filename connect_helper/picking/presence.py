"""Is anybody still there? How long a page that asks the user something is waited for. Pure: time comes in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Gone(Enum):
    """Why nobody will answer any more."""

    NEVER_OPENED = "the page was not opened"
    CLOSED = "the page was closed"
    TOO_LATE = "nobody answered in time"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds."""

    to_open: float = 120.0  # until a page shows up for the first time
    without_page: float = 5.0  # a reload or a short loss of the line is no closed window
    in_all: float = 3_600.0
    before_yes: float = 1.0  # after the page first shows; a click meant for something else grants nothing


DEFAULT_PATIENCE: Final = Patience()


@dataclass(slots=True)
class Presence:
    """What is known of the pages that show one pending item. Times on one monotonic clock."""

    created_at: float
    first_seen_at: float | None = None
    gone_at: float | None = None  # when the last page left; None while one is there or none came yet
    pages: int = 0

    def page_came(self, now: float) -> None:
        """A page has begun to listen."""
        self.pages += 1
        self.gone_at = None
        if self.first_seen_at is None:
            self.first_seen_at = now

    def page_left(self, now: float) -> None:
        """A page listens no more."""
        self.pages -= 1
        if self.pages == 0:
            self.gone_at = now

    def deadline(self, patience: Patience) -> tuple[float, Gone]:
        """When waiting ends if nothing changes until then, and for which reason."""
        whole = (self.created_at + patience.in_all, Gone.TOO_LATE)
        if self.first_seen_at is None:
            return min(whole, (self.created_at + patience.to_open, Gone.NEVER_OPENED), key=lambda end: end[0])
        if self.gone_at is not None:
            return min(whole, (self.gone_at + patience.without_page, Gone.CLOSED), key=lambda end: end[0])
        return whole

    def may_say_yes(self, now: float, patience: Patience) -> bool:
        """Whether the user has had the question in sight for long enough."""
        return self.first_seen_at is not None and now - self.first_seen_at >= patience.before_yes
