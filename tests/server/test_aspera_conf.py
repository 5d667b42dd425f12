"""aspera.conf: sparse, contradictory and hostile ones."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from connect_helper.server import aspera_values as values
from connect_helper.server.aspera_conf import Conversion, Machine, convert_tree, groups_of
from connect_helper.server.aspera_tree import AsperaConfUnreadable, parse
from connect_helper.server.configuration import ServerConfig, from_mapping
from connect_helper.server.source import Source, merged

KEY = "0123456789abcdef0123456789"
ODD_GROUP = "<group><name>g</name><precedence>x</precedence></group>"
BW = "</bandwidth></in></transfer></default>"
PLACE = "<file_system><access><paths><path><absolute>/data/x</absolute></path></paths></access></file_system>"


def converted(text: str, groups: dict[str, list[str]] | None = None, home: Path | None = None) -> Conversion:
    machine = Machine(lambda name: (groups or {}).get(name, []), lambda name: home)
    return convert_tree(parse(text.encode(), "aspera.conf"), machine)


def with_user(inside: str, before: str = "") -> str:
    user = f"<user><name>xfer1</name>{inside}</user>"
    return f"<CONF>{before}<aaa><realms><realm><users>{user}</users></realm></realms></aaa></CONF>"


def user_of(text: str, **more: Any) -> dict[str, Any]:
    (user,) = converted(text, **more).raw["user"]
    return dict(user)


def test_a_full_file_is_taken_over_without_a_warning() -> None:
    found = converted(f"""<?xml version="1.0" encoding="UTF-8"?>
    <!-- a comment --><CONF version="2">
      <server><server_name>t1.example.com</server_name><ssh_port>33001</ssh_port></server>
      <http_server><enable_http>true</enable_http><http_port>8080</http_port>
        <enable_https>yes</enable_https><https_port>8443</https_port>
        <cert_file>/etc/tls/t1.pem</cert_file><key_file>/etc/tls/t1.key</key_file></http_server>
      <default><transfer><encryption><allowed_cipher>aes-128</allowed_cipher></encryption></transfer></default>
      <aaa><realms><realm><users><user><name>xfer1</name>
        <authorization>
          <transfer><in><value>token</value></in><out><value>token</value></out></transfer>
          <token><encryption_key>{KEY}</encryption_key><life_seconds>1h</life_seconds></token>
        </authorization>
        <transfer><in><bandwidth><flow><target_rate><cap>500000</cap></target_rate></flow></bandwidth></in>
        </transfer>
        <file_system><access><paths><path>
          <absolute>/data/xfer1</absolute><read_allowed>true</read_allowed>
          <write_allowed>true</write_allowed><dir_allowed>false</dir_allowed>
        </path></paths></access><overwrite>deny</overwrite></file_system>
      </user></users></realm></realms></aaa></CONF>""")
    assert found.warnings == []
    assert found.raw == {
        "server": {"name": "t1.example.com"},
        "ssh": {"port": 33001},
        "https": {"enabled": True, "port": 8443, "cert": "/etc/tls/t1.pem", "key": "/etc/tls/t1.key"},
        "http": {"enabled": True, "port": 8080},
        "user": [
            {
                "name": "xfer1",
                "docroot": "/data/xfer1",
                "upload": "token",
                "download": "token",
                "read": True,
                "write": True,
                "browse": False,
                "overwrite": "deny",
                "lowest_cipher": "aes-128",
                "token_key": KEY,
                "token_life_seconds": 3600,
                "upload_cap_kbps": 500000,
            }
        ],
    }
    ours = {"ssh": {"host_keys": ["k"]}}
    config: ServerConfig = from_mapping(merged(ours, found.raw), Path("/etc/ch/server.toml"))
    assert config.ssh.port == 33001
    assert config.user[0].overwrite == "deny"


@pytest.mark.parametrize("text", ["<CONF/>", "<conf></conf>", "<CONF><aaa/><default/></CONF>"])
def test_a_sparse_file_says_nothing(text: str) -> None:
    found = converted(text)
    assert (found.raw, found.warnings) == ({"user": []}, [])


def test_each_leaf_comes_from_the_closest_level_that_has_it() -> None:
    text = f"""<CONF>
      <default>{PLACE}<authorization><transfer><in><value>deny</value></in><out><value>deny</value></out>
        </transfer></authorization></default>
      <aaa><realms><realm>
        <groups>
          <group><name>low</name><precedence>2</precedence>
            <authorization><transfer><out><value>allow</value></out></transfer></authorization></group>
          <group><name>high</name><precedence>1</precedence>
            <authorization><transfer><out><value>token</value></out></transfer></authorization></group>
          <group><name>foreign</name><precedence>0</precedence>
            <authorization><transfer><out><value>deny</value></out></transfer></authorization></group>
        </groups>
        <users><user><name>xfer1</name>
          <authorization><transfer><in><value>allow</value></in></transfer></authorization></user></users>
      </realm></realms></aaa></CONF>"""
    user = user_of(text, groups={"xfer1": ["low", "high"]})
    assert (user["upload"], user["download"]) == ("allow", "token")
    assert user_of(text)["download"] == "deny"


def test_an_empty_element_is_not_set() -> None:
    before = "<default><file_system><overwrite>deny</overwrite></file_system></default>"
    assert (
        user_of(with_user(PLACE + "<file_system><overwrite/></file_system>", before))["overwrite"] == "deny"
    )


@pytest.mark.parametrize(
    ("absolute", "docroot"),
    [
        ("/data/$(name)", "/data/xfer1"),
        ("file:////data/x", "/data/x"),
        ("file:///data/x", "/data/x"),
        ("file:///data/a%20b", "/data/a b"),
        ("/data/a%20b", "/data/a%20b"),
        ("$(home)/in", "/home/xfer1/in"),
        (" /data/x ", "/data/x"),
    ],
)
def test_docroots_are_written_in_several_ways(absolute: str, docroot: str) -> None:
    text = with_user(PLACE.replace("/data/x", absolute))
    assert user_of(text, home=Path("/home/xfer1"))["docroot"] == docroot


@pytest.mark.parametrize(
    ("inside", "where"),
    [
        ("", "users/user[xfer1]"),
        (PLACE.replace("/data/x", ""), "path/absolute"),
        (PLACE.replace("/data/x", "s3://key@bucket/x"), "path/absolute"),
        (PLACE.replace("/data/x", "relative/x"), "path/absolute"),
        (PLACE.replace("/data/x", "$(home)"), "path/absolute"),
        (
            PLACE.replace("</path>", "<restrictions><restriction>*.mov</restriction></restrictions></path>"),
            "restrictions/restriction",
        ),
        (
            PLACE
            + "<authorization><transfer><in><external_provider><url>http://x</url></external_provider></in>"
            "</transfer></authorization>",
            "external_provider/url",
        ),
    ],
)
def test_a_user_whose_limits_cannot_be_kept_is_left_out(inside: str, where: str) -> None:
    found = converted(with_user(inside))
    assert found.raw["user"] == []
    assert len(found.warnings) == 1
    assert where in found.warnings[0]
    assert "the user xfer1 is left out" in found.warnings[0]


def test_what_cannot_be_read_gives_no_right() -> None:
    inside = (
        PLACE.replace("</path>", "<read_allowed>maybe</read_allowed></path>")
        + "<authorization><transfer><in><value>alow</value></in></transfer></authorization>"
        + "<file_system><overwrite>sometimes</overwrite></file_system>"
    )
    found = converted(with_user(inside))
    (user,) = found.raw["user"]
    assert (user["upload"], user["read"], user["overwrite"]) == ("deny", False, "deny")
    assert len(found.warnings) == 3


def test_uploads_are_denied_where_they_would_have_to_stay_encrypted() -> None:
    rule = "<content_protection_required>true</content_protection_required>"
    found = converted(with_user(PLACE + f"<transfer><encryption>{rule}</encryption></transfer>"))
    assert found.raw["user"][0]["upload"] == "deny"
    assert "content_protection_required" in found.warnings[0]


def test_contradictions_have_one_outcome_and_are_told() -> None:
    two_places = PLACE.replace("</paths>", "<path><absolute>/data/y</absolute></path></paths>")
    text = with_user(two_places).replace("</users>", f"<user><name>xfer1</name>{PLACE}</user></users>")
    found = converted(text)
    assert [user["docroot"] for user in found.raw["user"]] == ["/data/x"]
    assert len(found.warnings) == 2


@pytest.mark.parametrize(
    ("inside", "path"),
    [
        ("<transfer><in><bandwidth><flow><policy><lock>true</lock></policy></flow></bandwidth></in></transfer>",
         "transfer/in/bandwidth/flow/policy/lock"),
        ("<transfer><encryption><allowed_cipher>none</allowed_cipher></encryption></transfer>",
         "transfer/encryption/allowed_cipher"),
        ("<authorization><token><dynamic_key>true</dynamic_key></token></authorization>",
         "authorization/token/dynamic_key"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named_by_its_path(inside: str, path: str) -> None:
    found = converted(with_user(PLACE + inside))
    assert found.warnings == [f"aaa/realms/realm/users/user[xfer1]/{path}: not supported."]
    assert len(found.raw["user"]) == 1


@pytest.mark.parametrize(
    ("words", "rights"),
    [
        ("none", {"follow_links": False, "make_links": False}),
        ("create", {"follow_links": False}),
        ("follow", {"make_links": False}),
        ("follow, create", {}),
        ("Follow_Wide,create", {}),
        ("none,follow,create", {"follow_links": False, "make_links": False}),
        ("fellow", {"follow_links": False, "make_links": False}),
        ("", {}),
    ],
)
def test_links_are_followed_and_made_as_the_file_says(words: str, rights: dict[str, bool]) -> None:
    found = converted(
        with_user(f"{PLACE}<file_system><symbolic_links>{words}</symbolic_links></file_system>")
    )
    (user,) = found.raw["user"]
    assert {name: user[name] for name in ("follow_links", "make_links") if name in user} == rights
    told = [line for line in found.warnings if "symbolic_links" in line]
    assert bool(told) == (words in ("Follow_Wide,create", "fellow"))


@pytest.mark.parametrize(
    ("trunks", "way", "denied"),
    [
        (
            "<trunk><id>3</id><on>true</on><capacity><schedule>9000</schedule></capacity></trunk>",
            "in", "upload",
        ),
        ("<trunk><id>3</id><on>true</on></trunk>", "out", "download"),
        ("<trunk><id>3</id><on>perhaps</on></trunk>", "in", "upload"),
        ("<trunk><id>three</id><on>true</on></trunk>", "in", "upload"),
        ("<trunk><id>3</id><on>false</on></trunk>", "in", None),
        ("<trunk><id>3</id></trunk>", "in", None),
        ("<trunk><id>4</id><on>true</on></trunk>", "in", None),
    ],
)  # fmt: skip
def test_a_direction_with_a_virtual_link_that_is_on_is_denied(
    trunks: str, way: str, denied: str | None
) -> None:
    link = f"<{way}><bandwidth><aggregate><trunk_id>3</trunk_id></aggregate></bandwidth></{way}>"
    found = converted(with_user(f"{PLACE}<transfer>{link}</transfer>", f"<trunks>{trunks}</trunks>"))
    (user,) = found.raw["user"]
    assert [right for right in ("upload", "download") if user[right] == "deny"] == [denied] * bool(denied)
    path = f"transfer/{way}/bandwidth/aggregate/trunk_id"
    assert any(
        f"{path}: " in line and (f"{denied}s are denied" in line) == bool(denied) for line in found.warnings
    )


@pytest.mark.parametrize(("word", "denied"), [("disabled", False), ("undefined", False), ("x", True)])
def test_no_virtual_link_and_one_that_cannot_be_read(word: str, denied: bool) -> None:
    link = f"<in><bandwidth><aggregate><trunk_id>{word}</trunk_id></aggregate></bandwidth></in>"
    found = converted(with_user(f"{PLACE}<transfer>{link}</transfer>"))
    assert (found.raw["user"][0]["upload"] == "deny") == denied
    assert bool(found.warnings) == denied


def test_a_short_token_key_is_not_used_and_not_shown() -> None:
    inside = "<authorization><token><encryption_key>hunter2</encryption_key></token></authorization>"
    found = converted(with_user(PLACE + inside))
    assert "token_key" not in found.raw["user"][0]
    assert "hunter2" not in found.warnings[0]


def test_a_key_keeps_its_blanks_and_may_come_from_a_file(tmp_path: Path) -> None:
    inside = f"<authorization><token><encryption_key> {KEY} </encryption_key></token></authorization>"
    assert user_of(with_user(PLACE + inside))["token_key"] == f" {KEY} "
    (tmp_path / "key").write_text(KEY + "\n")
    inside = f"<authorization><token><key_file>{tmp_path}/key</key_file></token></authorization>"
    assert user_of(with_user(PLACE + inside))["token_key"] == KEY


def test_a_users_empty_or_undefined_element_leaves_it_to_the_next_level() -> None:
    before = f"<default><transfer><in><bandwidth><flow><target_rate><cap>9000</cap></target_rate></flow>{BW}"
    for word, cap in (
        ("Undefined", 9000),
        ("undefined", 9000),
        ("", 9000),
        ("Unlimited", None),
        ("800", 800),
    ):
        own = f"<transfer><in><bandwidth><flow><target_rate><cap>{word}</cap></target_rate></flow>{BW[:-10]}"
        assert user_of(with_user(PLACE + own, before)).get("upload_cap_kbps") == cap, word


def test_each_leaf_of_a_docroot_comes_from_the_closest_level_too() -> None:
    own = PLACE.replace("<absolute>/data/x</absolute>", "<write_allowed>false</write_allowed>")
    user = user_of(with_user(own, f"<default>{PLACE}</default>"))
    assert (user["docroot"], user["write"]) == ("/data/x", False)


def test_what_is_said_about_a_second_docroot_does_not_hold_for_the_first() -> None:
    second = "<path><absolute>/data/y</absolute><read_allowed>true</read_allowed></path></paths>"
    closed = PLACE.replace("<absolute>/data/x</absolute>", "<read_allowed>false</read_allowed>")
    text = with_user(PLACE.replace("</paths>", second), f"<default>{closed}</default>")
    assert user_of(text)["read"] is False


def test_a_user_left_out_is_not_brought_back_by_a_second_entry() -> None:
    closed = PLACE.replace("</path>", "<restrictions><restriction>*.mov</restriction></restrictions></path>")
    text = with_user(closed).replace("</users>", f"<user><name>xfer1</name>{PLACE}</user></users>")
    found = converted(text)
    assert found.raw["user"] == []
    assert len(found.warnings) == 2


def test_a_user_of_another_machine_is_left_out_where_groups_have_settings() -> None:
    """Its groups may forbid what it does not forbid itself, and only its own machine knows them."""
    deny = "<authorization><transfer><in><value>deny</value></in></transfer></authorization>"
    group = f"<group><name>guests</name>{deny}</group>"
    text = with_user(PLACE).replace("<users>", f"<groups>{group}</groups><users>")
    stranger = Machine(lambda name: None, lambda name: None)
    found = convert_tree(parse(text.encode(), "aspera.conf"), stranger)
    assert found.raw["user"] == []
    assert found.warnings[0].startswith("aaa/realms/realm/users/user[xfer1]: groups have settings")
    without = convert_tree(parse(with_user(PLACE).encode(), "aspera.conf"), stranger)
    assert len(without.raw["user"]) == 1
    assert groups_of("no-such-user-here") is None


@pytest.mark.parametrize("name", ["DOMAIN\\ann", "ann smith", "../ann", "-ann", "ä"])
def test_a_user_whose_name_cannot_be_used_is_left_out_alone(name: str) -> None:
    text = with_user(PLACE).replace("</users>", f"<user><name>{name}</name>{PLACE}</user></users>")
    found = converted(text)
    assert [user["name"] for user in found.raw["user"]] == ["xfer1"]
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(f"aaa/realms/realm/users/user[{name}]/name: ")


@pytest.mark.parametrize(
    "absolute", ["file://other-machine/data", "file:///a%00b", "file:///%ff", "smb://h/x"]
)
def test_a_folder_that_is_not_of_this_machine_is_no_docroot(absolute: str) -> None:
    found = converted(with_user(PLACE.replace("/data/x", absolute)))
    assert found.raw["user"] == []
    assert "the user xfer1 is left out" in found.warnings[0]


@pytest.mark.parametrize("cap", ["500 Mbps", "500,000", "fast", "-1"])
def test_a_limit_that_cannot_be_read_is_not_none(cap: str) -> None:
    rate = f"<target_rate><cap>{cap}</cap></target_rate>"
    found = converted(
        with_user(f"{PLACE}<transfer><out><bandwidth><flow>{rate}</flow></bandwidth></out></transfer>")
    )
    assert (found.raw["user"][0]["upload"], found.raw["user"][0]["download"]) == ("allow", "deny")
    assert len(found.warnings) == 1


def test_numbers_that_are_moved_are_told() -> None:
    inside = (
        "<authorization><token><life_seconds>0</life_seconds></token></authorization><user_value>-7</user_value>"
        "<transfer><in><bandwidth><flow><target_rate><cap>1</cap><default>50000</default></target_rate></flow>"
        "</bandwidth></in><out><bandwidth><flow><target_rate><default>40000</default></target_rate></flow>"
        "</bandwidth></out></transfer>"
    )
    found = converted(with_user(PLACE + inside))
    (user,) = found.raw["user"]
    assert (user["token_life_seconds"], user["upload_cap_kbps"], user["user_value"]) == (1, 8, -7)
    assert user["target_rate_kbps"] == 40000
    assert [warning.split(": ")[0].rpartition("/")[2] for warning in found.warnings] == [
        "life_seconds",
        "cap",
        "default",
    ]


@pytest.mark.parametrize("word", ["false", "No", "0", "disabled"])
def test_uploads_need_not_stay_encrypted_in_any_spelling(word: str) -> None:
    rule = f"<content_protection_required>{word}</content_protection_required>"
    found = converted(with_user(PLACE + f"<transfer><encryption>{rule}</encryption></transfer>"))
    assert (found.raw["user"][0]["upload"], found.warnings) == ("allow", [])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (with_user(PLACE, "<defaults><user_value>1</user_value></defaults>"), "defaults"),
        (with_user(PLACE, "<default/><default><user_value>1</user_value></default>"), "default"),
        (with_user(PLACE, "<server/><server><ssh_port>2</ssh_port></server>"), "server"),
        (with_user(PLACE).replace("<aaa>", "<aaa><ldap>x</ldap>"), "aaa/ldap"),
        (with_user(PLACE).replace("<users>", "<users><user><user_value>1</user_value></user>"),
         "aaa/realms/realm/users/user"),
        (with_user(PLACE + "<user_value>1</user_value><user_value>2</user_value>"),
         "aaa/realms/realm/users/user[xfer1]/user_value"),
        (with_user(PLACE + "<file_system><partial_file_suffix>.tmp</partial_file_suffix></file_system>"),
         "aaa/realms/realm/users/user[xfer1]/file_system/partial_file_suffix"),
        (with_user(PLACE + "<file_system><resume_suffix>.x</resume_suffix></file_system>"),
         "aaa/realms/realm/users/user[xfer1]/file_system/resume_suffix"),
        (with_user(PLACE.replace("</path>", "<show_as>/x</show_as></path>")),
         "aaa/realms/realm/users/user[xfer1]/file_system/access/paths/path/show_as"),
        (with_user(PLACE, "<http_server><listen_backlog>5</listen_backlog></http_server>"),
         "http_server/listen_backlog"),
        (with_user(PLACE, '<WEB HttpFallback="no" Other="1"/>'), "WEB[Other]"),
        (with_user(PLACE).replace("<users>", f"<groups>{ODD_GROUP}</groups><users>"),
         "aaa/realms/realm/groups/group[g]/precedence"),
    ],
)  # fmt: skip
def test_nothing_is_ignored_in_silence(text: str, where: str) -> None:
    found = converted(text)
    assert [warning.split(": ")[0] for warning in found.warnings] == [where]
    assert len(found.raw["user"]) == 1


def test_keys_that_cannot_be_looked_into_open_nothing_and_stop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with an account of its own may not enter the homes of its users."""
    (tmp_path / ".ssh").mkdir()
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.touch()
    really = Path.stat

    def closed(path: Path, **more: Any) -> os.stat_result:
        if path == keys:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, **more)

    monkeypatch.setattr(Path, "stat", closed)
    found = converted(with_user(PLACE), home=tmp_path)
    assert "authorized_keys" not in found.raw["user"][0]
    (warning,) = found.warnings
    assert f"{keys} cannot be read by this account: Permission denied" in warning


def test_the_users_own_public_keys_are_used(tmp_path: Path) -> None:
    assert "authorized_keys" not in user_of(with_user(PLACE), home=tmp_path)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "authorized_keys").touch()
    by_token = "".join(
        f"<{way}><value>{value}</value></{way}>" for way, value in (("in", "token"), ("out", "deny"))
    )
    closed = with_user(f"{PLACE}<authorization><transfer>{by_token}</transfer></authorization>")
    keys = user_of(closed, home=tmp_path)["authorized_keys"]
    assert keys == [str(tmp_path / ".ssh" / "authorized_keys")]


@pytest.mark.parametrize("open_way", ["in", "out"])
def test_keys_are_left_out_where_one_of_them_could_open_the_folder_to_everybody(
    tmp_path: Path, open_way: str
) -> None:
    """The key that Aspera's clients come with looks like any other, and its private half is public."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "authorized_keys").touch()
    other = "out" if open_way == "in" else "in"
    rights = f"<{other}><value>token</value></{other}>"
    text = with_user(f"{PLACE}<authorization><transfer>{rights}</transfer></authorization>")
    found = converted(text, home=tmp_path)
    assert "authorized_keys" not in found.raw["user"][0]
    (warning,) = found.warnings
    assert warning.startswith("aaa/realms/realm/users/user[xfer1]/authorization/transfer: ")
    assert "aspera_conf_keys" in warning
    machine = Machine(lambda name: [], lambda name: tmp_path)
    trusted = convert_tree(parse(text.encode(), "aspera.conf"), machine, trust_keys=True)
    assert trusted.warnings == []
    assert trusted.raw["user"][0]["authorized_keys"] == [str(tmp_path / ".ssh" / "authorized_keys")]


def test_the_operator_says_in_server_toml_that_the_keys_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = pwd.getpwuid(os.getuid())
    at_home = pwd.struct_passwd((*me[:5], str(tmp_path), me[6]))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: at_home)
    (tmp_path / ".ssh").mkdir()
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.touch()
    conf, toml = tmp_path / "aspera.conf", tmp_path / "server.toml"
    conf.write_text(with_user(PLACE))
    for trusted, taken in (("false", ()), ("true", (str(keys),))):
        ssh = f'[ssh]\nhost_keys = ["k"]\naspera_conf_keys = {trusted}\n'
        toml.write_text(ssh + "[https]\nenabled = false\n")
        assert Source(toml, conf).read().config.user[0].authorized_keys == taken


@pytest.mark.parametrize(
    ("word", "lowest"),
    [("any", "none"), ("aes-128", "aes-128"), ("AES-192-GCM", "aes-192"), (" aes-256-cfb", "aes-256")],
)
def test_the_cipher_that_the_file_demands_is_taken_over(word: str, lowest: str) -> None:
    inside = f"<transfer><encryption><allowed_cipher>{word}</allowed_cipher></encryption></transfer>"
    found = converted(with_user(PLACE + inside))
    assert found.warnings == []
    assert found.raw["user"][0].get("lowest_cipher", "none") == lowest


def test_a_cipher_that_cannot_be_read_is_the_strongest() -> None:
    inside = "<transfer><encryption><allowed_cipher>des</allowed_cipher></encryption></transfer>"
    found = converted(with_user(PLACE + inside))
    assert found.raw["user"][0]["lowest_cipher"] == "aes-256"
    assert len(found.warnings) == 1


def test_the_older_form_of_the_fallback_is_read() -> None:
    found = converted(
        '<CONF><WEB HttpFallback="yes" HttpFallbackPort="8081" HttpsFallbackPort="8444"/></CONF>'
    )
    assert found.raw["http"] == {"enabled": True, "port": 8081}
    assert found.raw["https"] == {"enabled": True, "port": 8444}
    newer = converted(
        '<CONF><WEB HttpFallback="yes"/><http_server><enable_http>false</enable_http></http_server></CONF>'
    )
    assert "http" not in newer.raw


def test_passwords_do_not_move_to_an_open_port() -> None:
    found = converted(
        "<CONF><server><enable_http>true</enable_http><http_port>9091</http_port></server></CONF>"
    )
    assert "http" not in found.raw
    assert found.warnings == ["server/enable_http: passwords would go unencrypted: not taken over."]


SECURE = "<enable_https>true</enable_https><cert_file>/c.pem</cert_file>"


@pytest.mark.parametrize(
    ("sections", "node", "fallback", "https"),
    [
        ("<server><enable_https>false</enable_https></server>", False, None, None),
        ("<http_server><enable_https>false</enable_https></http_server>", None, False, None),
        (f"<server>{SECURE}</server><http_server><enable_http>no</enable_http></http_server>",
         None, False, (9092, None)),
        (f"<server><enable_https>false</enable_https></server><http_server>{SECURE}</http_server>",
         False, None, (8443, None)),
        ("<server><https_port>9999</https_port></server>", None, None, (9999, None)),
        ("<server><listen>9091, 127.0.0.1:9443s</listen><https_port>1</https_port>"
         "<cert_file>/c.pem</cert_file></server>", None, None, (9443, "127.0.0.1")),
        ("<server><listen>[::1]:9443s</listen></server>", None, None, (9443, "::1")),
        ("<server><listen>9091</listen><cert_file>/c.pem</cert_file></server>", False, None, None),
        ("<server><listen>nonsense</listen></server>", False, None, None),
        (f"<server><listen>127.0.0.1:9443s</listen></server><http_server>{SECURE}</http_server>",
         False, None, (8443, None)),
        (f"<server><listen>0.0.0.0:8443s</listen></server><http_server>{SECURE}</http_server>",
         None, None, (8443, None)),
    ],
)  # fmt: skip
def test_services_are_on_only_where_the_file_has_them_on(
    sections: str, node: bool | None, fallback: bool | None, https: tuple[int, str | None] | None
) -> None:
    raw = converted(f"<CONF>{sections}</CONF>").raw
    assert raw.get("node", {}).get("enabled") is node
    assert raw.get("fallback", {}).get("enabled") is fallback
    secure = raw.get("https")
    assert (None if secure is None else (secure["port"], secure.get("address"))) == https


@pytest.mark.parametrize(
    ("section", "switch"),
    [("server", "<https_port>9443</https_port>"), ("http_server", "<enable_https>true</enable_https>")],
)
def test_a_missing_certificate_is_told_where_it_is_missing(section: str, switch: str) -> None:
    found = converted(f"<CONF><{section}>{switch}</{section}></CONF>")
    assert found.warnings == [f"{section}/cert_file: names no certificate: that of server.toml is used."]
    assert "cert" not in found.raw["https"]


@pytest.mark.parametrize(("word", "lowest"), [("TLSv1.3", "1.3"), ("tlsv1.2", None), ("tlsv1", None)])
def test_the_oldest_tls_version_is_taken_over(word: str, lowest: str | None) -> None:
    found = converted(f"<CONF><server>{SECURE}<ssl_protocol>{word}</ssl_protocol></server></CONF>")
    assert found.raw["https"].get("lowest_tls") == lowest
    assert len(found.warnings) == (word == "tlsv1")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "80 80x", "80 443", "1h", "9" * 40])
def test_a_port_that_is_none_is_not_used(port: str) -> None:
    found = converted(f"<CONF><server><ssh_port>{port}</ssh_port></server></CONF>")
    assert "ssh" not in found.raw
    assert found.warnings == ["server/ssh_port: not a number from 1 to 65535: not used."]


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE c [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><CONF>&b;</CONF>',
        '<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]><CONF><server_name>&x;</server_name></CONF>',
        '<!DOCTYPE CONF SYSTEM "http://127.0.0.1/x.dtd"><CONF/>',
        "<CONF>",
        "",
        "<html/>",
        "\x00",
        '<?xml version="1.0" encoding="nonsense"?><CONF/>',
        "<CONF>" + "<a>" * 60 + "</a>" * 60 + "</CONF>",
        "<CONF>&undefined;</CONF>",
        '<CONF xmlns="urn:aspera"/>',
        f'<CONF xmlns:a="urn:aspera"><a:aaa/>{PLACE}</CONF>',
    ],
)
def test_hostile_and_broken_files_are_refused(text: str) -> None:
    with pytest.raises(AsperaConfUnreadable):
        converted(text)


def test_a_very_deep_file_does_not_exhaust_the_stack() -> None:
    with pytest.raises(AsperaConfUnreadable):
        converted("<CONF>" + "<a>" * 20_000 + "</a>" * 20_000 + "</CONF>")


def test_what_server_toml_says_wins(tmp_path: Path) -> None:
    (tmp_path / "aspera.conf").write_text(
        with_user(PLACE, "<server><ssh_port>2222</ssh_port><server_name>old</server_name></server>")
    )
    (tmp_path / "server.toml").write_text(
        '[server]\nname = "new"\n[ssh]\nhost_keys = ["k"]\n[https]\nenabled = false\n'
        '[[user]]\nname = "xfer1"\ndocroot = "/ours"\n[[user]]\nname = "own"\ndocroot = "/own"\n'
    )
    settings = Source(tmp_path / "server.toml", tmp_path / "aspera.conf").read()
    assert (settings.config.server.name, settings.config.ssh.port) == ("new", 2222)
    assert [(one.name, str(one.docroot)) for one in settings.config.user] == [
        ("xfer1", "/ours"),
        ("own", "/own"),
    ]


def test_a_certificate_of_server_toml_keeps_its_key(tmp_path: Path) -> None:
    theirs = converted(f"<CONF><server>{SECURE}<key_file>/c.key</key_file></server></CONF>").raw
    assert merged({"https": {"cert": "both.pem"}}, theirs)["https"].get("key") is None
    assert merged({"https": {"port": 1}}, theirs)["https"]["key"] == "/c.key"


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("30m", 1800), ("1d 12h", 129_600), ("90", 90), ("1H", 3600)]
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1w", "-1", "1 x", "12 12", "1d 12"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(values.NotAValue):
        values.duration(text)


@pytest.mark.parametrize("text", ["Unlimited", "DISABLED", "undefined"])
def test_words_for_no_number(text: str) -> None:
    assert values.number(text) is None
