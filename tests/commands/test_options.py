"""The table of policies on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connect_helper.commands.options import POLICY_ROWS, Options, in_options, takes_options
from connect_helper.transfers.plan import Policies

NOT_OFFERED = {"create_dir"}  # the folder of a command line is always made


def parsed(direction: Any, *arguments: str) -> tuple[Options, Policies, str]:
    """What a command with one argument of its own gets."""
    found: list[tuple[Options, Policies, str]] = []
    app = typer.Typer()

    @app.command()
    @takes_options(direction)
    def command(name: str, options: Options, policies: Policies) -> None:
        found.append((options, policies, name))

    ran = CliRunner().invoke(app, ["x", *arguments])
    assert ran.exit_code == 0, ran.output
    return found[0]


def test_the_number_of_connections_is_checked() -> None:
    assert parsed("receive", "--connections", "4")[0] == Options(connections=4)
    app = typer.Typer()
    app.command()(takes_options("send")(lambda options, policies: None))
    for number in ("0", "129", "many"):
        assert CliRunner().invoke(app, ["--connections", number]).exit_code == 2


def test_words_of_errors_are_told_as_the_options_they_stand_for() -> None:
    said = in_options('"move_after_transfer" and "delete_first" of "films" lie before "exclude_older_than".')
    assert said == '--move-after-transfer and --delete-surplus of "films" lie before --exclude-older-than.'


@pytest.mark.parametrize("direction", ["send", "receive"])
def test_every_option_is_described_in_the_documentation(direction: Any) -> None:
    app = typer.Typer()
    app.command()(takes_options(direction)(lambda options, policies: None))
    text = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    for parameter in typer.main.get_command(app).params:
        name = next((one for one in parameter.opts if one.startswith("--")), "")
        assert name in ("--install-completion", "--show-completion") or f"`{name}" in text, name


def test_without_options_everything_is_as_the_defaults_say() -> None:
    assert parsed("send") == (Options(), Policies(), "x")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--overwrite", "diff+older"], {"overwrite": "diff+older"}),
        (["--resume", "full_checksum"], {"resume": "full_checksum"}),
        (["--existing", "keep-both"], {"existing": "keep_both"}),
        (["--checksum", "md5"], {"checksum": "md5"}),
        (["--preserve-times"], {"preserve_times": True}),
        (["--symlinks", "skip"], {"links": "skip"}),
        (["--symlinks", "copy+force"], {"links": "copy+force"}),
        (["--include", "a*", "--include", "b"], {"include_patterns": ("a*", "b")}),
        (["--exclude", "*.tmp"], {"exclude_patterns": ("*.tmp",)}),
        (["--exclude-newer-than", "1970-01-02"], {"newer_than_s": 86_400.0}),
        (["--exclude-older-than", "86400"], {"older_than_s": 86_400.0}),
        (["--count-first", "yes"], {"count_first": "yes"}),
        (["--last-duplicate-wins"], {"last_duplicate_wins": True}),
        (["--delete-surplus"], {"delete_first": True}),
        (["--preserve-access-times"], {"preserve_access_times": True}),
        (["--save-before-overwrite"], {"save_first": True}),
        (["--skip-special-files"], {"skip_special_files": True}),
    ],
)
def test_each_option_sets_its_policy(arguments: list[str], expected: dict[str, Any]) -> None:
    assert parsed("receive", *arguments)[1] == Policies(**expected)


@pytest.mark.parametrize("arguments", [["--exclude", "[a"], ["--exclude-older-than", "soon"]])
def test_what_is_no_pattern_or_time_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(AssertionError, match=arguments[0]):
        parsed("receive", *arguments)


def test_every_policy_of_a_session_is_offered() -> None:
    assert {row.field for row in POLICY_ROWS} == set(Policies.model_fields) - NOT_OFFERED


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--target-rate-cap", "5M"], {"target_rate_cap": "5M"}),
        (["--multi-session-threshold", "0"], {"multi_session_threshold": 0}),
        (["--retry-duration", "5min"], {"retry_duration": "5min"}),
        (["--obfuscate-file-names"], {"obfuscate_file_names": True}),
        (["--remove-after-transfer"], {"remove_after_transfer": True}),
        (["--remove-skipped"], {"remove_skipped": True}),
        (["--move-after-transfer", "sent"], {"move_after_transfer": "sent"}),
        (["--remove-empty-directories"], {"remove_empty_directories": True}),
        (["--remove-empty-source-directory"], {"remove_empty_source_directory": True}),
        (["--delete-source"], {"delete_source": True}),
        (["--content-protection", "encrypt"], {"content_protection": "encrypt"}),
        (["--passphrase-stdin"], {"passphrase_stdin": True}),
        (["--fail-bad-filepass"], {"fail_bad_filepass": True}),
    ],
)
def test_words_of_transfer_specs_are_options_of_the_same_name(
    arguments: list[str], expected: dict[str, Any]
) -> None:
    assert parsed("send", *arguments)[0] == Options(**expected)


def test_what_only_downloads_know_is_not_offered_for_uploads() -> None:
    app = typer.Typer()

    @app.command()
    @takes_options("send")
    def command(options: Options, policies: Policies) -> None:
        raise AssertionError

    assert CliRunner().invoke(app, ["--existing", "replace"]).exit_code == 2
