"""Windows: the helper's own pages and the file manager (desktop reference, sections 4.9 and 4.10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connect_helper.api.brandings import read_branding
from connect_helper.api.desktop.calls import Asked, required_object
from connect_helper.api.desktop.transfers import own_transfer
from connect_helper.errors import InvalidRequest
from connect_helper.spec.lenient import as_text

# As the desktop program names its tabs, and as pages do.
TABS: Final[Mapping[str, str]] = {
    "general": "general",
    "transfers": "transfers",
    "bandwidth": "bandwidth",
    "security": "security",
    "proxies": "network",
    "network": "network",
}


async def open_preferences(asked: Asked) -> Any:
    caller, tab = asked.caller, as_text(asked.params.get("tab"), "tab")
    if tab is not None and tab not in TABS:
        raise InvalidRequest(f"tab must be one of {', '.join(TABS)}.", field="tab")
    await asked.shared.showing.page(caller, f"/preferences/{TABS[tab]}" if tab else "/preferences")


async def show_about(asked: Asked) -> Any:
    await asked.shared.showing.page(asked.caller, "/about")


async def show_transfer_manager(asked: Asked) -> Any:
    await asked.shared.showing.page(asked.caller, "/")


async def show_transfer_monitor(asked: Asked) -> Any:
    transfer = await own_transfer(asked)
    await asked.shared.showing.monitor(asked.caller, transfer)


async def show_directory(asked: Asked) -> Any:
    transfer = await own_transfer(asked)
    await asked.shared.showing.files(asked.caller, transfer)


async def update_branding(asked: Asked) -> Any:
    """Kept, and shown with the site in the helper's window."""
    caller = asked.caller
    branding = read_branding(required_object(asked.params, "branding"))
    await asked.parts.brandings.keep(caller.origin, branding)
