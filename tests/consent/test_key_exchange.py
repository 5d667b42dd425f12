"""The exchange of keys behind a pairing: commitment, code and secret."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connect_helper.consent.key_exchange import (
    Transcript,
    check_commitment,
    check_revealed,
    commitment_to,
)
from connect_helper.errors import InvalidRequest

THEIRS, OURS = "04" + "a1" * 64, "04" + "b2" * 64
ORIGIN = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
TRANSCRIPT = Transcript(THEIRS, OURS, ORIGIN, 33003)
OTHERS = [
    replace(TRANSCRIPT, extension_key=OURS),
    replace(TRANSCRIPT, helper_key=THEIRS),
    replace(TRANSCRIPT, origin=ORIGIN.replace("a", "b")),
    replace(TRANSCRIPT, port=33004),
]


def test_the_code_is_typed_easily_and_binds_keys_origin_and_port() -> None:
    assert re.fullmatch(r"[2-9A-HJ-NP-Z]{3}-[2-9A-HJ-NP-Z]{3}", TRANSCRIPT.code())
    assert len({one.code() for one in (TRANSCRIPT, *OTHERS)}) == 5


def test_the_secret_is_what_hkdf_makes_of_the_shared_one_and_the_transcript() -> None:
    shared = bytes(range(32))
    salt = TRANSCRIPT._digest("secret")
    expected = HKDF(SHA256(), 32, salt, b"connect-helper secret").derive(shared)
    assert TRANSCRIPT.secret(shared) == expected.hex()
    assert len({one.secret(shared) for one in (TRANSCRIPT, *OTHERS)}) == 5


def test_only_the_key_that_was_committed_to_is_taken() -> None:
    commitment = check_commitment(commitment_to(THEIRS))
    assert check_revealed(THEIRS, commitment) == THEIRS
    with pytest.raises(InvalidRequest):
        check_revealed(OURS, commitment)


@pytest.mark.parametrize("commitment", ["", "a1", "A1" * 32, "g1" * 32, "a1" * 33, "a1" * 32 + "\n"])
def test_what_is_no_commitment_is_refused(commitment: str) -> None:
    with pytest.raises(InvalidRequest):
        check_commitment(commitment)


@pytest.mark.parametrize("key", ["", "04", "02" + "a1" * 32, "04" + "A1" * 64, THEIRS + "\n", "00"])
def test_what_is_no_point_is_refused_even_if_committed_to(key: str) -> None:
    with pytest.raises(InvalidRequest):
        check_revealed(key, commitment_to(key))
