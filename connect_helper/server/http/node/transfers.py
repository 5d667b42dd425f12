"""`ops/transfers`: the sessions of the server as the Node API tells them (reference, section 6). Pure.

A session is a transfer with one session in it; its id is the session's. Times are in microseconds since the
epoch, rates in kbit/s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connect_helper.server.http.node.entries import text_of
from connect_helper.server.http.node.listing import moment
from connect_helper.server.session_reports import FileReport, SessionReport
from connect_helper.server.tokens import Direction

PARTLY: Final = "partially_completed"  # some files arrived, some did not
# A server sees a transfer's files one after the other, and not how many there will be.
_NOT_COUNTED: Final = {"enabled": False, "status": "not ready"}
_VIEWS: Final = {"id": ("id",), "short_summary": ("id", "status", "bytes_transferred", "start_time_usec")}


@dataclass(frozen=True, slots=True)
class Seen:
    """A session and its finished files, as far as they are remembered."""

    report: SessionReport
    files: Sequence[FileReport]

    @property
    def direction(self) -> Direction:
        """Of the token; without one, of most bytes."""
        if self.report.direction is not None:
            return self.report.direction
        return "send" if self.report.bytes_in >= self.report.bytes_out else "receive"

    @property
    def moved(self) -> int:
        return self.report.bytes_in + self.report.bytes_out

    @property
    def active(self) -> bool:
        return self.report.ended_at is None

    @property
    def status(self) -> str:
        """In the words of the reference."""
        match self.report.status:
            case "cancelled":
                return "canceled"
            case "failed" if self.report.files_in + self.report.files_out > 0:
                return PARTLY
            case word:
                return word


@dataclass(frozen=True, slots=True)
class Here:
    """The server as it tells of itself."""

    host: str  # where clients go
    address: str
    ssh_port: int | None
    node_id: str


def transfer(
    seen: Seen, now: float, *, here: Here, max_files: int, view: str | None = None
) -> dict[str, Any]:
    """The transfer object."""
    report = seen.report
    end = now if report.ended_at is None else report.ended_at
    elapsed_s = max(end - report.started_at, 0.0)
    totals = {
        "status": seen.status,
        "bytes_transferred": seen.moved,
        "bytes_written": seen.moved,
        "bytes_lost": 0,
        "directories_completed": 0,
        "avg_rate_kbps": round(seen.moved * 8 / 1000 / elapsed_s, 3) if elapsed_s > 0 else 0.0,
        "start_time_usec": _usec(report.started_at),
        "end_time_usec": None if report.ended_at is None else _usec(report.ended_at),
        "elapsed_usec": _usec(elapsed_s),
        "error_code": 11 if _failed(seen) else 0,
        "error_desc": _error(seen),
    }
    files_completed = report.files_in + report.files_out
    whole = {
        "id": report.id,
        **totals,
        "files_completed": files_completed,
        "files_skipped": 0,
        "start_spec": start_spec(seen, here),
        "sessions": [_session(seen, here, {**totals, "files_completed": files_completed})],
        "precalc": _NOT_COUNTED,
    }
    if view in _VIEWS:
        return {name: whole[name] for name in _VIEWS[view]}
    if view == "summary":
        return whole
    return {**whole, "files": [_file(one, report, now) for one in _files(seen)[:max_files]]}


def start_spec(seen: Seen, here: Here) -> dict[str, Any]:
    """What is known of the spec a session was begun with: of the paths, those of its token on this server."""
    rate = _cap(seen)
    over_ssh = seen.report.protocol == "sftp"
    root = seen.report.destination_root
    spec = {
        "direction": seen.direction,
        "source_paths": [text_of(path) for path in seen.report.sources],
        "destination_path": "" if root is None else text_of(root),
        "remote_host": here.host,
        "remote_user": seen.report.account,
        "ssh_port": here.ssh_port if over_ssh else None,
        "cookie": seen.report.cookie,
        "rate_policy": "fair",
        "target_rate_kbps": rate,
        "min_rate_kbps": 0,
        "endpoint": "server",
        "token_type": "none" if seen.report.token_id is None else "auth_token",
        "http_fallback": not over_ssh,
    }
    return {name: value for name, value in spec.items() if value is not None}


def _cap(seen: Seen) -> int | None:
    return seen.report.cap_in_kbps if seen.direction == "send" else seen.report.cap_out_kbps


def _session(seen: Seen, here: Here, totals: Mapping[str, Any]) -> dict[str, Any]:
    report = seen.report
    return {
        **totals,
        "id": report.id,
        "client_ip_address": report.peer,
        "server_ip_address": here.address,
        "server_node_id": here.node_id,
        "retry_count": 0,
        "retry_timeout": 0,
        "target_rate_kbps": _cap(seen) or 0,
        "min_rate_kbps": 0,
        "calc_rate_kbps": totals["avg_rate_kbps"],
        "network_delay_usec": 0,
        "precalc": _NOT_COUNTED,
        "stalled": False,
    }


def _files(seen: Seen) -> list[FileReport]:
    return [*seen.files, *seen.report.under_way]


def _file(one: FileReport, report: SessionReport, now: float) -> dict[str, Any]:
    done = one.ended_at is not None
    kind, _, digest = (one.digest or "").rpartition(":")
    facts: dict[str, Any] = {
        "id": f"{report.id}:{_usec(one.started_at)}:{text_of(one.path)}",
        "path": text_of(one.path),
        "status": "failed" if one.error is not None else "completed" if done else "transferring",
        "type": "file",
        "size": one.size or 0,
        "bytes_written": (one.size or 0) if done and one.error is None else 0,
        "start_byte": 0,
        "start_time_usec": _usec(one.started_at),
        "end_time_usec": None if one.ended_at is None else _usec(one.ended_at),
        "elapsed_usec": _usec(max((now if one.ended_at is None else one.ended_at) - one.started_at, 0.0)),
        "error_code": 0 if one.error is None else 11,
        "error_desc": one.error or "",
        "session_id": report.id,
    }
    if digest:
        facts |= {"checksum": digest, "checksum_type": kind or "sha256"}
    return facts


def _failed(seen: Seen) -> bool:
    return seen.report.status == "failed"


def _error(seen: Seen) -> str:
    if seen.report.error is not None:
        return seen.report.error
    failed = seen.report.files_failed
    return f"{failed} files failed." if _failed(seen) else ""


def _usec(seconds: float) -> int:
    return int(seconds * 1_000_000)


def chosen(all_seen: Iterable[Seen], query: Mapping[str, str]) -> list[Seen]:
    """Those the query asks for, oldest first. Raises Problem for a time that is none.

    `tag` asks for what was in a spec's tags; sessions of this server carry none, so nothing fits.
    """
    found = sorted(all_seen, key=mark)
    if "tag" in query:
        return []
    if "active_only" in query:
        active = query["active_only"].lower() in ("true", "1", "yes")
        found = [seen for seen in found if seen.active is active]
    if "direction" in query:
        found = [seen for seen in found if seen.direction == query["direction"]]
    if "after_time" in query:
        after = moment(query["after_time"], "after_time")
        found = [seen for seen in found if seen.active or (seen.report.ended_at or 0) > after]
    if "iteration_token" in query:
        found = [seen for seen in found if token_of(seen) > query["iteration_token"]]
    return found


def mark(seen: Seen) -> tuple[float, str]:
    """The order of transfers: by start."""
    return seen.report.started_at, seen.report.id


def token_of(seen: Seen) -> str:
    """A text that orders as `mark` does: where a listing goes on."""
    return f"{_usec(seen.report.started_at):020d}-{seen.report.id}"


def rates_over_time(
    samples: Iterable[tuple[float, int, int]], way: int, start: float, end: float
) -> list[dict[str, float]]:
    """[{"time": seconds since `start`, "rate": kbit/s}] between samples (time, bytes in, bytes out).

    `way` is 1 for what came in, 2 for what went out.
    """
    rows = [row for row in samples if row[0] <= end]
    found: list[dict[str, float]] = []
    for before, after in itertools.pairwise(rows):
        if after[0] >= start and after[0] > before[0]:
            rate = (int(after[way]) - int(before[way])) * 8 / 1000 / (after[0] - before[0])
            found.append({"time": round(after[0] - start, 3), "rate": round(rate, 3)})
    return found
