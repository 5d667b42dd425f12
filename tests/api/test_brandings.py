"""Names and colours that sites gave their applications: kept, bounded, and only what can be shown."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.brandings import IDS_KEPT, ORIGINS_KEPT, Brandings, read_branding
from connect_helper.api.sites import Sites
from connect_helper.errors import InvalidRequest
from connect_helper.settings import Folders

A, B = "https://a.example", "https://b.example"


@pytest.fixture
def sites(folders: Folders) -> Sites:
    made = Sites(folders)
    made.remember_host(A, "files.example", 22)
    return made


def given(name: str = "Acme", id_: str = "acme", **theme: Any) -> dict[str, Any]:
    return {"id": id_, "name": name, "theme": theme}


def test_all_that_a_page_gives_is_kept_and_plain_colours_can_be_shown() -> None:
    light = {
        "headerBackground": "#102030",
        "$background": "#FFF",
        "typographyFontFamily": "Arial, sans-serif",
    }
    dark = {"headerBackground": "red", "leftNavBackground": "url(https://evil.example/)", "$layer-01": "#000"}
    branding = read_branding(given(g10=light, g100=dark, disableLightDarkMode=True))
    assert (branding.id, branding.name, branding.one_theme_only) == ("acme", "Acme", True)
    assert branding.themes == {"g10": light, "g100": dark}
    assert branding.colours() == {"g10": ["#102030", "#fff"], "g100": []}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"id": "a"},
        {"name": "a"},
        given(name="x" * 101),
        given(id_="a\0"),
        {"id": "a", "name": "b", "theme": "dark"},
        given(g10="x"),
        given(g10={"a": {}}),
        given(g10={"a": "x" * 501}),
        given(g10={f"v{number}": "#fff" for number in range(201)}),
        given(disableLightDarkMode="perhaps"),
        given(g10={f"v{number}": "x" * 400 for number in range(100)}),
    ],
)
def test_what_is_no_branding_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        read_branding(value)


def test_a_theme_may_be_missing() -> None:
    assert read_branding({"id": "a", "name": "b"}).themes == {"g10": {}, "g100": {}}
    assert read_branding({"id": "a", "name": "b", "theme": None}).colours() == {"g10": [], "g100": []}


async def test_the_same_id_replaces_and_the_last_one_counts(folders: Folders, sites: Sites) -> None:
    brandings = Brandings(folders, sites)
    told: list[str] = []
    sites.on_change(lambda: told.append("change"))
    for one in (given("One", "x"), given("Two", "y"), given("Three", "x")):
        await brandings.keep(A, read_branding(one))
    newest = brandings.newest(A)
    assert newest is not None
    assert newest.name == "Three"
    assert brandings.newest(B) is None
    assert len(told) == 3
    await brandings.keep(A, read_branding(given("Three", "x")))  # nothing new
    assert len(told) == 3
    for number in range(IDS_KEPT + 5):
        await brandings.keep(A, read_branding(given(f"n{number}", f"id{number}")))
    assert len(brandings._by_origin[A]) == IDS_KEPT


async def test_those_of_known_sites_are_there_again_and_those_of_strangers_are_not(
    folders: Folders, sites: Sites
) -> None:
    brandings = Brandings(folders, sites)
    await brandings.keep(A, read_branding(given(g10={"headerBackground": "#102030"})))
    await brandings.keep(B, read_branding(given("Stranger")))
    assert brandings.newest(B) is not None
    path: Path = folders.state / "brandings.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Brandings(folders, sites)
    assert again.newest(A) == brandings.newest(A)
    assert again.newest(B) is None


async def test_a_stranger_costs_no_write_and_pushes_out_strangers(folders: Folders, sites: Sites) -> None:
    brandings = Brandings(folders, sites)
    await brandings.keep(B, read_branding(given()))
    assert not (folders.state / "brandings.json").exists()
    await brandings.keep(A, read_branding(given()))
    for number in range(ORIGINS_KEPT + 5):
        await brandings.keep(f"https://{number}.example", read_branding(given()))
    assert brandings.newest(A) is not None
    assert brandings.newest(B) is None
    assert len(brandings._by_origin) == ORIGINS_KEPT


async def test_a_site_that_lost_everything_lost_its_name_too(folders: Folders, sites: Sites) -> None:
    brandings = Brandings(folders, sites)
    await brandings.keep(A, read_branding(given()))
    sites.revoke_origin(A)
    assert brandings.newest(A) is None
    assert Brandings(folders, sites).newest(A) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '{"a": 1}', '{"https://a.example": [{"id": "x"}]}'])
async def test_a_damaged_file_is_no_harm(folders: Folders, sites: Sites, text: str) -> None:
    (folders.state / "brandings.json").write_text(text)
    brandings = Brandings(folders, sites)
    assert brandings.newest(A) is None
    await brandings.keep(A, read_branding(given()))
    assert Brandings(folders, sites).newest(A) is not None
