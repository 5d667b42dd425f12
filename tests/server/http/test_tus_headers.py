"""The headers of tus, taken strictly."""

from __future__ import annotations

import base64

import pytest

from connect_helper.server.http.tus_headers import (
    BadHeader,
    checksum,
    concatenation,
    metadata,
    metadata_header,
    number,
)

UPLOADS = "/fallback/v1/uploads"
ID = "0123456789abcdef" * 2


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1 ", "01", "1.0", "1e3", "٣", "9" * 19, "0x1"])
def test_numbers_are_plain(text: str) -> None:
    with pytest.raises(BadHeader):
        number("Upload-Length", text)


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        ("0", 0),
        ("1600000000", 1_600_000_000_000_000_000),
        ("1600000000.25", 1_600_000_000_250_000_000),
        ("1600000000000000001", 1_600_000_000_000_000_001),
        ("-1.5", -1_500_000_000),
        ("9999999999", 2**63 - 1),  # nanoseconds end before that
        ("-9999999999.5", -(2**63)),
    ],
)
def test_times_are_seconds_or_nanoseconds(mtime: str, expected: int) -> None:
    assert metadata(f"mtime {encoded(mtime)}").mtime_ns == expected


def test_names_of_foreign_clients_are_understood() -> None:
    assert metadata(f"filetype {encoded('a/b')},filename {encoded('x y')}").path == b"x y"
    assert metadata(f"name {encoded('n')}, path {encoded('p')}").path == b"p"
    assert metadata(f"filename,path {encoded('p')}").path == b"p"
    assert metadata(None).path is None


def test_a_place_in_full_counts_before_a_name() -> None:
    found = metadata(f"path {encoded('p')},target {encoded('in/p')}")
    assert (found.path, found.from_docroot) == (b"in/p", True)
    assert metadata(f"path {encoded('p')},target").from_docroot is False


def test_metadata_is_given_back_as_it_came() -> None:
    header = f"path {encoded('ä')},is_confidential"
    assert metadata_header(metadata(header).values) == header


@pytest.mark.parametrize(
    "header",
    [
        "path !",
        "path YQ==,path YQ==",
        ",",
        f"sha256 {encoded('abc')}",
        f"xxh128 {encoded('0' * 64)}",
        f"sha256 {encoded('0' * 64)},xxh128 {encoded('0' * 32)}",
        f"mtime {encoded('soon')}",
        f"mtime {encoded('1_0')}",
        "path " + "A" * 9000,
    ],
)
def test_broken_metadata_is_refused(header: str) -> None:
    with pytest.raises(BadHeader):
        metadata(header)


@pytest.mark.parametrize("header", ["sha1", "sha1 AAAA", "crc32 AAAAAA==", "SHA1 " + "A" * 27 + "=", ""])
def test_broken_checksums_are_refused(header: str) -> None:
    with pytest.raises(BadHeader):
        checksum(header)


def test_parts_are_named_by_path_or_address() -> None:
    found = concatenation(f"final;{UPLOADS}/{ID} https://host:1{UPLOADS}/{ID[::-1]}", UPLOADS)
    assert found is not None
    assert found.parts == (ID, ID[::-1])


@pytest.mark.parametrize(
    "header",
    [
        "final",
        "final;",
        "partial;x",
        "",
        "whole",
        f"final;{UPLOADS}/../{ID}",
        f"final;/other/{ID}",
        f"final;{ID}",
        f"final;{UPLOADS}/{ID.upper()}",
        f"final;{UPLOADS}/{ID} {UPLOADS}/{ID}",
        f"final;{UPLOADS}/{ID}x",
    ],
)
def test_broken_concatenations_are_refused(header: str) -> None:
    with pytest.raises(BadHeader):
        concatenation(header, UPLOADS)
