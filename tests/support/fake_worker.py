"""A worker process that plays a script instead of moving bytes: for tests of the manager.

It speaks the real line protocol over real pipes. The script is the JSON in `plan.destination`: a list of
attempts (the last one repeats), each a list of steps. What it is told is noted in `fake.log` of the
working folder, one JSON list a line: [transfer_id, word, ...].

Steps: ["question"], ["connect"], ["totals", bytes, files], ["progress", bytes], ["file", index, state],
["files", first, end, state] (many, `end` not included),
["hold"] (until told to stop), ["ignore"] (like hold, but deaf to stop), ["chatter"] (progress for ever, deaf
to all), ["end", outcome, code, retryable] (and seconds to be left alone), ["die"], ["garbage"], ["leak"] (a
line to standard error).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from connect_helper.transfers import messages, wire

LOG = Path("fake.log")


def say(*events: Any) -> None:
    sys.stdout.buffer.write(b"".join(map(wire.encode, events)))
    sys.stdout.buffer.flush()


def note(*words: Any) -> None:
    with LOG.open("a") as log:
        log.write(json.dumps([*words, os.getpid()]) + "\n")


def hear() -> messages.Command:
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    return wire.parse_command(line)


def attempts_before(transfer_id: str) -> int:
    if not LOG.exists():
        return 0
    lines = [json.loads(line) for line in LOG.read_text().splitlines()]
    return sum(line[:2] == [transfer_id, "start"] for line in lines)


def report(index: int, state: Any) -> messages.FileReport:
    code = "source_missing" if state == "failed" else ""
    return messages.FileReport(
        index=index,
        path=f"/tmp/film-{index}\udcff.mov",
        remote_path=f"/in/film-{index}",
        bytes_expected=100,
        bytes_written=100 if state == "done" else 0,
        state=state,
        code=code,
        error_code=10 if code else 0,
        message="The file is not there any more." if code else "",
        proof=("digest" if index % 2 else "size") if state == "done" else "",
        digest=f"sha-256:{index:064x}" if state == "done" and index % 2 else "",
    )


def hold(transfer_id: str, *, deaf: bool) -> bool:
    """Wait for commands; True when told to stop."""
    while True:
        command = hear()
        note(transfer_id, command.type, getattr(command, "rate_kbps", None))
        if isinstance(command, messages.Stop) and not deaf:
            return True


def ask(transfer_id: str) -> str:
    question = messages.Question(
        question_id=7, host="b.example", port=22, key="ssh-ed25519 AAAA", fingerprint="SHA256:x"
    )
    say(question)
    command = hear()
    note(transfer_id, command.type, getattr(command, "accepted", None))
    if isinstance(command, messages.Answer):
        return "go on" if command.accepted else "refused"
    return "stopped"


def play(plan: Any, steps: list[list[Any]]) -> None:
    for step in steps:
        match step:
            case ["question"]:
                answer = ask(plan.transfer_id)
                if answer == "stopped":
                    say(messages.Ended(outcome="stopped"))
                    return
                if answer == "refused":
                    say(
                        messages.Ended(
                            outcome="failed", code="host_key_unknown", error_code=51, message="No."
                        )
                    )
                    return
            case ["connect"]:
                say(messages.Connected(address="127.0.0.1"))
            case ["connect over", "http" | "https" as scheme]:
                say(messages.Connected(address="127.0.0.1", transport="http", encrypted=scheme == "https"))
            case ["totals", size, files]:
                say(messages.Totals(bytes_expected=size, files_expected=files, final=True))
            case ["progress", size]:
                say(messages.Progress(bytes_written=size, current=()))
            case ["file", index, state]:
                say(report(index, state))
            case ["files", first, end, state]:
                say(*(report(index, state) for index in range(first, end)))
            case ["hold"] | ["ignore"]:
                if hold(plan.transfer_id, deaf=step == ["ignore"]):
                    say(messages.Ended(outcome="stopped"))
                    return
            case ["end", outcome, code, retryable, *after_s]:
                words = f"It ended: {code}." if code else ""
                say(
                    messages.Ended(
                        outcome=outcome,
                        code=code,
                        message=words,
                        retryable=retryable,
                        retry_after_s=sum(after_s),
                    )
                )
                return
            case ["chatter"]:
                while True:
                    say(messages.Progress(bytes_written=1, current=()))
                    time.sleep(0.05)
            case ["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["garbage"]:
                sys.stdout.write("this is no event\n")
                sys.stdout.flush()
                hold(plan.transfer_id, deaf=True)
            case ["leak"]:
                sys.stderr.write("a line for the log\n")
                sys.stderr.flush()
            case _:
                raise ValueError(step)


def main() -> None:
    while True:
        command = hear()
        if not isinstance(command, messages.Start):
            continue  # a stop that came too late
        plan = command.plan
        script = json.loads(plan.destination)
        attempt = min(attempts_before(plan.transfer_id), len(script) - 1)
        login = plan.login
        secret = bool(login.password and login.password.get_secret_value())
        note(plan.transfer_id, "start", plan.rate_kbps, secret, len(plan.host_keys.trusted))
        play(plan, script[attempt])


if __name__ == "__main__":
    main()
