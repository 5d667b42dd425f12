"""Paired browser extensions: codes, proofs and the book."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace

import pytest

from connect_helper.consent.pairing import (
    PAIRED_LIMIT,
    PairedExtension,
    PairingBook,
    check_hash,
    helper_proof,
    is_extension,
    pairing_code,
)
from connect_helper.errors import InvalidRequest, WrongState

KEY = "k" * 43
HASH = hashlib.sha256(KEY.encode()).hexdigest()
ORIGIN = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
NONCE = "0f" * 32
ONE = PairedExtension(HASH, ORIGIN, "Chromium 156 on Linux", 12.5)


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


def test_the_code_is_read_out_easily_and_binds_key_origin_and_port() -> None:
    code = pairing_code(HASH, ORIGIN, 33003)
    assert re.fullmatch(r"[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}", code)
    others = {
        pairing_code(hashlib.sha256(b"other").hexdigest(), ORIGIN, 33003),
        pairing_code(HASH, ORIGIN.replace("a", "b"), 33003),
        pairing_code(HASH, ORIGIN, 33004),
    }
    assert len(others | {code}) == 4


def test_the_proof_is_an_hmac_of_the_nonce_and_the_port() -> None:
    message = f"connect-helper proof\n{NONCE}\n33003".encode()
    assert helper_proof(HASH, NONCE, 33003) == hmac.digest(bytes.fromhex(HASH), message, "sha256").hex()
    assert helper_proof(HASH, NONCE, 33003) != helper_proof(HASH, NONCE, 33004)
    assert helper_proof(HASH, NONCE, 33003) != helper_proof(HASH, "1f" * 32, 33003)


@pytest.mark.parametrize("nonce", ["", "0f", "zz" * 32, "0F" * 32, "0f" * 65, "0f" * 32 + "\n"])
def test_a_nonce_that_could_be_anything_is_refused(nonce: str) -> None:
    with pytest.raises(InvalidRequest):
        helper_proof(HASH, nonce, 33003)


@pytest.mark.parametrize("key_hash", ["", HASH[:-1], HASH.upper(), HASH + "0", "g" * 64])
def test_what_is_no_hash_is_refused(key_hash: str) -> None:
    with pytest.raises(InvalidRequest):
        check_hash(key_hash)


def test_the_book_finds_by_the_whole_key_only() -> None:
    book = PairingBook([ONE])
    assert book.by_key(KEY) == ONE
    for wrong in ("", HASH, KEY[:-1], KEY + "k", "j" * 43, KEY + "\n"):
        assert book.by_key(wrong) is None


def test_a_key_is_kept_as_its_hash_and_comes_back_from_disk() -> None:
    written = PairingBook([ONE]).to_json()
    assert KEY not in str(written)
    assert PairingBook.from_json(written).by_key(KEY) == ONE


@pytest.mark.parametrize(
    "damage",
    [
        {"key_hash": "abc"},
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
    assert book.by_key(KEY) is None
    assert ONE.id not in (HASH, KEY)


def test_the_key_of_one_extension_is_not_given_to_another() -> None:
    book = PairingBook([ONE])
    with pytest.raises(WrongState):
        book.add(replace(ONE, origin="chrome-extension://other"))
    book.add(replace(ONE, since=20.0))  # the same one again
    assert book.by_key(KEY) == replace(ONE, since=20.0)


def test_there_are_never_more_than_the_limit() -> None:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(PAIRED_LIMIT + 1)]
    book = PairingBook(PairedExtension(one, ORIGIN, "x", 0.0) for one in hashes[:-1])
    with pytest.raises(WrongState):
        book.add(PairedExtension(hashes[-1], ORIGIN, "x", 0.0))
