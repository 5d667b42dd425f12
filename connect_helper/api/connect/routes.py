"""The 26 routes of the Connect reference, section 5, each with and without trailing slash."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from connect_helper.api.connect import files, info, transfers, windows

PREFIXES: Final = ("/v5", "/v6")

ROUTES: Final = (
    ("GET", "/connect/info/ping", info.ping),
    ("GET", "/connect/info/version", info.version),
    ("POST", "/connect/info/authenticate", info.authenticate),
    ("POST", "/connect/info/ports", info.ports),
    ("POST", "/connect/update/require", info.require_update),
    ("GET", "/connect/windows/about", windows.about),
    ("GET", "/connect/windows/preferences", windows.preferences),
    ("GET", "/connect/windows/preferences/{page}", windows.preferences),
    ("GET", "/connect/windows/transfer-manager", windows.transfer_manager),
    ("GET", "/connect/windows/transfer-monitor/{id}", windows.transfer_monitor),
    ("GET", "/connect/windows/finder/{id}", windows.finder),
    ("POST", "/connect/windows/select-open-file-dialog", files.select_open_file),
    ("POST", "/connect/windows/select-open-folder-dialog", files.select_open_folder),
    ("POST", "/connect/windows/select-save-file-dialog", files.select_save_file),
    ("GET", "/connect/file/initialize-drag-drop", files.initialize_drag_drop),
    ("POST", "/connect/file/dropped-files", files.dropped_files),
    ("POST", "/connect/file/read-as-array-buffer", files.read_as_array_buffer),
    ("POST", "/connect/file/read-chunk-as-array-buffer", files.read_chunk_as_array_buffer),
    ("POST", "/connect/file/checksum", files.checksum),
    ("POST", "/connect/transfers/start", transfers.start),
    ("POST", "/connect/transfers/activity", transfers.activity),
    ("POST", "/connect/transfers/info/{id}", transfers.info),
    ("POST", "/connect/transfers/modify/{id}", transfers.modify),
    ("POST", "/connect/transfers/stop/{id}", transfers.stop),
    ("POST", "/connect/transfers/resume/{id}", transfers.resume),
    ("POST", "/connect/transfers/remove/{id}", transfers.remove),
)
# A page reads a large file in hundreds of calls, each as soon as the one before is answered.
READ_ROUTES: Final = frozenset({"read-as-array-buffer", "read-chunk-as-array-buffer", "checksum"})


def connect_routes() -> list[web.RouteDef]:
    """Every route under every prefix."""
    return [
        web.route(method, f"{prefix}{path}{slash}", handler)
        for prefix in PREFIXES
        for method, path, handler in ROUTES
        for slash in ("", "/")
    ]
