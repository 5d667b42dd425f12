"""Transfers and files as pages of this face read them (desktop reference, section 3 and 4.4)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from connect_helper.api.desktop.messages import encoded
from connect_helper.api.progress import percentage
from connect_helper.picking.facts import Picked
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer

SPECS_KEPT: Final = 500  # transfers whose spec is kept as text
CHARACTERS_KEPT: Final = 16 * 1024 * 1024  # of all specs together


class TransferTexts:
    """Writes transfer objects. A spec can be large and is told with every progress, so its text is kept."""

    def __init__(self) -> None:
        self._specs: OrderedDict[str, tuple[Mapping[str, Any], str]] = OrderedDict()
        self._characters = 0

    def one(self, transfer: Transfer) -> str:
        """One transfer object as JSON text."""
        return f'{{"transfer_spec":{self._spec(transfer)},{encoded(facts(transfer))[1:]}'

    def _spec(self, transfer: Transfer) -> str:
        known = self._specs.get(transfer.id)
        if known is not None and known[0] is transfer.spec:
            self._specs.move_to_end(transfer.id)
            return known[1]
        text = encoded(transfer.spec)
        if known is not None:
            self._characters -= len(known[1])
        self._specs[transfer.id] = (transfer.spec, text)
        self._characters += len(text)
        while self._specs and (len(self._specs) > SPECS_KEPT or self._characters > CHARACTERS_KEPT):
            _, (_, oldest) = self._specs.popitem(last=False)
            self._characters -= len(oldest)
        return text


def facts(transfer: Transfer) -> dict[str, Any]:
    """All fields of the object but `transfer_spec`. Sizes in bytes, rates in kbit/s."""
    found: dict[str, Any] = {
        "uuid": transfer.id,
        "status": transfer.status.value,
        "previous_status": transfer.previous_status.value if transfer.previous_status else "",
        "title": transfer.title,
        "add_time": utc_time(transfer.add_time),
        "end_time": utc_time(transfer.end_time),
        "bytes_expected": transfer.bytes_expected,
        "bytes_written": transfer.bytes_written,
        "percentage": percentage(transfer),
        "calculated_rate_kbps": round(transfer.rate_kbps),
        "elapsed_usec": transfer.elapsed_usec,
        "remaining_usec": transfer.remaining_usec,
        "current_file": transfer.current_file,
        "file_counts": {
            "attempted": transfer.counts.attempted,
            "completed": transfer.counts.completed,
            "failed": transfer.counts.failed,
            "skipped": transfer.counts.skipped,
        },
        "explorer_path": transfer.explorer_path,
    }
    if transfer.status in (Status.FAILED, Status.WILL_RETRY) or transfer.error:
        found |= {"error_code": transfer.error_code, "error_desc": transfer.error_desc}
    return found


def utc_time(seconds: float) -> str:
    """ISO 8601 with milliseconds and "Z"; "" for never."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def data_transfer(picked: Sequence[Picked]) -> dict[str, Any]:
    """What dialogs and drops answer: `{"dataTransfer": {"files": [...]}}` with absolute paths."""
    files = [
        {
            "lastModified": item.mtime_ns // 1_000_000,
            "name": item.path,
            "size": item.size,
            "type": item.mime_type,
        }
        for item in picked
    ]
    return {"dataTransfer": {"files": files}}
