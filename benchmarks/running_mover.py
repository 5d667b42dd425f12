"""Moves things as a helper that already runs does: a warm worker, which has been at that server before.

`python -m benchmarks.running_mover` reads paths of plans (`SessionPlan` as JSON) from standard input, one a
line, runs each in the same worker process, and answers each with one JSON line:
{"outcome": "completed", "message": "", "cpu_s": 0.1}; the processor seconds are the worker's and its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from connect_helper.transfers.conversation import Conversation
from connect_helper.transfers.messages import Event, Question
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.workers import Worker, WorkerPool

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Listener:
    """Hears events and does nothing with them; agrees to no question."""

    stop_by: float | None = None

    async def hear(self, event: Event | None) -> None:
        return None

    async def accept(self, question: Question) -> bool:
        return False


def cpu_of(pid: int) -> float:
    """Processor seconds of a process so far (proc(5), /proc/pid/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


async def run(worker: Worker, path: str) -> dict[str, object]:
    """Run one plan."""
    plan = SessionPlan.model_validate_json(await asyncio.to_thread(Path(path).read_text, encoding="utf-8"))
    before = time.process_time() + cpu_of(worker.pid)
    ended = await Conversation(worker, Listener(), time.monotonic).run(plan)
    cpu_s = time.process_time() + cpu_of(worker.pid) - before
    return {"outcome": ended.outcome, "message": ended.message, "cpu_s": round(cpu_s, 2)}


async def serve(folder: Path) -> None:
    """Run what comes in until it ends."""
    async with WorkerPool(folder=folder) as pool:
        while line := await asyncio.to_thread(sys.stdin.readline):
            async with pool.worker() as worker:
                answer = await run(worker, line.strip())
            print(json.dumps(answer), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-worker-") as folder:
        asyncio.run(serve(Path(folder)))


if __name__ == "__main__":
    main()
