"""Types of files a page offers in a dialog, in the forms page libraries know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connect_helper.picking.base import FileFilter


def read_filters(value: Any) -> tuple[FileFilter, ...]:
    """Read `[{"filter_name" or "name": "Images", "extensions": ["png"]}]`, or plain `["png", "tif"]`.

    A filter is a convenience: one that cannot be read shows everything rather than no dialog.
    """
    entries = value if isinstance(value, list) else []
    plain = _texts(entries)
    filters = [_filter(entry) for entry in entries if isinstance(entry, Mapping)]
    if plain:
        filters.append(FileFilter("", plain))
    return tuple(entry for entry in filters if entry.extensions)


def _filter(entry: Mapping[str, Any]) -> FileFilter:
    name = entry.get("filter_name", entry.get("name"))
    extensions = entry.get("extensions")
    return FileFilter(
        name if isinstance(name, str) else "", _texts(extensions if isinstance(extensions, list) else [])
    )


def _texts(items: list[Any]) -> tuple[str, ...]:
    return tuple(item for item in items if isinstance(item, str))
