"""The browser extension in real Firefox, from the zip file that `make extension` makes for it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import launch
from tests.support.extension import code_in
from tests.support.firefox import Firefox, firefox
from tests.support.helper import Helper
from tests.support.official import ROOT, serve_site
from tests.support.person import AtThePages

pytestmark = [
    pytest.mark.skipif(firefox() is None, reason="there is no Firefox here"),
    pytest.mark.timeout(300),  # two browsers and a helper are started, one after the other
]

ID = "extension@connect-helper.github.io"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    subprocess.run([sys.executable, ROOT / "scripts/pack-extension", folder], check=True, capture_output=True)
    return folder / "connect-helper-extension-firefox.zip"


async def test_a_page_in_the_default_set_up_works_in_firefox(tmp_path: Path, packed: Path) -> None:
    async with (
        serve_site() as site,
        Helper.running(tmp_path / "home") as helper,
        launch() as browser,
        Firefox.running(tmp_path / "profile", packed, ID) as page,
    ):
        person = AtThePages(helper, browser)
        await page.go(f"{site}/?installer")
        await page.evaluate("client.init('app')")
        await page.until("client.connect.getStatus() === 'EXTENSION_INSTALL'")

        await page.go(f"{page.extension}/popup.html")
        await page.until("document.documentElement.dataset.state === 'unpaired'")
        await page.go(f"{page.extension}/pair.html")
        await page.until("!document.getElementById('asking').hidden")

        async def enter(question: str) -> None:
            code = json.dumps(code_in(question))
            await page.evaluate(f"document.getElementById('code').value = {code}")
            await page.evaluate("document.getElementById('asking').requestSubmit()")
            await page.until("document.getElementById('title').textContent.startsWith('The code is right')")

        question = await person.allow(first=enter)
        assert page.extension in question
        assert "Firefox" in question
        await page.until("document.getElementById('title').textContent === 'Paired'")

        await page.go(f"{site}/?installer")
        await page.evaluate("client.init('app')")
        await page.until("client.connect.getStatus() === 'RUNNING'")
        file = helper.user_home / "picture.bin"
        file.write_bytes(os.urandom(2_000_000))
        picked, _ = await asyncio.gather(
            page.evaluate("client.promise('showSelectFileDialogPromise', {})"), person.choose(file)
        )
        assert picked["value"]["dataTransfer"]["files"][0]["name"] == str(file)
        call = json.dumps(["readAsArrayBuffer", 1, {"path": str(file)}])
        read = await page.evaluate(f"client.callbacks(...{call})")
        assert base64.b64decode(read["value"]["data"]) == file.read_bytes()

        await helper.stop()
        await page.until("client.connect.getStatus() === 'FAILED'")
        await helper.start()
        await page.until("client.connect.getStatus() === 'RUNNING'")
