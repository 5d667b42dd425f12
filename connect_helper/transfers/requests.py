"""What the manager is asked to do, and what it asks back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from connect_helper.transfers.messages import Question
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.transfer import Owner, Transfer


@dataclass(frozen=True, slots=True)
class StartRequest:
    """One transfer to be queued; every question to the user is settled by now."""

    owner: Owner
    request_id: str  # of the start call; "" when there was none, then nothing is ever a replay of it
    settings: Mapping[str, Any]  # aspera_connect_settings, echoed
    spec: Mapping[str, Any]  # transfer spec without secrets, echoed
    xfer_id: str | None  # tags.aspera.xfer_id as the page gave it
    title: str
    plan: SessionPlan  # its transfer_id is replaced; its rate_kbps is the transfer's own limit
    explorer_path: str = ""
    note: str = ""
    retry_for_s: float | None = None  # no new try this long after the last progress; None: no such limit


class Questions(Protocol):
    """The one question a running session may have."""

    async def host_key(self, transfer: Transfer, question: Question) -> bool:
        """Tell whether the user accepts the key of a server seen for the first time, and keep it then.

        Cancelled when the session ends meanwhile. Raises ConnectHelperError when nobody can be asked;
        that counts as a no.
        """
        ...
