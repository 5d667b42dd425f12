"""What is asked about a file under way, how much at a time, and when to stop asking."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from connect_helper.errors import ChecksumMismatch, ConnectionLost, TargetError
from connect_helper.spec.block_hash import BLOCK_HASH, new_hash
from connect_helper.transports.base import RECORD_BLOCK, BlockHashes
from connect_helper.transports.proof import STEP, UNDER_WAY, Proof

SIZE = 2 * STEP + RECORD_BLOCK + 5
CONTENT = random.Random(5).randbytes(SIZE)


def ours() -> BlockHashes:
    hashes = BlockHashes()
    hashes.feed(CONTENT)
    return hashes


def theirs(start: int, length: int) -> bytes:
    digests = b""
    for at in range(start, start + length, RECORD_BLOCK):
        one = new_hash(BLOCK_HASH)
        one.update(CONTENT[at : min(at + RECORD_BLOCK, start + length)])
        digests += one.digest()
    return digests


class Server:
    """Answers each question when it is told to, and notes them all."""

    def __init__(self, answer: Callable[[int, int], bytes] = theirs) -> None:
        self.asked: list[tuple[int, int]] = []
        self.under_way = self.most = 0
        self.may_answer = asyncio.Event()
        self._answer = answer

    async def __call__(self, start: int, length: int) -> bytes:
        self.asked.append((start, length))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.may_answer.wait()
            return self._answer(start, length)
        finally:
            self.under_way -= 1


async def test_it_is_asked_while_more_arrives_and_about_everything() -> None:
    server = Server()
    proof = Proof(server, b"film", SIZE)
    proof.reach(STEP - 1)
    await asyncio.sleep(0)
    assert server.asked == []
    proof.reach(STEP)
    await asyncio.sleep(0)
    assert server.asked == [(0, STEP)]
    server.may_answer.set()
    assert await proof.holds(ours())
    assert server.asked == [(0, STEP), (STEP, STEP), (2 * STEP, RECORD_BLOCK + 5)]


async def test_what_was_there_before_is_asked_about_though_nothing_more_arrives() -> None:
    server = Server()
    proof = Proof(server, b"film", 10 * STEP)
    proof.reach(9 * STEP)
    await asyncio.sleep(0)
    server.may_answer.set()
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(server.asked) == 9
    assert server.most == UNDER_WAY
    await proof.close()


async def test_answers_may_come_in_any_order() -> None:
    order = [asyncio.Event(), asyncio.Event()]

    async def ask(start: int, length: int) -> bytes:
        await order[start // STEP % 2].wait()
        return theirs(start, length)

    proof = Proof(ask, b"film", SIZE)
    proof.reach(2 * STEP)
    await asyncio.sleep(0)
    order[1].set()
    await asyncio.sleep(0.01)
    order[0].set()
    assert await proof.holds(ours())


async def test_other_digests_are_a_damaged_file() -> None:
    server = Server(lambda start, length: bytes(len(theirs(start, length))))
    server.may_answer.set()
    proof = Proof(server, b"film", SIZE)
    with pytest.raises(ChecksumMismatch):
        await proof.holds(ours())


def refuse(_start: int, _length: int) -> bytes:
    raise TargetError("no")


def run_out(_start: int, _length: int) -> bytes:
    raise TimeoutError


@pytest.mark.parametrize("answer", [lambda _start, _length: b"", refuse, run_out])
async def test_after_one_question_without_an_answer_nothing_more_is_asked(
    answer: Callable[[int, int], bytes],
) -> None:
    server = Server(answer)
    server.may_answer.set()
    proof = Proof(server, b"film", 1000 * STEP)
    proof.reach(500 * STEP)
    async with asyncio.timeout(5):
        assert not await proof.holds(BlockHashes())
    assert len(server.asked) <= UNDER_WAY
    proof.reach(900 * STEP)
    await asyncio.sleep(0)
    assert len(server.asked) <= UNDER_WAY
    await proof.close()


async def test_a_lost_connection_is_told_and_nothing_goes_on() -> None:
    def lose(_start: int, _length: int) -> bytes:
        raise ConnectionLost("gone")

    server = Server(lose)
    server.may_answer.set()
    proof = Proof(server, b"film", SIZE)
    with pytest.raises(ConnectionLost):
        await proof.holds(ours())
    await proof.close()
    assert server.under_way == 0


async def test_closing_ends_the_questions() -> None:
    server = Server()
    proof = Proof(server, b"film", SIZE)
    proof.reach(SIZE)
    await asyncio.sleep(0)
    assert server.under_way == UNDER_WAY
    await proof.close()
    assert server.under_way == 0
    assert len(server.asked) == UNDER_WAY
