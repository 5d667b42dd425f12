"""Paired browser extensions: proofs and the book."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest

from connect_helper.consent.pairing import (
    PAIRED_LIMIT,
    Greeting,
    PairedExtension,
    PairingBook,
    is_extension,
)
from connect_helper.errors import InvalidRequest, WrongState

SECRET = "a1" * 32
RUN = "2e" * 32
ORIGIN = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
NONCE = "0f" * 32
ONE = PairedExtension(SECRET, ORIGIN, "Chromium 156 on Linux", 12.5)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (ORIGIN, True),
        ("moz-extension://0b8e4c6e-3f0a-4a52-8f6b-0d6a4f6f3c11", True),
        ("https://chrome-extension.example", False),
        ("https://a.example", False),
        (f"{ORIGIN}/", False),
        (f"{ORIGIN}:80", False),
        ("null", False),
        ("local:curl", False),
        ("", False),
    ],
)
def test_an_extension_is_known_by_its_scheme(origin: str, expected: bool) -> None:
    assert is_extension(origin) is expected


def test_proofs_and_token_are_hmacs_by_the_secret_for_one_greeting() -> None:
    message = f"connect-helper helper\n{NONCE}\n{RUN}\n33003".encode()
    greeting = Greeting(NONCE, RUN, 33003)
    assert greeting.helper_proof(SECRET) == hmac.digest(bytes.fromhex(SECRET), message, "sha256").hex()
    greetings = [
        greeting,
        replace(greeting, port=33004),
        replace(greeting, nonce="1f" * 32),
        replace(greeting, run="0" * 64),
    ]
    made = [
        make(secret)
        for one in greetings
        for make in (one.helper_proof, one.extension_proof, one.token)
        for secret in (SECRET, "b2" * 32)
    ]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("nonce", ["", "0f", "zz" * 32, "0F" * 32, "0f" * 65, "0f" * 32 + "\n"])
def test_a_nonce_that_could_be_anything_is_refused(nonce: str) -> None:
    with pytest.raises(InvalidRequest):
        Greeting(nonce, RUN, 33003)


def test_the_book_finds_by_the_id_which_opens_nothing() -> None:
    book = PairingBook([ONE])
    assert book.by_id(ONE.id) == ONE
    assert book.by_id(SECRET) is None
    assert SECRET not in repr(ONE)
    assert ONE.id not in (SECRET, hashlib.sha256(bytes.fromhex(SECRET)).hexdigest()[:32])


def test_the_book_comes_back_from_disk() -> None:
    assert PairingBook.from_json(PairingBook([ONE]).to_json()).all() == [ONE]


@pytest.mark.parametrize(
    "damage",
    [
        {"secret": "abc"},
        {"origin": "https://a.example"},
        {"origin": None},
        {"browser": 3},
        {"since": True},
        {"since": "1"},
    ],
)
def test_an_entry_that_is_not_whole_is_left_out(damage: dict[str, object]) -> None:
    entry = PairingBook([ONE]).to_json()[0] | damage
    assert PairingBook.from_json([entry, "x", None]).all() == []
    assert PairingBook.from_json({"not": "a list"}).all() == []


def test_a_removed_one_is_found_no_more() -> None:
    book = PairingBook([ONE])
    assert book.forget("nobody") is None
    assert book.forget(ONE.id) == ONE
    assert book.by_id(ONE.id) is None


def test_there_are_never_more_than_the_limit() -> None:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(PAIRED_LIMIT + 1)]
    book = PairingBook(PairedExtension(one, ORIGIN, "x", 0.0) for one in hashes[:-1])
    with pytest.raises(WrongState):
        book.add(PairedExtension(hashes[-1], ORIGIN, "x", 0.0))
