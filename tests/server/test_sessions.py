"""Sessions: figures, limits, ends; and the transfer log that follows from them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from connect_helper.errors import ConnectionLost
from connect_helper.server import transfer_log
from connect_helper.server.metrics import Metrics
from connect_helper.server.sessions import SessionCancelled, Sessions, TooManySessions
from connect_helper.server.transfer_log import Rotation, TransferLog
from tests.support.server_parts import access, account, claims

FILE = (b"inbox", b"film.mov")


def figures(metrics: Metrics) -> dict[str, float]:
    lines = (line for line in metrics.text().decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_a_session_counts_bytes_and_files_each_way() -> None:
    metrics = Metrics()
    sessions = Sessions(metrics)
    with sessions.open(access(), "sftp", "192.0.2.1") as session:
        session.file_started(FILE, "in", 30)
        assert [file.path for file in session.report().under_way] == [FILE]
        await session.pace(10, "in")
        await session.pace(20, "in")
        await session.pace(7, "out")
        session.file_finished(FILE, "in", 30, "sha256:00")
        session.file_finished((b"b",), "out", 7, error="The disk is full.")
        (live,) = sessions.listing()
    assert (live.status, live.bytes_in, live.bytes_out) == ("running", 30, 7)
    (done,) = sessions.history()
    assert (done.files_in, done.files_out, done.files_failed, done.status) == (1, 0, 1, "failed")
    assert sessions.listing() == ()
    counted = figures(metrics)
    assert counted['connect_helper_bytes_total{direction="in",protocol="sftp"}'] == 30
    assert counted['connect_helper_sessions{protocol="sftp"}'] == 0
    assert counted['connect_helper_files_total{direction="out",protocol="sftp",result="failed"}'] == 1


async def test_a_file_that_two_have_open_is_under_way_until_both_have_left() -> None:
    with Sessions(Metrics()).open(access(), "sftp", "a") as session:
        session.file_started(FILE, "out", 5)
        session.file_started(FILE, "out", 5)
        session.file_left(FILE, "out")
        assert len(session.report().under_way) == 1
        session.file_finished(FILE, "out", 5)
        assert session.report().under_way == ()


async def test_how_a_session_ended_is_told() -> None:
    sessions = Sessions(Metrics())
    with pytest.raises(ConnectionLost), sessions.open(access(), "sftp", "a"):
        raise ConnectionLost("The line broke.")
    with pytest.raises(RuntimeError), sessions.open(access(), "sftp", "a"):
        raise RuntimeError("with a secret in it")
    with sessions.open(access(), "sftp", "a") as third:
        third.cancel()
    told = [(one.status, one.error) for one in sessions.history()]
    assert told == [("failed", "The line broke."), ("failed", "RuntimeError"), ("cancelled", None)]


async def test_a_cancelled_session_moves_no_byte_more() -> None:
    sessions = Sessions(Metrics())
    closed: list[str] = []
    with sessions.open(access(account(upload_cap_kbps=8)), "sftp", "a") as session:
        session.on_cancel(lambda: closed.append("connection"))
        session.on_cancel(unwanted := (lambda: closed.append("unwanted")))
        session.no_longer_on_cancel(unwanted)
        await session.pace(100, "in")
        waiting = asyncio.create_task(session.pace(1, "in"))
        await asyncio.sleep(0)
        session.cancel()
        session.cancel()
        session.set_rate("in", None)
        with pytest.raises(SessionCancelled):
            async with asyncio.timeout(2):
                await waiting
        with pytest.raises(SessionCancelled):
            await session.pace(1, "out")
        session.on_cancel(lambda: closed.append("late"))
    assert closed == ["connection", "late"]
    assert sessions.history()[0].bytes_in == 100


async def test_a_rate_never_rises_above_the_lower_cap() -> None:
    token = claims(now=0, rate_cap_kbps=500)
    of = account(upload_cap_kbps=1000, download_cap_kbps=200)
    with Sessions(Metrics()).open(access(of, token), "http", "a") as session:
        assert (session.rate("in"), session.rate("out")) == (500, 200)
        assert session.set_rate("in", 100) == 100
        assert session.set_rate("in", 900) == 500
        assert session.set_rate("in", None) == 500
        assert session.set_rate("out", 0) == 1
    with Sessions(Metrics()).open(access(), "http", "a") as free:
        assert free.set_rate("in", 900) == 900
        assert free.set_rate("in", None) is None


async def test_server_and_account_have_limits() -> None:
    sessions = Sessions(Metrics(), limit=2, limit_per_account=1)
    with sessions.open(access(account("ann")), "sftp", "a"):
        with pytest.raises(TooManySessions), sessions.open(access(account("ann")), "sftp", "a"):
            pass
        with (
            sessions.open(access(account("ben")), "sftp", "a"),
            pytest.raises(TooManySessions),
            sessions.open(access(account("cleo")), "sftp", "a"),
        ):
            pass
    with sessions.open(access(account("ann")), "sftp", "a"):
        pass


async def test_one_address_does_not_take_the_whole_of_a_busy_server() -> None:
    sessions = Sessions(Metrics(), limit=400, limit_per_account=1000)
    with contextlib.ExitStack() as opened:

        def begin(name: str, peer: str) -> None:
            opened.enter_context(sessions.open(access(account(name)), "sftp", peer))

        for number in range(200):  # half of them: as many as it likes
            begin(f"user {number % 20}", f"2001:db8::{number:x}")
        with pytest.raises(TooManySessions, match="this address"):
            begin("another", "2001:db8::ffff")
        for _ in range(100):  # a quarter
            begin("ben", "192.0.2.1")
        with pytest.raises(TooManySessions, match="this address"):
            begin("cleo", "192.0.2.1")
        for number in range(100):
            begin("ann", f"198.51.100.{number}")
        with pytest.raises(TooManySessions, match="other transfers"):
            begin("cleo", "203.0.113.1")
    with sessions.open(access(), "sftp", "192.0.2.1"):
        pass


async def test_one_token_or_address_does_not_take_the_whole_of_a_busy_account() -> None:
    sessions = Sessions(Metrics(), limit=10_000, limit_per_account=400)
    greedy, other, third = (access(token=claims(now=0, id=name * 32)) for name in "123")
    with contextlib.ExitStack() as opened:
        for number in range(200):
            opened.enter_context(sessions.open(greedy, "sftp", f"192.0.2.{number}"))
        with pytest.raises(TooManySessions, match="this token"):
            opened.enter_context(sessions.open(greedy, "sftp", "198.51.100.1"))
        for _ in range(100):
            opened.enter_context(sessions.open(other, "sftp", "198.51.100.1"))
        with pytest.raises(TooManySessions, match="this address"):
            opened.enter_context(sessions.open(third, "sftp", "198.51.100.1"))
        opened.enter_context(sessions.open(third, "sftp", "203.0.113.1"))
        opened.enter_context(sessions.open(access(account("ben")), "sftp", "198.51.100.1"))


async def test_requests_of_one_token_share_a_session_until_it_rests() -> None:
    sessions = Sessions(Metrics(), linger_s=0.02)
    caller = access(token=claims(now=0, cookie="c"))
    with sessions.join(caller, "https", "a") as first, sessions.join(caller, "https", "a") as second:
        assert first is second
        assert first.cookie == "c"
        with sessions.join(caller, "https", "b") as other:
            assert other is not first
    with sessions.join(caller, "https", "a") as again:
        assert again is first
    async with asyncio.timeout(2):
        await sessions.until_empty()
    with sessions.join(caller, "https", "a") as later:
        assert later is not first
    sessions.close_idle()
    assert sessions.listing() == ()


async def test_a_cancelled_shared_session_refuses_and_then_begins_anew() -> None:
    sessions = Sessions(Metrics())
    caller = access(token=claims(now=0))
    with sessions.join(caller, "http", "a") as first:
        first.cancel()
        with pytest.raises(SessionCancelled), sessions.join(caller, "http", "a"):
            pass
    with sessions.join(caller, "http", "a") as second:
        assert second is not first
    sessions.close_idle()


async def test_a_reload_ends_the_sessions_of_who_is_gone_or_may_do_less() -> None:
    sessions = Sessions(Metrics())
    ann, ben, cleo = (account(name, upload_cap_kbps=100) for name in ("ann", "ben", "cleo"))
    with (
        sessions.open(access(ann), "sftp", "a") as of_ann,
        sessions.open(access(ben), "sftp", "a") as of_ben,
        sessions.open(access(cleo), "sftp", "a") as of_cleo,
    ):
        now = {"ann": account("ann", upload_cap_kbps=50), "ben": account("ben", upload="deny")}
        assert sessions.accounts_changed(now.get) == 2
        assert (of_ann.cancelled, of_ben.cancelled, of_cleo.cancelled) == (False, True, True)
        assert of_ann.rate("in") == 50


def log_in(folder: Path, **rotation: int) -> TransferLog:
    rules = Rotation(**{"max_bytes": 10_000_000, "keep_files": 3, "keep_days": 30, **rotation})
    log = TransferLog(folder / "transfers.sqlite", rules, lambda waiting: None)
    log.start()
    return log


async def test_the_transfer_log_holds_sessions_and_files(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    sessions = Sessions(Metrics(), log)
    name = b"\xff\n'; drop table files"
    with sessions.open(access(token=claims(now=0, cookie="c")), "sftp", "192.0.2.1") as session:
        await session.pace(5, "out")
        session.file_finished((b"inbox", name), "out", 5, "sha256:00")
    log.close()
    with sqlite3.connect(tmp_path / "transfers.sqlite") as database:
        (row,) = database.execute("select id, status, bytes_out, token_id, cookie from sessions").fetchall()
        files = database.execute("select session_id, path, direction, size, digest from files").fetchall()
    database.close()
    assert row == (session.id, "completed", 5, "1" * 32, "c")
    assert files == [(session.id, b"inbox/" + name, "receive", 5, "sha256:00")]
    assert (tmp_path / "transfers.sqlite").stat().st_mode & 0o777 == 0o600


async def test_a_cookie_that_is_no_text_does_not_end_the_transfer_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As `token issue --cookie` passes on what a terminal of another encoding gave it."""
    log = log_in(tmp_path)
    sessions = Sessions(Metrics(), log)
    odd = access(token=claims(now=0, cookie=os.fsdecode(b"M\xfcller")))
    for one in (odd, access()):
        with sessions.open(one, "sftp", "192.0.2.1") as session:
            session.file_finished((b"x",), "out", 5)
    log.close()
    with sqlite3.connect(tmp_path / "transfers.sqlite") as database:
        cookies = database.execute("select cookie from sessions order by started_at").fetchall()
        ended = database.execute("select count(*) from files").fetchone()
    database.close()
    assert cookies == [("M\\udcfcller",), (None,)]
    assert ended == (2,)
    assert "could not be written" not in caplog.text


async def test_a_large_log_is_set_aside_and_old_ones_go(tmp_path: Path) -> None:
    for _ in range(5):
        log = log_in(tmp_path, max_bytes=1, keep_files=2)
        with Sessions(Metrics(), log).open(access(), "sftp", "a"):
            pass
        log.close()
    assert len(list(tmp_path.glob("transfers-*.sqlite"))) == 2
    assert not (tmp_path / "transfers.sqlite").exists()


async def test_old_logs_go_at_the_start_and_on_a_quiet_server_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transfer_log, "LOOK_EVERY_S", 0.05)

    def set_aside(name: str, days: int) -> Path:
        path = tmp_path / f"transfers-{name}.sqlite"
        path.touch()
        os.utime(path, (time.time() - days * 86_400,) * 2)
        return path

    young = set_aside("young", 29)
    first = set_aside("first", 31)
    log = log_in(tmp_path)
    await until(lambda: not first.exists())
    stuck = tmp_path / "transfers-stuck.sqlite"
    stuck.mkdir()  # what is there by that name cannot be removed
    os.utime(stuck, (0, 0))
    await until(lambda: "cannot be removed" in caplog.text)
    stuck.rmdir()
    later = set_aside("later", 31)
    await until(lambda: not later.exists())
    log.close()
    assert young.exists()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  a file or a log has no event
            await asyncio.sleep(0.01)


async def test_a_log_that_cannot_be_written_does_not_stop_the_sessions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_in(tmp_path)
    (tmp_path / "transfers.sqlite").write_bytes(b"no database" * 1000)
    with Sessions(Metrics(), log).open(access(), "sftp", "a") as session:
        await session.pace(1, "in")
    log.close()
    assert "could not be written" in caplog.text
