"""Our page script in a real browser: finding the helper, waiting for it, losing it, and what it sends.

The helper here is a scripted one, because silence, broken lines and old versions cannot be had from the
real one on demand; `test_sdk_transfers.py` runs the script against the real helper.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.official import SDK
from tests.support.sdk_site import DROPPED, SILENT, ScriptedHelper, serve_page, silent_port
from tests.support.sshd import free_port

WAIT_MS = 15_000
PICKED = {
    "dataTransfer": {"files": [{"name": "/home/ana/a.bin", "size": 3, "type": "", "lastModifiedDate": ""}]}
}
REFUSED = {"error": {"code": 403, "internal_message": "no", "user_message": "You said no."}}
SPEC = {"direction": "send", "remote_host": "far.example", "paths": [{"source": "/home/ana/a.bin"}]}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def page(one_browser: Browser) -> AsyncIterator[Page]:
    """The page, in a profile of its own."""
    async with serve_page() as origin:
        context = await one_browser.new_context()
        page = await context.new_page()
        await page.goto(origin)
        yield page
        await context.close()


async def connect(page: Page, ports: list[int], **options: Any) -> None:
    """Make `connect` in the page and start its session."""
    await page.evaluate(
        """options => {
             window.connect = new AW4.Connect(options);
             connect.addEventListener("status", (_, status) => statuses.push(status));
             window.session = connect.initSession();
           }""",
        {"ports": ports, **options},
    )


async def running(page: Page) -> None:
    await page.wait_for_function("connect.getStatus() === 'RUNNING'", timeout=WAIT_MS)


async def outcome(page: Page, call: str) -> dict[str, Any]:
    """Await a promise in the page: {"value": ...} or {"error": what it was rejected with}."""
    answer: dict[str, Any] = await page.evaluate(
        f"() => Promise.resolve({call}).then((value) => ({{ value }}), (error) => ({{ error }}))"
    )
    return answer


async def test_the_lowest_port_that_answers_is_used_and_a_silent_one_does_not_hold_it_up(page: Page) -> None:
    low, high = ScriptedHelper(), ScriptedHelper()
    async with silent_port() as silent, low.on() as one, high.on() as other:
        await connect(page, [silent, one, other])
        await running(page)
        await outcome(page, "connect.showAbout()")
    used, unused = (low, high) if one < other else (high, low)
    assert [seen.path for seen in used.seen] == ["info/ping", "info/version", "windows/about"]
    assert [seen.path for seen in unused.seen] == ["info/ping"]
    assert await page.evaluate("statuses") == ["INITIALIZING", "RUNNING"]


async def test_requests_are_simple_ones_and_say_whose_they_are(page: Page) -> None:
    helper = ScriptedHelper(answers={"windows/select-open-file-dialog/": PICKED})
    async with helper.on() as port:
        await connect(page, [port], authorizationKey="secret")
        await running(page)
        answer = await outcome(page, "connect.showSelectFileDialogPromise({ title: 'Pick' })")
    assert answer == {"value": PICKED}
    assert {seen.method for seen in helper.seen} == {"GET", "POST"}  # no OPTIONS: the browser asked nothing
    (dialog,) = helper.requests("windows/select-open-file-dialog/")
    assert dialog.headers["Content-Type"] == "text/plain;charset=UTF-8"
    assert "Cookie" not in dialog.headers
    assert dialog.body == {
        "title": "Pick",
        "suggestedName": "",
        "allowMultipleSelection": True,
        "allowedFileTypes": "",
        "aspera_connect_settings": await page.evaluate("session"),
        "authorization_key": "secret",
    }


async def test_the_application_id_is_kept_for_the_next_page_and_a_given_one_wins(page: Page) -> None:
    await connect(page, [free_port()])
    first = await page.evaluate("session.app_id")
    assert await page.evaluate("AW4.Utils.atou(session.app_id).length") == 36
    await page.reload()
    await connect(page, [free_port()])
    assert await page.evaluate("session.app_id") == first
    assert await page.evaluate("new AW4.Connect().initSession('mine').app_id") == "mine"
    assert (await page.evaluate("connect.initSession()"))["error"]["code"] == -1


async def test_an_event_the_session_is_started_by_is_no_application_id(page: Page) -> None:
    made = """new Promise((done) => {
      const { initSession } = new AW4.Connect();
      addEventListener("made-up", (event) => done(initSession(event).app_id));
      dispatchEvent(new Event("made-up"));
    })"""
    app_id = await page.evaluate(made)
    assert await page.evaluate("id => AW4.Utils.atou(id).length", app_id) == 36
    assert await page.evaluate("localStorage.getItem('connect-app-id')") == app_id


async def test_a_version_given_as_a_number_is_one(page: Page) -> None:
    helper = ScriptedHelper(version="4.1.3")
    async with helper.on() as port:
        await connect(page, [port], minVersion=4.2)
        await page.wait_for_function("connect.getStatus() === 'OUTDATED'", timeout=WAIT_MS)


async def test_a_helper_started_late_is_found_and_gets_what_waited(page: Page) -> None:
    port = free_port()
    await connect(page, [port], connectLaunchWaitTimeoutMs=1500)
    await page.evaluate("connect.showAbout({ success: () => { window.shown = true; } })")
    await page.wait_for_function("connect.getStatus() === 'FAILED'", timeout=WAIT_MS)
    assert await page.evaluate("launches") == 1
    helper = ScriptedHelper()
    async with helper.on(port):
        await page.wait_for_function("window.shown === true", timeout=WAIT_MS)
    assert await page.evaluate("statuses") == ["INITIALIZING", "RETRYING", "FAILED", "RUNNING"]


async def test_an_old_helper_is_told_once_and_used_when_it_is_new(page: Page) -> None:
    helper = ScriptedHelper(version="4.1.9")
    async with helper.on() as port:
        await connect(page, [port], minVersion="4.2", sdkLocation="/downloads/")
        await helper.until(lambda: len(helper.requests("info/version")) >= 3)
        assert await page.evaluate("connect.getStatus()") == "OUTDATED"
        helper.version = "4.2.13.820"
        await running(page)
    (wish,) = helper.requests("update/require")
    assert wish.body["min_version"] == "4.2"
    assert wish.body["sdk_location"].endswith("/downloads")
    assert await page.evaluate("statuses") == ["INITIALIZING", "OUTDATED", "RUNNING"]


async def test_a_start_whose_line_broke_is_sent_again_with_the_same_request_id(page: Page) -> None:
    # The browser itself tries once more when a connection it used before breaks: hence two.
    answer = {"transfer_specs": [{"uuid": "u1"}]}
    helper = ScriptedHelper(answers={"transfers/start": [DROPPED, DROPPED, answer]})
    async with helper.on() as port:
        await connect(page, [port])
        await running(page)
        started = await outcome(page, f"connect.startTransferPromise({json.dumps(SPEC)})")
    assert started == {"value": answer}
    sent = [seen.body for seen in helper.requests("transfers/start")]
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]
    assert await page.evaluate("statuses") == ["INITIALIZING", "RUNNING", "RETRYING", "RUNNING"]


async def test_a_request_the_line_always_breaks_over_fails_in_the_end(page: Page) -> None:
    helper = ScriptedHelper(answers={"transfers/start": [DROPPED] * 40})
    async with helper.on() as port:
        await connect(page, [port])
        await running(page)
        started = await outcome(page, f"connect.startTransferPromise({json.dumps(SPEC)})")
    assert "lost each time" in started["error"]["error"]["user_message"]
    assert len(helper.requests("transfers/start")) < 20


async def test_a_helper_that_was_quit_is_not_started_again_by_the_mere_look_at_transfers(page: Page) -> None:
    helper = ScriptedHelper(
        answers={"transfers/activity": {"iteration_token": 1, "result_count": 0, "transfers": []}}
    )
    async with helper.on() as port:
        await connect(page, [port], pollingTime=100)
        await page.evaluate("connect.addEventListener('transfer', () => {})")
        await helper.until(lambda: len(helper.requests("transfers/activity")) >= 2)
    await page.wait_for_function("statuses.includes('FAILED')", timeout=WAIT_MS)
    assert await page.evaluate("launches") == 0
    await page.evaluate("void connect.showAbout()")
    await page.wait_for_function("launches === 1", timeout=WAIT_MS)


async def test_start_adds_the_settings_and_leaves_the_page_s_objects_alone(page: Page) -> None:
    helper = ScriptedHelper(answers={"transfers/start": {"transfer_specs": [{"uuid": "u1"}]}})
    async with helper.on() as port:
        await connect(page, [port])
        await running(page)
        given = await page.evaluate(
            """async spec => {
                 const settings = { allow_dialogs: false, use_absolute_destination_path: true };
                 const { request_id } = await new Promise((resolve, reject) => {
                   const success = () => resolve(given);
                   const given = connect.startTransfer(spec, settings, { success, error: reject });
                 });
                 await connect.startTransfers({ transfer_specs: [{
                   transfer_spec: spec, aspera_connect_settings: { back_link: "https://a.example/" } }] });
                 return { request_id, spec, settings, here: location.href };
               }""",
            SPEC,
        )
    first, second = (seen.body["transfer_specs"][0] for seen in helper.requests("transfers/start"))
    app_id = await page.evaluate("session.app_id")
    assert first["aspera_connect_settings"] == {
        "allow_dialogs": False,
        "use_absolute_destination_path": True,
        "app_id": app_id,
        "request_id": given["request_id"],
        "back_link": given["here"],
    }
    assert first["transfer_spec"] == SPEC == given["spec"]
    assert given["settings"] == {"allow_dialogs": False, "use_absolute_destination_path": True}
    assert second["aspera_connect_settings"]["back_link"] == "https://a.example/"
    assert second["aspera_connect_settings"]["request_id"] != given["request_id"]


async def test_listeners_hear_changes_by_token_and_a_newcomer_first_hears_everything(page: Page) -> None:
    def activity(body: dict[str, Any]) -> dict[str, Any]:
        if body["iteration_token"] == 0:
            return {
                "iteration_token": 7,
                "result_count": 1,
                "transfers": [{"uuid": "u1", "status": "completed"}],
            }
        return {"iteration_token": 8, "result_count": 1, "transfers": [{"uuid": "u0", "status": "removed"}]}

    helper = ScriptedHelper(answers={"transfers/activity": activity})
    async with helper.on() as port:
        await connect(page, [port], pollingTime=100)
        await page.evaluate(
            """() => {
                 window.heard = { first: [], second: [] };
                 const note = (who) => (type, data) => heard[who].push([type, data.transfers[0].status]);
                 connect.addEventListener("transfer", note("first"));
                 window.join = () => connect.addEventListener("all", note("second"));
               }"""
        )
        await page.wait_for_function("heard.first.length >= 2", timeout=WAIT_MS)
        await page.evaluate("join()")
        await page.wait_for_function("heard.second.length >= 2", timeout=WAIT_MS)
    heard = await page.evaluate("heard")
    assert heard["first"][:2] == [["transfer", "completed"], ["transfer", "removed"]]
    assert heard["second"][:2] == [["transfer", "completed"], ["transfer", "removed"]]
    assert ["transfer", "completed"] not in heard["first"][1:]
    tokens = [seen.body["iteration_token"] for seen in helper.requests("transfers/activity")]
    assert tokens[:2] == [0, 7]
    assert tokens.count(0) == 2
    assert set(tokens) == {0, 7, 8}


async def test_transfers_are_looked_at_faster_while_one_is_running(page: Page) -> None:
    busy = {"iteration_token": 2, "result_count": 1, "transfers": [{"uuid": "u1", "status": "running"}]}
    idle = {"iteration_token": 3, "result_count": 1, "transfers": [{"uuid": "u1", "status": "completed"}]}
    helper = ScriptedHelper(answers={"transfers/activity": [busy, busy, idle, idle]})
    async with helper.on() as port:
        await connect(page, [port])
        await page.evaluate("connect.addEventListener('transfer', () => {})")
        await helper.until(lambda: len(helper.requests("transfers/activity")) >= 4)
    times = [seen.at for seen in helper.requests("transfers/activity")]
    assert times[2] - times[1] < 1.5 < times[3] - times[2]


async def test_removed_listeners_hear_nothing_and_nobody_asks_any_more(page: Page) -> None:
    helper = ScriptedHelper(
        answers={"transfers/activity": {"iteration_token": 1, "result_count": 0, "transfers": []}}
    )
    async with helper.on() as port:
        await connect(page, [port], pollingTime=50)
        await page.evaluate("window.hear = () => { window.heard = (window.heard ?? 0) + 1; }")
        await page.evaluate("connect.addEventListener('all', hear)")
        await page.wait_for_function("window.heard >= 2", timeout=WAIT_MS)
        assert await page.evaluate("connect.removeEventListener('transfer', hear)") is True
        assert await page.evaluate("connect.removeEventListener('transfer', hear)") is False
        before = await page.evaluate("heard")
        await outcome(page, "connect.showAbout()")  # a later request, answered in the meantime
        asked = len(helper.requests("transfers/activity"))
        await outcome(page, "new Promise((resolve) => setTimeout(resolve, 200))")
        assert len(helper.requests("transfers/activity")) <= asked + 1  # one may have been on its way
        assert await page.evaluate("heard") == before
        assert await page.evaluate("connect.removeEventListener(hear)") is True  # still there for "status"
        assert await page.evaluate("connect.removeEventListener()") is True
        assert await page.evaluate("connect.removeEventListener()") is False


@pytest.mark.parametrize("given", ["'transfer', undefined", "'transfer', null", "'transfer'", "'all'"])
async def test_a_kind_alone_removes_all_its_listeners(page: Page, given: str) -> None:
    await connect(page, [free_port()])
    await page.evaluate("connect.addEventListener('transfer', () => {})")
    assert await page.evaluate(f"connect.removeEventListener({given})") is True
    assert await page.evaluate("connect.removeEventListener('transfer')") is False


async def test_a_kind_that_is_none_removes_nothing(page: Page) -> None:
    await connect(page, [free_port()])
    await page.evaluate("connect.addEventListener('all', console.log)")
    assert await page.evaluate("connect.removeEventListener('progress')") is False
    assert await page.evaluate("connect.removeEventListener('progress', console.log)") is False
    assert await page.evaluate("connect.removeEventListener('transfer', console.log)") is True
    assert await page.evaluate("connect.removeEventListener('status', console.log)") is True


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((403, json.dumps(REFUSED)), REFUSED["error"]),
        ((200, json.dumps(REFUSED)), REFUSED["error"]),
        ((200, ""), {"code": -1, "user_message": "The helper's answer is not readable."}),
        ((500, "{}"), {"code": -1, "user_message": "The helper answered with status 500."}),
    ],
    ids=["status", "error-in-success", "empty", "no-words"],
)
async def test_a_failure_reaches_the_error_callback_in_one_shape(
    page: Page, answer: Any, error: dict[str, Any]
) -> None:
    helper = ScriptedHelper(answers={"info/ports": answer})
    async with helper.on() as port:
        await connect(page, [port])
        found = await page.evaluate(
            """() => new Promise((resolve) => connect.testSshPorts({ remote_host: "far.example" },
                 { success: () => resolve("success"), error: resolve }))"""
        )
    assert {key: found["error"][key] for key in error} == error
    (seen,) = helper.requests("info/ports")
    assert (seen.body["ssh_port"], seen.body["timeout_sec"]) == (33001, 3)


@pytest.mark.parametrize(
    "call",
    [
        "connect.startTransferPromise(null)",
        "connect.startTransfers({ transfer_specs: [] })",
        "connect.startTransferPromise({ paths: [], tags: { page: window } })",
        "connect.startTransferPromise({ paths: [], target_rate_kbps: 5n })",
        "connect.stopTransfer('')",
        "connect.readAsArrayBuffer({})",
        "connect.readChunkAsArrayBuffer({ path: '/a', chunkSize: 5 })",
        "connect.readChunkAsArrayBuffer({ path: '/a', offset: 0 })",
        "connect.getChecksum({ path: '/a', checksumMethod: 'crc32' })",
        "connect.testSshPorts({})",
        "connect.authenticate({ remote_user: 'ana' })",
        "connect.showPreferencesPage({ page: '../about' })",
        "connect.showDirectory(undefined)",
    ],
)
async def test_a_call_that_lacks_something_is_refused_in_the_page(page: Page, call: str) -> None:
    helper = ScriptedHelper()
    async with helper.on() as port:
        await connect(page, [port])
        await running(page)
        answer = await outcome(page, call)
    assert answer["error"]["error"]["code"] == -1
    assert [seen.path for seen in helper.seen] == ["info/ping", "info/version"]


async def test_calls_before_the_session_are_refused(page: Page) -> None:
    answer = await outcome(page, "new AW4.Connect().showAbout()")
    assert "initSession" in answer["error"]["error"]["user_message"]


async def test_stop_ends_what_is_open_and_start_goes_on(page: Page) -> None:
    helper = ScriptedHelper(answers={"windows/select-save-file-dialog/": SILENT})
    async with helper.on() as port:
        await connect(page, [port])
        await running(page)
        await page.evaluate(
            "void (window.open_dialog = connect.showSaveFileDialogPromise({ suggestedName: 'a' }))"
        )
        await helper.until(lambda: bool(helper.requests("windows/select-save-file-dialog/")))
        await page.evaluate("connect.stop()")
        stopped = await outcome(page, "open_dialog")
        assert stopped["error"]["error"]["code"] == -1
        await page.evaluate("connect.start()")
        await running(page)
        assert await outcome(page, "connect.showAbout()") == {"value": {}}


DROP = """({ name, size, type, lastModified }) => new Promise((resolve) => {
  const bag = new DataTransfer();
  if (name) bag.items.add(new File([new Uint8Array(size)], name, { type, lastModified }));
  const refused = connect.setDragDropTargets("#target", {}, ({ event, files, error }) =>
    resolve({ type: event.type, files, error, stopped: event.defaultPrevented }));
  if (refused) return resolve({ refused });
  const event = new DragEvent("drop", { dataTransfer: bag, bubbles: true, cancelable: true });
  document.querySelector("#target").dispatchEvent(event);
})"""
FILE = {"name": "scan 1.tif", "size": 1234, "type": "image/tiff", "lastModified": 1741075811000}


async def test_a_drop_posts_what_the_browser_gives_and_hands_on_what_the_helper_found(page: Page) -> None:
    helper = ScriptedHelper(answers={"file/dropped-files": PICKED})
    async with helper.on() as port:
        await connect(page, [port], dragDropEnabled=True)
        await running(page)
        await page.evaluate("connect.setDragDropTargets('#target', {}, () => { window.old = true; })")
        found = await page.evaluate(DROP, FILE)
    assert found == {"type": "drop", "files": PICKED, "error": None, "stopped": True} or (
        found == {"type": "drop", "files": PICKED, "stopped": True}
    )
    (drop,) = helper.requests("file/dropped-files")  # one: the first listener was replaced
    assert drop.body["dataTransfer"]["files"] == [
        {
            "name": "scan 1.tif",
            "size": 1234,
            "type": "image/tiff",
            "lastModifiedDate": "2025-03-04T08:10:11.000Z",
        }
    ]
    assert helper.requests("file/initialize-drag-drop")
    assert await page.evaluate("window.old") is None


async def test_a_drop_that_fails_is_told_to_the_page(page: Page) -> None:
    helper = ScriptedHelper(answers={"file/dropped-files": (403, json.dumps(REFUSED))})
    async with helper.on() as port:
        await connect(page, [port], dragDropEnabled=True)
        await running(page)
        found = await page.evaluate(DROP, FILE)
        nothing = await page.evaluate(DROP, {})
    assert found["error"] == REFUSED
    assert found["files"] == nothing["files"] == {"dataTransfer": {"files": []}}
    assert len(helper.requests("file/dropped-files")) == 1  # a drop without files asks nothing


async def test_drops_need_their_option(page: Page) -> None:
    await connect(page, [free_port()])
    found = await page.evaluate(DROP, FILE)
    assert "dragDropEnabled" in found["refused"]["error"]["user_message"]


async def test_a_module_can_import_the_script_for_its_effect(page: Page) -> None:
    kinds = "import('/connect.js?module').then(() => Object.values(AW4).map((one) => typeof one))"
    assert await page.evaluate(kinds) == ["function", "function", "object", "object"]


async def test_methods_work_apart_from_their_object(page: Page) -> None:
    helper = ScriptedHelper()
    async with helper.on() as port:
        await connect(page, [port])
        assert await outcome(page, "(({ showTransferManager }) => showTransferManager())(connect)") == {
            "value": {}
        }


@pytest.mark.parametrize(
    ("version", "other", "less"),
    [
        ("3.9.0", "3.10.1", True),
        ("4.4.2", "4", False),
        ("4", "4.4.2", False),
        ("4.2.13.820", "4.2.13.821", True),
        ("4.x.3", "4.3", False),
        ("5", "4.9", False),
    ],
)
async def test_versions_are_compared_over_the_parts_both_have(
    page: Page, version: str, other: str, less: bool
) -> None:
    assert await page.evaluate("([a, b]) => AW4.Utils.versionLessThan(a, b)", [version, other]) is less


async def test_a_body_the_helper_would_not_take_is_refused_in_the_page(page: Page) -> None:
    def start(count: int, letter: str) -> str:
        path = json.dumps({"source": f"/home/ana/{letter * 80}"}, ensure_ascii=False)
        return f"connect.startTransferPromise({{ paths: Array({count}).fill({path}) }})"

    helper = ScriptedHelper(answers={"transfers/start": {"transfer_specs": [{"uuid": "u1"}]}})
    async with helper.on() as port:
        await connect(page, [port])
        await running(page)
        many = await outcome(page, start(20_000, "a"))
        wide = await outcome(page, start(6_000, "ø"))  # below a million characters, above a million bytes
        fitting = await outcome(page, start(6_000, "a"))
        heard = await page.evaluate(
            """() => new Promise((error) => connect.startTransfer(
                 { paths: Array(20000).fill({ source: "/home/ana/" + "a".repeat(80) }) }, {}, { error }))"""
        )
    for refused in (many["error"], wide["error"], heard):
        assert refused["error"]["code"] == -1
        assert "Choose a folder" in refused["error"]["user_message"]
    assert fitting == {"value": {"transfer_specs": [{"uuid": "u1"}]}}
    assert len(helper.requests("transfers/start")) == 1


BARS = "[...document.body.children].filter((one) => getComputedStyle(one).position === 'fixed').length"

# The bar's shadow root is closed to the page; this hands it out to the test.
SPY = """() => {
  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (options) {
    return window.shadow = attach.call(this, options);
  };
  window.words = () => shadow.querySelector("span").textContent;
  window.press = (label) =>
    [...shadow.querySelectorAll("button")].find((one) => one.textContent === label).click();
  window.installer = new AW4.ConnectInstaller({ sdkLocation: "/get/" });
}"""


async def test_the_bar_says_what_to_do_and_leaves_when_the_helper_is_there(page: Page) -> None:
    await page.evaluate(SPY)
    await page.evaluate("installer.showLaunching(20)")
    await page.wait_for_function(f"{BARS} === 1", timeout=WAIT_MS)
    assert "Starting" in await page.evaluate("words()")
    await page.evaluate("installer.connected(0)")
    await page.wait_for_function(f"{BARS} === 0", timeout=WAIT_MS)
    await page.evaluate("new AW4.ConnectInstaller({ style: 'none' }).showDownload()")
    assert await page.evaluate(BARS) == 0


async def test_no_bar_flashes_up_when_the_helper_is_found_at_once(page: Page) -> None:
    await page.evaluate(SPY)
    await page.evaluate("installer.showLaunching(30); installer.connected()")
    await outcome(page, "new Promise((resolve) => setTimeout(resolve, 120))")
    assert await page.evaluate(BARS) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("showDownload", "not running"),
        ("showInstall", "Once connect-helper is installed"),
        ("showRetry", "not running"),
        ("showUpdate", "too old"),
        ("showExtensionInstall", "no browser extension"),
        ("startExtensionInstall", "no browser extension"),
        ("showUnsupportedBrowser", "Chrome, Edge or Firefox"),
    ],
)
async def test_each_bar_pages_know_says_what_is_so_here(page: Page, call: str, words: str) -> None:
    await page.evaluate(SPY)
    await page.evaluate("installer.showPrevious()")
    assert await page.evaluate(BARS) == 0  # there was none before
    await page.evaluate(f"installer.{call}()")
    assert words in await page.evaluate("words()")
    await page.evaluate("press('Close')")
    assert await page.evaluate(BARS) == 0
    await page.evaluate("installer.showPrevious()")
    assert words in await page.evaluate("words()")
    assert await page.evaluate(BARS) == 1
    assert len(page.context.pages) == 1  # no store was opened


async def test_listeners_hear_of_the_bar_and_of_its_buttons(page: Page) -> None:
    await page.evaluate(SPY)
    await page.evaluate(
        """() => {
             window.heard = [];
             const { EVENT_TYPE } = AW4.ConnectInstaller;
             installer.addEventListener((event) => heard.push(event));
             installer.addActivityListener(EVENT_TYPE.CONNECT_BAR_EVENT, (activity) => heard.push(activity));
             installer.addActivityListener("another", () => heard.push("wrong"));
             installer.showDownload();
             installer.showRetry();
             press("Start it");
             press("Close");
           }"""
    )
    names = await page.evaluate(
        """() => {
             const { EVENT, ACTIVITY_EVENT } = AW4.ConnectInstaller;
             return [ACTIVITY_EVENT.CONNECT_BAR_VISIBLE, ACTIVITY_EVENT.CLICKED_RETRY, EVENT.RETRY,
                     ACTIVITY_EVENT.CONNECT_BAR_REMOVED, EVENT.IFRAME_REMOVED];
           }"""
    )
    assert await page.evaluate("heard") == names
    assert all(names)
    assert await page.evaluate("launches") == 1


async def test_pages_that_ask_for_an_extension_or_an_installer_get_an_answer(page: Page) -> None:
    await page.evaluate(SPY)
    assert await outcome(page, "installer.isExtensionInstalled(500)") == {"value": False}
    told = await page.evaluate(
        """() => new Promise((resolve) => installer.isExtensionInstalled(500, {
             success: () => resolve("success"), timedout: () => resolve("timedout") }))"""
    )
    assert told == "timedout"
    assert await page.evaluate("installer.doesBrowserNeedExtensionStore()") is False
    assert await page.evaluate("installer.getExtensionStoreLink()") == ""
    assert await page.evaluate("AW4.ConnectInstaller.supportsInstallingExtensions") is False
    entry = await page.evaluate("new Promise((resolve) => installer.installationJSON(resolve))")
    assert entry["platform"]["os"] in ("win64", "macOS", "linux")
    (link,) = entry["links"]
    assert link["hrefAbsolute"] == await page.evaluate("location.origin") + "/get"
    bare = "new Promise((resolve) => new AW4.ConnectInstaller().installationJSON(resolve))"
    assert (await page.evaluate(bare))["links"] == []


async def test_everything_of_the_official_script_is_there_under_its_name(
    page: Page, one_browser: Browser
) -> None:
    names = """() => {
      const of = (value) => {
        const found = new Set();
        const end = [null, Object.prototype, Function.prototype];
        for (let at = value; !end.includes(at); at = Object.getPrototypeOf(at))
          for (const name of Object.getOwnPropertyNames(at)) found.add(name + ": " + typeof value[name]);
        return [...found];
      };
      const { Connect, ConnectInstaller, Logger, Utils } = AW4;
      const parts = { AW4, Connect, ConnectInstaller, Logger, Utils, connect: new Connect(),
                      installer: new ConnectInstaller(), browser: Utils.BROWSER };
      return Object.entries(parts).flatMap(([part, value]) => of(value).map((name) => part + "." + name));
    }"""
    ours = set(await page.evaluate(names))
    context = await one_browser.new_context()
    official = await context.new_page()
    await official.goto(page.url + "connect.js")  # any document of an origin that has local storage
    await official.add_script_tag(path=SDK)
    wanted = set(await official.evaluate(names))
    constants = """() => [AW4.Connect.STATUS, AW4.Connect.EVENT, AW4.Connect.TRANSFER_STATUS,
      AW4.Connect.HTTP_METHOD, AW4.ConnectInstaller.EVENT, AW4.ConnectInstaller.ACTIVITY_EVENT,
      AW4.ConnectInstaller.EVENT_TYPE]"""
    assert await page.evaluate(constants) == await official.evaluate(constants)
    await context.close()
    assert len(wanted) > 60
    assert wanted - ours == set()
