"""What a session may do, as rules: no server, no disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_helper.server.access import Access, Operation
from connect_helper.server.accounts import Account
from connect_helper.server.token_contents import TokenClaims
from connect_helper.spec.names import partial_name
from connect_helper.storage.docpath import DocPath, covers, parse

ACCOUNT = Account(name="ann", docroot=Path("/srv/ann"))
CHANGING = frozenset(Operation) - {Operation.READ, Operation.LIST, Operation.STAT}


def download(*sources: str) -> TokenClaims:
    return TokenClaims(
        id="1",
        user="ann",
        direction="receive",
        sources=tuple(map(parse, sources)),
        issued_at=0,
        expires_at=1,
    )


def upload(root: str, *destinations: str) -> TokenClaims:
    return TokenClaims(
        id="1",
        user="ann",
        direction="send",
        destination_root=parse(root),
        destinations=tuple(map(parse, destinations)),
        issued_at=0,
        expires_at=1,
    )


def allowed(access: Access, path: str) -> set[Operation]:
    return {operation for operation in Operation if access.allows(operation, parse(path))}


def test_an_account_may_do_everything_by_default() -> None:
    assert allowed(Access(ACCOUNT), "a/b") == set(Operation)


LOOKING = {Operation.STAT, Operation.LIST}
NAMING = {Operation.MKDIR, Operation.LINK, Operation.RENAME_TO}


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"download": "deny"}, {Operation.READ}),
        ({"download": "token"}, {Operation.READ}),
        ({"upload": "deny"}, {Operation.WRITE, Operation.CREATE}),
        ({"upload": "token"}, {Operation.WRITE, Operation.CREATE}),
        ({"upload": "deny", "may_write": False}, CHANGING),
        ({"may_delete": False}, {Operation.DELETE, Operation.RENAME_FROM}),
        ({"may_browse": False}, {Operation.LIST}),
    ],
)
def test_each_right_that_is_missing_takes_its_operations_away(
    changes: dict[str, object], missing: set[Operation]
) -> None:
    access = Access(replace(ACCOUNT, **changes))  # type: ignore[arg-type]
    assert allowed(access, "a/b") == set(Operation) - missing


@pytest.mark.parametrize("name", ["film.partial", "film.filepart", "season.part"])
def test_a_name_gives_no_right_to_delete(name: str) -> None:
    access = Access(replace(ACCOUNT, may_delete=False))
    assert not {Operation.DELETE, Operation.RENAME_FROM} & allowed(access, name)


@pytest.mark.parametrize("path", ["in", "in/film", "in/a/b"])
def test_a_download_token_opens_its_sources_for_reading(path: str) -> None:
    assert allowed(Access(ACCOUNT, download("in")), path) == {Operation.READ, *LOOKING}


@pytest.mark.parametrize("path", ["inside", "i", "other", "other/in", "in2/film"])
def test_a_download_token_opens_nothing_else(path: str) -> None:
    access = Access(ACCOUNT, download("in"))
    assert allowed(access, path) == set()
    assert not access.visible(parse(path))


def test_the_way_to_a_source_is_seen_and_nothing_beside_it() -> None:
    access = Access(ACCOUNT, download("a/b/film"))
    for path in ("", "a", "a/b"):
        assert allowed(access, path) == LOOKING
    assert not access.visible(parse("a/c"))
    assert not access.visible(parse("a/b/film2"))


def test_an_upload_token_brings_files_and_takes_none() -> None:
    access = Access(replace(ACCOUNT, may_browse=False), upload("in"))
    bringing = {Operation.WRITE, Operation.CREATE, Operation.MKDIR, Operation.RENAME_TO, Operation.STAT}
    assert allowed(access, "in/film") == bringing
    assert allowed(access, "in/film.partial") == bringing
    assert allowed(access, "inside") == set()


def test_exact_destinations_and_their_unfinished_files() -> None:
    access = Access(ACCOUNT, upload("in", "in/film", "in/" + "x" * 255))
    for path in (parse("in/film"), parse("in/film.partial"), (b"in", partial_name(b"x" * 255))):
        assert access.allows(Operation.CREATE, path)
    for name in ("in", "in/film2", "in/film.partial.partial", "in/other", "film.partial"):
        assert not access.allows(Operation.CREATE, parse(name))


@pytest.mark.parametrize(
    ("token", "changes"),
    [(download("in"), {"download": "deny"}), (upload("in"), {"upload": "deny", "may_write": False})],
)
def test_a_token_never_widens_the_account(token: TokenClaims, changes: dict[str, object]) -> None:
    access = Access(replace(ACCOUNT, **changes), token)  # type: ignore[arg-type]
    assert allowed(access, "in/film") & (CHANGING | {Operation.READ}) == set()


def test_links_are_followed_without_a_token_only() -> None:
    assert Access(ACCOUNT).follow_links
    assert not Access(ACCOUNT, download("in")).follow_links


def test_an_account_may_be_kept_from_following_links_and_from_making_them() -> None:
    assert not Access(replace(ACCOUNT, follow_links=False)).follow_links
    assert Access(replace(ACCOUNT, follow_links=False)).allows(Operation.LINK, parse("a"))
    kept = Access(replace(ACCOUNT, make_links=False))
    assert kept.follow_links
    assert not kept.allows(Operation.LINK, parse("a"))
    assert kept.allows(Operation.MKDIR, parse("a"))


PARTS = st.sampled_from([b"a", b"ab", b"b", b"a.partial", b"b.partial"])
PATHS = st.lists(PARTS, max_size=4).map(tuple)


@given(granted=st.lists(PATHS, min_size=1, max_size=3), path=PATHS, operation=st.sampled_from(Operation))
def test_a_download_token_never_allows_more_than_it_says(
    granted: list[DocPath], path: DocPath, operation: Operation
) -> None:
    token = replace(download("x"), sources=tuple(granted))
    access = Access(ACCOUNT, token)
    inside = any(covers(one, path) for one in granted)
    way = any(covers(path, one) for one in granted)
    if operation is Operation.READ:
        assert access.allows(operation, path) == inside
    elif operation in LOOKING:
        assert access.allows(operation, path) == (inside or way)
    else:
        assert not access.allows(operation, path)


@given(root=PATHS, path=PATHS, operation=st.sampled_from(Operation))
def test_an_upload_token_never_allows_more_than_it_says(
    root: DocPath, path: DocPath, operation: Operation
) -> None:
    token = replace(upload("x"), destination_root=root)
    access = Access(ACCOUNT, token)
    beside = bool(root) and path == (*root[:-1], partial_name(root[-1]))
    if access.allows(operation, path):
        assert operation not in (Operation.READ, Operation.LINK)
        assert covers(root, path) or beside or operation in LOOKING
