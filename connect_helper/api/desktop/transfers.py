"""Transfers: start, look, change, stop, resume, remove (desktop reference, sections 4.2 to 4.4).

Most methods name a transfer by its id alone. The id counts for the caller's origin, and for the app_id
where one is sent.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from connect_helper.api.desktop.calls import Asked, optional_object, required_object
from connect_helper.api.desktop.messages import Json
from connect_helper.api.modifying import modify_rates
from connect_helper.api.showing import transfer_of_origin
from connect_helper.api.starting import StartCall
from connect_helper.spec.lenient import as_bool, as_int, as_text, required_text
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import FINAL
from connect_helper.transfers.transfer import Transfer

PAGE_SIZE: Final = 1_000  # when the page names none
PAGE_LIMIT: Final = 10_000
AT_ONCE: Final = 50  # transfers written in one go

_WORDS: Final = {"running": "running", "done": "finished", "skipped": "skipped", "failed": "failed"}
_UNFINISHED: Final = "The transfer ended before this file did."
_UNFINISHED_CODE: Final = 16  # as for a connection that ended


async def start_transfer(asked: Asked) -> Any:
    """Answered once the user agreed and the transfer is on the list."""
    caller, app_id = asked.caller, asked.app_id
    spec = required_object(asked.params, "transfer_spec")
    wishes = optional_object(asked.params, "desktop_spec")
    allow_dialogs = as_bool(wishes.get("allow_dialogs"), "allow_dialogs") is not False
    absolute = as_bool(wishes.get("use_absolute_destination_path"), "use_absolute_destination_path") is True
    call = StartCall(
        app_id=app_id,
        request_id="",
        spec=spec,
        settings={
            "app_id": app_id,
            "allow_dialogs": allow_dialogs,
            "use_absolute_destination_path": absolute,
        },
        allow_dialogs=allow_dialogs,
        absolute_destination=absolute,
    )
    return _object(asked, await asked.shared.starting.start(caller, call))


async def get_all_transfers(asked: Asked) -> Any:
    """Those that are not over, and the newest 1,000 of the others."""
    _, found = await asked.shared.manager.changes(asked.owner, 0)
    texts = []
    for number, transfer in enumerate(found, 1):
        texts.append(asked.parts.texts.one(transfer))
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)  # a list of thousands holds up nobody
    return Json(f"[{','.join(texts)}]")


async def get_transfer(asked: Asked) -> Any:
    return _object(asked, await own_transfer(asked))


async def stop_transfer(asked: Asked) -> Any:
    """On return nothing of it moves any more; partial files are kept."""
    transfer = await own_transfer(asked)
    await asked.shared.manager.stop(transfer.id, owner=transfer.owner)


async def resume_transfer(asked: Asked) -> Any:
    found = await own_transfer(asked)
    transfer = await asked.shared.manager.fetch(found.id, owner=found.owner, exact_first=True)
    changes = optional_object(asked.params, "transfer_spec")
    return _object(asked, await asked.shared.starting.resume(asked.caller, transfer, changes))


async def modify_transfer(asked: Asked) -> Any:
    found = await own_transfer(asked)
    manager = asked.shared.manager
    transfer = await manager.fetch(found.id, owner=found.owner, exact_first=True)
    await modify_rates(manager, transfer, required_object(asked.params, "transfer_spec"))
    return _object(asked, transfer)


async def remove_transfer(asked: Asked) -> Any:
    """Once more is no error."""
    manager, transfer_id = asked.shared.manager, required_text(asked.params, "transfer_id")
    removed = manager.removed_owner(transfer_id)
    if removed is not None and removed.origin == asked.caller.origin:
        return
    transfer = await own_transfer(asked)
    await manager.remove(transfer.id, owner=transfer.owner)


async def get_files_list(asked: Asked) -> Any:
    """A page of the transfer's files, in the order of their first activity."""
    pagination = optional_object(asked.params, "pagination")
    limit = as_int(pagination.get("limit"), "limit", maximum=2**53)
    limit = PAGE_SIZE if limit is None else min(limit, PAGE_LIMIT)
    offset = as_int(pagination.get("offset"), "offset", maximum=2**53) or 0
    transfer = await own_transfer(asked)
    manager = asked.shared.manager
    listed = await manager.look(transfer.id, owner=transfer.owner, exact_first=True)
    reports, total = await manager.files_in_order(listed, offset=offset, limit=limit)
    live = listed.transfer.status not in FINAL
    entries = [file_entry(report, live=live) for report in reports]
    return {"entries": entries, "total_count": total, "limit": limit, "offset": offset}


def file_entry(report: FileReport, *, live: bool) -> dict[str, Any]:
    """One file; `live` until its transfer is over. One that is left unfinished then counts as failed."""
    entry = {
        "file": report.path,
        "bytes_written": report.bytes_written,
        "bytes_expected": report.bytes_expected,
        "elapsed_usec": report.elapsed_usec,
        "status": _WORDS[report.state],
    }
    if report.state == "running" and not live:
        return entry | {"status": "failed", "error": _error(_UNFINISHED_CODE, _UNFINISHED)}
    if report.state == "failed":
        entry["error"] = _error(report.error_code, report.message)
    return entry


def _error(code: int, description: str) -> dict[str, Any]:
    return {"code": code, "description": description}


async def own_transfer(asked: Asked) -> Transfer:
    """The transfer that is meant; to look at only. Raises NotFound."""
    transfer_id = required_text(asked.params, "transfer_id")
    app_id = as_text(asked.params.get("app_id"), "app_id")
    return await transfer_of_origin(asked.shared.manager, asked.caller, transfer_id, app_id=app_id)


def _object(asked: Asked, transfer: Transfer) -> Json:
    return Json(asked.parts.texts.one(transfer))
