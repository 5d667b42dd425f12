"""Completing a login: what the transfer spec brings, and what only the user can add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from connect_helper.api.callers import Caller
from connect_helper.api.ladder import Ladder
from connect_helper.api.login_guard import LoginGuard
from connect_helper.errors import InvalidRequest, Refused
from connect_helper.picking.base import Asker, CredentialsQuestion
from connect_helper.spec.login import read_authentication, read_secret, read_user
from connect_helper.spec.names import display
from connect_helper.spec.protection import Action, read_passphrase
from connect_helper.spec.transfer_spec import TransferSpec
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import Login
from connect_helper.transfers.transfer import Transfer

_PASSPHRASE: Final = "content_protection_password"  # noqa: S105 - the name of a field


class Logins:
    """Asks for a missing user or password where questions are allowed.

    A page whose wrong logins used up its tries at the host gets TooManyRequests instead.
    """

    def __init__(self, ladder: Ladder, asker: Asker, manager: TransferManager, guard: LoginGuard) -> None:
        self._ladder = ladder
        self._asker = asker
        self._manager = manager
        self._guard = guard

    async def complete(self, caller: Caller, spec: TransferSpec, *, may_ask: bool) -> Login:
        """The login of a new transfer; what the spec brings is kept, and only the rest asked for.

        Raises InvalidRequest when something is missing and no question may be asked, Refused when the
        user closes the question, TooManyRequests.
        """
        self._guard.check(caller.origin, spec.remote_host)
        login = login_of(spec)
        if login is None:
            known = Login(
                user=spec.login_user or "",
                password=spec.remote_password,
                private_key=spec.ssh_private_key,
                private_key_passphrase=spec.ssh_private_key_passphrase,
            )
            login = await self._ask(caller, spec.remote_host, known, may_ask=may_ask)
        if spec.protection.action is None:
            return login
        passphrase = spec.protection.passphrase or await self._ask_passphrase(
            caller, login.user, spec.protection.action, may_ask=may_ask
        )
        return login.model_copy(update={"file_passphrase": passphrase})

    async def _ask_passphrase(self, caller: Caller, user: str, action: Action, *, may_ask: bool) -> SecretStr:
        """The passphrase of content protection; the user's name is only shown. Raises Refused."""
        if not may_ask:
            raise _unanswered(_PASSPHRASE)
        heading = f"Passphrase to {action} the files of this transfer"
        question = CredentialsQuestion(caller.label, heading, user, "Passphrase")
        async with self._ladder.dialog(caller):
            found = await self._asker.ask_credentials(question)
        if found is None or not found.secret:
            raise Refused("No passphrase was given, so the transfer does not run.")
        return SecretStr(found.secret)

    async def _ask(self, caller: Caller, host: str, known: Login, *, may_ask: bool) -> Login:
        if not may_ask:
            raise _unanswered("remote_password" if known.user else "remote_user")
        question = CredentialsQuestion(caller.label, f"Sign in to {display(host)}", known.user or None)
        async with self._ladder.dialog(caller):
            found = await self._asker.ask_credentials(question)
        if found is None or not found.user:
            raise Refused("Nobody signed in, so the transfer does not run.")
        password = SecretStr(found.secret) if found.secret else known.password
        return known.model_copy(update={"user": found.user, "password": password})

    async def for_resume(
        self, caller: Caller, transfer: Transfer, changes: Mapping[str, Any], *, may_ask: bool
    ) -> Login | None:
        """The login to go on with; None means the one the transfer had.

        Fields of the request replace those of that login; when its secrets are gone and the request brings
        none, the user is asked. Raises InvalidRequest naming a field, Refused, TooManyRequests.
        """
        self._guard.check(caller.origin, transfer.host)
        kept = self._manager.login_of(transfer.id)
        login = await self._login_for_resume(caller, transfer, changes, kept, may_ask=may_ask)
        protect = self._manager.plan_of(transfer.id).protect
        base = login or kept
        if protect is None or base is None:
            return login
        passphrase = read_passphrase(changes) or (kept.file_passphrase if kept else None)
        if passphrase is None:
            passphrase = await self._ask_passphrase(caller, base.user, protect.action, may_ask=may_ask)
        changed = base.model_copy(update={"file_passphrase": passphrase})
        return None if changed == kept else changed

    async def _login_for_resume(
        self,
        caller: Caller,
        transfer: Transfer,
        changes: Mapping[str, Any],
        kept: Login | None,
        *,
        may_ask: bool,
    ) -> Login | None:
        user = read_user(changes) or (kept.user if kept else transfer.user)
        token = read_secret(changes, "token")
        password = read_secret(changes, "remote_password")
        key = read_secret(changes, "ssh_private_key")
        if token is not None and read_authentication(changes) == "token":
            return Login(user=user, token=token)
        if password is not None or key is not None:
            passphrase = read_secret(changes, "ssh_private_key_passphrase")
            return Login(user=user, password=password, private_key=key, private_key_passphrase=passphrase)
        if kept is None:
            return await self._ask(caller, transfer.host, Login(user=user), may_ask=may_ask)
        return None if kept.user == user else kept.model_copy(update={"user": user})


def check_complete(spec: TransferSpec) -> None:
    """Raise InvalidRequest naming what only a question could bring, where the page allows none."""
    if login_of(spec) is None:
        raise _unanswered(missing_field(spec))
    if spec.protection.needs_passphrase:
        raise _unanswered(_PASSPHRASE)


def _unanswered(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field} is missing, and the page allows no question.", field=field)


def missing_field(spec: TransferSpec) -> str:
    """The field to name when a spec carries no login."""
    return "remote_user" if not spec.login_user else "remote_password"


def login_of(spec: TransferSpec) -> Login | None:
    """The login a spec carries; None when a user or every secret is missing."""
    if not spec.login_user or spec.needs_password:
        return None
    token = spec.token if spec.authentication == "token" else None
    return Login(
        user=spec.login_user,
        token=token,
        password=None if token else spec.remote_password,
        private_key=spec.ssh_private_key,
        private_key_passphrase=spec.ssh_private_key_passphrase,
    )
