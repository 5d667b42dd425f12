"""Our streaming age format against the reference: headers, chunks, truncation, limits, both ways."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connect_helper.errors import BadPassphrase, CannotDecrypt
from connect_helper.transports import age
from connect_helper.transports.age import (
    CHUNK,
    HEAD_LIMIT,
    NONCE,
    TAG,
    Seal,
    Sealed,
    new_header,
    new_seal,
    open_head,
    unseal_in_place,
    wrap_key,
)

PASSPHRASE = "correct horse"
SALT = bytes(range(16))
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17)
EXACT = st.sampled_from(SIZES) | st.integers(0, 2 * CHUNK + 5)


QUICK = 10  # log2 of scrypt's N, for tests


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(age, "WORK_FACTOR", QUICK)
        yield


@pytest.fixture(scope="module")
def wrap(_quick: None) -> bytes:
    """The slow key, made once."""
    return wrap_key(PASSPHRASE, SALT, age.WORK_FACTOR)


@pytest.fixture(scope="module")
def keys(_quick: None, wrap: bytes) -> Callable[[bytes, int], bytes]:
    known = {(SALT, age.WORK_FACTOR): wrap}

    def find(salt: bytes, work_factor: int) -> bytes:
        return known.setdefault((salt, work_factor), wrap_key(PASSPHRASE, salt, work_factor))

    return find


def seal_of(wrap: bytes) -> Seal:
    file_key = os.urandom(16)
    return new_seal(new_header(wrap, SALT, file_key), file_key, os.urandom(NONCE))


def encrypted(content: bytes, seal: Seal) -> bytes:
    sealed = Sealed(lambda offset, length: content[offset : offset + length], len(content), seal)
    return sealed.read(0, sealed.size)


def decrypted(data: bytes, keys: Callable[[bytes, int], bytes]) -> bytes:
    seal = open_head(data[:HEAD_LIMIT], keys)
    place = bytearray(data)

    def write(offset: int, blocks: list[bytes]) -> None:
        for block in blocks:
            place[offset : offset + len(block)] = block
            offset += len(block)

    size = unseal_in_place(
        lambda offset, length: bytes(place[offset : offset + length]), write, len(data), seal
    )
    return bytes(place[:size])


@settings(max_examples=25, deadline=None)
@given(size=EXACT)
def test_what_we_encrypt_the_reference_opens(size: int, wrap: bytes) -> None:
    content = os.urandom(size)
    assert pyrage.passphrase.decrypt(encrypted(content, seal_of(wrap)), PASSPHRASE) == content


@settings(max_examples=2, deadline=None)
@given(size=EXACT)
def test_what_the_reference_encrypts_we_open(size: int) -> None:
    content = os.urandom(size)
    data = pyrage.passphrase.encrypt(content, PASSPHRASE)
    assert decrypted(data, lambda salt, factor: wrap_key(PASSPHRASE, salt, factor)) == content


@settings(max_examples=60, deadline=None)
@given(size=EXACT, data=st.data())
def test_any_piece_is_the_piece_of_the_whole(size: int, data: st.DataObject, wrap: bytes) -> None:
    content, seal = os.urandom(size), seal_of(wrap)
    sealed = Sealed(lambda offset, length: content[offset : offset + length], size, seal)
    whole = sealed.read(0, sealed.size)
    assert len(whole) == sealed.size == seal.sealed_size(size)
    assert seal.plain_size(len(whole)) == size
    offset = data.draw(st.integers(0, sealed.size + 5))
    length = data.draw(st.integers(0, sealed.size))
    assert sealed.read(offset, length) == whole[offset : offset + length]


@pytest.mark.parametrize("size", SIZES)
def test_every_cut_is_noticed(size: int, wrap: bytes, keys: Callable[[bytes, int], bytes]) -> None:
    seal = seal_of(wrap)
    whole = encrypted(os.urandom(size), seal)
    head = len(seal.head)
    cuts = {0, 1, head - NONCE - 1, head - NONCE, head - 1, head, head + 1, len(whole) - 1, len(whole) - TAG}
    # At the end of a chunk everything before is sealed rightly: only its number and flag tell.
    cuts |= {head + number * (CHUNK + TAG) for number in range(1, 4)}
    for cut in sorted(cuts):
        if cut < len(whole):
            with pytest.raises(CannotDecrypt):
                decrypted(whole[:cut], keys)
    with pytest.raises(CannotDecrypt):
        decrypted(whole + bytes(1), keys)


@pytest.mark.parametrize("size", [1, CHUNK, 2 * CHUNK])
def test_an_empty_last_chunk_is_for_empty_files_only(
    size: int, wrap: bytes, keys: Callable[[bytes, int], bytes]
) -> None:
    seal = seal_of(wrap)
    content = os.urandom(size)
    chunks = [content[start : start + CHUNK] for start in range(0, size, CHUNK)] + [b""]
    data = seal.head + b"".join(
        seal.close_chunk(number, chunk, last=number == len(chunks) - 1) for number, chunk in enumerate(chunks)
    )
    with pytest.raises(pyrage.DecryptError):
        pyrage.passphrase.decrypt(data, PASSPHRASE)
    with pytest.raises(CannotDecrypt):
        decrypted(data, keys)


def test_chunks_in_another_order_are_noticed(wrap: bytes, keys: Callable[[bytes, int], bytes]) -> None:
    seal = seal_of(wrap)
    whole = encrypted(os.urandom(3 * CHUNK), seal)
    head, step = len(seal.head), CHUNK + TAG
    one, two, three = (whole[head + number * step : head + (number + 1) * step] for number in range(3))
    for order in ((two, one, three), (one, one, three), (one, three)):
        with pytest.raises(CannotDecrypt):
            decrypted(whole[:head] + b"".join(order), keys)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_one_changed_bit_anywhere_is_noticed(
    data: st.DataObject, wrap: bytes, keys: Callable[[bytes, int], bytes]
) -> None:
    whole = bytearray(encrypted(b"content", seal_of(wrap)))
    salt_and_factor = range(len(b"age-encryption.org/v1\n-> scrypt "), whole.index(b"\n", 23))
    places = [place for place in range(len(whole)) if place not in salt_and_factor]  # those are slow: below
    place = data.draw(st.sampled_from(places))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((CannotDecrypt, BadPassphrase)):
        decrypted(bytes(whole), keys)


def test_a_changed_salt_or_factor_opens_nothing(wrap: bytes) -> None:
    """Also when it leads to the same wrapping key, as it cannot: the header's code covers both."""
    whole = encrypted(b"content", seal_of(wrap))
    for was, now in ((b" 10\n", b" 16\n"), (b"-> scrypt AAEC", b"-> scrypt BAEC")):
        assert was in whole
        with pytest.raises(CannotDecrypt, match="header"):
            decrypted(whole.replace(was, now, 1), lambda _salt, _factor: wrap)


def test_a_costly_file_is_refused_before_anything_is_computed(wrap: bytes) -> None:
    asked: list[int] = []

    def keys(_salt: bytes, factor: int) -> bytes:
        asked.append(factor)
        return wrap

    whole = encrypted(b"content", seal_of(wrap))
    for factor in (b"21", b"63", b"99"):
        with pytest.raises(CannotDecrypt, match="costly"):
            decrypted(whole.replace(b" 10\n", b" " + factor + b"\n", 1), keys)
    for factor in (b"0", b"00", b"017", b"+7", b"100", b"-1", b""):
        with pytest.raises(CannotDecrypt, match="not encrypted with a passphrase"):
            decrypted(whole.replace(b" 10\n", b" " + factor + b"\n", 1), keys)
    assert asked == []


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.replace(b"\n", b"\r\n"),
        lambda head: head.replace(b"v1", b"v2", 1),
        lambda head: head.replace(b"-> scrypt", b"-> X25519", 1),
        lambda head: head.replace(b"--- ", b"-> scrypt AAAA 10\nAAAA\n--- ", 1),  # one stanza only
        lambda head: head.replace(b"--- ", b"---", 1),
        lambda head: head.replace(b"\n---", b"=\n---", 1),  # no padding
        lambda head: b"-----BEGIN AGE ENCRYPTED FILE-----\n" + head,
        lambda _head: b"",
        lambda _head: b"age-encryption.org/v1\n",
    ],
)
def test_what_is_spelled_otherwise_is_no_age_file(
    change: Callable[[bytes], bytes], wrap: bytes, keys: Callable[[bytes, int], bytes]
) -> None:
    seal = seal_of(wrap)
    end = len(seal.head) - NONCE
    with pytest.raises(CannotDecrypt):
        decrypted(change(seal.head[:end]) + seal.head[end:] + bytes(TAG), keys)


def test_another_passphrase_is_told_apart_from_damage(wrap: bytes) -> None:
    whole = encrypted(b"content", seal_of(wrap))
    with pytest.raises(BadPassphrase):
        decrypted(whole, lambda salt, _factor: wrap_key("another", salt, 10))


def test_a_seal_shows_no_key(wrap: bytes) -> None:
    seal = seal_of(wrap)
    assert seal.key.hex() not in repr(seal)
    assert repr(seal.key) not in repr(seal)
