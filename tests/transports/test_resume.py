"""Resume records: what they hold, what they prove, and how long they live."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from connect_helper.spec.block_hash import BLOCK_HASH, SHA256, new_hash
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes, Proof
from connect_helper.transports.resume import KEPT_S, Record, RecordStore, SourceId, proven
from tests.support.sessions import noise

RECORD = Record("id", "send", "p\udcff", 0, 0, SourceId(1, 2, 3), Proof(5, (), "ab"))


def test_a_record_comes_back_as_it_was_and_is_private(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "resume")
    key = store.key("send", "h.example", 22, "user", b"target\xff")
    store.save(key, RECORD)
    (path,) = (tmp_path / "resume").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "resume").stat().st_mode & 0o777 == 0o700
    assert set(json.loads(path.read_text())) == {
        *("version", "transfer_id", "direction", "partial", "partial_device", "partial_inode"),
        *("source", "offset", "blocks", "tail", "algorithm"),
    }
    assert store.load(key) == RECORD
    store.remove(key)
    store.remove(key)
    assert store.load(key) is None


def test_the_key_tells_servers_users_directions_and_targets_apart() -> None:
    keys = {
        RecordStore.key(*parts)
        for parts in (
            ("send", "h", 22, "u", b"t"),
            ("receive", "h", 22, "u", b"t"),
            ("send", "g", 22, "u", b"t"),
            ("send", "h", 23, "u", b"t"),
            ("send", "h", 22, "v", b"t"),
            ("send", "h", 22, "u", b"s"),
        )
    }
    assert len(keys) == 6
    assert RecordStore.key("send", "H", 22, "u", b"t") in keys


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1}', '{"version": 2}', '{"version": 1, "source": 3}']
)
def test_a_record_that_cannot_be_understood_counts_as_none(tmp_path: Path, text: str) -> None:
    store = RecordStore(tmp_path)
    (tmp_path / "key.json").write_text(text)
    assert store.load("key") is None


@pytest.mark.parametrize("proof", [Proof(5, (), "ab", chained=True), Proof(5, (), "ab")])
def test_a_record_tells_whether_its_hashes_are_chained(tmp_path: Path, proof: Proof) -> None:
    store = RecordStore(tmp_path)
    store.save("key", replace(RECORD, proof=proof))
    found = store.load("key")
    assert found is not None
    assert found.proof == proof


def test_a_record_of_an_earlier_version_proves_by_sha256(tmp_path: Path) -> None:
    content = noise(RECORD_BLOCK + 1000)
    blocks, tail = content[:RECORD_BLOCK], content[RECORD_BLOCK:]
    store = RecordStore(tmp_path)
    store.save("key", RECORD)
    written = json.loads((tmp_path / "key.json").read_text())
    del written["algorithm"]
    written["offset"] = len(content)
    written["blocks"], written["tail"] = (
        [hashlib.sha256(blocks).hexdigest()],
        hashlib.sha256(tail).hexdigest(),
    )
    (tmp_path / "key.json").write_text(json.dumps(written))
    found = store.load("key")
    assert found is not None
    hashes, again = BlockHashes(), BlockHashes()
    assert proven(lambda o, n: content[o : o + n], found.proof, hashes) == len(content)
    again.feed(content)
    assert hashes.proof(hashes.mark()) == again.proof(again.mark())
    written["algorithm"] = "crc32"
    (tmp_path / "key.json").write_text(json.dumps(written))
    assert store.load("key") is None


@pytest.mark.parametrize("algorithm", ["", "md5", "sha256"])
@pytest.mark.parametrize("chained", [SHA256, BLOCK_HASH])
def test_chained_hashes_tell_the_whole_files_too(chained: str, algorithm: str) -> None:
    content = noise(RECORD_BLOCK + 1000)
    hashes = BlockHashes(algorithm, chained=chained)
    hashes.feed(content[:70_000])
    hashes.feed(content[70_000:])
    assert hashes.whole == digest_of(content, chained)
    assert hashes.digest() == (hashlib.new(algorithm, content).hexdigest() if algorithm else "")
    assert hashes.blocks == [digest_of(content[:RECORD_BLOCK], chained)]


def digest_of(content: bytes, algorithm: str) -> str:
    digest = new_hash(algorithm)
    digest.update(content)
    return digest.hexdigest()


@pytest.mark.parametrize("chained", ["", SHA256, BLOCK_HASH])
def test_marks_prove_every_length(chained: str) -> None:
    content = noise(2 * RECORD_BLOCK + 1000)
    hashes = BlockHashes("sha256", chained=chained)
    marks = []
    for start in range(0, len(content), 5_000_000):
        hashes.feed(content[start : start + 5_000_000])
        marks.append(hashes.mark())
    for mark in marks:
        again = BlockHashes(chained=chained)
        read = lambda offset, length: content[offset : offset + length]  # noqa: E731
        assert proven(read, hashes.proof(mark), again) == mark.offset
        assert again.mark() == mark


@pytest.mark.parametrize(
    ("damaged", "proven_bytes"),
    [(0, 0), (RECORD_BLOCK - 1, 0), (RECORD_BLOCK, RECORD_BLOCK), (2 * RECORD_BLOCK + 5, 2 * RECORD_BLOCK)],
)
@pytest.mark.parametrize("chained", ["", SHA256, BLOCK_HASH])
def test_only_what_is_before_the_damage_is_proven(damaged: int, proven_bytes: int, chained: str) -> None:
    content = bytearray(noise(2 * RECORD_BLOCK + 1000))
    hashes = BlockHashes(chained=chained)
    hashes.feed(bytes(content))
    content[damaged] ^= 1
    again = BlockHashes()
    assert proven(lambda o, n: bytes(content[o : o + n]), hashes.proof(hashes.mark()), again) == proven_bytes
    assert again.mark().offset == proven_bytes


def test_the_sweep_removes_old_records_and_only_partial_files_that_are_ours(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "resume")
    paths = {}
    for name in ("ours", "replaced", "young"):
        partial = paths[name] = tmp_path / f"{name}.partial"
        partial.write_text("x")
        facts = partial.stat()
        inode = facts.st_ino + 1 if name == "replaced" else facts.st_ino
        store.save(name, Record("id", "receive", str(partial), facts.st_dev, inode, SourceId(1, 1), Proof()))
    old = time.time() - KEPT_S - 10
    for name in ("ours", "replaced"):
        os.utime(tmp_path / "resume" / f"{name}.json", (old, old))
    assert store.sweep() == 2
    assert {name for name, path in paths.items() if path.exists()} == {"replaced", "young"}
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["young.json"]
    assert store.sweep(now=time.time() + KEPT_S + 10) == 1
    assert not paths["young"].exists()
