"""How far a transfer is, as page libraries count it."""

from __future__ import annotations

from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer


def percentage(transfer: Transfer) -> float:
    """Progress as a fraction, 0 to 1; 1 when a transfer without bytes is done."""
    if transfer.bytes_expected > 0:
        return min(1.0, transfer.bytes_written / transfer.bytes_expected)
    return 1.0 if transfer.status is Status.COMPLETED else 0.0
