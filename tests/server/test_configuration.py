"""The configuration file: every key explained, every mistake named."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from connect_helper.server.configuration import (
    ConfigurationInvalid,
    ServerConfig,
    from_mapping,
    load,
)
from connect_helper.server.configuration_text import render, toml_value

EXAMPLE = Path(__file__).parents[2] / "examples" / "server.toml"
FINE: dict[str, Any] = {
    "ssh": {"host_keys": ["key"]},
    "https": {"cert": "cert.pem"},
    "user": [{"name": "xfer1", "docroot": "/data/xfer1"}],
}


def problems(changes: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationInvalid) as caught:
        from_mapping({**FINE, **changes}, Path("/etc/ch/server.toml"))
    return caught.value.problems


def test_paths_are_relative_to_the_files_own_folder() -> None:
    config = from_mapping(FINE, Path("/etc/ch/server.toml"))
    assert config.ssh.host_keys == (Path("/etc/ch/key"),)
    assert config.server.state == Path("/etc/ch/state")
    assert config.token.revocations == Path("/etc/ch/revoked-tokens")
    assert config.user[0].docroot == Path("/data/xfer1")


def test_a_key_is_told_from_the_name_of_a_file_with_keys() -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMj3 ann@home"
    users = [{**FINE["user"][0], "authorized_keys": [line, "keys/ann.pub"]}]
    config = from_mapping({**FINE, "user": users}, Path("/etc/ch/server.toml"))
    assert config.user[0].authorized_keys == (line, "/etc/ch/keys/ann.pub")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ssh": {"host_keys": ["k"], "prot": 22}}, "ssh.prot: there is no such key."),
        ({"sssh": {}}, "sssh: there is no such key."),
        (
            {"ssh": {"host_keys": ["k"], "port": 70000}},
            "ssh.port: Input should be less than or equal to 65535.",
        ),
        ({"user": [{"name": "a", "docroot": "/d", "upload": "yes"}]}, "user[a].upload: Input should be"),
        ({"user": [{"name": "a/b", "docroot": "/d"}]}, "user[number 1]: name: letters"),
        ({"user": [{"docroot": "/d"}]}, "user[number 1].name: Field required."),
        ({"user": [FINE["user"][0]] * 2}, "user: the name xfer1 is given twice."),
        ({"token": {"key": "short"}}, "token: a token key needs at least 20"),
        ({"token": {"key": "k" * 32, "key_file": "f"}}, "token: give key or key_file, not both."),
        ({"https": {}}, "https: name the certificate file as cert"),
        ({"ssh": {}}, "ssh: name a private key file in host_keys"),
        ({"ssh": {"host_keys": ["k"], "shared_keys": ["MD5:aa"]}}, "ssh: shared_keys holds SHA256:"),
        (
            {"ssh": {"enabled": False}, "https": {"enabled": False}},
            "ssh, https and http are all switched off",
        ),
        ({"limits": {"upload_kbps": 0}}, "limits.upload_kbps: Input should be greater than or equal to 8."),
    ],
)
def test_a_mistake_is_named_with_its_key(changes: dict[str, Any], sentence: str) -> None:
    found = problems(changes)
    assert len(found) == 1
    assert sentence in found[0]


def test_all_mistakes_are_told_at_once() -> None:
    assert len(problems({"ssh": {"port": -1, "host_keys": ["k"]}, "log": {"level": "loud"}, "x": 1})) == 3


def test_no_secret_stands_in_an_error_or_a_repr() -> None:
    canary = "canary-" + "x" * 30
    users = [{"name": "a", "docroot": "/d", "token_key": canary, "password_hash": canary, "nope": canary}]
    with pytest.raises(ConfigurationInvalid) as caught:
        from_mapping({**FINE, "user": users}, Path("s"))
    assert canary not in str(caught.value)
    del users[0]["nope"]
    config = from_mapping({**FINE, "user": users, "token": {"key": canary}}, Path("s"))
    assert canary not in repr(config)


def test_a_file_that_is_not_there_or_no_toml_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[ssh\n")
    with pytest.raises(ConfigurationInvalid, match="not TOML"):
        load(tmp_path / "bad.toml")


def keys_of(model: type[BaseModel]) -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= {f"{name}.{key}" for key in inner.model_fields}
        elif name == "user":
            names |= {
                f"user.{key}" for key in ServerConfig.model_fields["user"].annotation.__args__[0].model_fields
            }
    return names


def test_the_example_explains_every_key_and_can_be_used_with_all_comments_taken_away() -> None:
    """A key without an explanation, or an example that would not load, fails here."""
    text = EXAMPLE.read_text()
    opened = []
    for line in text.splitlines():
        body = line.removeprefix("# ")
        is_setting = line.startswith("# ") and (body.startswith("[[") or body.split(" ")[0].isidentifier())
        opened.append(body if is_setting and (" = " in body or body.startswith("[[")) else line)
    raw = tomllib.loads("\n".join(opened))
    found = {f"{section}.{key}" for section, keys in raw.items() if section != "user" for key in keys}
    found |= {f"user.{key}" for one in raw["user"] for key in one}
    assert found == keys_of(ServerConfig)
    del raw["token"]["key"]  # the one pair of which only one may be given
    assert from_mapping(raw, EXAMPLE).user[0].name == "xfer1"


def test_the_example_is_what_the_table_says() -> None:
    """After a change of the table, write `render(tomllib.loads(...))` of the example back."""
    assert EXAMPLE.read_text() == render(tomllib.loads(EXAMPLE.read_text()))


def test_ten_times_the_users_take_some_ten_times_as_long() -> None:
    def taken(number: int) -> float:
        users = [{"name": f"user-{one}", "docroot": "/data"} for one in range(number)]
        before = time.process_time()
        assert len(from_mapping({**FINE, "user": users}, EXAMPLE).user) == number
        return time.process_time() - before

    assert taken(20_000) < 25 * taken(2000)


@pytest.mark.parametrize("text", ["plain", 'quote " and \\', "new\nline", "\x7f\x00", "ünï 漢"])
def test_any_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"a = {toml_value(text)}") == {"a": text}


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        toml_value("\udcff")
    with pytest.raises(ValueError, match="no form"):
        toml_value(None)
