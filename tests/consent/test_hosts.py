"""Remembered answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connect_helper.consent.hosts import HostTrust, TrustedHost

A, B = "https://a.example", "https://b.example"


def test_trust_is_for_one_origin_host_and_port() -> None:
    trust = HostTrust()
    assert trust.remember(A, "Server.Example", 22, now=1.0)
    assert trust.knows(A, "server.example", 22)
    assert not trust.knows(B, "server.example", 22)
    assert not trust.knows(A, "server.example", 33001)
    assert not trust.knows(A, "x.server.example", 22)


@pytest.mark.parametrize(
    ("origin", "kept"),
    [
        (A, True),
        ("http://127.0.0.1:8000", True),
        ("local:curl", True),
        ("http://a.example", False),
        ("null", False),
        ("", False),
        ("local:", False),
    ],
)
def test_only_origins_nobody_can_speak_for_are_remembered(origin: str, kept: bool) -> None:
    trust = HostTrust()
    assert trust.remember(origin, "h", 22, now=1.0) is kept
    assert trust.knows(origin, "h", 22) is kept


def test_what_is_written_reads_back() -> None:
    trust = HostTrust()
    trust.remember(A, "h", 22, now=1.5)
    trust.remember(B, "h", 33001, now=2.5)
    again = HostTrust.from_json(json.loads(json.dumps(trust.to_json())))
    assert again.all() == trust.all() == [TrustedHost(A, "h", 22, 1.5), TrustedHost(B, "h", 33001, 2.5)]


GOOD = {"origin": A, "host": "h", "port": 22, "since": 1}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        1,
        [],
        {},
        {**GOOD, "origin": "http://a.example"},
        {**GOOD, "origin": "*"},
        {**GOOD, "host": ""},
        {**GOOD, "port": 0},
        {**GOOD, "port": "22"},
        {**GOOD, "port": True},
        {**GOOD, "since": None},
        {**GOOD, "host": 1},
    ],
)
def test_a_broken_entry_is_not_trusted(entry: Any) -> None:
    assert [one.host for one in HostTrust.from_json([entry, GOOD]).all()] == ["h"]
    assert HostTrust.from_json(entry).all() == []


def test_answers_can_be_forgotten() -> None:
    trust = HostTrust()
    for origin, port in ((A, 22), (A, 23), (B, 22)):
        trust.remember(origin, "h", port, now=1.0)
    assert trust.forget(A, "H", 22)
    assert not trust.forget(A, "h", 22)
    assert [one.port for one in trust.forget_origin(A)] == [23]
    assert [one.origin for one in trust.all()] == [B]
