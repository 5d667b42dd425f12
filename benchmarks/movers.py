"""The programs compared: connect-helper and its peers, each as one command that moves one thing one way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Job:
    """Move `source` to `target` (neither ends with a slash); `many`: they are folders."""

    direction: Direction
    source: Path
    target: Path
    many: bool
    address: str
    port: int
    user: str
    key: Path  # private key without a passphrase
    host_key: str  # "ssh-ed25519 AAAA..."
    scratch: Path  # for files the command needs; empty


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and what to give it on standard input."""

    words: list[str]
    text: str = ""


def plan_of(job: Job) -> Path:
    """The file with the `SessionPlan` of a job."""
    here = job.source if job.direction == "up" else job.target.parent
    facts = here.lstat()
    ref = {"path": str(here), "device": facts.st_dev, "inode": facts.st_ino}
    item: dict[str, Any] = {"kind": "upload", "source": ref, "target": str(job.target)}
    if job.direction == "down":
        item = {"kind": "download", "source": str(job.source), "root": ref, "target": [job.target.name]}
    plan = {
        "transfer_id": "benchmark",
        "direction": "send" if job.direction == "up" else "receive",
        "server": {"host": job.address, "port": job.port, "addresses": [job.address]},
        "login": {"user": job.user, "private_key": job.key.read_text()},
        "host_keys": {"trusted": [job.host_key]},
        "items": [item],
        "resume_folder": str(job.scratch / "resume"),
    }
    path = job.scratch / "plan.json"
    path.write_text(json.dumps(plan))
    return path


def connect_helper(job: Job) -> Command:
    return Command([sys.executable, "-m", "benchmarks.mover", str(plan_of(job))])


def _ssh_options(job: Job) -> list[str]:
    known = job.scratch / "known_hosts"
    known.write_text(f"[{job.address}]:{job.port} {job.host_key}\n")
    return ["-i", str(job.key), "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes"]


def sftp(job: Job) -> Command:
    verb = ("put" if job.direction == "up" else "get") + (" -r" if job.many else "")
    words = ["sftp", "-q", "-b", "-", "-P", str(job.port), *_ssh_options(job), f"{job.user}@{job.address}"]
    return Command(words, f"{verb} {job.source} {job.target}\n")


def rsync(job: Job) -> Command:
    shell = " ".join(["ssh", "-p", str(job.port), *_ssh_options(job)])
    far = f"{job.user}@{job.address}:"
    tail = "/" if job.many else ""
    ends = [str(job.source) + tail, far + str(job.target)]
    if job.direction == "down":
        ends = [far + str(job.source) + tail, str(job.target)]
    return Command(["rsync", "-r", "--whole-file", "-e", shell, *ends])


def rclone(job: Job) -> Command:
    far = f":sftp,host={job.address},port={job.port},user={job.user},key_file={job.key}:"
    ends = [str(job.source), far + str(job.target)]
    if job.direction == "down":
        ends = [far + str(job.source), str(job.target)]
    verb = "copy" if job.many else "copyto"
    return Command(["rclone", verb, "--config", "/dev/null", *ends])


def lftp(job: Job) -> Command:
    shell = " ".join(["ssh", "-a", "-x", "-p", str(job.port), *_ssh_options(job)])
    lines = [
        f'set sftp:connect-program "{shell}"',
        f"open -u {job.user}, sftp://{job.address}:{job.port}",
    ]
    if job.many:
        back = "-R " if job.direction == "up" else ""
        lines.append(f"mirror {back}-P16 {job.source} {job.target}")
    elif job.direction == "up":
        lines.append(f"put {job.source} -o {job.target}")
    else:
        lines.append(f"pget -n16 {job.source} -o {job.target}")
    return Command(["lftp", "-f", "/dev/stdin"], "\n".join([*lines, "bye", ""]))


PEERS: dict[str, Callable[[Job], Command]] = {"sftp": sftp, "rsync": rsync, "rclone": rclone, "lftp": lftp}


def installed() -> dict[str, Callable[[Job], Command]]:
    """The peers this machine has."""
    return {name: make for name, make in PEERS.items() if shutil.which(name)}


def version_of(name: str) -> str:
    """The first line a program says about its version."""
    words = ["ssh", "-V"] if name == "sftp" else [name, "--version"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    return (answer.stdout or answer.stderr).strip().split("\n")[0]
