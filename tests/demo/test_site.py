"""The example site's server: specs and lists for its own page, nothing for anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from connect_helper.demo.far_end import ServerFacts
from connect_helper.demo.run import Demo
from connect_helper.demo.site import build_site

PASSWORD = "only for the page"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "Folder").mkdir(parents=True)
    (root / "b.txt").write_bytes(b"12345")
    (root / "<img src=x>").write_bytes(b"")
    return root


@pytest.fixture
async def site(root: Path) -> AsyncIterator[str]:
    facts = ServerFacts("127.0.0.1", 2222, "demo", PASSWORD, "SHA256:abc", root)
    runner = web.AppRunner(build_site(facts, helper_port=33009), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def test_the_page_and_its_parts_are_served_with_a_strict_policy(
    site: str, client: ClientSession
) -> None:
    for path in ("/", "/demo/demo.js", "/demo/demo.css", "/demo/icon.svg", "/sdk/connect.js"):
        async with client.get(site + path) as answer:
            assert answer.status == 200, path
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_list_shows_folders_first_with_sizes(site: str, client: ClientSession, root: Path) -> None:
    async with client.get(f"{site}/api/files", params={"folder": "/"}) as answer:
        entries = (await answer.json())["entries"]
    assert [(one["name"], one["kind"], one["size"], one["path"]) for one in entries] == [
        ("Folder", "folder", 0, "/Folder"),
        ("<img src=x>", "file", 0, "/<img src=x>"),
        ("b.txt", "file", 5, "/b.txt"),
    ]
    assert entries[2]["changed"] == int((root / "b.txt").stat().st_mtime * 1000)


@pytest.mark.parametrize(
    ("folder", "status"),
    [("/..", 400), ("/Folder/../..", 400), ("Folder", 400), ("/a\0b", 400), ("/b.txt", 404), ("/none", 404)],
)
async def test_what_is_no_folder_of_the_server_is_not_listed(
    site: str, client: ClientSession, folder: str, status: int
) -> None:
    async with client.get(f"{site}/api/files", params={"folder": folder}) as answer:
        assert answer.status == status


async def test_specs_are_complete_and_pin_the_server_s_key(site: str, client: ClientSession) -> None:
    login = {
        "remote_host": "127.0.0.1",
        "ssh_port": 2222,
        "remote_user": "demo",
        "remote_password": PASSWORD,
        "sshfp": "SHA256:abc",
    }
    async with client.post(f"{site}/api/upload-spec", json={"folder": "/Folder"}) as answer:
        spec = (await answer.json())["transfer_spec"]
    assert spec == login | {"direction": "send", "destination_root": "/Folder", "create_dir": True}
    wish = {"paths": ["/b.txt", "/Folder"], "target_rate_kbps": 5000}
    async with client.post(f"{site}/api/download-spec", json=wish) as answer:
        spec = (await answer.json())["transfer_spec"]
    assert spec == login | {
        "direction": "receive",
        "paths": [{"source": "/b.txt"}, {"source": "/Folder"}],
        "target_rate_kbps": 5000,
    }


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("download-spec", "{}", "Choose something"),
        ("download-spec", '{"paths": ["/../x"]}', "no path of this server"),
        ("upload-spec", '{"folder": "../x"}', "no path of this server"),
        ("upload-spec", '{"target_rate_kbps": 1}', "target_rate_kbps"),
        ("upload-spec", '{"unknown": 1}', "unknown"),
        ("upload-spec", "[", "JSON"),
    ],
)
async def test_a_wrong_wish_is_answered_in_words(
    site: str, client: ClientSession, route: str, body: str, words: str
) -> None:
    async with client.post(f"{site}/api/{route}", data=body) as answer:
        assert answer.status == 400
        assert words in await answer.text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this computer
        {"Host": "evil.example"},
        {"Host": "localhost.:80"},
    ],
    ids=str,
)
async def test_nobody_else_gets_a_spec(site: str, client: ClientSession, headers: dict[str, str]) -> None:
    async with client.post(f"{site}/api/upload-spec", json={}, headers=headers) as answer:
        assert answer.status in (403, 421)
        assert PASSWORD not in await answer.text()


async def test_a_link_to_the_page_may_be_followed_from_anywhere(site: str, client: ClientSession) -> None:
    async with client.get(site, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 200


async def test_the_facts_for_the_page_hold_no_password(site: str, client: ClientSession) -> None:
    async with client.get(f"{site}/api/server") as answer:
        facts: dict[str, Any] = await answer.json()
    assert facts == {"host": "127.0.0.1", "port": 2222, "user": "demo", "helper_port": 33009}


async def test_the_demo_has_everything_while_it_runs_and_leaves_nothing(client: ClientSession) -> None:
    async with Demo("http://127.0.0.1:33007") as demo:
        base = demo.samples.parent
        assert {one.name for one in demo.samples.iterdir()} == {"Letter.txt", "Recording.wav", "Album"}
        async with client.get(f"{demo.site_url}api/server") as answer:
            facts = await answer.json()
        async with client.get(f"{demo.site_url}api/files", params={"folder": "/Photos/Monday"}) as answer:
            assert len((await answer.json())["entries"]) == 60
        assert facts["helper_port"] == 33007
        assert demo.ssh_address == f"demo@127.0.0.1:{facts['port']}"
        assert len(demo.password) >= 20
    assert not base.exists()
    with pytest.raises(RuntimeError):
        _ = demo.password
