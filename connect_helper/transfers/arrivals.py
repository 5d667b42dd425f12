"""How transfers come into the manager: made from a request, or found in the journal. Reads no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connect_helper.transfers.entry import Entry
from connect_helper.transfers.plan import Login
from connect_helper.transfers.records import Record, has_secret, without_secrets
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Status
from connect_helper.transfers.transfer import Transfer

DEFAULT_XFER_RETRY: Final = 3600  # seconds; what clients are told when the page said nothing


def arrived(request: StartRequest, *, transfer_id: str, position: int, now: float) -> Entry:
    """Make a queued transfer of a request; `now` is in seconds since the epoch."""
    plan = request.plan.model_copy(update={"transfer_id": transfer_id})
    record = Record(
        transfer=_new_transfer(request, transfer_id, now),
        position=position,
        plan=without_secrets(plan),
        needs_login=has_secret(plan.login),
        retry_for_s=request.retry_for_s if request.retry_for_s is not None else _xfer_retry(request.spec),
    )
    return Entry.of(record, plan.login)


def found_again(record: Record) -> Entry:
    """Make an entry of what an earlier run of the program left; nothing of it runs, whatever it says."""
    transfer = record.transfer
    transfer.rate_kbps, transfer.remaining_usec, transfer.current_file = 0.0, 0, ""
    return Entry.of(record, None if record.needs_login else Login(user=transfer.user))


def with_tags(spec: Mapping[str, Any], xfer_id: str) -> dict[str, Any]:
    """Return the spec with `tags.aspera` filled in (Connect reference, section 6.3)."""
    aspera = {"index": 0, "xfer_retry": DEFAULT_XFER_RETRY, **_aspera_tags(spec), "xfer_id": xfer_id}
    aspera["xfer_retry"] = _number(aspera["xfer_retry"])
    tags = spec.get("tags")
    return {**spec, "tags": {**(tags if isinstance(tags, Mapping) else {}), "aspera": aspera}}


def _aspera_tags(spec: Mapping[str, Any]) -> dict[str, Any]:
    tags = spec.get("tags")
    aspera = tags.get("aspera") if isinstance(tags, Mapping) else None
    return dict(aspera) if isinstance(aspera, Mapping) else {}


def _number(value: Any) -> Any:
    """Return a number that came as text as a number, anything else as it is."""
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10
    return int(value) if is_number else value


def _xfer_retry(spec: Mapping[str, Any]) -> float | None:
    """Return for how many seconds the page thinks that tries make sense; None when it does not say."""
    wish = _number(_aspera_tags(spec).get("xfer_retry"))
    if isinstance(wish, bool) or not isinstance(wish, int | float) or not wish > 0:
        return None
    return float(wish)


def _new_transfer(request: StartRequest, transfer_id: str, now: float) -> Transfer:
    xfer_id = request.xfer_id or transfer_id
    plan = request.plan
    return Transfer(
        id=transfer_id,
        xfer_id=xfer_id,
        owner=request.owner,
        request_id=request.request_id,
        settings=dict(request.settings),
        spec=with_tags(request.spec, xfer_id),
        direction=plan.direction,
        host=plan.server.host,
        port=plan.server.port,
        user=plan.login.user,
        title=request.title,
        status=Status.QUEUED,
        add_time=now,
        modify_time=now,
        explorer_path=request.explorer_path,
        note=request.note,
    )
