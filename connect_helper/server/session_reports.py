"""What is told about sessions and their files: to the Node API, to `server sessions`, to the transfer log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from connect_helper.server.tokens import Direction
from connect_helper.spec.names import display
from connect_helper.storage.docpath import DocPath

Way = Literal["in", "out"]  # seen from the server: uploads come in
Protocol = Literal["sftp", "http", "https"]
Status = Literal["running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of a session. Times in seconds since the epoch, `size` in bytes."""

    path: DocPath
    way: Way
    started_at: float
    ended_at: float | None = None  # None: under way
    size: int | None = None
    digest: str | None = None  # "sha256:HEX" or "xxh128:HEX" where the server computed one
    error: str | None = None  # a sentence; None: whole, or under way

    def as_json(self) -> dict[str, Any]:
        """{"path", "direction", "started_at", "ended_at", "size", "digest", "error"}; the name printable."""
        return {
            "path": "/" + display(b"/".join(self.path)),
            "direction": "send" if self.way == "in" else "receive",
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "size": self.size,
            "digest": self.digest,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """One session at one moment. Times in seconds since the epoch, rates in kbit/s, None: no limit."""

    id: str
    account: str
    protocol: Protocol
    peer: str  # address of the client
    direction: Direction | None  # of the token, None: a session without a token
    token_id: str | None
    cookie: str | None
    started_at: float
    ended_at: float | None
    status: Status
    error: str | None
    bytes_in: int
    bytes_out: int
    files_in: int
    files_out: int
    files_failed: int
    cap_in_kbps: int | None
    cap_out_kbps: int | None
    under_way: tuple[FileReport, ...] = ()
    sources: tuple[DocPath, ...] = ()  # the first of those that the token opens
    destination_root: DocPath | None = None  # of the token

    def as_json(self) -> dict[str, Any]:
        """The same names without the token's paths; `under_way` as a list of `FileReport.as_json`."""
        names = [name for name in self.__slots__ if name not in ("under_way", "sources", "destination_root")]
        return {
            **{name: getattr(self, name) for name in names},
            "under_way": [file.as_json() for file in self.under_way],
        }
