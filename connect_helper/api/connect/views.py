"""A transfer as pages read it: TransferInfo (Connect reference section 7.1) and the start entry (6.3)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from connect_helper.spec.lenient import as_bool
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.transfer import Transfer


def transfer_info(transfer: Transfer) -> dict[str, Any]:
    """One complete TransferInfo. Leaves out `files` and `paths` when the start call asked for that."""
    spec = _without_errors(transfer.spec)
    if as_bool(transfer.settings.get("return_paths"), "return_paths") is False:
        spec.pop("paths", None)
    info: dict[str, Any] = {
        "uuid": transfer.id,
        "add_time": local_time(transfer.add_time),
        "start_time": local_time(transfer.start_time),
        "end_time": local_time(transfer.end_time),
        "modify_time": local_time(transfer.modify_time),
        "aspera_connect_settings": _without_errors(transfer.settings),
        "transfer_spec": spec,
        "status": transfer.status.value,
        "previous_status": transfer.previous_status.value if transfer.previous_status else "",
        "title": transfer.title,
        "transport": transfer.transport,
        "bytes_expected": transfer.bytes_expected,
        "bytes_written": transfer.bytes_written,
        "percentage": percentage(transfer),
        "calculated_rate_kbps": round(transfer.rate_kbps),
        "elapsed_usec": transfer.elapsed_usec,
        "remaining_usec": transfer.remaining_usec,
        "current_file": transfer.current_file,
        "explorer_path": transfer.explorer_path,
        "file_counts": {
            "attempted": transfer.counts.attempted,
            "completed": transfer.counts.completed,
            "failed": transfer.counts.failed,
            "skipped": transfer.counts.skipped,
        },
        "transfer_iteration_token": transfer.iteration_token,
        "error_code": transfer.error_code,
        "error_desc": transfer.error_desc,
    }
    if as_bool(transfer.settings.get("return_files"), "return_files") is not False:
        info["files"] = [_file(transfer, report) for report in transfer.files.values()]
    return info


def start_entry(transfer: Transfer) -> dict[str, Any]:
    """One element of the answer of `start`; also the object of the answer of `resume`."""
    tags = transfer.spec.get("tags", {})
    aspera = tags.get("aspera", {}) if isinstance(tags, Mapping) else {}
    return {
        "uuid": transfer.id,
        "aspera_connect_settings": _without_errors(transfer.settings),
        "tags": {"aspera": _without_errors(aspera)},
        "transfer_spec": _without_errors(transfer.spec),
    }


def _without_errors(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Unknown fields of a page go back to it, but clients take these names for a failed call (section 4)."""
    return {name: value for name, value in fields.items() if name not in ("error", "failure")}


def activity(token: int, transfers: Iterable[Transfer]) -> dict[str, Any]:
    """The answer of `activity` (section 7)."""
    infos = [transfer_info(transfer) for transfer in transfers]
    return {"iteration_token": token, "result_count": len(infos), "transfers": infos}


def percentage(transfer: Transfer) -> float:
    """Progress as a fraction, 0 to 1; 1 when a transfer without bytes is done."""
    if transfer.bytes_expected > 0:
        return min(1.0, transfer.bytes_written / transfer.bytes_expected)
    return 1.0 if transfer.status.value == "completed" else 0.0


def local_time(seconds: float) -> str:
    """`YYYY-MM-DDTHH:MM:SS` in local time without zone, "" for never."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds)) if seconds else ""


def _file(transfer: Transfer, report: FileReport) -> dict[str, Any]:
    return {
        "file": report.path,
        "bytes_expected": report.bytes_expected,
        "bytes_written": report.bytes_written,
        "fasp_file_id": _file_id(transfer.id, report.index),
    }


def _file_id(transfer_id: str, index: int) -> str:
    """Five groups of 8 hex digits, as page libraries know them; stable for one file of one transfer."""
    digits = hashlib.sha1(f"{transfer_id}/{index}".encode(), usedforsecurity=False).hexdigest()
    return "-".join(digits[at : at + 8] for at in range(0, 40, 8))
