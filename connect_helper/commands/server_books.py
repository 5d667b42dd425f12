"""What the commands about tokens read of a server: its accounts, their keys, the revoked tokens.

They work on the server's files, not over the network: whoever may read its configuration may issue tokens.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from connect_helper.errors import ConnectHelperError
from connect_helper.server.accounts import Account, Accounts, UnusableAccount
from connect_helper.server.issuing import keyring_of
from connect_helper.server.revocations import Revocations
from connect_helper.server.source import Source
from connect_helper.server.tokens import TokenKeyring

CONFIG_VARIABLE: Final = "CONNECT_HELPER_SERVER_CONFIG"
USUAL_PLACE: Final = Path("/etc/connect-helper/server.toml")


class NoServerHere(ConnectHelperError):
    """No usable configuration, or no such user in it."""

    code: ClassVar[str] = "no_server_here"


@dataclass(frozen=True, slots=True)
class Books:
    """One server's accounts and tokens."""

    accounts: Accounts
    keyring: TokenKeyring
    revocations: Revocations

    def account(self, name: str) -> Account:
        """The account of that name. Raises NoServerHere."""
        found = self.accounts.get(name)
        if found is None:
            raise NoServerHere(f'There is no user "{name}" in the configuration.')
        return found


def open_books(config: Path | None, aspera_conf: Path | None = None) -> Books:
    """Read the configuration at `config`, else where the variable says, else at the usual place.

    `aspera_conf` adds what an aspera.conf says. Raises NoServerHere, ConfigurationInvalid,
    AsperaConfUnreadable, WeakKey.
    """
    path = config or Path(os.environ.get(CONFIG_VARIABLE) or USUAL_PLACE)
    settings = Source(path, aspera_conf).read().config
    try:
        accounts = Accounts.from_config(settings)
    except (UnusableAccount, OSError, UnicodeDecodeError) as error:
        raise NoServerHere(f"The configuration {path} cannot be used: {error}") from error
    revocations = Revocations(settings.token.revocations)
    return Books(accounts, keyring_of(accounts, revocations), revocations)
