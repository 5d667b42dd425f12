"""What servers say about files, read from the bytes (draft-ietf-secsh-filexfer-02, sections 5 and 7)."""

from __future__ import annotations

import struct

import asyncssh
import pytest

from connect_helper.transports.sftp_answers import (
    ATTRS,
    NAME,
    STATUS,
    Attrs,
    Name,
    done,
    looked,
    names_of,
)


def string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


SIZE, IDS, MODE, TIMES, MORE = 1, 2, 4, 8, 0x80000000
USUAL = struct.pack(">IQIIIII", SIZE | IDS | MODE | TIMES, 2**40, 1, 2, 0o100644, 10, 20)
EXTENDED = struct.pack(">IQI", SIZE | MORE, 7, 1) + string(b"name@example") + string(b"value")

SAID = [
    (USUAL, Attrs(2**40, 0o100644, 20, 10)),
    (struct.pack(">I", 0), Attrs()),
    (struct.pack(">IQ", SIZE, 7), Attrs(size=7)),
    (struct.pack(">III", IDS, 1, 2), Attrs()),
    (struct.pack(">II", MODE, 0o40755), Attrs(permissions=0o40755)),
    (struct.pack(">III", TIMES, 10, 20), Attrs(atime=10, mtime=20)),
    (EXTENDED, Attrs(size=7)),
]


@pytest.mark.parametrize(("body", "said"), SAID)
def test_attributes_are_what_the_flags_say(body: bytes, said: Attrs) -> None:
    assert looked((ATTRS, memoryview(body))) == said


def test_a_folder_may_mix_all_kinds() -> None:
    names = [f"file-{number}".encode() for number in range(len(SAID))]
    entries = [
        string(name) + string(b"-rw a long line") + body for name, (body, _) in zip(names, SAID, strict=True)
    ]
    body = struct.pack(">I", len(entries)) + b"".join(entries)
    assert names_of((NAME, memoryview(body))) == [
        Name(name, said) for name, (_, said) in zip(names, SAID, strict=True)
    ]


@pytest.mark.parametrize("body", [USUAL, EXTENDED])
def test_an_answer_that_breaks_off_is_refused_wherever(body: bytes) -> None:
    for length in range(len(body)):
        with pytest.raises(asyncssh.SFTPBadMessage):
            looked((ATTRS, memoryview(body[:length])))


def test_a_listing_that_breaks_off_is_refused_wherever() -> None:
    body = struct.pack(">I", 2) + 2 * (string(b"name") + string(b"line") + USUAL)
    for length in range(len(body)):
        with pytest.raises(asyncssh.SFTPBadMessage):
            names_of((NAME, memoryview(body[:length])))


@pytest.mark.parametrize("count", [2**32 - 1, 2**31])
def test_more_than_there_is_takes_no_time(count: int) -> None:
    with pytest.raises(asyncssh.SFTPBadMessage):
        looked((ATTRS, struct.pack(">II", MORE, count)))
    with pytest.raises(asyncssh.SFTPBadMessage):
        names_of((NAME, struct.pack(">I", count)))


def test_a_request_called_bad_is_one_whose_name_cannot_be_used() -> None:
    status = struct.pack(">I", 5) + string(b"Bad message") + string(b"")
    with pytest.raises(asyncssh.SFTPInvalidFilename):
        done((STATUS, status))
