"""Paired browser extensions in the helper's window: listed, and removed."""

from __future__ import annotations

from pathlib import Path

from connect_helper.consent.pairing import PairedExtension
from tests.support.window import open_window

SECRET = "a1" * 32
ORIGIN = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"


async def test_paired_extensions_are_listed_without_anything_secret(tmp_path: Path) -> None:
    async with open_window(tmp_path) as window, window.client() as client:
        window.extensions.keep(PairedExtension(SECRET, ORIGIN, "Chromium 156 on Linux", 0.0))
        answer = await client.get("/api/extensions")
        text = await answer.text()
        (entry,) = (await answer.json())["extensions"]
        assert (entry["origin"], entry["browser"]) == (ORIGIN, "Chromium 156 on Linux")
        assert SECRET not in text


async def test_a_removed_one_is_gone_for_good(tmp_path: Path) -> None:
    async with open_window(tmp_path) as window, window.client() as client:
        window.extensions.keep(PairedExtension(SECRET, ORIGIN, "Chromium", 0.0))
        window.extensions.keep(PairedExtension("b2" * 32, ORIGIN, "Vivaldi", 0.0))
        first, second = (await (await client.get("/api/extensions")).json())["extensions"]
        answer = await client.delete(f"/api/extensions/{first['id']}")
        assert (await answer.json())["extensions"] == [second]
        assert (await client.delete(f"/api/extensions/{first['id']}")).status == 404
        assert [one.browser for one in window.extensions.all()] == ["Vivaldi"]


async def test_only_the_window_may_list_or_remove(tmp_path: Path) -> None:
    async with open_window(tmp_path) as window, window.client() as client:
        window.extensions.keep(PairedExtension(SECRET, ORIGIN, "Chromium", 0.0))
        (known,) = window.extensions.all()
        for headers in ({"Authorization": "Bearer x"}, {"Origin": "https://a.example"}, {"Origin": ORIGIN}):
            assert (await client.get("/api/extensions", headers=headers)).status in (401, 403)
            gone = await client.delete(f"/api/extensions/{known.id}", headers=headers)
            assert gone.status in (401, 403)
        assert window.extensions.all() == [known]
