"""One transfer as the helper knows it, and the snapshot of it that is shown to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import Status


@dataclass(frozen=True, slots=True)
class Owner:
    """Who started a transfer: the scope that may see and change it."""

    origin: str  # "https://portal.example", "local:curl" for a local program, "link:" for a link
    app_id: str


@dataclass(slots=True)
class FileCounts:
    """Counts as page libraries know them; `completed` includes the skipped ones."""

    attempted: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Transfer:
    """Everything about one transfer but its secrets. Only the manager changes it.

    Times are seconds since the epoch; 0.0 means not yet.
    """

    id: str  # uuid, equal to xfer_id unless that one was taken
    xfer_id: str  # tags.aspera.xfer_id
    owner: Owner
    request_id: str
    settings: Mapping[str, Any]  # aspera_connect_settings of the start call, echoed
    spec: Mapping[str, Any]  # the transfer spec without secrets, echoed; tags.aspera filled in
    direction: Literal["send", "receive"]
    host: str
    port: int
    user: str
    title: str
    status: Status
    previous_status: Status | None = None
    iteration_token: int = 0
    add_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    modify_time: float = 0.0
    bytes_expected: int = 0
    bytes_written: int = 0
    rate_kbps: float = 0.0  # measured over the last seconds
    elapsed_usec: int = 0
    remaining_usec: int = 0
    current_file: str = ""
    explorer_path: str = ""
    transport: Literal["fasp", "http"] = "fasp"
    encrypted: bool = True  # False: over HTTP, readable on the way
    counts: FileCounts = field(default_factory=FileCounts)
    files: dict[int, FileReport] = field(default_factory=dict)  # by index; at most FILES_KEPT, failures first
    error: str = ""  # slug, e.g. "auth_failed"
    error_code: int = 0
    error_desc: str = ""
    retry_at: float = 0.0  # when a willretry transfer goes on
    attempts: int = 0  # fruitless ones in a row
    note: str = ""  # something the user or page should know, e.g. "Source files were kept."


FILES_KEPT = 1_000
