"""A helper that runs all the time, as on a user's machine: the worker is warm, and was at that server before.

See `running_mover` for the process. Right before each measured transfer another one, of 16 MiB, goes the same
way, so that what is measured is the second of two in a row: it finds the connections the first one left.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.links import Link
from benchmarks.movers import Job, plan_of

WARM_SIZE = 16 * 1024 * 1024
END_LIMIT_S = 10.0


class RunningHelper:
    """One process at the client's end of a line. `plan` makes the file with the `SessionPlan` of a job."""

    def __init__(self, link: Link, plan: Callable[[Job], Path] = plan_of) -> None:
        self._plan = plan
        self._process = subprocess.Popen(
            link.client([sys.executable, "-m", "benchmarks.running_mover"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def run(self, job: Job, limit_s: float) -> tuple[float, float]:
        """Move something; return seconds and processor seconds. Raises RuntimeError, TimeoutExpired."""
        self._warm_up(job, limit_s)
        plan = self._plan(job)
        began = time.perf_counter()
        answer = self._ask(plan, limit_s)
        return time.perf_counter() - began, answer["cpu_s"]

    def _warm_up(self, job: Job, limit_s: float) -> None:
        folder = job.scratch / "before"
        folder.mkdir()
        source, target = folder / "source", job.scratch / "arrived"
        source.write_bytes(os.urandom(WARM_SIZE))
        before = replace(job, source=source, target=target, many=False, scratch=folder)
        self._ask(self._plan(before), limit_s)

    def _ask(self, plan: Path, limit_s: float) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{plan}\n".encode())
        with selectors.DefaultSelector() as waiting:
            waiting.register(stdout, selectors.EVENT_READ)
            if not waiting.select(limit_s):
                self.close()
                raise subprocess.TimeoutExpired("connect-helper", limit_s)
        answer: dict[str, Any] = json.loads(stdout.readline() or b"{}")
        if answer.get("outcome") != "completed":
            raise RuntimeError(answer.get("message", "the helper ended"))
        return answer

    def close(self) -> None:
        """End it, with the folder it keeps; by force where it hangs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
