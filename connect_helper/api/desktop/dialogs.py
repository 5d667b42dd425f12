"""Dialogs and drops: what the user picks (desktop reference, sections 4.5 and 4.6)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from connect_helper.api.desktop.calls import Asked, optional_object
from connect_helper.api.desktop.messages import Cancelled
from connect_helper.api.desktop.objects import data_transfer
from connect_helper.api.dropping import read_dropped
from connect_helper.api.filters import read_filters
from connect_helper.errors import TooManyRequests
from connect_helper.picking.base import DialogKind, DialogRequest
from connect_helper.spec.lenient import as_bool, as_text


async def show_file_dialog(asked: Asked) -> Any:
    return await _choose(asked, "open-file", "filters")


async def show_folder_dialog(asked: Asked) -> Any:
    return await _choose(asked, "open-folder", "filters")


async def show_save_file_dialog(asked: Asked) -> Any:
    return await _choose(asked, "save-file", "allowedFileTypes")


async def _choose(asked: Asked, kind: DialogKind, filters: str) -> Any:
    """Open the dialog; a closed one is an error of its own. An aborted call closes it and grants nothing."""
    caller, app_id = asked.caller, asked.app_id
    options = optional_object(asked.params, "options")
    multiple = as_bool(options.get("multiple"), "multiple") is True
    dialog = DialogRequest(
        kind=kind,
        caller=caller.label,
        title=as_text(options.get("title"), "title") or "",
        suggested_name=as_text(options.get("suggestedName"), "suggestedName") or "",
        multiple=multiple and kind != "save-file",
        filters=read_filters(options.get(filters)),
    )
    picked = await asked.shared.choosing.choose(caller, app_id, dialog)
    if not picked:
        raise Cancelled("The dialog was closed.")
    return data_transfer(picked)


async def init_drag_drop(asked: Asked) -> Any:
    """Whether drops can be resolved: always, with the user's help where the system does not show them.

    A page may say several times at once that it takes drops.
    """
    with suppress(TooManyRequests):
        await asked.shared.dropping.prepare(asked.caller)
    return True


async def dropped_files(asked: Asked) -> Any:
    """Everything but a malformed call is answered with a list: pages hear of no error here."""
    caller, app_id = asked.caller, asked.app_id
    dropped = read_dropped(asked.params.get("files"), "files")
    return data_transfer(await asked.shared.dropping.find(caller, app_id, dropped))
