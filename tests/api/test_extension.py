"""The browser extension's word for a page: taken from the one the user paired, and from nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from connect_helper.api.extensions import PAGE_HEADER, Extensions
from connect_helper.api.pairing import EXCHANGES_KEPT
from connect_helper.consent.key_exchange import commitment_to
from connect_helper.consent.pairing import Greeting, PairedExtension
from connect_helper.picking.base import Answer
from connect_helper.settings import Folders
from tests.api.conftest import APP, PAGE, Face
from tests.support.pairing_key import PairingKey

StartFace = Callable[[Folders], AbstractAsyncContextManager[Face]]
ORIGIN = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
FIREFOX = "moz-extension://0b8e4c6e-3f0a-4a52-8f6b-0d6a4f6f3c11"
NONCE = "5a" * 32


@dataclass
class Extension:
    """What an extension's worker sends; any header can be changed or left out (None)."""

    face: Face
    key: PairingKey = field(default_factory=PairingKey)
    origin: str | None = ORIGIN
    token: str = "token of no session"
    code: str = ""
    secret: str = "00" * 32

    @property
    def id(self) -> str:
        return PairedExtension(self.secret, ORIGIN, "", 0.0).id

    @property
    def port(self) -> int:
        return int(self.face.base.removesuffix("/v5").rsplit(":", 1)[1])

    async def ask(self, path: str, body: Any = None, **headers: str | None) -> tuple[int, dict[str, Any]]:
        return await self._send("POST", f"/extension/{path}", body or {}, headers)

    async def carry(
        self, method: str, path: str, body: Any = None, *, page: str = PAGE, **headers: str | None
    ) -> tuple[int, dict[str, Any]]:
        """A page's request."""
        full = None if method == "GET" else {"aspera_connect_settings": {"app_id": APP}, **(body or {})}
        return await self._send(method, f"/v5/connect/{path}", full, {PAGE_HEADER: page, **headers})

    async def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str | None]
    ) -> tuple[int, dict[str, Any]]:
        site = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "cors"}
        usual = {"Authorization": f"Bearer {self.token}", "Origin": self.origin, **site, **headers}
        present = {name: value for name, value in usual.items() if value is not None}
        data = None if body is None else json.dumps(body)
        url = self.face.base.removesuffix("/v5") + path
        async with self.face.http.request(method, url, data=data, headers=present) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    async def hello(self, **headers: str | None) -> tuple[int, dict[str, Any]]:
        return await self.ask("hello", {"pairing": self.id, "nonce": NONCE}, Authorization=None, **headers)

    async def proof(self) -> tuple[Greeting, dict[str, str]]:
        """Let the helper prove itself; the greeting, and what to open a session with."""
        status, answer = await self.hello()
        assert status == 200
        greeting = Greeting(NONCE, answer["run"], self.port)
        assert answer["proof"] == greeting.helper_proof(self.secret)
        proof = greeting.extension_proof(self.secret)
        return greeting, {"pairing": self.id, "nonce": NONCE, "proof": proof}

    async def open_session(self) -> None:
        greeting, body = await self.proof()
        assert await self.ask("session", body, Authorization=None) == (200, {})
        self.token = greeting.token(self.secret)

    async def begin(self) -> tuple[int, dict[str, Any]]:
        return await self.ask("pair/begin", {"commitment": self.key.commitment}, Authorization=None)

    async def reveal(self, exchange: str, browser: str, key: str = "") -> tuple[int, dict[str, Any]]:
        body = {"exchange": exchange, "public_key": key or self.key.public, "browser": browser}
        return await self.ask("pair", body, Authorization=None)

    async def pair(self, browser: str = "Chromium 156 on Linux") -> tuple[int, dict[str, Any]]:
        status, begun = await self.begin()
        if status != 200:
            return status, begun
        self.code, self.secret = self.key.finish(begun["public_key"], str(self.origin), self.port)
        return await self.reveal(begun["exchange"], browser)


@pytest.fixture
async def paired(face: Face) -> Extension:
    extension = Extension(face)
    assert await extension.pair() == (200, {})
    await extension.open_session()
    face.person.questions.clear()
    return extension


# Pairing -----------------------------------------------------------------------------------------


async def test_pairing_asks_with_the_code_that_the_extension_has_typed(face: Face) -> None:
    extension = Extension(face)
    assert await extension.pair() == (200, {})
    (question,) = face.person.questions
    assert extension.code in question.heading
    assert question.caller == ORIGIN
    assert any("Chromium 156 on Linux" in line for line in question.details)
    assert question.remember == ""


async def test_an_extension_is_kept_once_it_showed_that_it_took_the_code(face: Face) -> None:
    extension = Extension(face)
    assert await extension.pair() == (200, {})
    assert Extensions(face.folders).all() == []
    await extension.open_session()
    (known,) = Extensions(face.folders).all()  # as the next run reads it
    assert (known.origin, known.browser, known.id) == (ORIGIN, "Chromium 156 on Linux", extension.id)


async def test_the_helper_keeps_the_secret_in_a_private_file(face: Face, paired: Extension) -> None:
    file = face.folders.state / "extensions.json"
    assert paired.secret in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_key_that_was_not_committed_to_asks_nothing(face: Face) -> None:
    extension = Extension(face)
    _, begun = await extension.begin()
    chosen_later = PairingKey().public
    assert (await extension.reveal(begun["exchange"], "b", chosen_later))[0] == 400
    assert (await extension.reveal(begun["exchange"], "b"))[0] == 400  # one try an exchange
    assert face.person.questions == []


async def test_a_key_off_the_curve_asks_nothing(face: Face) -> None:
    off = "04" + "01" * 64
    _, begun = await Extension(face).ask("pair/begin", {"commitment": commitment_to(off)})
    assert (await Extension(face).reveal(begun["exchange"], "b", off))[0] == 400
    assert face.person.questions == []


async def test_each_exchange_has_a_key_of_its_own_and_only_its_extension_goes_on_with_it(face: Face) -> None:
    extension = Extension(face)
    _, first = await extension.begin()
    _, second = await extension.begin()
    assert first["public_key"] != second["public_key"]
    assert (await replace(extension, origin=FIREFOX).reveal(first["exchange"], "b"))[0] == 400
    assert (await extension.reveal("0" * 32, "b"))[0] == 400
    assert await extension.reveal(second["exchange"], "b") == (200, {})


async def test_exchanges_that_nobody_goes_on_with_do_not_pile_up(face: Face) -> None:
    extension = Extension(face)
    _, oldest = await extension.begin()
    for _ in range(EXCHANGES_KEPT):
        await extension.begin()
    assert (await extension.reveal(oldest["exchange"], "b"))[0] == 400


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}', "\udcff"])
def test_a_damaged_file_pairs_nobody(folders: Folders, content: str) -> None:
    (folders.state / "extensions.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert Extensions(folders).all() == []


async def test_a_no_pairs_nothing_and_three_silence_the_extension(face: Face) -> None:
    face.person.answer = Answer(accepted=False)
    extension = Extension(face)
    for _ in range(4):
        status, body = await extension.pair()
        assert status == 403
        assert body["error"]["user_message"].endswith(".")
    assert len(face.person.questions) == 3
    assert face.parts.extensions.all() == []
    assert (await extension.carry("GET", "info/version"))[0] == 401


async def test_a_pairing_given_up_takes_its_question_away(face: Face) -> None:
    face.person.free.clear()
    asking = asyncio.create_task(Extension(face).pair())
    await face.person.shown.wait()
    asking.cancel()
    async with asyncio.timeout(30):
        await face.person.taken_away.wait()
    assert face.parts.extensions.all() == []


async def test_one_extension_at_a_time_is_asked_about(face: Face) -> None:
    face.person.free.clear()
    first = asyncio.create_task(Extension(face).pair())
    await face.person.shown.wait()
    status, _ = await Extension(face, origin=FIREFOX).pair()
    assert status == 429
    face.person.free.set()
    assert await first == (200, {})
    assert await Extension(face, origin=FIREFOX).pair() == (200, {})


@pytest.mark.parametrize("origin", [PAGE, "http://127.0.0.1:33030", "null", None])
async def test_what_is_no_extension_cannot_be_paired(face: Face, origin: str | None) -> None:
    status, _ = await Extension(face, origin=origin).pair()
    assert status == 403
    assert face.person.questions == []


@pytest.mark.parametrize("body", [{}, {"commitment": "x"}, {"commitment": 1}, {"commitment": "A" * 64}])
async def test_a_pairing_that_cannot_be_read_asks_nothing(face: Face, body: dict[str, Any]) -> None:
    for route in ("pair/begin", "pair"):
        assert (await Extension(face).ask(route, body))[0] == 400
    assert face.person.questions == []


async def test_a_browsers_name_is_shown_as_one_short_line(face: Face) -> None:
    await Extension(face).pair(browser="Chrom\u202eium\n" * 50)
    shown = face.person.questions[0].details[-1]
    assert "\n" not in shown
    assert "\u202e" not in shown
    assert len(shown) < 100


# Who knows whom ----------------------------------------------------------------------------------


async def test_the_helper_proves_itself_to_the_paired_extension(paired: Extension) -> None:
    await paired.proof()


async def test_nothing_that_goes_over_the_wire_makes_the_proof(paired: Extension) -> None:
    status, answer = await paired.hello()
    assert status == 200
    greeting = Greeting(NONCE, answer["run"], paired.port)
    told = [paired.id, NONCE, answer["run"], paired.key.public]
    keys = [*told, *(hashlib.sha256(one.encode()).hexdigest() for one in told)]
    assert answer["proof"] not in [greeting.helper_proof(key) for key in keys]


async def test_the_proof_is_given_to_that_extension_only(face: Face, paired: Extension) -> None:
    assert (await paired.hello(Origin=FIREFOX))[0] == 401
    assert (await paired.hello(Origin=PAGE))[0] == 401
    assert (await replace(paired, secret="11" * 32).hello())[0] == 401
    assert (await paired.ask("hello", {"pairing": paired.id, "nonce": "short"}))[0] == 400


async def test_a_session_is_opened_by_the_right_proof_only(paired: Extension) -> None:
    greeting, body = await paired.proof()
    other_run = Greeting(NONCE, "0" * 64, paired.port).extension_proof(paired.secret)
    for wrong in (greeting.helper_proof(paired.secret), other_run, "", "\ud800", "é" * 64):
        assert (await paired.ask("session", {**body, "proof": wrong}))[0] == 401
    assert (await paired.ask("session", {**body, "nonce": "1f" * 32}))[0] == 401
    for origin, status in ((PAGE, 401), (FIREFOX, 401), (None, 403)):
        assert (await paired.ask("session", body, Origin=origin))[0] == status
    for no_token in (paired.secret, body["proof"], paired.id):
        assert (await paired.ask("status", Authorization=f"Bearer {no_token}"))[0] == 401
    assert await paired.ask("session", body) == (200, {})


async def test_a_token_ends_with_the_run_and_the_pairing_does_not(
    folders: Folders, start_face: StartFace
) -> None:
    async with start_face(folders) as face:
        extension = Extension(face)
        assert await extension.pair() == (200, {})
        await extension.open_session()
    async with start_face(folders) as face:
        extension = replace(extension, face=face)
        assert (await extension.ask("status"))[0] == 401
        await extension.open_session()
        assert (await extension.ask("status"))[0] == 200


async def test_old_tokens_give_way_to_new_ones(paired: Extension, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connect_helper.api.extensions.SESSIONS_KEPT", 2)
    newer = [replace(paired) for _ in range(2)]
    for number, one in enumerate(newer):
        monkeypatch.setattr("tests.api.test_extension.NONCE", f"{number:064x}")
        await one.open_session()
    assert (await paired.ask("status"))[0] == 401
    assert [(await one.ask("status"))[0] for one in newer] == [200, 200]


# Carrying ----------------------------------------------------------------------------------------


async def test_what_it_carries_is_asked_under_the_pages_origin(
    face: Face, paired: Extension, tmp_path: Path
) -> None:
    picked = tmp_path / "film.mov"
    picked.write_bytes(b"film")
    face.person.picks = [picked]
    status, answer = await paired.carry("POST", "windows/select-open-file-dialog/")
    assert status == 200, answer
    assert face.person.dialogs[0].caller == PAGE
    (grant,) = face.parts.sites.overview()[0].grants
    assert grant.scope.origin == PAGE


async def test_a_page_is_the_same_by_extension_and_by_itself(
    face: Face, paired: Extension, tmp_path: Path
) -> None:
    picked = tmp_path / "film.mov"
    picked.write_bytes(b"film")
    await face.choose(picked)
    read = "file/read-as-array-buffer/"
    assert (await paired.carry("POST", read, {"path": str(picked)}))[0] == 200
    other = await paired.carry("POST", read, {"path": str(picked)}, page="https://other.example")
    assert other[0] == 403


async def test_a_get_needs_no_origin_when_the_browser_says_that_no_site_is_behind_it(
    paired: Extension,
) -> None:
    assert (await paired.carry("GET", "windows/about", Origin=None))[0] == 200
    assert (await paired.carry("GET", "info/version"))[0] == 200
    for site in ("cross-site", "same-site", None):
        status, _ = await paired.carry("GET", "info/version", Origin=None, **{"Sec-Fetch-Site": site})
        assert status == 401


FORGED: list[dict[str, str | None]] = [
    {"Authorization": None},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer {secret}"},
    {"Authorization": "Bearer {id}"},
    {"Authorization": "Basic {token}"},
    {"Origin": None},
    {"Origin": "null"},
    {"Origin": PAGE},  # a page that got hold of the token
    {"Origin": "https://evil.example"},
    {"Origin": FIREFOX},
    {"Origin": ORIGIN.upper()},
]


@pytest.mark.parametrize("forged", FORGED)
async def test_sec_03_nobody_else_speaks_for_a_page(
    face: Face, paired: Extension, forged: dict[str, str | None]
) -> None:
    known = {"token": paired.token, "secret": paired.secret, "id": paired.id}
    headers = {name: value and value.format(**known) for name, value in forged.items()}
    status, body = await paired.carry("POST", "windows/select-open-file-dialog/", **headers)
    assert status == 401
    assert body["error"]["internal_message"] == "not_paired"
    assert face.person.dialogs == []


@pytest.mark.parametrize(
    "page", ["", "null", "file://", ORIGIN, "https://a.example/", "https://A.example", "ftp://a.example"]
)
async def test_sec_03_what_is_no_page_is_not_spoken_for(face: Face, paired: Extension, page: str) -> None:
    status, _ = await paired.carry("POST", "windows/select-open-file-dialog/", page=page)
    assert status == 401
    assert face.person.dialogs == []


async def test_sec_03_without_a_pairing_nothing_is_carried(face: Face) -> None:
    extension = Extension(face)
    for method, path in (("GET", "info/ping"), ("POST", "transfers/start"), ("GET", "windows/about")):
        assert (await extension.carry(method, path))[0] == 401
    assert face.opened == []


@pytest.mark.usefixtures("calls_at_one_moment")
async def test_sec_10_pages_behind_one_extension_are_counted_apart(paired: Extension) -> None:
    answers = await asyncio.gather(*(paired.carry("GET", "info/ping") for _ in range(61)))
    assert sorted(status for status, _ in answers) == [200] * 60 + [429]
    assert (await paired.carry("GET", "info/ping", page="https://other.example"))[0] == 200


async def test_a_removed_extension_is_heard_no_more(face: Face, paired: Extension) -> None:
    (known,) = face.parts.extensions.all()
    face.parts.extensions.remove(known.id)
    assert (await paired.carry("GET", "info/version"))[0] == 401
    assert (await paired.ask("status"))[0] == 401
    assert (await paired.hello())[0] == 401


# For itself --------------------------------------------------------------------------------------


async def test_it_may_ask_how_many_transfers_run(paired: Extension) -> None:
    status, body = await paired.ask("status")
    assert status == 200
    assert body["transfers"] == {"all": 0, "running": 0, "finished": 0, "failed": 0}


@pytest.mark.parametrize(("page", "path"), [("activity", "/"), ("sites", "/sites")])
async def test_it_may_have_the_window_opened(face: Face, paired: Extension, page: str, path: str) -> None:
    assert await paired.ask("window", {"page": page}) == (200, {})
    (address,) = face.opened
    assert address.startswith(f"http://127.0.0.1:1{path}#code=")


@pytest.mark.parametrize("route", ["status", "window"])
async def test_others_may_ask_neither(face: Face, paired: Extension, route: str) -> None:
    body = {"page": "activity"}
    assert (await paired.ask(route, body, Authorization=None))[0] == 401
    assert (await paired.ask(route, body, Origin=PAGE))[0] == 401
    assert (await paired.ask("window", {"page": "/preferences"}))[0] == 400
    assert face.opened == []
