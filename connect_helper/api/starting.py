"""From a page's transfer spec to a queued transfer: validate, look up grants, ask, then hand over.

The order matters: nothing on disk or network is touched before every path was found among the caller's
grants, and nothing is asked about a spec that would be refused anyway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from connect_helper.api.callers import Caller
from connect_helper.api.ladder import HostQuestion, Ladder
from connect_helper.api.logins import Logins
from connect_helper.api.places import Places
from connect_helper.picking.base import Question
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.spec.echo import echo
from connect_helper.spec.lenient import as_int
from connect_helper.spec.paths import default_title
from connect_helper.spec.rates import effective_rate_kbps
from connect_helper.spec.transfer_spec import TransferSpec, parse_spec
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import HostKeys, Item, Policies, Server, SessionPlan
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Move, next_status
from connect_helper.transfers.transfer import Owner, Transfer
from connect_helper.transports.known_hosts import KnownHosts

log = logging.getLogger(__name__)

RESUME_FOLDER = "resume"
_ECHOED_CHANGES = ("cookie", "authentication", "remote_user")  # of a resume; the secrets are not echoed


@dataclass(frozen=True, slots=True)
class StartCall:
    """What a face hands over: the raw spec and the settings that come beside it."""

    app_id: str
    request_id: str
    spec: Mapping[str, Any]
    settings: Mapping[str, Any]  # echoed
    allow_dialogs: bool
    absolute_destination: bool


class Starting:
    """Starts and resumes transfers for callers; one for all faces."""

    def __init__(
        self,
        *,
        ladder: Ladder,
        places: Places,
        logins: Logins,
        manager: TransferManager,
        known_hosts: KnownHosts,
        preferences: PreferencesStore,
        folders: Folders,
    ) -> None:
        self._ladder = ladder
        self._places = places
        self._logins = logins
        self._manager = manager
        self._known_hosts = known_hosts
        self._preferences = preferences
        self._resume_folder = str(folders.state / RESUME_FOLDER)
        self._starting: WeakValueDictionary[tuple[Owner, str], asyncio.Lock] = WeakValueDictionary()

    async def start(self, caller: Caller, call: StartCall) -> Transfer:
        """Answer once the transfer is accepted and journalled, after all questions to the user.

        A replay of a `request_id` gets the transfer it started, also while its question is open: the
        second request waits and finds it. Raises InvalidRequest, NotGranted, Refused, HostNotFound,
        TooManyRequests, Unavailable; then nothing was started.
        """
        owner = Owner(caller.origin, call.app_id)
        async with self._one_at_a_time(owner, call.request_id):
            known = self._manager.find_request(owner, call.request_id) if call.request_id else None
            if known is not None:
                return known
            spec = parse_spec(call.spec)
            request = await self._settle(caller, owner, call, spec)
            # From here on the transfer exists, whether or not the page is still there to hear of it.
            return await self._manager.submit(request)

    def _one_at_a_time(self, owner: Owner, request_id: str) -> AbstractAsyncContextManager[None]:
        if not request_id:
            return asyncio.Lock()
        return self._starting.setdefault((owner, request_id), asyncio.Lock())

    async def _settle(
        self, caller: Caller, owner: Owner, call: StartCall, spec: TransferSpec
    ) -> StartRequest:
        """Everything between a valid spec and the queue."""
        retry_for_s = _retry_for(spec)
        items, explorer_path = await self._items(caller, call, spec)
        question = await self._host_question(caller, spec, items)
        addresses = await self._ladder.allow_host(caller, question)
        login = await self._logins.complete(caller, spec, may_ask=call.allow_dialogs)
        policies = await self._policies(caller, call, spec, items)
        if spec.ignored:
            log.info("ignored fields of a spec of %s: %s", caller.origin, ", ".join(spec.ignored))
        plan = SessionPlan(
            transfer_id="",
            direction=spec.direction,
            server=Server(host=spec.remote_host, port=spec.ssh_port, addresses=addresses),
            login=login,
            host_keys=await self.host_keys(spec),
            items=items,
            destination=spec.destination_root if spec.direction == "send" else "",
            policies=policies,
            rate_kbps=effective_rate_kbps(spec),
            resume_folder=self._resume_folder,
        )
        return StartRequest(
            owner=owner,
            request_id=call.request_id,
            settings=call.settings,
            spec=echo(spec),
            xfer_id=spec.xfer_id,
            title=default_title(spec),
            plan=plan,
            explorer_path=explorer_path,
            note="Source files were kept." if spec.wants_source_removal else "",
            retry_for_s=retry_for_s,
        )

    async def _items(
        self, caller: Caller, call: StartCall, spec: TransferSpec
    ) -> tuple[tuple[Item, ...], str]:
        scope = caller.scope(call.app_id)
        if spec.direction == "send":
            return self._places.uploads(scope, spec)
        return await self._places.downloads(scope, spec, absolute=call.absolute_destination)

    async def _host_question(
        self, caller: Caller, spec: TransferSpec, items: tuple[Item, ...]
    ) -> HostQuestion:
        what = await self._places.describe(items)
        if spec.direction == "send":
            heading = f"Allow {caller.label} to upload {what} to {spec.remote_host}?"
        else:
            heading = f"Allow {caller.label} to download {what} from {spec.remote_host}?"
        details = [f"Server: {spec.remote_host}, port {spec.ssh_port}"]
        if spec.direction == "receive":
            details.append(f"Into: {self._places.shown_destination(items)}")
            if self._preferences.current.existing_files == "replace" and spec.overwrite != "none":
                details.append("Files of the same name are replaced.")
        elif spec.overwrite != "none":
            details.append("Files of the same name on the server are replaced.")
        return HostQuestion(spec.remote_host, spec.ssh_port, heading, tuple(details))

    async def _policies(
        self, caller: Caller, call: StartCall, spec: TransferSpec, items: tuple[Item, ...]
    ) -> Policies:
        keep_both = False
        if spec.direction == "receive":
            keep_both = await self._keep_both(caller, items, may_ask=call.allow_dialogs)
        return Policies(
            overwrite=spec.overwrite,
            resume=spec.resume_policy,
            existing="keep_both" if keep_both else "replace",
            create_dir=spec.create_dir,
            preserve_times=spec.preserve_times,
            follow_links=spec.follow_links,
            skip_special_files=spec.skip_special_files,
            checksum=spec.file_checksum,
        )

    async def _keep_both(self, caller: Caller, items: tuple[Item, ...], *, may_ask: bool) -> bool:
        """What the user prefers when a download meets a file of its name; may ask."""
        preferred = self._preferences.current.existing_files
        if preferred != "ask":
            return preferred == "keep_both"
        existing = await self._places.existing_targets(items)
        if not existing:
            return True  # nothing to replace now; what turns up meanwhile is not to be replaced either
        if not may_ask:
            return True
        count = "An item" if len(existing) == 1 else f"{len(existing)} items"
        replace = await self._ladder.confirm(
            caller,
            Question(
                caller.label,
                f"{count} of the same name exist already. Replace what is there?",
                tuple(existing[:10]),
                accept="Replace",
                refuse="Keep both",
            ),
        )
        return not replace

    async def host_keys(self, spec: TransferSpec) -> HostKeys:
        """What is known of the server's key: our known_hosts, and the spec's own fingerprint."""
        trusted, revoked = await asyncio.to_thread(self._known_hosts.lookup, spec.remote_host, spec.ssh_port)
        return HostKeys(trusted=trusted, revoked=revoked, sshfp=spec.sshfp)

    async def resume(self, caller: Caller, transfer: Transfer, changes: Mapping[str, Any]) -> Transfer:
        """Go on with a stopped or failed transfer, with fresh secrets when the page brings them.

        The yes the transfer was started with covers its resumption. Raises WrongState, InvalidRequest,
        Refused when the user does not sign in.
        """
        next_status(transfer.status, Move.RESUME)  # before anything is asked
        login = await self._logins.for_resume(caller, transfer, changes)
        news = {field: changes[field] for field in _ECHOED_CHANGES if changes.get(field)}
        return await self._manager.resume(transfer.id, login=login, spec={**transfer.spec, **news})


def _retry_for(spec: TransferSpec) -> float | None:
    """`tags.aspera.xfer_retry`: for how many seconds retries make sense; None without a limit."""
    aspera = spec.tags.get("aspera")
    wanted = aspera.get("xfer_retry") if isinstance(aspera, Mapping) else None
    seconds = as_int(wanted, "xfer_retry")
    return float(seconds) if seconds else None
