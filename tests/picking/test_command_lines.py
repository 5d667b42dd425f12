"""What page text becomes on its way to the dialog programs: data, never code, options or markup (SEC-13)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from connect_helper.picking import kdialog, macos, windows, zenity
from connect_helper.picking.base import CredentialsQuestion, DialogRequest, FileFilter, Question
from connect_helper.picking.wording import clean_filters, request_title, suggested_name


def request_with(text: str, kind: str = "open-file") -> DialogRequest:
    return DialogRequest(
        kind,  # type: ignore[arg-type]
        "https://portal.example",
        title=text,
        suggested_name=text,
        multiple=True,
        filters=(FileFilter(text, ("png", text)),),
        start_folder=Path("/srv/films"),
    )


def question_with(text: str) -> Question:
    return Question(
        "https://portal.example", text, details=(text,), accept="Allow", refuse="Deny", remember="Always"
    )


def test_zenity_gets_page_text_behind_its_options_only(hostile: str) -> None:
    lines = [
        zenity.pick_arguments(request_with(hostile)),
        zenity.pick_arguments(request_with(hostile, "save-file")),
        zenity.question_arguments(question_with(hostile)),
        zenity.credentials_arguments(CredentialsQuestion(hostile, hostile, hostile, secret_label=hostile)),
    ]
    plain = ("file-selection", "save", "confirm-overwrite", "multiple", "directory", "question", "forms")
    valued = ("title", "separator", "filename", "file-filter", "text", "width", "ok-label", "cancel-label")
    known = {f"--{name}" for name in (*plain, "no-markup", "default-cancel")}
    known |= {f"--{name}=" for name in (*valued, "extra-button", "add-entry", "add-password")}
    for arguments in lines:
        for argument in arguments:
            name, sign, _ = argument.partition("=")
            assert f"{name}{sign}" in known
            assert "\x00" not in argument


def test_zenity_markup_of_a_form_is_escaped() -> None:
    asked = CredentialsQuestion("https://a.example", "<b>Sign in</b> & \\n go", None)
    text = next(a for a in zenity.credentials_arguments(asked) if a.startswith("--text="))
    assert text == "--text=&lt;b&gt;Sign in&lt;/b&gt; &amp; \\\\n go"


def test_zenity_labels_have_no_shortcut_letters() -> None:
    question = Question("https://a.example", "Allow?", remember="Always a_b.example")
    assert "--extra-button=Always a__b.example" in zenity.question_arguments(question)


class Texts(HTMLParser):
    """Collects tags and text of what Qt will show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_kdialog_shows_page_text_as_text(hostile: str) -> None:
    arguments = kdialog.question_arguments(question_with(hostile))
    seen = Texts()
    seen.feed(arguments[2])
    seen.close()
    assert set(seen.tags) <= {"qt", "br"}
    assert "\\" not in arguments[2]
    assert not any(argument.startswith("-") for argument in arguments[2:])


def test_kdialog_takes_no_by_default() -> None:
    arguments = kdialog.question_arguments(Question("c", "Allow?", remember="Always"))
    assert arguments[3:] == ["deny", "Deny", "on", "allow", "Allow", "off", "always", "Always", "off"]


def test_kdialog_names_with_new_lines_are_told_apart_by_what_exists(tmp_path: Path) -> None:
    names = ["plain", "two\nlines", "two", "three\n\nlines\n", "bad\udcff"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.touch()
    wanted = [paths[1], paths[0], paths[3], paths[4]]
    output = b"".join(str(path).encode("utf-8", "surrogateescape") + b"\n" for path in wanted)
    request = DialogRequest("open-file", "c", multiple=True)
    assert kdialog.chosen_paths(output, request) == wanted


def test_osascript_gets_page_text_as_one_argument(hostile: str) -> None:
    lines = [
        macos.command_line(macos.PROGRAM, wish)
        for wish in (
            macos.pick_wish(request_with(hostile)),
            macos.question_wish(question_with(hostile)),
            macos.field_wish(CredentialsQuestion(hostile, hostile, hostile), hostile, hidden=True),
        )
    ]
    for line in lines:
        assert line[:5] == [macos.PROGRAM, "-l", "JavaScript", "-e", macos.SCRIPT]
        assert len(line) == 6
        assert isinstance(json.loads(line[5]), dict)


NODE_HARNESS = """
const [script, wish, answer] = process.argv.slice(1);
const calls = [];
const app = new Proxy({}, {get: (_, name) => (...args) => {
  calls.push([name, ...args]);
  const given = JSON.parse(answer);
  if (given.error) throw Object.assign(new Error('x'), {errorNumber: given.error});
  return given.value;
}, set: () => true});
global.Application = {currentApplication: () => app};
global.Path = (text) => ({path: text});
const run = new Function(script + '; return run;')();
process.stdout.write(JSON.stringify({said: JSON.parse(run([wish])), calls}));
"""


def run_mac_script(wish: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """The real script in node, with a stand-in for the objects macOS gives it."""
    node = shutil.which("node")
    assert node is not None
    command = [node, "-e", NODE_HARNESS, macos.SCRIPT, json.dumps(wish), json.dumps(answer)]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def test_the_mac_script_opens_a_file_dialog_with_what_was_wished(hostile: str) -> None:
    wish = macos.pick_wish(request_with(hostile))
    result = run_mac_script(wish, {"value": ["/srv/a", "/srv/b"]})
    assert result["said"] == {"paths": ["/srv/a", "/srv/b"]}
    (name, options), *rest = result["calls"]
    assert (name, rest) == ("chooseFile", [])
    assert options["withPrompt"] == wish["title"]
    assert options["multipleSelectionsAllowed"] is True
    assert options["defaultLocation"] == {"path": "/srv/films"}


def test_the_mac_script_asks_with_no_as_default() -> None:
    wish = macos.question_wish(question_with("Allow?"))
    result = run_mac_script(wish, {"value": {"buttonReturned": "Always"}})
    assert result["said"] == {"button": "Always"}
    options = result["calls"][0][2]
    assert options["buttons"] == ["Deny", "Always", "Allow"]
    assert (options["defaultButton"], options["cancelButton"]) == (1, 1)


def test_the_mac_script_tells_a_cancel_from_a_failure() -> None:
    wish = macos.pick_wish(request_with("t", "open-folder"))
    assert run_mac_script(wish, {"error": -128})["said"] == {"cancelled": True}
    with pytest.raises(subprocess.CalledProcessError):
        run_mac_script(wish, {"error": -1700})


def test_the_powershell_command_line_is_the_same_for_every_request() -> None:
    line = windows.command_line("powershell.exe")
    assert base64.b64decode(line[-1]).decode("utf-16-le") == windows.SCRIPT
    assert len(" ".join(line)) < 32_000  # the limit of Windows
    assert "Invoke-Expression" not in windows.SCRIPT


def test_powershell_gets_page_text_as_ascii_json(hostile: str) -> None:
    for wish in (
        windows.pick_wish(request_with(hostile)),
        windows.question_wish(question_with(hostile)),
        windows.credentials_wish(CredentialsQuestion(hostile, hostile, None, secret_label=hostile)),
    ):
        line = json.dumps(wish)
        assert line.isascii()
        assert "\n" not in line


def test_windows_filters_have_their_parts_in_pairs(hostile: str) -> None:
    wish = windows.pick_wish(request_with(hostile))
    names_and_patterns = wish["filter"].split("|")
    assert len(names_and_patterns) == 2
    assert names_and_patterns[1].startswith("*.png")


def test_the_title_begins_with_who_asks(hostile: str) -> None:
    title = request_title(request_with(hostile))
    assert title.startswith("https://portal.example wants files")
    assert title.isprintable()
    assert len(title) < 150


def test_a_suggested_name_leaves_no_folder(hostile: str) -> None:
    name = suggested_name(DialogRequest("save-file", "c", suggested_name=f"../../{hostile}"))
    assert "/" not in name
    assert name not in {".", ".."}
    assert name.isprintable()
    assert len(name.encode()) <= 200


def test_filters_keep_plain_extensions_only() -> None:
    given = (
        FileFilter("Images | all", ("png", ".jpg", "*.gif", "a b", "", "x;y", "z/../*")),
        FileFilter("Nothing left", ("a*b",)),
        FileFilter("", ("*",)),
    )
    assert clean_filters(given) == (
        FileFilter("Images all", ("png", "jpg", "gif")),
        FileFilter("*", ("*",)),
    )
