"""The browser extension as it is packed, and what must agree between it and the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from connect_helper import __version__
from connect_helper.settings import web_folder

EXTENSION = web_folder() / "extension"
PACK = Path(__file__).parents[1] / "scripts" / "pack-extension"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, PACK, folder], check=True, capture_output=True)
    return {
        browser: zipfile.ZipFile(folder / f"connect-helper-extension-{browser}.zip")
        for browser in ("chromium", "firefox")
    }


def manifest_of(packed: zipfile.ZipFile) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(packed.read("manifest.json"))
    return manifest


def test_each_browser_gets_its_own_words(packed: dict[str, zipfile.ZipFile]) -> None:
    chromium, firefox = manifest_of(packed["chromium"]), manifest_of(packed["firefox"])
    assert chromium["background"] == {"service_worker": "background.js", "type": "module"}
    assert firefox["background"] == {"scripts": ["background.js"], "type": "module"}
    assert "browser_specific_settings" not in chromium
    assert firefox["browser_specific_settings"]["gecko"]["id"]
    assert firefox["permissions"] == chromium["permissions"] == ["alarms", "storage"]
    assert chromium["host_permissions"] == ["http://127.0.0.1/*"]


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_everything_named_is_in_the_package(packed: dict[str, zipfile.ZipFile], browser: str) -> None:
    names = set(packed[browser].namelist())
    manifest = manifest_of(packed[browser])
    named = {*manifest["icons"].values(), *manifest["action"]["default_icon"].values()}
    named |= {manifest["action"]["default_popup"], *manifest["content_scripts"][0]["js"]}
    for name in names:
        text = packed[browser].read(name).decode("utf-8", "replace")
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([^"]+)"', text))
        if name.endswith(".html"):
            named |= set(re.findall(r'(?:src|href)="([^"]+)"', text))
    assert named <= names
    assert "tsconfig.json" not in names


def test_the_same_source_makes_the_same_file(packed: dict[str, zipfile.ZipFile], tmp_path: Path) -> None:
    subprocess.run([sys.executable, PACK, tmp_path], check=True, capture_output=True)
    for archive in packed.values():
        assert archive.filename is not None
        again = tmp_path / Path(archive.filename).name
        assert again.read_bytes() == Path(archive.filename).read_bytes()


def test_it_has_the_version_of_the_program() -> None:
    assert json.loads((EXTENSION / "manifest.json").read_text())["version"] == __version__


def test_its_colours_are_those_of_the_helpers_pages() -> None:
    def blocks(style: Path) -> list[dict[str, str]]:
        rules = re.findall(r":root \{(.*?)\}", style.read_text(), re.DOTALL)
        return [dict(re.findall(r"(--[a-z-]+): ([^;]+);", rule)) for rule in rules]

    ours, helpers = blocks(EXTENSION / "look.css"), blocks(web_folder() / "helper" / "base.css")
    assert len(ours) == len(helpers) == 2  # light and dark
    for own, whole in zip(ours, helpers, strict=True):
        assert own
        assert own.items() <= whole.items()


def test_nothing_in_it_makes_markup_of_data() -> None:
    for script in EXTENSION.glob("*.js"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text()), (
            script
        )
