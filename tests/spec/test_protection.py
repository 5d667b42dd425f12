"""Encryption at rest: when, with what, under which name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest, UnsafeName
from connect_helper.spec.protection import (
    is_foreign,
    opened_name,
    parse_protection,
    protected_name,
)
from connect_helper.spec.words import Direction


@pytest.mark.parametrize(
    ("direction", "value", "action"),
    [
        ("send", "encrypt", "encrypt"),
        ("receive", "decrypt", "decrypt"),
        ("send", "decrypt", None),  # wrong direction: ignored
        ("receive", "encrypt", None),
        ("send", True, "encrypt"),
        ("receive", True, "decrypt"),
        ("receive", "yes", "decrypt"),
        ("send", 1, "encrypt"),
        ("send", False, None),
        ("send", "no", None),
        ("send", None, None),
        ("send", "", None),
    ],
)
def test_the_action_follows_word_and_direction(direction: Direction, value: Any, action: str | None) -> None:
    assert parse_protection({"content_protection": value}, direction).action == action


@pytest.mark.parametrize("value", ["rot13", "Encrypt", 2, ["encrypt"], {"a": 1}])
def test_another_word_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match='"encrypt" or "decrypt"') as caught:
        parse_protection({"content_protection": value}, "send")
    assert caught.value.field == "content_protection"


@pytest.mark.parametrize("field", ["content_protection_password", "content_protection_passphrase"])
def test_the_passphrase_is_read_and_not_shown(field: str) -> None:
    protection = parse_protection({"content_protection": "encrypt", field: "canary"}, "send")
    assert protection.passphrase is not None
    assert protection.passphrase.get_secret_value() == "canary"
    assert not protection.needs_passphrase
    assert "canary" not in repr(protection)


def test_of_two_passphrases_the_newer_spelling_counts() -> None:
    both = {"content_protection_password": "new", "content_protection_passphrase": "old"}
    protection = parse_protection({"content_protection": True, **both}, "send")
    assert protection.passphrase is not None
    assert protection.passphrase.get_secret_value() == "new"


@pytest.mark.parametrize("missing", [{}, {"content_protection_password": None}])
def test_a_missing_passphrase_is_asked_for(missing: dict[str, Any]) -> None:
    assert parse_protection({"content_protection": "encrypt", **missing}, "send").needs_passphrase
    assert not parse_protection(missing, "send").needs_passphrase


def test_an_empty_newer_spelling_is_not_set_where_the_older_one_is() -> None:
    both = {"content_protection_password": "", "content_protection_passphrase": "old"}
    protection = parse_protection({"content_protection": "encrypt", **both}, "send")
    assert protection.passphrase is not None
    assert protection.passphrase.get_secret_value() == "old"


@pytest.mark.parametrize("field", ["content_protection_password", "content_protection_passphrase"])
def test_a_passphrase_of_length_0_is_not_set_and_is_asked_for(field: str) -> None:
    assert parse_protection({"content_protection": "encrypt", field: ""}, "send").needs_passphrase


def test_without_protection_the_passphrase_does_not_matter() -> None:
    assert parse_protection({"content_protection_password": ""}, "send").action is None
    unused = parse_protection({"content_protection": "decrypt", "content_protection_password": "x"}, "send")
    assert unused.passphrase is None


@pytest.mark.parametrize("value", ["x" * 1_025, ["x"], True, "a\0"])
def test_an_unusable_passphrase_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_protection({"content_protection": "encrypt", "content_protection_password": value}, "send")
    assert caught.value.field == "content_protection_password"


@pytest.mark.parametrize(("value", "strict"), [(None, False), (True, True), ("no", False)])
def test_a_wrong_passphrase_may_end_the_transfer(value: Any, strict: bool) -> None:
    fields = {"content_protection": "decrypt", "fail_bad_filepass": value}
    assert parse_protection(fields, "receive").strict is strict


@pytest.mark.parametrize(
    ("stored", "opened"),
    [
        (b"a.txt.age", b"a.txt"),
        (b"a.age.age", b"a.age"),
        (b"a.txt", None),
        (b".age", None),
        (b"..age", None),
        (b"...age", None),
        (b"a.AGE", None),
        (b"a.aspera-env", None),
        (b"\xff.age", b"\xff"),
    ],
)
def test_the_suffix_tells_what_is_encrypted(stored: bytes, opened: bytes | None) -> None:
    assert opened_name(stored) == opened


@pytest.mark.parametrize(
    ("name", "foreign"), [(b"a.aspera-env", True), (b".aspera-env", False), (b"a.age", False)]
)
def test_files_of_other_clients_are_known_for_what_they_are(name: bytes, foreign: bool) -> None:
    assert is_foreign(name) is foreign


@given(st.binary(min_size=1, max_size=255).filter(lambda name: name not in (b".", b"..")))
def test_an_encrypted_name_gives_the_original_back(name: bytes) -> None:
    try:
        stored = protected_name(name)
    except UnsafeName:
        assert len(name) > 251
        return
    assert len(stored) <= 255
    assert opened_name(stored) == name
