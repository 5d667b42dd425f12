"""Every method of the desktop reference, section 4, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connect_helper.api.desktop import content, dialogs, info, transfers, windows
from connect_helper.api.desktop.calls import Method

_METHODS: Final = [
    Method("get_info", (), info.get_info, "object", "The program's version."),
    Method("verify_session", ("app_id!", "session_id!"), info.verify_session, "object",
           "Whether this user launched the program with that session."),
    Method("init_drag_drop", (), dialogs.init_drag_drop, "boolean", "Whether drops can be resolved."),
    Method("subscribe_transfer_activity", ("app_id!",), info.subscribe_transfer_activity, "integer",
           "Over a WebSocket: be told of the transfers of an app_id."),
    Method("test_ssh_ports", ("request!",), info.test_ssh_ports,
           summary="Whether a server can be reached."),
    Method("authenticate", ("transfer_spec!",), info.authenticate,
           summary="Whether a server takes a login."),
    Method("start_transfer", ("transfer_spec!", "desktop_spec", "app_id!"), transfers.start_transfer,
           "object", "Start a transfer, once the user agrees."),
    Method("get_all_transfers", ("app_id!",), transfers.get_all_transfers, "array", "All transfers."),
    Method("get_transfer", ("transfer_id!", "app_id"), transfers.get_transfer, "object", "One transfer."),
    Method("get_files_list", ("transfer_id!", "pagination", "app_id"), transfers.get_files_list, "object",
           "A page of a transfer's files."),
    Method("stop_transfer", ("transfer_id!", "app_id"), transfers.stop_transfer,
           summary="Stop a transfer and keep partial files."),
    Method("resume_transfer", ("transfer_id!", "transfer_spec", "app_id"), transfers.resume_transfer,
           "object", "Go on with a stopped or failed transfer."),
    Method("modify_transfer", ("transfer_id!", "transfer_spec!", "app_id"), transfers.modify_transfer,
           "object", "Change the rates of a transfer."),
    Method("remove_transfer", ("transfer_id!", "app_id"), transfers.remove_transfer,
           summary="Take a transfer off the list."),
    Method("show_directory", ("transfer_id!", "app_id"), windows.show_directory,
           summary="Show a transfer's files in the file manager."),
    Method("show_file_dialog", ("options", "app_id!"), dialogs.show_file_dialog, "object",
           "Let the user pick files."),
    Method("show_folder_dialog", ("options", "app_id!"), dialogs.show_folder_dialog, "object",
           "Let the user pick folders."),
    Method("show_save_file_dialog", ("options", "app_id!"), dialogs.show_save_file_dialog, "object",
           "Let the user say where a file goes."),
    Method("dropped_files", ("files!", "app_id!"), dialogs.dropped_files, "object",
           "Find what was dropped on the page."),
    Method("read_as_array_buffer", ("request!", "app_id!"), content.read_as_array_buffer, "object",
           "A file's content in base64."),
    Method("read_chunk_as_array_buffer", ("request!", "app_id!"), content.read_chunk_as_array_buffer,
           "object", "A part of a file's content in base64."),
    Method("get_checksum", ("request!", "app_id!"), content.get_checksum, "object", "A file's checksum."),
    Method("read_directory", ("request!", "app_id!"), content.read_directory, "object",
           "What is in a folder."),
    Method("open_preferences", ("tab",), windows.open_preferences, summary="Show the preferences."),
    Method("show_about", (), windows.show_about, summary="Show what this program is."),
    Method("show_transfer_manager", (), windows.show_transfer_manager, summary="Show all transfers."),
    Method("show_transfer_monitor", ("transfer_id!", "app_id"), windows.show_transfer_monitor,
           summary="Show one transfer."),
    Method("update_branding", ("branding!",), windows.update_branding,
           summary="Name and colours of the page's application."),
]  # fmt: skip

METHODS: Final[Mapping[str, Method]] = {
    method.name: method for method in [*_METHODS, info.discoverer(_METHODS)]
}
