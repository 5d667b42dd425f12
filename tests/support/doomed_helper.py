"""A helper that kills itself in the middle of a commit of its journal: `python doomed_helper.py STEP`.

Standard input holds one start request a line (JSON of the plan, login included); the folders come from the
environment. It prints the id of each transfer it admitted, and "ended" when it outlived its step.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace

from connect_helper.settings import Folders
from connect_helper.transfers.plan import SessionPlan
from connect_helper.transfers.state import Status
from connect_helper.transfers.wire import parse_command
from tests.support.faults import faults_at_commits, real_manager
from tests.support.managing import reaches
from tests.support.managing import request as scripted


def plans() -> list[SessionPlan]:
    """What to start: Start commands, as a worker gets them."""
    commands = [parse_command(line) for line in sys.stdin.buffer]
    return [command.plan for command in commands if command.type == "start"]


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def main(step: int) -> None:
    folders = Folders.from_environment()
    with faults_at_commits(lambda now: os.kill(os.getpid(), signal.SIGKILL) if now == step else None):
        async with real_manager(folders) as transfers:
            transfers._queue._preferences.change({"concurrent_transfers": 1})
            started = []
            for plan in plans():
                transfer = await transfers.submit(replace(scripted(), plan=plan))
                say(transfer.id)
                started.append(transfer)
            for transfer in started:
                await reaches(transfer, Status.COMPLETED, Status.FAILED)
    say("ended")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
