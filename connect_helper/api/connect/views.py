"""A transfer as the page that starts or resumes it reads it: the start entry (Connect reference, 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connect_helper.transfers.transfer import Transfer


def start_entry(transfer: Transfer) -> dict[str, Any]:
    """One element of the answer of `start`; also the object of the answer of `resume`."""
    tags = transfer.spec.get("tags", {})
    aspera = tags.get("aspera", {}) if isinstance(tags, Mapping) else {}
    return {
        "uuid": transfer.id,
        "aspera_connect_settings": without_errors(transfer.settings),
        "tags": {"aspera": without_errors(aspera)},
        "transfer_spec": without_errors(transfer.spec),
    }


def without_errors(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Unknown fields of a page go back to it, but clients take these names for a failed call (section 4)."""
    return {name: value for name, value in fields.items() if name not in ("error", "failure")}
