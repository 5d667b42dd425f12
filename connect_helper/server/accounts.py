"""The accounts of the server: who there is, what each may do, and how each proves itself.

Built from the configuration and replaced whole at a reload; everybody else asks the one `Accounts` again for
each login, so that a removed account is out at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import asyncssh
from pydantic import SecretStr

from connect_helper.server.ciphers import Cipher
from connect_helper.server.configuration import Right, ServerConfig, UserSection, is_key_text
from connect_helper.server.passwords import is_hash
from connect_helper.server.token_contents import Direction

_MAX_KEY_FILE: Final = 1_000_000  # bytes


class UnusableAccount(ValueError):
    """A key or hash of an account cannot be used. The text names the key of the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user. `upload` and `download` say what a transfer needs: nothing, a token, or that it is refused.

    The `may_` rights hold for transfers and for the Node API alike; a transfer right is already `deny` here
    when the folder may not be read or written at all.
    """

    name: str
    docroot: Path
    password_hash: SecretStr | None = None
    authorized_keys: tuple[bytes, ...] = field(
        default=(), repr=False
    )  # public keys, as they go over the wire
    upload: Right = "allow"
    download: Right = "allow"
    may_read: bool = True
    may_write: bool = True
    may_browse: bool = True
    may_delete: bool = True
    overwrite: Literal["allow", "deny"] = "allow"
    follow_links: bool = True  # those that stay inside; False: there are none
    make_links: bool = True
    upload_cap_kbps: int | None = None  # each session, kbit/s
    download_cap_kbps: int | None = None
    target_rate_kbps: int | None = None  # told to clients that state no rate
    token_key: SecretStr | None = None
    token_life_s: int = 86_400
    user_value: int = 0
    lowest_cipher: Cipher = "none"  # anything else: no byte goes over plain HTTP
    admin: bool = False  # may see every session and the metrics

    def right(self, direction: Direction) -> Right:
        """What a transfer in that direction, as the client sees it, needs."""
        return self.upload if direction == "send" else self.download


class Accounts:
    """All accounts by name."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._by_name: dict[str, Account] = {}
        self.replace(accounts)

    @classmethod
    def from_config(cls, config: ServerConfig) -> Accounts:
        """Read key files too. Raises UnusableAccount, OSError, UnicodeDecodeError."""
        return cls(accounts_of(config))

    def replace(self, accounts: Iterable[Account]) -> None:
        """Put other accounts in the place of all there are."""
        self._by_name = {account.name: account for account in accounts}

    def get(self, name: str) -> Account | None:
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Account]:
        return iter(tuple(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def accepts_key(self, name: str, public_data: bytes) -> bool:
        """Tell whether the account exists and takes this public key (`asyncssh.SSHKey.public_data`)."""
        account = self._by_name.get(name)
        return account is not None and public_data in account.authorized_keys


def accounts_of(config: ServerConfig) -> Iterator[Account]:
    """The accounts that a configuration describes. Raises UnusableAccount, OSError, UnicodeDecodeError."""
    common = config.token.secret()
    for user in config.user:
        hashed = user.password_hash
        if hashed is not None and not is_hash(hashed.get_secret_value()):
            raise UnusableAccount(
                f"user[{user.name}].password_hash: not an argon2id hash. Make one with: server hash-password"
            )
        keys = tuple(key.public_data for key in public_keys(user, config))
        yield _account(user, keys, common, config.token.life_seconds)


def _account(user: UserSection, keys: tuple[bytes, ...], common: SecretStr | None, life_s: int) -> Account:
    return Account(
        name=user.name,
        docroot=user.docroot,
        password_hash=user.password_hash,
        authorized_keys=keys,
        upload=user.upload if user.write else "deny",
        download=user.download if user.read else "deny",
        may_read=user.read,
        may_write=user.write,
        may_browse=user.browse,
        may_delete=user.delete and user.write,
        overwrite=user.overwrite,
        follow_links=user.follow_links,
        make_links=user.make_links,
        upload_cap_kbps=user.upload_cap_kbps,
        download_cap_kbps=user.download_cap_kbps,
        target_rate_kbps=user.target_rate_kbps,
        token_key=user.token_key or common,
        token_life_s=user.token_life_seconds or life_s,
        user_value=user.user_value,
        lowest_cipher=user.lowest_cipher,
        admin=user.admin,
    )


def public_keys(user: UserSection, config: ServerConfig) -> Iterator[asyncssh.SSHKey]:
    """The keys of one user. Raises UnusableAccount and OSError.

    Options before a key (`from=`, `command=`) are refused: they would promise what is not done. A key that
    everybody has (its private half is published, so it proves nothing) is refused where a direction is
    `allow`: then the key alone would open the folder (configuration reference, section 1.4).
    """
    open_without_token = "allow" in (user.upload, user.download)
    for where, line in _key_lines(user):
        try:
            key = asyncssh.import_public_key(line)
        except asyncssh.KeyImportError as error:
            raise UnusableAccount(
                f"user[{user.name}].authorized_keys: {where} holds no public key "
                "(options before a key are not supported)."
            ) from error
        if open_without_token and (key.get_fingerprint() in config.ssh.shared_keys or _token_key(where, key)):
            raise UnusableAccount(
                f"user[{user.name}]: {where} is a key that everybody has. Set upload and download to "
                '"token" or "deny" for this user, or take the key away.'
            )
        yield key


def _token_key(where: str, key: asyncssh.SSHKey) -> bool:
    """Tell the key that Aspera products come with by the name of its file, which people keep."""
    return "aspera_tokenauth" in where or "aspera_tokenauth" in str(key.get_comment())


def _key_lines(user: UserSection) -> Iterator[tuple[str, str]]:
    for entry in user.authorized_keys:
        if is_key_text(entry):
            yield "a key", entry
            continue
        path = Path(entry)
        for number, line in enumerate(_read_keys(path, user), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield f"{path}, line {number},", line


def _read_keys(path: Path, user: UserSection) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_KEY_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UnusableAccount(
            f"user[{user.name}].authorized_keys: {path} cannot be read: {reason}."
        ) from error
    if len(text) > _MAX_KEY_FILE:
        raise UnusableAccount(f"user[{user.name}].authorized_keys: {path} is too large for a list of keys.")
    return text.splitlines()
