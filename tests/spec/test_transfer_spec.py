"""Reading transfer specs: required fields, every spelling, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connect_helper.errors import InvalidRequest, NotGranted
from connect_helper.spec.aftermath import Aftermath
from connect_helper.spec.echo import echo
from connect_helper.spec.paths import default_title, download_targets, upload_targets
from connect_helper.spec.rates import effective_rate_kbps
from connect_helper.spec.support import NEVER, WITHOUT_EFFECT
from connect_helper.spec.times import Moment, Stamps
from connect_helper.spec.transfer_spec import DEFAULT_SSH_PORT, PathPair, TransferSpec, parse_spec

MakeRaw = Callable[..., dict[str, Any]]
FIELDS = [field.name for field in dataclasses.fields(TransferSpec)]


def refused_field(raw: dict[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_spec(raw)
    assert caught.value.user_message
    return caught.value.field


def test_the_smallest_spec_gets_the_documented_defaults(make_raw: MakeRaw) -> None:
    spec = parse_spec(make_raw())
    assert (spec.direction, spec.remote_host, spec.ssh_port) == ("send", "b.example", 33001)
    assert spec.paths == (PathPair("/data/a.txt"),)
    assert (spec.overwrite, spec.resume_policy, spec.rate_policy) == ("diff", "sparse_checksum", "fair")
    assert spec.follow_links
    assert spec.ignored == ()
    assert not spec.aftermath.changes_sources
    assert (spec.protection.action, spec.sessions.number) == (None, None)
    assert (spec.include_patterns, spec.exclude_patterns) == ((), ())
    assert [spec.create_dir, spec.preserve_times, spec.wants_source_removal] == [False] * 3


@pytest.mark.parametrize("field", ["direction", "remote_host", "paths"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_required_field_is_named(make_raw: MakeRaw, field: str, value: Any) -> None:
    assert refused_field({**make_raw(), field: value}) == field


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"direction": "upload"}, "direction"),
        ({"paths": []}, "paths"),
        ({"paths": {"source": "/a"}}, "paths"),
        ({"paths": ["/a"]}, "paths[0]"),
        ({"paths": [{"source": "/a"}, {"source": ""}]}, "paths[1].source"),
        ({"paths": [{"destination": "b"}]}, "paths[0].source"),
        ({"paths": [{"source": "/a"}, {"source": "/b", "destination": "c"}]}, "paths"),
        ({"paths": [{"source": "/a\0"}]}, "paths[0].source"),
        ({"ssh_port": 65_536}, "ssh_port"),
        ({"ssh_port": -1}, "ssh_port"),
        ({"ssh_port": "1e999"}, "ssh_port"),
        ({"overwrite": "sometimes"}, "overwrite"),
        ({"overwrite_policy": "sometimes"}, "overwrite_policy"),
        ({"resume_policy": "maybe"}, "resume_policy"),
        ({"resume": "maybe"}, "resume"),
        ({"rate_policy": "fastest"}, "rate_policy"),
        ({"cipher": "rot13"}, "cipher"),
        ({"cipher_allowed": "rot13"}, "cipher_allowed"),
        ({"content_protection": "rot13"}, "content_protection"),
        ({"symlink_policy": "chase"}, "symlink_policy"),
        ({"file_checksum": "crc32"}, "file_checksum"),
        ({"authentication": "magic"}, "authentication"),
        ({"authentication": "token"}, "token"),
        ({"target_rate_kbps": -5}, "target_rate_kbps"),
        ({"target_rate_kbps": 10**12}, "target_rate_kbps"),
        ({"target_rate_cap_kbps": "fast"}, "target_rate_cap_kbps"),
        ({"create_dir": "perhaps"}, "create_dir"),
        ({"sshfp": "not a fingerprint!"}, "sshfp"),
        ({"remote_user": "a\nb"}, "remote_user"),
        ({"remote_password": ["x"]}, "remote_password"),
        ({"tags": "x"}, "tags"),
        ({"tags64": "###"}, "tags64"),
        ({"tags64": base64.b64encode(b"[1]").decode()}, "tags64"),
        ({"src_base64": "###"}, "src_base64"),
        ({"remove_after_transfer": True, "move_after_transfer": "/done"}, "move_after_transfer"),
        ({"remove_skipped": True}, "remove_skipped"),
        ({"multi_session": 10_000}, "multi_session"),
        ({"multi_session_threshold": -1}, "multi_session_threshold"),
        ({"precalculate_job_size": "maybe"}, "precalculate_job_size"),
        ({"min_rate_kbps": -1}, "min_rate_kbps"),
        ({"min_rate_cap_kbps": "fast"}, "min_rate_cap_kbps"),
        ({"rate_policy_allowed": "fastest"}, "rate_policy_allowed"),
        ({"save-before-overwrite": "perhaps"}, "save-before-overwrite"),
        ({"exclude_newer_than": "yesterday"}, "exclude_newer_than"),
        ({"exclude_newer_than": 100, "exclude_older_than": 200}, "exclude_older_than"),
        ({"inclusion_patterns": [{"pattern": "[a"}]}, "inclusion_patterns"),
        ({"exclude_patterns": "*.tmp"}, "exclude_patterns"),
        ({"delete_before_transfer": True, "obfuscate_file_names": True}, "delete_before_transfer"),
        (
            {"content_protection": "encrypt", "content_protection_passphrase": "x" * 2_000},
            "content_protection_passphrase",
        ),
    ],
)
def test_a_wrong_field_is_named(make_raw: MakeRaw, fields: dict[str, Any], named: str) -> None:
    assert refused_field(make_raw(**fields)) == named


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        " a",
        "-oProxyCommand=x",
        "a;b",
        "$(x)",
        "a`b`",
        "a/b",
        "u@h",
        "a:22",
        "..",
        "a..b",
        ".",
        "x" * 254,
        "a.-b",
        *("fe80::1%eth0", "1::2::3", "[::1", "::1]", "a\nb", "ä b", "a|b", "x" * 64, "\udc80"),
    ],
)
def test_a_bad_host_is_refused(make_raw: MakeRaw, host: str) -> None:
    assert refused_field(make_raw(remote_host=host)) == "remote_host"


@pytest.mark.parametrize(
    ("host", "clean"),
    [
        ("Xfer.Example.ORG", "xfer.example.org"),
        ("xfer.example.org.", "xfer.example.org"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("my_server", "my_server"),
    ],
)
def test_a_host_has_one_spelling(make_raw: MakeRaw, host: str, clean: str) -> None:
    assert parse_spec(make_raw(remote_host=host)).remote_host == clean


ALIASES = [
    ("overwrite", "older", "overwrite_policy", "always", "overwrite"),
    ("resume_policy", "none", "resume", "attributes", "resume_policy"),
    ("resume", "none", "resume_level", "attributes", "resume_policy"),
    ("resume_level", "none", "resume_check", "attributes", "resume_policy"),
    ("sshfp", "AA", "ssh_fingerprint", "BB", "sshfp"),
    ("src_base", "/x", "src_base64", base64.b64encode(b"/y").decode(), "src_base"),
]


@pytest.mark.parametrize(("newer", "value", "older", "other", "name"), ALIASES)
def test_of_two_spellings_the_newer_wins(
    make_raw: MakeRaw, newer: str, value: str, older: str, other: str, name: str
) -> None:
    both = parse_spec(make_raw(**{newer: value, older: other}))
    assert getattr(both, name) == value
    only_old = getattr(parse_spec(make_raw(**{newer: "", older: other})), name)
    assert only_old == ("/y" if older == "src_base64" else other)


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("attrs", "attributes"),
        ("sparse_csum", "sparse_checksum"),
        ("full_csum", "full_checksum"),
        (2, "sparse_checksum"),
    ],
)
def test_short_resume_words_are_known(make_raw: MakeRaw, word: Any, meaning: str) -> None:
    assert parse_spec(make_raw(resume_policy=word)).resume_policy == meaning


def test_never_is_none(make_raw: MakeRaw) -> None:
    assert parse_spec(make_raw(overwrite="never")).overwrite == "none"


@pytest.mark.parametrize("port", [None, 0, "0", ""])
def test_no_port_is_the_default_port(make_raw: MakeRaw, port: Any) -> None:
    assert parse_spec({**make_raw(), "ssh_port": port}).ssh_port == DEFAULT_SSH_PORT


@pytest.mark.parametrize(
    ("fields", "method", "user", "asks"),
    [
        ({}, "password", None, True),
        ({"remote_user": "u"}, "password", "u", True),
        ({"remote_user": "u", "remote_password": "p"}, "password", "u", False),
        ({"remote_user": "u", "ssh_private_key": "k"}, "password", "u", False),
        ({"token": "ATM2_x"}, "token", "xfer", False),
        ({"token": "ATM2_x", "remote_user": "u"}, "token", "u", False),
        ({"token": "ATM2_x", "remote_password": "p"}, "password", None, False),
        ({"token": "ATM2_x", "authentication": "password"}, "password", None, True),
        ({"token": "ATM2_x", "remote_password": "p", "authentication": "token"}, "token", "xfer", False),
    ],
)
def test_how_to_log_in(
    make_raw: MakeRaw, fields: dict[str, Any], method: str, user: str | None, asks: bool
) -> None:
    spec = parse_spec(make_raw(**fields))
    assert (spec.authentication, spec.login_user, spec.needs_password) == (method, user, asks)


HARMLESS: list[dict[str, Any]] = [
    {"content_protection": "decrypt"},
    {"direction": "receive", "obfuscate_file_names": True},
    {"http_fallback": True},
    {"http_fallback": "1"},
]
# Field, value, and what becomes of it.
HONOURED: list[tuple[dict[str, Any], str, Any]] = [
    ({"inclusion_patterns": [{"pattern": "*.txt"}]}, "include_patterns", ("*.txt",)),
    ({"exclude_patterns": ["*"]}, "exclude_patterns", ("*",)),
    ({"exclude_newer_than": 5}, "exclude_newer_than", Moment(5.0)),
    ({"exclude_older_than": "-86400"}, "exclude_older_than", Moment(-86_400.0, relative=True)),
    ({"save-before-overwrite": "yes", "resume": "none"}, "save_before_overwrite", True),
    ({"delete_before_transfer": True}, "delete_before_transfer", True),
    ({"obfuscate_file_names": "yes"}, "obfuscate_file_names", True),
    ({"direction": "receive", "obfuscate_file_names": "yes"}, "obfuscate_file_names", False),
    ({"symlink_policy": "copy+force"}, "links", "copy+force"),
    ({"preserve_access_time": True}, "stamps", Stamps(access=True)),
    ({"preserve_source_access_time": 1}, "quiet_reading", True),
    ({"move_after_transfer": "/done"}, "aftermath", Aftermath(move_to="/done")),
    ({"skip_duplicate_check": "true"}, "skip_duplicate_check", True),
    ({"precalculate_job_size": "yes"}, "count_first", True),
    ({"precalculate_job_size": None}, "count_first", None),
    ({"retry_duration": "5min"}, "retry_duration_s", 300.0),
    ({"retry_duration": 90}, "retry_duration_s", 90.0),
]


@pytest.mark.parametrize(("fields", "name", "value"), HONOURED, ids=str)
def test_what_a_field_becomes(make_raw: MakeRaw, fields: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(parse_spec(make_raw(**fields)), name) == value


@pytest.mark.parametrize(
    "fields",
    [
        {"delete_before_transfer": True, "obfuscate_file_names": True},
        {"delete_before_transfer": True, "remove_after_transfer": True},
        {"delete_before_transfer": True, "move_after_transfer": "/done"},
        {"remove_after_transfer": True, "move_after_transfer": "/done"},
        {"exclude_newer_than": 10, "exclude_older_than": 20},
        {"content_protection": "encrypt", "content_protection_password": "x" * 2_000},
        {"multi_session": 10_000},
        {"target_rate_kbps": -1},
        {"min_rate_kbps": 10**12},
        {"include_patterns": ["[a"]},
        {"retry_duration": "soon"},
        {"retry_duration": -1},
        {"retry_duration": "99999d"},
        {"retry_duration": True},
        {"http_fallback": "force"},
        {"http_fallback": "perhaps"},
        {"http_fallback": True, "http_fallback_port": -1},
        {"https_fallback_port": 65_536},
    ],
    ids=str,
)
def test_contradictions_and_absurd_values_name_their_field(make_raw: MakeRaw, fields: dict[str, Any]) -> None:
    assert refused_field(make_raw(**fields)) in fields


@pytest.mark.parametrize("fields", HARMLESS, ids=str)
def test_without_consequence_the_same_fields_pass(make_raw: MakeRaw, fields: dict[str, Any]) -> None:
    assert parse_spec(make_raw(**fields)).raw.items() >= fields.items()


@pytest.mark.parametrize("field", sorted(NEVER))
def test_fields_that_reach_into_this_machine_change_nothing(make_raw: MakeRaw, field: str) -> None:
    plain, spec = parse_spec(make_raw()), parse_spec(make_raw(**{field: "-oProxyCommand=x"}))
    assert spec.ignored == (field,)
    assert _acting(spec) == _acting(plain)


@pytest.mark.parametrize("field", [f"invented_{number}" for number in range(50)])
def test_unknown_fields_change_nothing_and_come_back(make_raw: MakeRaw, field: str) -> None:
    spec = parse_spec(make_raw(**{field: {"run": ["x"]}}))
    assert _acting(spec) == _acting(parse_spec(make_raw()))
    assert echo(spec)[field] == {"run": ["x"]}


def _acting(spec: TransferSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in FIELDS if name not in ("raw", "ignored")}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"remove_after_transfer": True}, True),
        ({"delete_source": "yes"}, True),
        ({"remove_empty_source_directory": 1}, True),
        ({"remove_after_transfer": True, "delete_source": False}, False),
        ({"remove_skipped": True, "delete_source": False}, False),
    ],
)
def test_a_wish_to_remove_sources_is_only_noted(
    make_raw: MakeRaw, fields: dict[str, Any], wanted: bool
) -> None:
    assert parse_spec(make_raw(**fields)).wants_source_removal is wanted


@pytest.mark.parametrize(
    ("fields", "both", "only_modification"),
    [
        ({}, False, False),
        ({"preserve_times": True}, True, False),
        ({"preserve_modification_time": True}, False, True),
    ],
)
def test_which_times_are_kept(
    make_raw: MakeRaw, fields: dict[str, Any], both: bool, only_modification: bool
) -> None:
    spec = parse_spec(make_raw(**fields))
    assert spec.preserve_times is (both or only_modification)
    assert spec.stamps.access is both


def test_what_is_only_refused_when_it_matters_is_read_all_the_same(make_raw: MakeRaw) -> None:
    spec = parse_spec(
        make_raw(
            direction="receive",
            save_before_overwrite=True,
            symlink_policy="skip",
            obfuscate_file_names=True,
            multi_session="4",
            multi_session_threshold=1_000,
            precalculate_job_size=True,
            min_rate_kbps=10,
            min_rate_cap_kbps=20,
            rate_policy_allowed="high",
        )
    )
    assert spec.save_before_overwrite
    assert not spec.follow_links
    assert not spec.obfuscate_file_names  # an upload's field
    assert (spec.sessions.number, spec.sessions.threshold) == (4, 1_000)
    assert spec.count_first
    assert (spec.min_rate_kbps, spec.min_rate_cap_kbps, spec.rate_policy_allowed) == (10, 20, "high")


def test_tags_may_come_encoded(make_raw: MakeRaw) -> None:
    tags = {"aspera": {"xfer_id": "7b0c1f3e"}}
    encoded = base64.b64encode(json.dumps(tags).encode()).decode()
    assert parse_spec(make_raw(tags64=encoded)).xfer_id == "7b0c1f3e"
    assert parse_spec(make_raw(tags64=encoded, tags={"a": 1})).xfer_id is None


@pytest.mark.parametrize("value", ["", "../x", "a b", "x" * 129, 5.5, True, None, {"a": 1}])
def test_an_unusable_transfer_id_is_none(make_raw: MakeRaw, value: Any) -> None:
    assert parse_spec(make_raw(tags={"aspera": {"xfer_id": value}})).xfer_id is None


def test_a_cookie_object_becomes_json(make_raw: MakeRaw) -> None:
    assert parse_spec(make_raw(cookie={"a": 1})).cookie == '{"a": 1}'


def test_no_secret_shows_in_the_repr(make_raw: MakeRaw) -> None:
    names = (
        *("remote_password", "token", "ssh_private_key", "ssh_private_key_passphrase", "invented"),
        "content_protection_passphrase",
    )
    shown = repr(parse_spec(make_raw(tags={"t": "canary-tag"}, **{name: f"canary-{name}" for name in names})))
    assert "canary" not in shown


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["none", "1", "/", ".."]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
KNOWN = sorted(
    {*FIELDS, *NEVER, *WITHOUT_EFFECT}
    | {"exclude_newer_than", "content_protection_password", "save-before-overwrite", "remove_after_transfer"}
    | {"move_after_transfer", "precalculate_job_size", "preserve_modification_time"}
    | {"overwrite_policy", "resume", "ssh_fingerprint", "src_base64", "tags64", "delete_source"}
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(st.sampled_from(KNOWN), JSON, max_size=4),
    st.booleans(),
    st.lists(
        st.one_of(JSON, st.fixed_dictionaries({"source": JSON}, optional={"destination": JSON})), max_size=3
    ),
    st.booleans(),
)
def test_any_json_is_read_or_refused_in_words(
    fields: dict[str, Any], valid: bool, paths: list[Any], absolute: bool
) -> None:
    base = {"direction": "receive", "remote_host": "b.example", "paths": paths or [{"source": "a"}]}
    with contextlib.suppress(InvalidRequest, NotGranted):
        spec = parse_spec({**base, **fields} if valid else {**fields, "paths": paths})
        echo(spec)
        effective_rate_kbps(spec)
        default_title(spec)
        upload_targets(spec)
        for target in download_targets(spec, absolute=absolute):
            assert target.target
            assert not {"", ".", ".."} & set(target.target)
            assert not any(sign in name for name in target.target for sign in "/\\\0")
