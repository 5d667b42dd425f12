"""What pages read of a transfer: whole, true after every change, and made ahead while they ask."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from connect_helper.api.beside import beside
from connect_helper.api.connect import info_text
from connect_helper.api.connect.info_text import InfoTexts
from connect_helper.transfers.listing import NEWS_RATE
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.state import Status
from connect_helper.transfers.subscriptions import Subscribers
from connect_helper.transfers.transfer import Owner, Transfer

ODD = 'a "quoted" \\ näme \udcff\n\u2028.mov'  # also a byte that is no UTF-8


def transfer(number: int = 0, **fields: Any) -> Transfer:
    return Transfer(
        **{
            "id": f"t{number}",
            "xfer_id": f"t{number}",
            "owner": Owner("https://portal.example", "app-1"),
            "request_id": "r1",
            "settings": {"app_id": "app-1", "error": "page's own"},
            "spec": {"direction": "send", "paths": [{"source": ODD}], "failure": 1},
            "direction": "send",
            "host": "b.example",
            "port": 22,
            "user": "ann",
            "title": ODD,
            "status": Status.RUNNING,
            "iteration_token": 1,
            **fields,
        }
    )


def report(index: int, written: int, state: Any = "running") -> FileReport:
    return FileReport(
        index=index,
        path=f"/{ODD}{index}",
        remote_path="x",
        bytes_expected=10,
        bytes_written=written,
        state=state,
    )


def info(texts: InfoTexts, one: Transfer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(texts.info(one))
    return found


def test_every_field_is_there_as_pages_know_it() -> None:
    one = transfer(
        previous_status=Status.INITIATING,
        add_time=1.7e9,
        bytes_expected=200,
        bytes_written=50,
        rate_kbps=12.6,
        elapsed_usec=7,
        remaining_usec=8,
        current_file=f"/{ODD}",
        explorer_path=ODD,
        error_code=4,
        error_desc=ODD,
    )
    one.counts.attempted, one.counts.completed, one.counts.failed, one.counts.skipped = 4, 3, 1, 2
    one.files = {0: report(0, 10, "done"), 1: report(1, 5)}
    told = info(InfoTexts(), one)
    assert [len(each.pop("fasp_file_id")) for each in told["files"]] == [44, 44]
    assert told == {
        "aspera_connect_settings": {"app_id": "app-1"},
        "transfer_spec": {"direction": "send", "paths": [{"source": ODD}]},
        "uuid": "t0",
        "add_time": info_text.local_time(1.7e9),
        "start_time": "",
        "end_time": "",
        "modify_time": "",
        "status": "running",
        "previous_status": "initiating",
        "title": ODD,
        "transport": "fasp",
        "bytes_expected": 200,
        "bytes_written": 50,
        "percentage": 0.25,
        "calculated_rate_kbps": 13,
        "elapsed_usec": 7,
        "remaining_usec": 8,
        "current_file": f"/{ODD}",
        "explorer_path": ODD,
        "file_counts": {"attempted": 4, "completed": 3, "failed": 1, "skipped": 2},
        "files": [
            {"file": f"/{ODD}0", "bytes_expected": 10, "bytes_written": 10},
            {"file": f"/{ODD}1", "bytes_expected": 10, "bytes_written": 5},
        ],
        "transfer_iteration_token": 1,
        "error_code": 4,
        "error_desc": ODD,
    }


def test_files_and_paths_are_left_out_where_the_page_wants_none() -> None:
    one = transfer(settings={"return_files": False, "return_paths": "no"}, files={0: report(0, 1)})
    told = info(InfoTexts(), one)
    assert "files" not in told
    assert "paths" not in told["transfer_spec"]


def test_each_change_shows_with_its_token() -> None:
    texts, one = InfoTexts(), transfer()
    assert info(texts, one)["bytes_written"] == 0
    one.bytes_written = 5
    assert info(texts, one)["bytes_written"] == 0  # nobody was told yet
    one.files = {0: report(0, 5)}
    one.iteration_token = 2
    assert (info(texts, one)["bytes_written"], info(texts, one)["files"][0]["bytes_written"]) == (5, 5)
    one.files = {0: report(0, 10, "done"), 1: report(1, 2)}
    one.iteration_token = 3
    assert [each["bytes_written"] for each in info(texts, one)["files"]] == [10, 2]
    one.status, one.title, one.iteration_token = Status.COMPLETED, "other", 4
    assert (info(texts, one)["status"], info(texts, one)["title"]) == ("completed", "other")
    one.spec, one.iteration_token = {"direction": "send", "target_rate_kbps": 7}, 5
    assert info(texts, one)["transfer_spec"]["target_rate_kbps"] == 7


async def test_the_answer_counts_its_transfers() -> None:
    answer = json.loads(await InfoTexts().activity(9, [transfer(0), transfer(1)]))
    assert (answer["iteration_token"], answer["result_count"]) == (9, 2)
    assert [each["uuid"] for each in answer["transfers"]] == ["t0", "t1"]
    assert json.loads(await InfoTexts().activity(9, [])) == {
        "iteration_token": 9,
        "result_count": 0,
        "transfers": [],
    }


async def test_an_answer_that_takes_its_time_leaves_turns_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "TURN_S", 0.0)
    texts, turns = InfoTexts(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await texts.activity(1, [transfer(number) for number in range(50)])
    task.cancel()
    assert turns >= 50


async def test_an_answer_that_is_ready_is_given_in_one_turn() -> None:
    texts, one = InfoTexts(), transfer()
    answer = await texts.activity(1, [one])
    again = texts.activity(1, [one])
    with pytest.raises(StopIteration) as given:
        again.send(None)
    assert given.value.value == answer


class Unseen(dict[int, FileReport]):
    """Files that nobody may look at."""

    def __len__(self) -> int:
        raise AssertionError("somebody looked")


async def test_an_answer_that_is_ready_looks_at_no_files() -> None:
    texts, one = InfoTexts(), transfer(files={0: report(0, 1)})
    answer = await texts.activity(1, [one])
    one.files = Unseen(one.files)
    assert await texts.activity(1, [one]) == answer


def test_an_answer_finds_few_texts_unmade() -> None:
    assert info_text.AHEAD_S * NEWS_RATE <= 5


async def test_a_shelved_transfer_that_is_read_again_has_its_text_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(info_text, "TURN_S", 0.0)  # who makes a text leaves a turn to others
    texts = InfoTexts()
    answer = await texts.activity(9, [transfer(status=Status.COMPLETED, iteration_token=7)])
    again = texts.activity(9, [transfer(status=Status.COMPLETED, iteration_token=7)])
    with pytest.raises(StopIteration) as given:
        again.send(None)
    assert given.value.value == answer
    changed = await texts.activity(9, [transfer(status=Status.COMPLETED, iteration_token=8, title="new")])
    assert json.loads(changed)["transfers"][0]["title"] == "new"


async def test_files_that_could_not_be_read_before_show_when_they_are() -> None:
    texts, over = InfoTexts(), {"status": Status.COMPLETED, "iteration_token": 7}
    await texts.activity(9, [transfer(**over)])
    answer = await texts.activity(9, [transfer(**over, files={1: report(1, 10)})])
    assert len(json.loads(answer)["transfers"][0]["files"]) == 1


async def test_what_is_removed_while_the_answer_is_made_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "TEXTS_KEPT", 5)
    monkeypatch.setattr(info_text, "TURN_S", 0.0)
    texts, many = InfoTexts(), [transfer(number) for number in range(40)]

    async def meanwhile() -> None:
        for one in many[::2]:
            one.status, one.iteration_token = Status.REMOVED, 5

    answer, _ = await asyncio.gather(texts.activity(1, many), meanwhile())
    told = {each["uuid"]: each["status"] for each in json.loads(answer)["transfers"]}
    assert len(told) == len(many)
    assert (told["t0"], told["t38"], told["t39"]) == ("running", "removed", "running")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "TEXTS_KEPT", 3)
    monkeypatch.setattr(info_text, "CHARACTERS_KEPT", 6_000)
    texts = InfoTexts()
    for number in range(10):
        texts.info(transfer(number))
    assert list(texts._known) == ["t7", "t8", "t9"]
    large = transfer(1, files={index: report(index, 1) for index in range(100)})
    assert len(info(texts, large)["files"]) == 100  # though it is more than is kept
    kept = sum(len(known.asked) + len(known.whole) for known in texts._known.values())
    assert kept == texts._characters <= 6_000


async def test_memory_is_bounded_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "TEXTS_KEPT", 50)
    monkeypatch.setattr(info_text, "CHARACTERS_KEPT", 6_000)
    monkeypatch.setattr(info_text, "AHEAD_S", 0.0)
    subscribers, texts = Subscribers(), InfoTexts()
    with subscribers.subscribe() as changes:
        async with beside(texts.keep_ready(changes), "texts"):
            for number in range(100):
                subscribers.publish(transfer(number, spec={"paths": ["x" * 1_000]}))
                await asyncio.sleep(0.001)
    kept = sum(len(known.asked) + len(known.whole) for known in texts._known.values())
    assert 0 < kept == texts._characters <= 6_000


async def test_what_stays_is_made_before_anybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "AHEAD_S", 0.0)
    made: list[str] = []
    asked = info_text._asked
    monkeypatch.setattr(info_text, "_asked", lambda one: made.append(one.id) or asked(one))
    subscribers, texts, many = Subscribers(), InfoTexts(), [transfer(number) for number in range(20)]
    with subscribers.subscribe() as changes:
        async with beside(texts.keep_ready(changes), "texts"):
            for one in many:
                subscribers.publish(one)
            await asyncio.sleep(0.05)
            assert made == [one.id for one in many]
            many[3].spec, many[3].iteration_token = {"direction": "send", "cookie": "another"}, 2
            subscribers.publish(many[3])
            await asyncio.sleep(0.05)
    assert made[20:] == ["t3"]
    answer = json.loads(await texts.activity(2, many))
    assert answer["transfers"][3]["transfer_spec"]["cookie"] == "another"
    assert len(made) == 21


async def test_more_than_fits_is_made_ahead_once_and_not_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "AHEAD_S", 0.0)
    monkeypatch.setattr(info_text, "TEXTS_KEPT", 3)
    made: list[str] = []
    asked = info_text._asked
    monkeypatch.setattr(info_text, "_asked", lambda one: made.append(one.id) or asked(one))
    subscribers, texts, all_of_them = Subscribers(), InfoTexts(), [transfer(number) for number in range(5)]
    with subscribers.subscribe() as changes:
        async with beside(texts.keep_ready(changes), "texts"):
            for _ in range(3):
                for one in all_of_them:
                    one.iteration_token += 1
                    subscribers.publish(one)
                await asyncio.sleep(0.02)
    assert sorted(made) == ["t0", "t1", "t2", "t3", "t4"]


async def test_no_answer_is_older_than_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changes, in whatever order, answers are those of somebody who remembers nothing."""
    monkeypatch.setattr(info_text, "AHEAD_S", 0.0)
    monkeypatch.setattr(info_text, "TEXTS_KEPT", 12)
    monkeypatch.setattr(info_text, "TURN_S", 0.0)
    chance, token = random.Random(7), 1
    subscribers, texts, many = Subscribers(), InfoTexts(), [transfer(number) for number in range(16)]
    with subscribers.subscribe() as changes:
        async with beside(texts.keep_ready(changes), "texts"):
            for _ in range(400):
                for one in chance.sample(many, 3):
                    _change(one, chance)
                    token += 1
                    one.iteration_token = token
                    subscribers.publish(one)
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                told = await texts.activity(token, some := chance.sample(many, 8))
                assert told == await InfoTexts().activity(token, some)


def _change(one: Transfer, chance: random.Random) -> None:
    match chance.randrange(8):
        case 0:
            one.status = chance.choice([Status.RUNNING, Status.WILL_RETRY, Status.COMPLETED, Status.QUEUED])
        case 1:
            one.spec = {**one.spec, "cookie": chance.random()}
        case 2:
            one.settings = {**one.settings, "return_files": chance.random() < 0.5}
        case 3:
            one.title = one.error_desc = f"{chance.random()}"
        case 4:
            one.files.pop(chance.randrange(4), None)
        case _:
            one.bytes_written = chance.randrange(10**6)
            one.modify_time = float(chance.randrange(10**9))
            index = chance.randrange(4)
            one.files[index] = report(index, one.bytes_written, chance.choice(["running", "done", "failed"]))


async def test_texts_are_made_ahead_while_pages_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_text, "AHEAD_S", 0.0)
    made: list[str] = []
    whole = info_text._whole
    monkeypatch.setattr(info_text, "_whole", lambda known, one: made.append(one.id) or whole(known, one))
    subscribers, texts, shown, unseen = Subscribers(), InfoTexts(), transfer(0), transfer(1)

    async def news() -> None:
        for one in (shown, unseen):
            one.iteration_token += 1
            subscribers.publish(one)
        await asyncio.sleep(0.01)

    with subscribers.subscribe() as changes:
        task = asyncio.create_task(texts.keep_ready(changes))
        await news()
        assert made == []  # nobody has asked
        await texts.activity(1, [shown])
        await news()
        assert made == ["t0", "t0"]
        await texts.activity(2, [shown])
        assert made == ["t0", "t0"]  # it was ready
        monkeypatch.setattr(texts, "_asked_at", texts._asked_at - info_text.ASKED_S)
        await news()
        assert made == ["t0", "t0"]  # nobody asks any more
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
