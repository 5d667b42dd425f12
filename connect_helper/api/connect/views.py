"""A transfer as pages read it: TransferInfo (Connect reference section 7.1) and the start entry (6.3)."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from connect_helper.spec.lenient import as_bool
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.transfer import Transfer

TEXTS_KEPT: Final = 4_000  # transfers whose text is remembered
TEXT_LIMIT: Final = 32_768  # characters; larger texts are made anew each time


def transfer_info(transfer: Transfer) -> dict[str, Any]:
    """One complete TransferInfo. Leaves out `files` and `paths` when the start call asked for that."""
    return {**_asked(transfer), **_state(transfer)}


def _asked(transfer: Transfer) -> dict[str, Any]:
    """The part that stays the same while a transfer runs."""
    spec = _without_errors(transfer.spec)
    if as_bool(transfer.settings.get("return_paths"), "return_paths") is False:
        spec.pop("paths", None)
    return {"aspera_connect_settings": _without_errors(transfer.settings), "transfer_spec": spec}


def _state(transfer: Transfer) -> dict[str, Any]:
    info: dict[str, Any] = {
        "uuid": transfer.id,
        "add_time": local_time(transfer.add_time),
        "start_time": local_time(transfer.start_time),
        "end_time": local_time(transfer.end_time),
        "modify_time": local_time(transfer.modify_time),
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


@dataclass(slots=True)
class _Text:
    spec: Mapping[str, Any]
    settings: Mapping[str, Any]
    asked: str
    token: int
    whole: str


class InfoTexts:
    """TransferInfos as JSON text, remembered: pages ask once a second, in every tab, for hundreds of them.

    A text is good until the transfer's iteration token changes, its larger part until the spec is replaced.
    """

    def __init__(self) -> None:
        self._texts: OrderedDict[str, _Text] = OrderedDict()

    def activity(self, token: int, transfers: Iterable[Transfer]) -> str:
        """The answer of `activity` (section 7)."""
        infos = [self._text(transfer) for transfer in transfers]
        head = f'{{"iteration_token":{token},"result_count":{len(infos)},"transfers":['
        return "".join((head, ",".join(infos), "]}"))

    def _text(self, transfer: Transfer) -> str:
        known = self._texts.get(transfer.id)
        if known is not None and known.token == transfer.iteration_token:
            return known.whole
        if known is None or known.spec is not transfer.spec or known.settings is not transfer.settings:
            asked = _dump(_asked(transfer))
        else:
            asked = known.asked
        whole = f"{asked[:-1]},{_dump(_state(transfer))[1:]}"
        if len(whole) <= TEXT_LIMIT:
            token = transfer.iteration_token
            self._texts[transfer.id] = _Text(transfer.spec, transfer.settings, asked, token, whole)
            self._texts.move_to_end(transfer.id)
            if len(self._texts) > TEXTS_KEPT:
                self._texts.popitem(last=False)
        else:
            self._texts.pop(transfer.id, None)
        return whole


_dump: Final = json.JSONEncoder(separators=(",", ":")).encode


def percentage(transfer: Transfer) -> float:
    """Progress as a fraction, 0 to 1; 1 when a transfer without bytes is done."""
    if transfer.bytes_expected > 0:
        return min(1.0, transfer.bytes_written / transfer.bytes_expected)
    return 1.0 if transfer.status.value == "completed" else 0.0


def local_time(seconds: float) -> str:
    """`YYYY-MM-DDTHH:MM:SS` in local time without zone, "" for never."""
    return _local_time(int(seconds)) if seconds else ""


@lru_cache(maxsize=8_192)
def _local_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def _file(transfer: Transfer, report: FileReport) -> dict[str, Any]:
    return {
        "file": report.path,
        "bytes_expected": report.bytes_expected,
        "bytes_written": report.bytes_written,
        "fasp_file_id": _file_id(transfer.id, report.index),
    }


@lru_cache(maxsize=8_192)
def _file_id(transfer_id: str, index: int) -> str:
    """Five groups of 8 hex digits, as page libraries know them; stable for one file of one transfer."""
    digits = hashlib.sha1(f"{transfer_id}/{index}".encode(), usedforsecurity=False).hexdigest()
    return "-".join(digits[at : at + 8] for at in range(0, 40, 8))
