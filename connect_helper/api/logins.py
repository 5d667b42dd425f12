"""Completing a login: what the transfer spec brings, and what only the user can add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from connect_helper.api.callers import Caller
from connect_helper.api.ladder import Ladder
from connect_helper.errors import InvalidRequest, Refused
from connect_helper.picking.base import Asker, CredentialsQuestion
from connect_helper.spec.lenient import as_text
from connect_helper.spec.names import display
from connect_helper.spec.transfer_spec import SECRET_LIMIT, TransferSpec
from connect_helper.transfers.manager import TransferManager
from connect_helper.transfers.plan import Login
from connect_helper.transfers.transfer import Transfer
from connect_helper.transports.ssh_connection import Credentials


class Logins:
    """Asks for a missing user or password where questions are allowed."""

    def __init__(self, ladder: Ladder, asker: Asker, manager: TransferManager) -> None:
        self._ladder = ladder
        self._asker = asker
        self._manager = manager

    async def complete(self, caller: Caller, spec: TransferSpec, *, may_ask: bool) -> Login:
        """The login of a new transfer.

        Raises InvalidRequest when something is missing and no question may be asked, Refused when the
        user closes the question.
        """
        login = login_of(spec)
        if login is not None:
            return login
        if not may_ask:
            field = missing_field(spec)
            raise InvalidRequest(f"{field} is missing, and the page allows no question.", field=field)
        return await self._ask(caller, spec.remote_host, spec.remote_user)

    async def _ask(self, caller: Caller, host: str, user: str | None) -> Login:
        async with self._ladder.dialog(caller):
            found = await self._asker.ask_credentials(
                CredentialsQuestion(
                    caller=caller.label,
                    heading=f"Sign in to {display(host)}",
                    user=user or None,
                )
            )
        if found is None or not found.user:
            raise Refused("Nobody signed in, so the transfer does not run.")
        return Login(user=found.user, password=SecretStr(found.secret))

    async def for_resume(
        self, caller: Caller, transfer: Transfer, changes: Mapping[str, Any]
    ) -> Login | None:
        """The login to go on with; None means the one the transfer had. Asks when that one is gone."""
        user = as_text(changes.get("remote_user"), "remote_user") or transfer.user
        token = as_text(changes.get("token"), "token", limit=SECRET_LIMIT)
        password = as_text(changes.get("remote_password"), "remote_password", limit=SECRET_LIMIT)
        if token and changes.get("authentication") != "password":
            return Login(user=user, token=SecretStr(token))
        if password:
            return Login(user=user, password=SecretStr(password))
        if not self._manager.needs_login(transfer.id):
            return None
        return await self._ask(caller, transfer.host, user)


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


def credentials_of(login: Login) -> Credentials:
    """The login as the SSH connection takes it; a token is given as the password."""
    secret = login.token or login.password
    return Credentials(
        user=login.user,
        password=secret.get_secret_value() if secret else None,
        private_key=login.private_key.get_secret_value() if login.private_key else None,
        passphrase=login.private_key_passphrase.get_secret_value() if login.private_key_passphrase else None,
    )
