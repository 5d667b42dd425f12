"""Receipts, in memory and on disk: the same in the same order."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from dataclasses import replace

import pytest

from connect_helper.client.receipts import HeldReceipts, Receipts, SpooledReceipts
from connect_helper.client.results import Receipt, Result
from connect_helper.commands.views import RECEIPTS, JsonView
from connect_helper.errors import Unavailable

DONE = Receipt("/here/näme \udcff", "there/name", 3, "done", "digest", "sha-256:00")
RESULT = Result("completed", "send", "b.example", 22, 3, 1, 0, 0, 1.5, 1)


def receipt(number: int) -> Receipt:
    return Receipt(f"/here/{number}", f"there/{number}", number, "done", "size")


@pytest.mark.parametrize("make", [HeldReceipts, SpooledReceipts])
def test_each_file_has_one_receipt_in_the_order_they_ended(make: Callable[[], Receipts]) -> None:
    receipts = make()
    failed = Receipt("/here/b", "there/b", 5, "failed", code="source_changed", message="It changed.")
    same_target = Receipt("/other/name", "there/name", 3, "done", "size")
    later = replace(failed, state="done", proof="size", code="", message="")
    for one in (DONE, failed, same_target, later):
        assert receipts.put(one)
    assert not receipts.put(replace(DONE, state="skipped", proof="", digest=""))  # the first one says more
    assert list(receipts) == [DONE, later, same_target]
    assert list(receipts) == [DONE, later, same_target]  # not used up


@pytest.mark.parametrize("number", [0, 1, RECEIPTS, RECEIPTS + 1, 3 * RECEIPTS])
def test_the_last_line_holds_them_all(number: int) -> None:
    async def nobody(_: object) -> bool:
        raise AssertionError("nobody asks")

    with closing(SpooledReceipts()) as receipts:
        for each in range(number):
            receipts.put(receipt(each))
        said = io.StringIO()
        with redirect_stdout(said):
            JsonView(nobody, receipts).over(RESULT)
    (line,) = said.getvalue().splitlines()
    told = json.loads(line)
    assert (told["type"], told["outcome"], told["files_done"]) == ("result", "completed", 1)
    assert [one["size"] for one in told["receipts"]] == list(range(number))


def test_a_full_disk_is_said_in_a_sentence() -> None:
    with closing(SpooledReceipts()) as receipts:
        receipts._database.execute("PRAGMA max_page_count = 10")
        with pytest.raises(Unavailable, match="free some space"):
            any(not receipts.put(receipt(each)) for each in range(10_000))


MANY = """
import resource
from connect_helper.client.receipts import SpooledReceipts
from tests.client.test_receipts import receipt
receipts = SpooledReceipts()
for number in range({number}):
    receipts.put(receipt(number))
assert sum(1 for _ in receipts) == {number}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_memory_does_not_grow_with_the_files() -> None:
    def peak_kib(number: int) -> int:
        script = MANY.format(number=number)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert peak_kib(60_000) - peak_kib(10_000) < 8_000  # 50,000 in memory take 25,000
