"""Runs one session in this process and prints how it ended: `python -m benchmarks.mover PLAN.json`.

The plan is a `SessionPlan` as JSON. Prints one JSON line: {"outcome": "completed", "message": "",
"connections": 1, "peak_mib": 0}.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
from pathlib import Path

from connect_helper.loading import quickly

with quickly():  # as a worker does
    from connect_helper.collector import calm_collector, keep_memory
    from connect_helper.transfers.messages import Event, Question
    from connect_helper.transfers.plan import SessionPlan
    from connect_helper.transfers.session import Session
    from connect_helper.transfers.worker import MORE_OBJECTS


class Nobody:
    """A helper's end that listens to nothing and agrees to nothing."""

    async def tell(self, event: Event) -> None:
        return None

    async def ask(self, question: Question) -> bool:
        return False


def main() -> None:
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    calm_collector(MORE_OBJECTS)
    keep_memory()
    plan = SessionPlan.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    ended = asyncio.run(Session(plan, Nobody()).run())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"outcome": ended.outcome, "message": ended.message, "peak_mib": round(peak_mib)}))


if __name__ == "__main__":
    main()
