"""Accounts as the configuration describes them, and keys that everybody has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pydantic import SecretStr

from connect_helper.server.accounts import Accounts, UnusableAccount
from connect_helper.server.configuration import ServerConfig, from_mapping

KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = KEY.export_public_key().decode().strip()


def config_with(folder: Path, ssh: dict[str, Any] | None = None, **user: Any) -> ServerConfig:
    raw = {
        "ssh": {"host_keys": ["k"], **(ssh or {})},
        "https": {"enabled": False},
        "token": {"key": "k" * 32, "life_seconds": 100},
        "user": [{"name": "ann", "docroot": "/data", **user}],
    }
    return from_mapping(raw, folder / "server.toml")


def test_a_folder_that_may_not_be_written_takes_no_upload(tmp_path: Path) -> None:
    account = Accounts.from_config(config_with(tmp_path, write=False)).get("ann")
    assert account is not None
    assert (account.upload, account.may_delete, account.right("send")) == ("deny", False, "deny")
    assert account.right("receive") == "allow"


def test_the_users_own_token_settings_come_before_the_common_ones(tmp_path: Path) -> None:
    common = Accounts.from_config(config_with(tmp_path)).get("ann")
    own = Accounts.from_config(config_with(tmp_path, token_key="o" * 32, token_life_seconds=5)).get("ann")
    assert common is not None
    assert own is not None
    assert (common.token_key, common.token_life_s) == (SecretStr("k" * 32), 100)
    assert (own.token_key, own.token_life_s) == (SecretStr("o" * 32), 5)


def test_keys_come_from_the_file_and_from_files_it_names(tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    (tmp_path / "keys").write_text("# Ann's\n\n" + other.export_public_key().decode())
    accounts = Accounts.from_config(config_with(tmp_path, authorized_keys=[LINE, "keys"]))
    assert accounts.accepts_key("ann", KEY.public_data)
    assert accounts.accepts_key("ann", other.public_data)
    assert not accounts.accepts_key("ben", KEY.public_data)
    assert not accounts.accepts_key("ann", asyncssh.generate_private_key("ssh-ed25519").public_data)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([f'from="10.0.0.0/8" {LINE}'], "options before a key"),
        (["ssh-ed25519 AAAAjunk"], "holds no public key"),
        (["nowhere.pub"], "cannot be read: No such file"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(tmp_path: Path, keys: list[str], sentence: str) -> None:
    with pytest.raises(UnusableAccount, match=r"user\[ann\]") as caught:
        Accounts.from_config(config_with(tmp_path, authorized_keys=keys))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("rights", [{"upload": "allow", "download": "token"}, {"download": "allow"}])
def test_a_key_that_everybody_has_never_opens_a_folder(tmp_path: Path, rights: dict[str, str]) -> None:
    shared = {"shared_keys": [KEY.get_fingerprint()]}
    with pytest.raises(UnusableAccount, match="a key that everybody has"):
        Accounts.from_config(config_with(tmp_path, shared, authorized_keys=[LINE], **rights))


def test_the_key_of_aspera_clients_is_known_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "aspera_tokenauth_id_rsa.pub").write_text(LINE)
    names = ["aspera_tokenauth_id_rsa.pub"]
    with pytest.raises(UnusableAccount, match="a key that everybody has"):
        Accounts.from_config(config_with(tmp_path, authorized_keys=names))
    token_only = config_with(tmp_path, authorized_keys=names, upload="token", download="token")
    assert Accounts.from_config(token_only).accepts_key("ann", KEY.public_data)


def test_a_password_hash_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableAccount, match="not an argon2id hash"):
        Accounts.from_config(config_with(tmp_path, password_hash="$2b$12$abc"))
