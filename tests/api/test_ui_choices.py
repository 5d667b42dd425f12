"""The window's API for sites and preferences."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from connect_helper.consent.grants import Grant
from connect_helper.consent.origins import Scope
from connect_helper.settings import Preferences, PreferencesStore, web_folder
from tests.support.window import Window, open_window

A, B = "https://a.example", "http://127.0.0.1:8080"


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path / "home") as running:
        yield running


@pytest.fixture
async def client(window: Window) -> AsyncIterator[aiohttp.ClientSession]:
    async with window.client() as session:
        yield session


def grant(number: int, *, origin: str = A, path: str = "/d/film.mov") -> Grant:
    scope = Scope(origin, "app")
    return Grant(
        id=f"g{number}",
        scope=scope,
        kind="file",
        path=f"{path}{number}",
        device=1,
        inode=2,
        pin=None,
        given_at=1.0,
    )


async def call(client: aiohttp.ClientSession, method: str, path: str, body: object = None) -> tuple[int, Any]:
    async with client.request(method, path, json=body) as answer:
        return answer.status, await answer.json()


def key(origin: str) -> str:
    return quote(origin, safe="")


async def test_sites_show_what_was_allowed(window: Window, client: aiohttp.ClientSession) -> None:
    window.sites.remember_host(A, "b.example", 22)
    window.sites.grant(grant(1, path="/d/\x1b[2J\udcff"))
    window.sites.grant(grant(2, origin=B))
    for _ in range(3):
        window.sites.note_refusal("https://ads.example")
    _, body = await call(client, "GET", "/api/sites")
    ads, first, second = sorted(body["sites"], key=lambda site: str(site["key"] != A) + str(site["key"]))[
        ::-1
    ]
    by_key = {site["key"]: site for site in (ads, first, second)}
    assert by_key["https://ads.example"]["muted"]
    assert [(host["host"], host["port"]) for host in by_key[A]["hosts"]] == [("b.example", 22)]
    assert "\x1b" not in by_key[A]["grants"][0]["path"]
    assert by_key[B]["hosts"] == []
    assert [entry["id"] for entry in by_key[B]["grants"]] == ["g2"]


async def test_one_grant_can_be_taken_back(window: Window, client: aiohttp.ClientSession) -> None:
    window.sites.grant(grant(1))
    window.sites.grant(grant(2))
    status, body = await call(client, "DELETE", "/api/grants/g1")
    assert status == 200
    assert [entry["id"] for entry in body["sites"][0]["grants"]] == ["g2"]
    assert window.sites.find(Scope(A, "app"), "/d/film.mov1") is None
    assert window.sites.find(Scope(A, "app"), "/d/film.mov2") is not None
    assert (await call(client, "DELETE", "/api/grants/g1"))[0] == 404


async def test_one_host_can_be_taken_back_or_all(window: Window, client: aiohttp.ClientSession) -> None:
    for port in (22, 33001, 33002):
        window.sites.remember_host(A, "b.example", port)
    window.sites.remember_host(B, "b.example", 22)
    await call(client, "DELETE", f"/api/sites/{key(A)}/hosts?host=b.example&port=22")
    assert not window.sites.knows_host(A, "b.example", 22)
    assert window.sites.knows_host(A, "b.example", 33001)
    await call(client, "DELETE", f"/api/sites/{key(A)}/hosts")
    assert not window.sites.knows_host(A, "b.example", 33001)
    assert window.sites.knows_host(B, "b.example", 22)


async def test_a_whole_site_can_be_taken_back(window: Window, client: aiohttp.ClientSession) -> None:
    for origin, number in [(A, 1), (B, 2)]:
        window.sites.remember_host(origin, "b.example", 22)
        window.sites.grant(grant(number, origin=origin))
    status, body = await call(client, "DELETE", f"/api/sites/{key(A)}")
    assert status == 200
    assert [site["key"] for site in body["sites"]] == [B]
    assert not window.sites.knows_host(A, "b.example", 22)
    assert (await call(client, "DELETE", f"/api/sites/{key(A)}"))[0] == 404


async def test_preferences_come_with_what_they_take(window: Window, client: aiohttp.ClientSession) -> None:
    _, body = await call(client, "GET", "/api/preferences")
    assert body["values"] == window.preferences.current.model_dump()
    assert set(body["fields"]) == set(Preferences.model_fields)
    assert body["fields"]["concurrent_transfers"] == {
        "type": "integer",
        "optional": False,
        "description": "Transfers that run at the same time.",
        "default": 3,
        "minimum": 1,
        "maximum": 20,
        "choices": None,
    }
    assert body["fields"]["dialogs"]["choices"] == ["auto", "native", "browser"]
    assert body["fields"]["upload_limit_kbps"]["optional"]
    assert body["download_folder"] == str(window.folders.downloads)


async def test_a_change_is_kept_on_disk(
    window: Window, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    changes = {"download_folder": str(tmp_path), "upload_limit_kbps": 250_000, "retry": False}
    status, body = await call(client, "PATCH", "/api/preferences", changes)
    assert status == 200
    assert changes.items() <= body["values"].items()
    assert changes.items() <= PreferencesStore(window.folders).current.model_dump().items()
    assert window.preferences.download_folder == tmp_path


BAD = [
    ({"concurrent_transfers": 21}, "concurrent_transfers", "from 1 to 20"),
    ({"concurrent_transfers": 0}, "concurrent_transfers", "from 1 to 20"),
    ({"concurrent_transfers": "5"}, "concurrent_transfers", "whole number"),
    ({"concurrent_transfers": True}, "concurrent_transfers", "whole number"),
    ({"concurrent_transfers": None}, "concurrent_transfers", "needed"),
    ({"upload_limit_kbps": 1.5}, "upload_limit_kbps", "whole number"),
    ({"retry": 1}, "retry", "yes or no"),
    ({"dialogs": "gtk"}, "dialogs", "auto, native, browser"),
    ({"dialogs": ["auto"]}, "dialogs", "auto, native, browser"),
    ({"reported_version": "new"}, "reported_version", "reported_version"),
    ({"reported_version": 4}, "reported_version", "text"),
    ({"download_folder": "Downloads"}, "download_folder", "full path"),
    ({"download_folder": "/no/such/folder"}, "download_folder", "no such folder"),
    ({"download_folder": "/etc/passwd"}, "download_folder", "not a folder"),
    ({"download_folder": "/etc/passwd/x"}, "download_folder", "no such folder"),
    ({"download_folder": "/a\0b"}, "download_folder", ""),
    ({"download_folder": "~nobody-of-that-name/x"}, "download_folder", ""),
    ({"colour": "red"}, "colour", "no such preference"),
]


@pytest.mark.parametrize(("changes", "field", "words"), BAD)
async def test_a_bad_preference_is_refused_in_words(
    window: Window, client: aiohttp.ClientSession, changes: dict[str, object], field: str, words: str
) -> None:
    before = window.preferences.current
    status, body = await call(client, "PATCH", "/api/preferences", {**changes, "retry_attempts": 5})
    assert status == 400
    assert body["error"]["field"] == field
    assert words in body["error"]["user_message"]
    assert window.preferences.current == before


def test_every_preference_has_its_place_on_the_page() -> None:
    page = (web_folder() / "helper" / "templates" / "preferences.html").read_text(encoding="utf-8")
    assert sorted(re.findall(r'data-field="(\w+)"', page)) == sorted(Preferences.model_fields)


async def test_about_tells_where_things_are(window: Window, client: aiohttp.ClientSession) -> None:
    _, body = await call(client, "GET", "/api/about")
    assert body["version"] == "1.2.3"
    assert body["window_address"] == window.address
    assert body["folders"]["state"] == str(window.folders.state)
