"""`connect-helper token`: issue, show, verify, revoke."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from connect_helper.cli import app
from connect_helper.commands.server_books import CONFIG_VARIABLE, open_books
from connect_helper.server.token_contents import TokenClaims
from tests.support.books import write_config


class Tool:
    """The command in this process, with the configuration of `tests.support.books`."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def run(self, *arguments: str, given: str = "") -> tuple[int, str, str]:
        ran = CliRunner().invoke(
            app, ["token", *arguments], input=given, env={CONFIG_VARIABLE: str(self.config)}
        )
        return ran.exit_code, ran.stdout, ran.stderr

    def good(self, *arguments: str, given: str = "") -> str:
        code, out, err = self.run(*arguments, given=given)
        assert (code, err) == (0, ""), err
        return out

    def issue(self, *arguments: str) -> str:
        return self.good("issue", *arguments).strip()

    def claims(self, text: str) -> TokenClaims:
        return open_books(self.config).keyring.open(text)


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(write_config(tmp_path))


def test_a_download_token(tool: Tool) -> None:
    text = tool.issue("-u", "anna", "--download", "/a", "--download", "b c", "--life", "60", "--cookie", "j")
    claims = tool.claims(text)
    assert claims.sources == ((b"a",), (b"b c",))
    assert claims.expires_at - claims.issued_at == 60
    assert (claims.cookie, claims.rate_cap_kbps) == ("j", 80_000)


def test_an_upload_token(tool: Tool) -> None:
    assert tool.claims(tool.issue("-u", "anna", "--upload", "/in")).granted == ((b"in",),)
    narrow = tool.issue("-u", "anna", "--upload", "/in", "--only", "a", "--only", "b", "--rate", "500")
    assert tool.claims(narrow).granted == ((b"in", b"a"), (b"in", b"b"))
    assert tool.claims(narrow).rate_cap_kbps == 500


def test_json_tells_the_id_to_revoke_by(tool: Tool) -> None:
    answer = json.loads(tool.good("issue", "-u", "anna", "--upload", "/", "--json"))
    assert answer["id"] == tool.claims(answer["token"]).id
    tool.good("revoke", answer["id"])
    assert "revoked" in tool.run("verify", answer["token"])[2]


@pytest.mark.parametrize(
    "arguments",
    [
        "-u anna",
        "-u anna --upload /a --download /b",
        "-u anna --only /a",
        "-u anna --download /b --only /a",
        "-u anna --download /../b",
        "-u nobody --download /b",
        "-u cleo --upload /",
        "-u anna --upload / --life 0",
        "--upload /",
    ],
)
def test_what_cannot_be_issued_is_a_usage_error(tool: Tool, arguments: str) -> None:
    code, out, err = tool.run("issue", *arguments.split())
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("options", [("--download", ""), ("--upload", ""), ("--upload", "/", "--only", "")])
def test_an_empty_path_is_a_variable_that_was_not_set(tool: Tool, options: tuple[str, ...]) -> None:
    code, out, err = tool.run("issue", "-u", "anna", *options)
    assert (code, out) == (2, "")
    assert "A path is empty" in err


def test_show_and_verify(tool: Tool) -> None:
    text = tool.issue("-u", "anna", "--download", "/a")
    assert "user: anna\nmode: recv\n" in tool.good("show", text)
    assert "good until" in tool.good("verify", text, "-u", "anna", "--path", "/a/b")
    assert "good until" in tool.good("verify", "-", given=text + "\n")
    for options, said in (("-u ben", "user"), ("--path /ab", "path")):
        code, out, err = tool.run("verify", text, *options.split())
        assert (code, out) == (1, "")
        assert said in err
    assert tool.run("verify", text[:-1])[0] == 1
    assert tool.run("show", "junk")[0] == 1


def test_revoke(tool: Tool) -> None:
    text, other = (tool.issue("-u", "anna", "--download", "/a") for _ in range(2))
    assert "is revoked" in tool.good("revoke", "-", given=text)
    code, _, err = tool.run("verify", text)
    assert (code, "revoked" in err) == (1, True)
    tool.good("verify", other)
    assert "user: anna" in tool.good("show", text)
    for slip in ("no/id", "foo", "0" * 31, "0" * 33, text[6:40]):
        code, out, err = tool.run("revoke", slip)
        assert (code, out) == (1, "")
        assert "neither a token" in err
    tool.good("revoke", "0" * 32)


def test_a_list_of_revoked_tokens_that_cannot_be_read_is_named(tool: Tool) -> None:
    text = tool.issue("-u", "anna", "--download", "/a")
    (tool.config.parent / "revoked-tokens").write_text("junk\n")
    for command in ("verify", "revoke"):
        code, _, err = tool.run(command, text)
        assert code == 1
        assert f"{tool.config.parent}/revoked-tokens cannot be read: a line is neither" in err


def test_a_token_of_an_account_that_lost_its_right_is_no_good(tool: Tool) -> None:
    text = tool.issue("-u", "anna", "--download", "/a")
    tool.config.write_text(tool.config.read_text().replace('download = "token"', 'download = "deny"'))
    assert "not do that" in tool.run("verify", text)[2]


def test_without_a_configuration_it_says_where_it_looked(tmp_path: Path) -> None:
    code, _, err = Tool(tmp_path / "none.toml").run("show", "CHT1_A")
    assert code == 1
    assert "none.toml" in err
