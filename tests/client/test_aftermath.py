"""What becomes of the sources and how files are stored: arguments that transfer specs have words for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connect_helper import Policies, TransferFailed, areceive, asend
from connect_helper.client.planning import plan_for, upload_items, with_afterwards
from connect_helper.client.settling import settle
from connect_helper.errors import InvalidRequest, TargetError
from connect_helper.settings import HOME_VARIABLE, Folders
from connect_helper.spec.remote_address import parse_address
from connect_helper.transports.age import HEAD_LIMIT
from tests.support.sshd import SshServer

AGE = b"age-encryption.org/v1\n"


@pytest.fixture
def login(key: Path) -> dict[str, Any]:
    return {"key": key, "host_key": "accept-new"}


def tree(folder: Path) -> Path:
    """A folder with a file at its top and one below."""
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "sub" / "b").write_text("b")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_sources_are_removed_as_far_as_asked(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    source = tree(tmp_path / "tree")
    await asend(source, address, remove_after_transfer=True, **login)
    assert names(source) == ["sub"]
    await asend(source, address, remove_empty_directories=True, **login)
    assert names(source) == []
    await asend(source, address, remove_empty_source_directory=True, **login)
    assert not source.exists()
    assert names(sshd.root) == ["tree", "tree/a", "tree/sub", "tree/sub/b"]


async def test_a_received_folder_goes_from_the_server(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    tree(sshd.root / "tree")
    await areceive(f"{address}/tree", tmp_path / "out", delete_source=True, **login)
    assert names(sshd.root) == []
    assert names(tmp_path / "out") == ["tree", "tree/a", "tree/sub", "tree/sub/b"]


async def test_what_was_there_already_stays_unless_skipped_ones_go_too(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    source = tree(tmp_path / "tree")
    await asend(source, address, **login)
    assert (await asend(source, address, remove_after_transfer=True, **login)).files_skipped == 2
    assert names(source) == ["a", "sub", "sub/b"]
    await asend(source, address, remove_after_transfer=True, remove_skipped=True, **login)
    assert names(source) == ["sub"]


async def test_sources_are_moved_to_a_folder_of_their_side(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    source = tree(tmp_path / "tree")
    await asend(source, f"{address}/in", move_after_transfer=tmp_path / "sent" / "here", **login)
    assert names(tmp_path / "sent" / "here") == ["tree", "tree/a", "tree/sub", "tree/sub/b"]
    assert names(source) == ["sub"]
    got = f"{address}/in/tree"
    await areceive(got, tmp_path / "out", move_after_transfer=f"{sshd.root}/fetched", **login)
    assert names(sshd.root / "fetched") == ["tree", "tree/a", "tree/sub", "tree/sub/b"]
    assert (tmp_path / "out" / "tree" / "sub" / "b").read_text() == "b"


async def test_names_are_hidden_on_the_server(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    (tmp_path / "secret plan.txt").write_text("text")
    await asend(tmp_path / "secret plan.txt", address, obfuscate_file_names=True, **login)
    [stored] = sshd.root.iterdir()
    assert (len(stored.name), stored.suffix, stored.read_text()) == (32, "", "text")


async def test_files_are_encrypted_on_the_way_out_and_opened_on_the_way_in(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    (tmp_path / "note").write_text("text")
    words: Any = {"content_protection_passphrase": "open sesame"}
    await asend(tmp_path / "note", address, content_protection="encrypt", **words, **login)
    assert (sshd.root / "note.age").read_bytes()[:HEAD_LIMIT].startswith(AGE)
    there = f"{address}/note.age"
    await areceive(there, tmp_path / "out", content_protection="decrypt", **words, **login)
    assert (tmp_path / "out" / "note").read_text() == "text"
    words = {"content_protection_passphrase": "open barley", "fail_bad_filepass": True}
    with pytest.raises(TransferFailed) as caught:
        await areceive(there, tmp_path / "no", content_protection="decrypt", **words, **login)
    assert caught.value.reason == "bad_passphrase"
    assert names(tmp_path / "no") == []
    assert "open barley" not in repr(caught.value) + repr(caught.value.result)


async def test_rates_threshold_and_time_of_retries_reach_the_session(tmp_path: Path) -> None:
    (tmp_path / "film").touch()
    folders = Folders.from_environment({HOME_VARIABLE: str(tmp_path / "home")})
    folders.create()
    address = parse_address("ssh://ann@127.0.0.1/in")
    items = upload_items([(tmp_path / "film", "")], address)
    cases: list[tuple[dict[str, Any], int | None, int | None]] = [
        ({}, None, None),
        ({"rate_kbps": 800, "target_rate_cap_kbps": 500}, 500, None),
        ({"rate_kbps": 300, "target_rate_cap_kbps": 500, "multi_session_threshold": 0}, 300, 0),
        ({"target_rate_cap_kbps": 500, "multi_session_threshold": 1_000_000}, 500, 1_000_000),
    ]
    for given, rate_kbps, threshold in cases:
        options: Any = {"password": "x", **given}
        plan = await plan_for(address, items, settle(options, "send"), folders)
        assert (plan.rate_kbps, plan.divide_from) == (rate_kbps, threshold)
    assert settle({"retry_duration": "5min"}, "send").retry_rules.total_s == 300


@pytest.mark.parametrize(
    ("direction", "field", "given"),
    [
        ("send", "move_after_transfer", {"remove_after_transfer": True, "move_after_transfer": "x"}),
        ("send", "move_after_transfer", {"move_after_transfer": ""}),
        ("receive", "move_after_transfer", {"move_after_transfer": "ssh://ana@server.example/x"}),
        ("send", "remove_skipped", {"remove_skipped": True}),
        ("send", "remove_after_transfer", {"remove_after_transfer": "perhaps"}),
        ("send", "content_protection", {"content_protection": "decrypt"}),
        ("receive", "content_protection", {"content_protection": "encrypt"}),
        ("send", "content_protection", {"content_protection": "rot13"}),
        (
            "send",
            "content_protection_passphrase",
            {"content_protection": "encrypt", "content_protection_passphrase": ""},
        ),
        ("send", "content_protection_passphrase", {"content_protection_passphrase": "x"}),
        ("receive", "fail_bad_filepass", {"fail_bad_filepass": True}),
        ("receive", "obfuscate_file_names", {"obfuscate_file_names": True}),
        ("send", "multi_session_threshold", {"multi_session_threshold": -1}),
        ("send", "multi_session_threshold", {"multi_session_threshold": "large"}),
        ("send", "target_rate_cap_kbps", {"target_rate_cap_kbps": 0}),
        ("send", "rate_kbps", {"rate_kbps": 10**12}),
        ("send", "retry_duration", {"retry_duration": "soon"}),
        ("send", "delete_first", {"policies": Policies(delete_first=True), "obfuscate_file_names": True}),
        ("send", "delete_first", {"policies": Policies(delete_first=True), "move_after_transfer": "x"}),
        ("send", "delete_first", {"policies": {"delete_first": True}, "delete_source": True}),
    ],
)
def test_contradictions_name_the_argument(direction: Any, field: str, given: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        settle(given, direction)
    assert caught.value.field == field
    assert f'"{field}"' in caught.value.user_message


async def test_a_passphrase_is_needed_before_anything_is_sent(
    tmp_path: Path, sshd: SshServer, login: dict[str, Any], address: str
) -> None:
    (tmp_path / "note").write_text("text")
    with pytest.raises(InvalidRequest, match="content_protection_passphrase"):
        await asend(tmp_path / "note", address, content_protection="encrypt", **login)
    assert names(sshd.root) == []


def test_files_are_not_moved_to_where_they_are_looked_for(tmp_path: Path) -> None:
    source = tree(tmp_path / "tree")
    items = upload_items([(source, "")], parse_address("ssh://ann@127.0.0.1/in"))
    inside = settle({"move_after_transfer": source / "sent"}, "send")
    with pytest.raises(InvalidRequest, match="inside"):
        with_afterwards(inside, items)
    assert not (source / "sent").exists()
    with pytest.raises(TargetError):
        with_afterwards(settle({"move_after_transfer": source / "a"}, "send"), upload_items(
            [(source / "sub", "")], parse_address("ssh://ann@127.0.0.1/in")
        ))  # fmt: skip


def test_a_folder_on_the_server_is_named_as_in_addresses() -> None:
    for given, there in (("/done", "/done"), ("done", "done"), ("/~/done", "done"), ("/~", ".")):
        assert settle({"move_after_transfer": given}, "receive").wishes.move_to == there
    assert settle({"move_after_transfer": "/~/done"}, "send").wishes.move_to == "/~/done"
