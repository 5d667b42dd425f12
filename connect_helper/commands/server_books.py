"""What the commands about tokens read of a server: its accounts, their keys, the revoked tokens.

They work on the server's files, not over the network: whoever may read its configuration may issue tokens.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from connect_helper.errors import ConnectHelperError, InvalidRequest
from connect_helper.server.accounts import Account, Accounts, UnusableAccount
from connect_helper.server.issuing import keyring_of
from connect_helper.server.revocations import Revocations, RevocationsUnreadable
from connect_helper.server.source import Source
from connect_helper.server.tokens import TokenKeyring
from connect_helper.storage.docpath import DocPath, parse

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


def list_unreadable(error: RevocationsUnreadable) -> NoServerHere:
    """The error in words for who has the list, in place of those for clients."""
    return NoServerHere(f"Tokens cannot be checked: {error.internal_message}. Mend that file.")


def docroot_path(text: bytes) -> DocPath:
    """A path of a command line or list. Raises InvalidRequest, UnsafePath.

    Nothing at all is refused: in a script it is a variable that was never set, and it would mean everything.
    """
    if not text:
        raise InvalidRequest("A path is empty. Write / if the account's whole folder is meant.")
    return parse(text)


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
