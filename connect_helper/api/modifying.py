"""Changing the rates of a transfer for the page that started it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connect_helper.spec.rates import parse_rates, requested_rate_kbps
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.transfer import Transfer

_LOCKS: Final = ("lock_target_rate", "lock_min_rate")


async def modify_rates(
    manager: TransferManager, transfer: Transfer, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Apply the rate fields among `changes` to a waiting or running transfer; return those that changed.

    Raises InvalidRequest naming the field, WrongState, NotFound.
    """
    fields = parse_rates(changes).as_connect_fields()
    # The other spelling of a lock must not outlive the change.
    kept = {f"{name}_kbps": value for name, value in fields.items() if name in _LOCKS}
    spec_changes = fields | {name: value for name, value in kept.items() if name in transfer.spec}
    limit = requested_rate_kbps({**transfer.spec, **spec_changes})
    await manager.set_rate(transfer.id, limit, spec_changes)
    return fields
