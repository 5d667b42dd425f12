"""The pages' face with everything real behind it, except the person who answers the dialogs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from connect_helper.api.app import build_pages_face, build_parts
from connect_helper.api.brandings import Brandings
from connect_helper.api.choosing import whole_folder_rule
from connect_helper.api.desktop.calls import DesktopParts
from connect_helper.api.desktop.door import build_desktop_face
from connect_helper.api.desktop.listening import CROWDED
from connect_helper.api.desktop.objects import TransferTexts
from connect_helper.api.desktop.sessions import LaunchedSessions
from connect_helper.api.extensions import Extensions
from connect_helper.api.host_key_questions import HostKeyQuestions
from connect_helper.api.listening import Listener, bind_first_free
from connect_helper.api.parts import Parts
from connect_helper.api.sites import Sites
from connect_helper.api.ui_session import WindowSessions
from connect_helper.api.windows import Windows
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.drags import Drag
from connect_helper.settings import Folders, PreferencesStore
from connect_helper.transfers.manager import TransferManager
from connect_helper.transports.known_hosts import KnownHosts

PAGE = "https://portal.example"
APP = "app-one"
LOCAL_KEY = "key-of-http-uri"


@dataclass
class Person:
    """Answers dialogs and questions as the test says, and remembers what was asked.

    `hold` keeps every dialog open until it is set free.
    """

    picks: list[Path] = field(default_factory=list)
    answer: Answer = field(default_factory=lambda: Answer(accepted=True))
    credentials: Credentials | None = None
    dialogs: list[DialogRequest] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    sign_ins: list[CredentialsQuestion] = field(default_factory=list)
    taken_away: asyncio.Event = field(default_factory=asyncio.Event)  # something was closed unanswered
    free: asyncio.Event = field(default_factory=asyncio.Event)
    shown: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def _wait(self) -> None:
        self.shown.set()
        try:
            await self.free.wait()
        except asyncio.CancelledError:
            self.taken_away.set()
            raise

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        self.dialogs.append(request)
        await self._wait()
        return self.picks

    async def ask(self, question: Question) -> Answer:
        self.questions.append(question)
        await self._wait()
        return self.answer

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        self.sign_ins.append(question)
        await self._wait()
        return self.credentials


@dataclass
class SeenDrags:
    """A DragWatch that sees what the test says, once `shows` is true."""

    shows: bool = False
    drops: list[Drag] = field(default_factory=list)
    started: int = 0
    closed: bool = False

    async def start(self) -> bool:
        self.started += 1
        return self.shows

    def recent(self) -> Sequence[Drag]:
        return self.drops

    async def close(self) -> None:
        self.closed = True


@dataclass
class Face:
    """The running face, and a page's way to call it."""

    base: str
    http: aiohttp.ClientSession
    person: Person
    parts: Parts
    folders: Folders
    opened: list[str]
    desktop: str  # address of the desktop face
    desktop_parts: DesktopParts
    drags: SeenDrags
    windows: Windows

    async def post(
        self, path: str, body: Any = None, *, origin: str = PAGE, app_id: str = APP
    ) -> tuple[int, dict[str, Any]]:
        settings = {"app_id": app_id}
        full = {"aspera_connect_settings": settings, **(body or {})}
        return await self.send("POST", path, json.dumps(full), origin=origin)

    async def get(self, path: str, *, origin: str = PAGE) -> tuple[int, dict[str, Any]]:
        return await self.send("GET", path, None, origin=origin)

    async def send(
        self, method: str, path: str, body: str | bytes | None, *, origin: str = PAGE
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Origin": origin, "Content-Type": "text/plain;charset=UTF-8", "Sec-Fetch-Mode": "cors"}
        data = io.BytesIO(body.encode() if isinstance(body, str) else body) if body is not None else None
        async with self.http.request(method, f"{self.base}{path}", data=data, headers=headers) as response:
            assert response.content_type == "application/json"
            assert response.headers["Access-Control-Allow-Origin"] == origin
            return response.status, await response.json()

    async def choose(self, *paths: Path, kind: str = "open-file", **call: Any) -> list[str]:
        """Let the person pick; return the names as the page gets them."""
        self.person.picks = list(paths)
        status, answer = await self.post(f"/connect/windows/select-{kind}-dialog/", **call)
        assert status == 200, answer
        return [entry["name"] for entry in answer["dataTransfer"]["files"]]

    async def start(self, spec: dict[str, Any], *, request_id: str = "", **settings: Any) -> Any:
        call = {name: settings.pop(name) for name in ("origin", "app_id") if name in settings}
        entry = {"transfer_spec": spec, "aspera_connect_settings": {"request_id": request_id, **settings}}
        return await self.post("/connect/transfers/start", {"transfer_specs": [entry]}, **call)

    async def until(self, transfer_id: str, *statuses: str, limit_s: float = 30) -> dict[str, Any]:
        """Poll as a page does until the transfer has one of the statuses."""
        async with asyncio.timeout(limit_s):
            while True:
                _, answer = await self.post(f"/connect/transfers/info/{transfer_id}")
                info: dict[str, Any] = answer["transfer_info"]
                if info["status"] in statuses:
                    return info
                await asyncio.sleep(0.05)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.from_environment({"CONNECT_HELPER_HOME": os.fspath(tmp_path / "home")})
    made.create()
    return made


@pytest.fixture
async def face(folders: Folders) -> AsyncIterator[Face]:
    async with running_face(folders) as served:
        yield served


@pytest.fixture
def calls_at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the limits of gate and ladder all calls come at once, however long the machine takes over them."""
    now = time.monotonic()
    for module in ("gate", "ladder"):
        monkeypatch.setattr(f"connect_helper.api.{module}.time", SimpleNamespace(monotonic=lambda: now))


@pytest.fixture
def start_face() -> Callable[[Folders], contextlib.AbstractAsyncContextManager[Face]]:
    """For tests that end the face and start it again over the same folders."""
    return running_face


@contextlib.asynccontextmanager
async def running_face(folders: Folders) -> AsyncIterator[Face]:
    person, sites, preferences = Person(), Sites(folders), PreferencesStore(folders)
    drags = SeenDrags()
    known_hosts = KnownHosts(folders)
    questions = HostKeyQuestions(person, known_hosts)
    opened: list[str] = []
    sock, desktop_sock = (bind_first_free((), fall_back=True) for _ in range(2))
    port, desktop_port = (one.getsockname()[1] for one in (sock, desktop_sock))

    def note(address: str) -> bool:
        opened.append(address)
        return True

    windows = Windows("http://127.0.0.1:1", WindowSessions(), opener=note)
    async with (
        TransferManager(folders=folders, preferences=preferences, questions=questions) as manager,
        aiohttp.ClientSession() as http,
        asyncio.TaskGroup() as tasks,
    ):
        parts = build_parts(
            folders=folders,
            preferences=preferences,
            sites=sites,
            extensions=Extensions(folders),
            dialogs=person,
            folder_rule=whole_folder_rule(folders),
            known_hosts=known_hosts,
            questions=questions,
            manager=manager,
            windows=windows,
            tasks=tasks,
            drags=drags,
            authorization_key=LOCAL_KEY,
        )
        desktop = DesktopParts(parts, Brandings(folders, sites), LaunchedSessions(), TransferTexts())
        listeners = [
            Listener(build_pages_face(parts, port), sock),
            Listener(build_desktop_face(desktop, desktop_port), desktop_sock, crowded=CROWDED),
        ]
        serving = [tasks.create_task(each.run(), name=f"serve {each.sock}") for each in listeners]
        for listener in listeners:
            await listener.started.wait()
        try:
            yield Face(
                f"http://127.0.0.1:{port}/v5",
                http,
                person,
                parts,
                folders,
                opened,
                f"http://127.0.0.1:{desktop_port}",
                desktop,
                drags,
                windows,
            )
        finally:
            for task in serving:
                task.cancel()
    sites.close()
