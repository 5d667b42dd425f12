"""From a page's transfer spec to a queued transfer: validate, look up grants, ask, then hand over.

The order matters: nothing on disk or network is touched before every path was found among the caller's
grants, and nothing is asked about a spec that would be refused anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from connect_helper.api.addresses import describe_nearness
from connect_helper.api.agreements import Agreements
from connect_helper.api.callers import Caller
from connect_helper.api.ladder import HostQuestion, Ladder
from connect_helper.api.local_key import LocalKey
from connect_helper.api.logins import Logins, check_complete
from connect_helper.api.places import Places
from connect_helper.api.sites import Sites
from connect_helper.errors import ConnectHelperError, HostNotFound, NotGranted
from connect_helper.picking.base import Question
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.spec.echo import echo, echo_field
from connect_helper.spec.lenient import as_bool
from connect_helper.spec.login import read_user
from connect_helper.spec.obfuscation import KEY_BYTES
from connect_helper.spec.paths import default_title, download_targets, upload_targets
from connect_helper.spec.rates import effective_rate_kbps
from connect_helper.spec.times import time_limits
from connect_helper.spec.transfer_spec import TransferSpec, parse_spec, read_cookie
from connect_helper.spec.words import AUTHENTICATION, word
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import (
    CountFirst,
    Fallback,
    HostKeys,
    Item,
    Login,
    Policies,
    Server,
    SessionPlan,
    protect_of,
)
from connect_helper.transfers.requests import StartRequest
from connect_helper.transfers.state import Move, next_status
from connect_helper.transfers.transfer import Owner, Transfer
from connect_helper.transports.known_hosts import KnownHosts
from connect_helper.transports.resolving import resolve

log = logging.getLogger(__name__)

RESUME_FOLDER = "resume"
NO_LONGER_GIVEN = "This site has no permission for these files any more; a yes is for this transfer only."


@dataclass(frozen=True, slots=True)
class StartCall:
    """What a face hands over: the raw spec and the settings that come beside it."""

    app_id: str
    request_id: str
    spec: Mapping[str, Any]
    settings: Mapping[str, Any]  # echoed
    allow_dialogs: bool
    absolute_destination: bool
    authorization_key: object = None  # as it came


class _Attempt:
    """A start call, and all its replays that wait for the same outcome."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.error: ConnectHelperError | None = None


class Starting:
    """Starts and resumes transfers for callers; one for all faces."""

    def __init__(
        self,
        *,
        sites: Sites,
        ladder: Ladder,
        places: Places,
        logins: Logins,
        local_key: LocalKey,
        manager: TransferManager,
        known_hosts: KnownHosts,
        preferences: PreferencesStore,
        folders: Folders,
    ) -> None:
        self._sites = sites
        self._ladder = ladder
        self._places = places
        self._agreements = Agreements(ladder, places)
        self._logins = logins
        self._local_key = local_key
        self._manager = manager
        self._known_hosts = known_hosts
        self._preferences = preferences
        self._resume_folder = str(folders.state / RESUME_FOLDER)
        self._starting: WeakValueDictionary[tuple[Owner, str], _Attempt] = WeakValueDictionary()

    async def start(self, caller: Caller, call: StartCall) -> Transfer:
        """Answer once the transfer is accepted and journalled, after all questions to the user.

        A replay of a `request_id` gets what the first one gets, also while its question is open: it waits,
        and takes the question over only when the first one is given up. Raises InvalidRequest, NotGranted,
        Refused, TooManyRequests, Unavailable; then nothing was started.
        """
        owner = Owner(caller.origin, call.app_id)
        attempt = _Attempt()
        if call.request_id:
            attempt = self._starting.setdefault((owner, call.request_id), attempt)
        async with attempt.lock:
            if attempt.error is not None:
                raise attempt.error
            known = await self._manager.find_request(owner, call.request_id) if call.request_id else None
            if known is not None:
                return known
            try:
                return await self._begin(caller, owner, call)
            except ConnectHelperError as error:
                attempt.error = error
                raise

    async def _begin(self, caller: Caller, owner: Owner, call: StartCall) -> Transfer:
        spec = parse_spec(call.spec)
        request = await self._settle(caller, owner, call, spec)
        # From here on the transfer exists, whether or not the page is still there to hear of it.
        transfer = await self._manager.submit(request)
        self._sites.note_agreement(caller.origin, transfer.id)
        return transfer

    async def _settle(
        self, caller: Caller, owner: Owner, call: StartCall, spec: TransferSpec
    ) -> StartRequest:
        """Everything between a valid spec and the queue."""
        items, explorer_path = await self._items(caller, call, spec)
        if spec.ignored:
            log.info("ignored fields of a spec of %s: %s", caller.origin, ", ".join(spec.ignored))
        plan = SessionPlan(
            transfer_id="",
            direction=spec.direction,
            server=Server(host=spec.remote_host, port=spec.ssh_port, addresses=()),
            login=Login(user=""),
            host_keys=await self.host_keys(spec),
            fallback=_fallback(spec),
            items=items,
            destination=spec.destination_root if spec.direction == "send" else "",
            policies=_policies(spec),
            rate_kbps=effective_rate_kbps(spec),
            connections=spec.sessions.number,
            divide_from=spec.sessions.threshold,
            afterwards=self._agreements.wish(caller.scope(call.app_id), spec, items),
            protect=protect_of(spec.protection),
            hidden_key=secrets.token_hex(KEY_BYTES) if spec.obfuscate_file_names else "",
            resume_folder=self._resume_folder,
        )
        plan, note = await self._ask_all(caller, call, spec, plan)
        return StartRequest(
            owner=owner,
            request_id=call.request_id,
            settings=call.settings,
            spec=echo(spec),
            xfer_id=spec.xfer_id,
            title=default_title(spec),
            plan=plan,
            explorer_path=explorer_path,
            note=note,
            retry_for_s=spec.retry_duration_s,
        )

    async def _items(
        self, caller: Caller, call: StartCall, spec: TransferSpec
    ) -> tuple[tuple[Item, ...], str]:
        scope = caller.scope(call.app_id)
        await self._local_key.give(caller, call.app_id, call.authorization_key, _local_paths(call, spec))
        if spec.direction == "send":
            return self._places.uploads(scope, spec)
        return await self._places.downloads(scope, spec, absolute=call.absolute_destination)

    async def _ask_all(
        self, caller: Caller, call: StartCall, spec: TransferSpec, plan: SessionPlan
    ) -> tuple[SessionPlan, str]:
        """Every question to the user: the plan with its answers, and what to note about it."""
        if not call.allow_dialogs:
            check_complete(spec)
        addresses = await self._reach(caller, await self._question(caller, plan))
        login = await self._logins.complete(caller, spec, may_ask=call.allow_dialogs)
        agreed = await self._agreements.settle(caller, spec, plan, may_ask=call.allow_dialogs)
        policies = plan.policies.model_copy(update={"delete_first": agreed.delete_first})
        asks = call.allow_dialogs and spec.overwrite != "none"  # which replaces nothing anyway
        if spec.direction == "receive" and await self._keep_both(caller, spec, plan.items, may_ask=asks):
            policies = policies.model_copy(update={"existing": "keep_both"})
        server = plan.server.model_copy(update={"addresses": addresses})
        news = {"server": server, "login": login, "policies": policies, "afterwards": agreed.afterwards}
        return plan.model_copy(update=news), agreed.note

    async def _reach(
        self, caller: Caller, question: HostQuestion, *, ask_always: bool = False
    ) -> tuple[str, ...]:
        """The user's yes, and the addresses to use: none for a name that leads nowhere now.

        That is for the transfer to fail with, as an unreachable server is (Connect reference, 6.2).
        """
        try:
            return await self._ladder.allow_host(caller, question, ask_always=ask_always)
        except HostNotFound:
            return ()

    async def _question(self, caller: Caller, plan: SessionPlan) -> HostQuestion:
        """The L3 question about a plan: who, what, where, and what becomes of files of the same name."""
        what = await self._places.describe(plan.items)
        host, port = plan.server.host, plan.server.port
        details = [f"Server: {host}, port {port}"]
        if plan.fallback is not None:
            details[0] += f" (or {'HTTPS' if plan.fallback.tls else 'HTTP'}, port {plan.fallback.port})"
        replaces = plan.policies.overwrite != "none"
        if plan.direction == "send":
            heading = f"Allow {caller.label} to upload {what} to {host}?"
            details.insert(0, self._places.shown_names(plan.items))
            if replaces:
                details.append("Files of the same name on the server are replaced.")
        else:
            heading = f"Allow {caller.label} to download {what} from {host}?"
            details.append(f"Into: {self._places.shown_destination(plan.items)}")
            if replaces and self._preferences.current.existing_files == "replace":
                details.append("Files of the same name are replaced.")
        # One yes must not start another transfer whose question only reads the same.
        what_exactly = plan.model_dump_json(include={"items", "destination", "policies"})
        key = hashlib.sha256(what_exactly.encode("utf-8", "surrogatepass")).hexdigest()
        return HostQuestion(host, port, heading, tuple(details), key)

    async def _keep_both(
        self, caller: Caller, spec: TransferSpec, items: tuple[Item, ...], *, may_ask: bool
    ) -> bool:
        """What the user prefers when a download meets a file of its name; may ask."""
        preferred = self._preferences.current.existing_files
        if preferred != "ask":
            return preferred == "keep_both"
        opened = spec.protection.action == "decrypt"
        existing = await self._places.existing_targets(items, opened=opened)
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
        """Go on with a stopped or failed transfer, with fresh login data when the page brings it.

        The yes of its start holds until the user takes it back or the helper ends; then it is asked for
        again, and where its grants are gone no remembered yes to the host answers that question. Raises
        WrongState, InvalidRequest, NotGranted when a path was taken back since the yes, Refused.
        """
        next_status(transfer.status, Move.RESUME)  # before anything is asked
        plan = self._manager.plan_of(transfer.id)
        addresses = await self._agree_again(caller, transfer, plan)
        may_ask = as_bool(transfer.settings.get("allow_dialogs"), "allow_dialogs") is not False
        login = await self._logins.for_resume(caller, transfer, changes, may_ask=may_ask)
        news = _echoed_changes(changes)
        return await self._manager.resume(
            transfer.id, login=login, spec={**transfer.spec, **news}, addresses=addresses
        )

    async def _agree_again(
        self, caller: Caller, transfer: Transfer, plan: SessionPlan
    ) -> tuple[str, ...] | None:
        """See that the user's yes to a transfer still stands, or get a new one.

        Returns the addresses to use from now on; None: those it has.
        """
        agreement = self._sites.agreement(transfer.id)
        if agreement is not None and agreement.paths:
            return await self._look_up_again(caller, plan)
        granted = True
        try:
            self._places.still_granted(caller.scope(transfer.owner.app_id), plan)
        except NotGranted:
            if agreement is not None:
                raise
            granted = False
        if agreement is not None:
            return await self._look_up_again(caller, plan)
        question = await self._question(caller, plan)
        if not granted:
            question = replace(question, details=(*question.details, NO_LONGER_GIVEN))
        addresses = await self._reach(caller, question, ask_always=not granted)
        self._sites.note_agreement(caller.origin, transfer.id, paths=not granted)
        return addresses or None

    async def _look_up_again(self, caller: Caller, plan: SessionPlan) -> tuple[str, ...] | None:
        """The addresses of a server whose name led nowhere when the user agreed to it, if it does now.

        One that turns out to be near was never agreed to, and is asked about.
        """
        if plan.server.addresses:
            return None
        try:
            addresses = await resolve(plan.server.host, plan.server.port)
        except HostNotFound:
            return None
        if describe_nearness(addresses):
            return await self._reach(caller, await self._question(caller, plan)) or None
        return addresses


def _local_paths(call: StartCall, spec: TransferSpec) -> list[str]:
    """Every path of this computer that the spec names in full."""
    if spec.direction == "send":
        return [target.source for target in upload_targets(spec)]
    if not call.absolute_destination:
        return []
    return [target.folder for target in download_targets(spec, absolute=True)]


def _policies(spec: TransferSpec) -> Policies:
    limits = time_limits(spec.exclude_newer_than, spec.exclude_older_than, time.time())
    return Policies(
        overwrite=spec.overwrite,
        resume=spec.resume_policy,
        create_dir=spec.create_dir,
        save_first=spec.save_before_overwrite,
        preserve_times=spec.stamps.modification,
        preserve_access_times=spec.stamps.access,
        quiet_reading=spec.quiet_reading,
        links=spec.links,
        skip_special_files=spec.skip_special_files,
        last_duplicate_wins=spec.skip_duplicate_check,
        include_patterns=spec.include_patterns,
        exclude_patterns=spec.exclude_patterns,
        newer_than_s=limits.newer_than_s,
        older_than_s=limits.older_than_s,
        count_first=_count_first(spec),
        checksum=spec.file_checksum,
    )


def _count_first(spec: TransferSpec) -> CountFirst:
    """Uploads are counted ahead as far as that takes no time worth waiting for; asked for, to the end."""
    if spec.count_first is None:
        return "briefly" if spec.direction == "send" else "no"
    return "yes" if spec.count_first else "no"


def _fallback(spec: TransferSpec) -> Fallback | None:
    wish = spec.fallback
    return None if wish is None else Fallback(port=wish.port, tls=wish.tls, forced=wish.forced)


def _echoed_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What of a resume request pages may see again; its secrets are not. Raises InvalidRequest."""
    read_cookie(changes)  # as at the start, where it comes back as it was sent, too
    read = {
        "remote_user": read_user(changes),
        "authentication": word(changes, AUTHENTICATION, "authentication"),
        "cookie": echo_field(changes, "cookie"),
    }
    return {name: value for name, value in read.items() if value is not None}
