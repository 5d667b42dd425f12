"""The desktop's list of recently used files (freedesktop.org, recently-used.xbel). Touches the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import ParseError

import platformdirs
from defusedxml import DefusedXmlException, ElementTree

from connect_helper.picking.drags import local_paths

SIZE_LIMIT: Final = 8 * 1024 * 1024  # bytes of the list
FOLDERS_KEPT: Final = 40


def recent_folders(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Folders of files that were used recently, the last used first; [] where the desktop keeps no list."""
    data = environment.get("XDG_DATA_HOME") or platformdirs.user_data_dir()
    try:
        listed = Path(data, "recently-used.xbel")
        if listed.stat().st_size > SIZE_LIMIT:
            return []
        bookmarks = ElementTree.fromstring(listed.read_bytes()).iter("bookmark")
    except (OSError, ParseError, DefusedXmlException):
        return []
    used = sorted(
        (
            (entry.get("visited") or entry.get("modified") or "", entry.get("href") or "")
            for entry in bookmarks
        ),
        reverse=True,
    )
    addresses = "\n".join(address for _, address in used).encode()
    folders = dict.fromkeys(os.path.dirname(path) for path in local_paths(addresses))  # noqa: PTH120
    return list(folders)[:FOLDERS_KEPT]
