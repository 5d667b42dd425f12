"""`astokengen`: each legal use, each illegal one, output and exit codes."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path

import pytest

from connect_helper import __version__
from connect_helper.commands.astokengen import main
from connect_helper.commands.server_books import CONFIG_VARIABLE, open_books
from connect_helper.server.token_contents import TokenClaims
from tests.support.books import KEY, OTHER_KEY, write_config

COMMAND = Path(sys.executable).with_name("astokengen")


class Tool:
    """The command, in this process; `list_file` writes a list for it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.config = write_config(folder)
        self._capsys, self._patch, self._folder = capsys, patch, folder
        patch.setenv(CONFIG_VARIABLE, str(self.config))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self._patch.setattr(sys, "argv", ["astokengen", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self._capsys.readouterr()
        return code, out, err

    def token(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        return out.strip()

    def claims(self, *arguments: str) -> TokenClaims:
        return open_books(self.config).keyring.open(self.token(*arguments))

    def refused(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("astokengen: ")
        assert err.count("\n") == 1
        return err

    def list_file(self, *lines: str) -> str:
        path = self._folder / f"list-{len(lines)}"
        path.write_text("\n".join(lines))
        return str(path)


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(tmp_path, capsys, monkeypatch)


async def test_the_installed_command_prints_the_token_alone(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    process = await asyncio.create_subprocess_exec(
        COMMAND, "-u", "anna", "-d", "-p", "/a", env={**os.environ, CONFIG_VARIABLE: str(config)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert open_books(config).keyring.open(out.decode().strip()).sources == ((b"a",),)


def test_version(tool: Tool) -> None:
    assert tool.run("-A") == (0, f"astokengen {__version__}\n", "")
    assert tool.run("--version")[1] == f"astokengen {__version__}\n"


def test_upload(tool: Tool) -> None:
    claims = tool.claims("--mode=send", "-u", "anna", "--dest=/in//box/")
    assert claims.direction == "send"
    assert claims.destination_root == (b"in", b"box")
    assert claims.destinations == ()
    assert claims.user_value == 42
    assert claims.expires_at - claims.issued_at == 3600


def test_paired_upload_puts_the_root_in_front_of_each_destination(tool: Tool) -> None:
    pairs = tool.list_file("/home/a", "x/a", "", "/home/b", "/b", "")
    claims = tool.claims("--mode=send", "--user", "anna", "--dest=/in", f"--file-pair-list={pairs}")
    assert claims.destinations == ((b"in", b"x", b"a"), (b"in", b"b"))


def test_download(tool: Tool) -> None:
    claims = tool.claims("--mode=recv", "-u", "anna", "-p", "/a", "--path=b/c", "-p", "/a")
    assert claims.direction == "receive"
    assert claims.sources == ((b"a",), (b"b", b"c"))
    assert claims.rate_cap_kbps == 80_000


def test_the_older_short_form_asks_for_a_download(tool: Tool) -> None:
    assert tool.claims("-u", "anna", "-d", "-p", "/a").sources == ((b"a",),)
    assert "upload" in tool.refused("-u", "anna", "-d", "--mode=send", "--dest=/a")


def test_download_from_a_list_with_a_prefix(tool: Tool) -> None:
    sources = tool.list_file("a", "", "b c\r", "  d ")
    claims = tool.claims("--mode=recv", "-u", "anna", "--source-prefix=/top/", f"--file-list={sources}")
    assert claims.sources == ((b"top", b"a"), (b"top", b"b c"), (b"top", b"  d "))


def test_a_prefix_is_a_folder_that_no_source_leads_out_of(tool: Tool) -> None:
    """/public and film.mov are not /publicfilm.mov."""
    sources = tool.list_file("film.mov", "/b")
    claims = tool.claims("--mode=recv", "-u", "anna", "--source-prefix=/public", f"--file-list={sources}")
    assert claims.sources == ((b"public", b"film.mov"), (b"public", b"b"))
    assert "leads out" in tool.refused("--mode=recv", "-u", "anna", "--source-prefix=/public", "-p", "../c")


def test_the_sources_of_a_paired_upload_are_the_clients_own_business(tool: Tool) -> None:
    pairs = tool.list_file("../photos/a", "x/a")
    claims = tool.claims("--mode=send", "-u", "anna", "--dest=/in", f"--file-pair-list={pairs}")
    assert claims.destinations == ((b"in", b"x", b"a"),)
    out = tool.list_file("a", "../b")
    assert "leads out" in tool.refused("--mode=send", "-u", "anna", "--dest=/in", f"--file-pair-list={out}")


@pytest.mark.parametrize("options", [("--mode=recv", "-p", ""), ("--mode=send", "--dest=")])
def test_an_empty_path_is_a_variable_that_was_not_set(tool: Tool, options: tuple[str, ...]) -> None:
    """As a path it would mean the docroot, that is: everything."""
    assert "A path is empty" in tool.refused("-u", "anna", *options)
    assert tool.claims("--mode=recv", "-u", "anna", "-p", "/").sources == ((),)


def test_a_list_may_begin_with_a_byte_order_mark(tool: Tool) -> None:
    sources = tool.list_file("\ufefffirst", "second")
    claims = tool.claims("--mode=recv", "-u", "anna", f"--file-list={sources}")
    assert claims.sources == ((b"first",), (b"second",))


def test_paired_download_opens_the_sources(tool: Tool) -> None:
    pairs = tool.list_file("/a", "here/a", "/b", "b")
    claims = tool.claims("--mode=recv", "-u", "anna", f"--file-pair-list={pairs}")
    assert claims.sources == ((b"a",), (b"b",))


def test_base64_arguments(tool: Tool) -> None:
    def coded(text: bytes) -> str:
        return base64.b64encode(text).decode()

    claims = tool.claims("--mode=recv", "-b", "-u", coded(b"anna"), "-p", coded(b"/\xff\n"))
    assert claims.sources == ((b"\xff\n",),)
    assert "base64" in tool.refused("--mode=recv", "-b", "-u", "anna!", "-p", coded(b"/a"))


def test_every_token_keeps_its_paths_in_full(tool: Tool) -> None:
    assert tool.claims("--mode=recv", "-u", "anna", "-p", "/a", "--full-paths").sources == ((b"a",),)


@pytest.mark.parametrize(
    "options",
    [
        "--mode=send -u anna",
        "--mode=send -u anna --dest=/ -p /a",
        "--mode=send -u anna --dest=/ --file-list=L",
        "--mode=send -u anna --dest=/ --source-prefix=/a",
        "--mode=send -u anna --dest=/ --file-list=L --file-pair-list=L",
        "--mode=recv -u anna",
        "--mode=recv -u anna -p /a --dest=/",
        "--mode=recv -u anna -p /a --file-pair-list=L",
        "--mode=recv -u anna --file-list=L --file-pair-list=L",
        "--mode=recv -u anna --file-pair-list=L --dest=/",
        "--mode=recv -p /a",
        "-u anna -p /a",
        "--mode=both -u anna",
        "--mode=recv -u anna -p /a -k secret",
        "-t CHT1_AAAA -u anna",
        "-t CHT1_AAAA -p /a",
        "-t CHT1_AAAA -v CHT1_AAAA",
        "-t CHT1_AAAA -b",
        "-t CHT1_AAAA --full-paths",
        "",
        "-x",
        "-e",
        "--mod=recv -u anna -p /a",
        "extra --mode=recv -u anna -p /a",
        "--mode=recv -u",
    ],
)
def test_other_combinations_are_refused(tool: Tool, options: str) -> None:
    tool.refused(*options.replace("=L", "=" + tool.list_file("a", "b")).split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--mode=recv -u nobody -p /a", "no user"),
        ("--mode=send -u cleo --dest=/", "not allow uploads"),
        ("--mode=recv -u anna -p /../a", "leads out"),
        ("--mode=recv -u anna --file-list=/nowhere", "cannot be read"),
        ("--mode=recv -u anna -p /a --config=/nowhere", "/nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(tool: Tool, options: str, said: str) -> None:
    assert said in tool.refused(*options.split())


def test_a_pair_list_with_an_odd_line_is_refused(tool: Tool) -> None:
    odd, none = tool.list_file("a", "b", "c"), tool.list_file("")
    assert "pairs" in tool.refused("--mode=recv", "-u", "anna", f"--file-pair-list={odd}")
    assert "pairs" in tool.refused("--mode=recv", "-u", "anna", f"--file-pair-list={none}")


def test_verify_accepts_what_the_token_opens(tool: Tool) -> None:
    token = tool.token("--mode=recv", "-u", "anna", "-p", "/a", "-p", "/b")
    assert tool.run("--mode=recv", "-u", "anna", "-p", "/a/deep/down", "-v", token) == (0, "", "")
    upload = tool.token("--mode=send", "-u", "anna", "--dest=/in")
    assert tool.run("--mode=send", "-u", "anna", "--dest=/in/deeper", "-v", upload) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--mode=recv -u anna -p /ab", "path"),
        ("--mode=recv -u anna -p /", "path"),
        ("--mode=recv -u anna -p /a -p /c", "path"),
        ("--mode=recv -u cleo -p /a", "user"),
        ("--mode=recv -u ben -p /a", "user"),
        ("--mode=send -u anna --dest=/a", "direction"),
    ],
)
def test_verify_says_what_is_wrong(tool: Tool, options: str, said: str) -> None:
    token = tool.token("--mode=recv", "-u", "anna", "-p", "/a")
    assert said in tool.refused(*options.split(), "-v", token)


def test_verify_refuses_expired_changed_and_revoked_tokens(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ("--mode=recv", "-u", "ben", "-p", "/a")
    token = tool.token(*ask)
    changed = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    assert "changed" in tool.refused(*ask, "-v", changed)
    assert "no token" in tool.refused(*ask, "-v", "ATM3_" + token)
    books = open_books(tool.config)
    books.revocations.revoke(books.keyring.open(token).id, 2**31)
    assert "revoked" in tool.refused(*ask, "-v", token)
    other = tool.token(*ask)
    over = open_books(tool.config).keyring.open(other).expires_at + 61
    monkeypatch.setattr("time.time", lambda: over)
    assert "expired" in tool.refused(*ask, "-v", other)


def test_show(tool: Tool) -> None:
    token = tool.token("--mode=recv", "-u", "anna", "-p", "/a b", "-p", "/é\x1b[31m")
    code, out, err = tool.run("-t", token)
    assert (code, err) == (0, "")
    lines = dict(line.split(": ", 1) for line in out.splitlines()[:7])
    assert lines["user"] == "anna"
    assert lines["mode"] == "recv"
    assert lines["user value"] == "42"
    assert lines["rate cap"] == "80000 kbit/s"
    assert lines["expiry"].endswith("Z")
    assert "path: /a b\n" in out
    assert "\x1b" not in out
    assert (
        "destination root: /in\n" in tool.run("-t", tool.token("--mode=send", "-u", "anna", "--dest=in"))[1]
    )


def test_show_with_a_key_needs_no_configuration(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tool.token("--mode=recv", "-u", "ben", "-p", "/a")
    monkeypatch.setenv(CONFIG_VARIABLE, "/nowhere")
    assert "user: ben" in tool.run("-t", token, "-k", OTHER_KEY)[1]
    assert "key" in tool.refused("-t", token, "-k", KEY)
    assert "20" in tool.refused("-t", token, "-k", "short")
    assert "cannot be used" in tool.refused("-t", token)


def test_a_user_without_a_key_gets_no_token(tool: Tool) -> None:
    text = tool.config.read_text()
    tool.config.write_text(text.replace(f'key = "{KEY}"\n', ""))
    assert "no token key" in tool.refused("--mode=recv", "-u", "anna", "-p", "/a")
    assert tool.claims("--mode=recv", "-u", "ben", "-p", "/a").user == "ben"


def test_what_is_wrong_with_the_configuration_stands_on_the_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = Tool(tmp_path, capsys, monkeypatch)
    tool.config.write_text(tool.config.read_text() + "\n[nonsense]\nx = 1\n[more]\ny = 2\n")
    said = tool.refused("--mode=send", "-u", "ann", "--dest=/")
    assert "nonsense" in said
    assert "; " in said
    assert "more" in said
