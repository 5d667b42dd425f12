"""Tokens: what opens them, what does not, and what they open."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.server.revocations import Revocations
from connect_helper.server.token_contents import TokenClaims, decode, encode
from connect_helper.server.tokens import (
    PREFIX,
    Refusal,
    TokenAuthority,
    TokenKeyring,
    TokenRefused,
    TokenTooLong,
    WeakKey,
    looks_like_token,
    new_token_id,
)
from connect_helper.storage.docpath import DocPath

NOW = 1_800_000_000
KEY = "r4nd0m-r4nd0m-r4nd0m-r4nd0m"
DOWNLOAD = TokenClaims(
    id=new_token_id(),
    user="anna",
    direction="receive",
    sources=((b"films", b"a.mov"), (b"stills",)),
    issued_at=NOW,
    expires_at=NOW + 3600,
    rate_cap_kbps=50_000,
    cookie="job 17",
    user_value=7,
)
UPLOAD = TokenClaims(
    id=new_token_id(),
    user="anna",
    direction="send",
    destination_root=(b"in", b"\xff\xfe"),
    issued_at=NOW,
    expires_at=NOW + 3600,
)

letters = st.sampled_from([byte for byte in range(1, 256) if byte != ord("/")])
names = st.lists(letters, min_size=1, max_size=6).map(bytes).filter(lambda name: name not in (b".", b".."))
paths = st.lists(names, max_size=5).map(tuple)


def reason(authority: TokenAuthority, text: str, now: float = NOW) -> Refusal:
    with pytest.raises(TokenRefused) as caught:
        authority.verify(text, now)
    assert caught.value.http_status == 401
    return caught.value.reason


@pytest.mark.parametrize("claims", [DOWNLOAD, UPLOAD, replace(UPLOAD, destination_root=())])
def test_a_token_opens_to_what_was_sealed(claims: TokenClaims) -> None:
    authority = TokenAuthority(KEY)
    text = authority.issue(claims)
    assert looks_like_token(text)
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert authority.verify(text, NOW) == claims


def test_every_token_is_another_text_and_shows_nothing() -> None:
    authority = TokenAuthority(KEY)
    first, second = authority.issue(DOWNLOAD), authority.issue(DOWNLOAD)
    assert first != second
    assert "anna" not in base64.urlsafe_b64decode(first[len(PREFIX) :] + "==").decode("latin-1")


def test_sec_30_no_bit_may_change() -> None:
    authority = TokenAuthority(KEY)
    text = authority.issue(DOWNLOAD)
    data = bytearray(base64.urlsafe_b64decode(text[len(PREFIX) :] + "=" * (-len(text[len(PREFIX) :]) % 4)))
    seen = set()
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            changed = PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()
            seen.add(reason(authority, changed))
            data[place] ^= 1 << bit
    assert seen == {Refusal.UNKNOWN_KEY, Refusal.FORGED}


def test_sec_30_no_character_may_change() -> None:
    authority = TokenAuthority(KEY)
    for claims in (DOWNLOAD, replace(DOWNLOAD, cookie="job 1"), replace(DOWNLOAD, cookie="job")):
        text = authority.issue(claims)
        for place in range(len(text)):
            for other in "A", "B", "_", "=", " ", "é":
                if text[place] != other:
                    reason(authority, text[:place] + other + text[place + 1 :])
        reason(authority, text + "=")
        reason(authority, text + "A")
        reason(authority, text[:-1])
        reason(authority, text + "\n")


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "dir", "enc": "A256GCM"}])
def test_sec_30_a_token_cannot_choose_its_algorithm(header: dict[str, str]) -> None:
    """A web token, with our prefix or without, is no token here: nothing of it is read."""
    parts = [header, {"u": "anna", "d": "receive", "s": [""]}]
    web = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    )
    authority = TokenAuthority(KEY)
    for text in (web + ".", PREFIX + web + ".", PREFIX + web.replace(".", "_")):
        assert reason(authority, text) in {Refusal.MALFORMED, Refusal.UNKNOWN_KEY}


@pytest.mark.parametrize(
    "other",
    [TokenAuthority(KEY + "x"), TokenAuthority(KEY, purpose="session"), TokenAuthority(KEY, purpose="")],
)
def test_sec_30_another_key_or_purpose_opens_nothing(other: TokenAuthority) -> None:
    text = other.issue(DOWNLOAD)
    assert reason(TokenAuthority(KEY), text) is Refusal.UNKNOWN_KEY
    # Not even with the sign of the right key put in front.
    data = base64.urlsafe_b64decode(text[len(PREFIX) :] + "=" * (-len(text[len(PREFIX) :]) % 4))
    swapped = PREFIX + base64.urlsafe_b64encode(TokenAuthority(KEY).sign + data[8:]).rstrip(b"=").decode()
    assert reason(TokenAuthority(KEY), swapped) is Refusal.FORGED


def test_a_token_lives_for_its_time_and_a_minute() -> None:
    authority = TokenAuthority(KEY)
    text = authority.issue(DOWNLOAD)
    for now in (NOW - 60, NOW + 3600, NOW + 3660):
        authority.verify(text, now)
    assert reason(authority, text, NOW + 3661) is Refusal.EXPIRED
    assert reason(authority, text, NOW - 61) is Refusal.EARLY


@pytest.mark.parametrize(
    "text", ["", PREFIX, PREFIX + "A" * 7, PREFIX + "A" * 60, "ATM3_" + "A" * 90, PREFIX + "A" * 9000]
)
def test_junk_is_no_token(text: str) -> None:
    reason(TokenAuthority(KEY), text)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(WeakKey):
        TokenAuthority("changeme")


def test_too_many_paths_are_refused_when_the_token_is_asked_for() -> None:
    many = tuple((new_token_id().encode(), new_token_id().encode()) for _ in range(2000))
    with pytest.raises(TokenTooLong):
        TokenAuthority(KEY).issue(replace(DOWNLOAD, sources=many))


def test_two_hundred_files_of_one_folder_fit() -> None:
    many = tuple((b"projects", b"2026", b"shot_%04d_final.mov" % number) for number in range(200))
    authority = TokenAuthority(KEY)
    assert authority.verify(authority.issue(replace(DOWNLOAD, sources=many)), NOW).sources == many


def test_junk_costs_no_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = TokenAuthority(KEY)
    monkeypatch.delattr(authority, "_cipher")
    assert reason(authority, TokenAuthority(KEY + "x").issue(DOWNLOAD)) is Refusal.UNKNOWN_KEY


def keyring(folder: Path) -> tuple[TokenKeyring, Revocations]:
    revocations = Revocations(folder / "revoked")
    keys = {"anna": TokenAuthority(KEY), "ben": TokenAuthority(KEY[::-1]), "ann": TokenAuthority(KEY)}
    return TokenKeyring(keys, revocations), revocations


def refusal(ring: TokenKeyring, text: str, user: str | None = None) -> Refusal:
    with pytest.raises(TokenRefused) as caught:
        ring.verify(text, NOW, user=user)
    return caught.value.reason


def test_a_token_is_good_for_its_user_only(tmp_path: Path) -> None:
    ring, _ = keyring(tmp_path)
    text = ring.issue(DOWNLOAD)
    assert ring.verify(text, NOW) == ring.verify(text, NOW, user="anna") == DOWNLOAD
    assert refusal(ring, text, "ben") is Refusal.FOREIGN_USER
    assert refusal(ring, text, "ann") is Refusal.FOREIGN_USER
    assert refusal(ring, text, "") is Refusal.FOREIGN_USER


def test_the_key_of_one_user_makes_no_token_for_another(tmp_path: Path) -> None:
    ring, _ = keyring(tmp_path)
    forged = TokenAuthority(KEY[::-1]).issue(DOWNLOAD)  # ben's key, anna's name
    assert refusal(ring, forged) is Refusal.FOREIGN_USER
    stranger = TokenAuthority(KEY).issue(replace(DOWNLOAD, user="gone"))
    assert refusal(ring, stranger) is Refusal.FOREIGN_USER


def test_a_revoked_token_opens_nothing(tmp_path: Path) -> None:
    ring, revocations = keyring(tmp_path)
    text, other = ring.issue(DOWNLOAD), ring.issue(UPLOAD)
    revocations.revoke(DOWNLOAD.id, DOWNLOAD.expires_at)
    assert refusal(ring, text) is Refusal.REVOKED
    assert ring.verify(other, NOW) == UPLOAD


@pytest.mark.parametrize(
    "change",
    [
        {"sources": ()},
        {"destination_root": ()},
        {"direction": "send"},
        {"destinations": ((b"x",),)},
        {"user": ""},
        {"id": ""},
        {"expires_at": NOW - 1},
    ],
)
def test_contradictory_claims_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="contradict"):
        replace(DOWNLOAD, **change)  # type: ignore[arg-type]  # wrong on purpose


def test_a_destination_outside_its_root_cannot_be_claimed() -> None:
    with pytest.raises(ValueError, match="outside"):
        replace(UPLOAD, destinations=((b"in",),))


@given(data=st.binary(max_size=60))
def test_contents_never_written_are_not_read(data: bytes) -> None:
    with pytest.raises(ValueError, match="token"):
        decode(data)


@given(data=st.data())
def test_cut_contents_are_not_read(data: st.DataObject) -> None:
    whole = encode(DOWNLOAD)
    with pytest.raises(ValueError, match="token"):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(sources=st.lists(paths, min_size=1, max_size=5))
def test_any_path_survives(sources: list[DocPath]) -> None:
    claims = replace(DOWNLOAD, sources=tuple(sources))
    assert decode(encode(claims)) == claims


@given(granted=paths, more=paths)
def test_a_folder_covers_what_is_in_it(granted: DocPath, more: DocPath) -> None:
    claims = replace(DOWNLOAD, sources=(granted,))
    assert claims.covers(granted)
    assert claims.covers(granted + more)
    assert not claims.leads_to(granted + more)


@given(granted=paths.filter(bool), asked=paths)
def test_only_whole_components_count(granted: DocPath, asked: DocPath) -> None:
    claims = replace(DOWNLOAD, sources=(granted,))
    assert claims.covers(asked) == ((b"/".join(asked) + b"/").startswith(b"/".join(granted) + b"/"))
    assert not claims.covers((*granted[:-1], granted[-1] + b"c"))
    assert not claims.covers(granted[:-1])
    assert claims.leads_to(granted[:-1])


@given(granted=paths, asked=paths)
def test_a_path_is_covered_or_leads_there_or_neither(granted: DocPath, asked: DocPath) -> None:
    claims = replace(DOWNLOAD, sources=(granted,))
    above = len(asked) < len(granted) and granted[: len(asked)] == asked
    assert claims.leads_to(asked) == above
    assert not (claims.leads_to(asked) and claims.covers(asked))


def test_pairs_open_their_destinations_only() -> None:
    claims = replace(UPLOAD, destination_root=(b"in",), destinations=((b"in", b"a"), (b"in", b"b", b"c")))
    assert claims.covers((b"in", b"a"))
    assert claims.covers((b"in", b"b", b"c", b"d"))
    assert not claims.covers((b"in", b"b"))
    assert not claims.covers((b"in",))
    assert claims.leads_to((b"in", b"b"))
    assert claims.leads_to(())
