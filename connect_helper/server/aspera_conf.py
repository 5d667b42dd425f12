"""An existing aspera.conf in the words of our own configuration, and a list of what could not be taken over.

What would open more than the file says is never passed over: such a user is left out, or the direction
denied, and a warning names the XML path. What would only be less convenient is left out with a warning.
Source: Aspera server configuration reference, section 3.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element

from connect_helper.server import aspera_values as values
from connect_helper.server.aspera_services import read_services
from connect_helper.server.aspera_tree import Found, Levels, leaves, read, users
from connect_helper.server.ciphers import CIPHERS
from connect_helper.server.configuration import MAX_RATE_KBPS
from connect_helper.server.tokens import MIN_KEY_CHARACTERS

_T = TypeVar("_T")
_LOWEST_RATE: Final = 8
_PLACE: Final = "file_system/access/paths/path"
_TARGET_RATE: Final = "transfer/{}/bandwidth/flow/target_rate/{}"
_HARMLESS: Final = frozenset(
    {
        "name", "precedence", "id", "os_user", "type",
        "authorization/token/encryption_type", "authorization/token/filename_hash",
        "file_system/access/paths/path/show_as",
        "file_system/pre_calculate_job_size", "file_system/partial_file_suffix", "file_system/resume_suffix",
    }
)  # fmt: skip
_READ: Final = frozenset(
    {
        "authorization/transfer/in/value", "authorization/transfer/out/value",
        "authorization/transfer/in/external_provider/url", "authorization/transfer/out/external_provider/url",
        "authorization/token/encryption_key", "authorization/token/key_file",
        "authorization/token/life_seconds", f"{_PLACE}/absolute", f"{_PLACE}/read_allowed",
        f"{_PLACE}/write_allowed", f"{_PLACE}/dir_allowed", f"{_PLACE}/restrictions/restriction",
        "file_system/overwrite", "user_value", "transfer/encryption/content_protection_required",
        "transfer/encryption/allowed_cipher",
        _TARGET_RATE.format("in", "cap"), _TARGET_RATE.format("out", "cap"),
        _TARGET_RATE.format("in", "default"), _TARGET_RATE.format("out", "default"),
    }
)  # fmt: skip
# Said in the file, but as it is here anyway: no reason for a warning.
_SAME_HERE: Final = {
    "file_system/symbolic_links": frozenset({"follow", "follow,create", "create,follow"}),
    "authorization/token/dynamic_key": frozenset({"false"}),
}


@dataclass(slots=True)
class Conversion:
    """The outcome: `raw` as the TOML file would say it, and the warnings."""

    raw: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, where: str, text: str) -> None:
        self.warnings.append(f"{where}: {text}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What is asked about users of this machine."""

    groups_of: Callable[[str], Collection[str]]
    home_of: Callable[[str], Path | None]


def groups_of(user: str) -> Collection[str]:
    """The groups of a user of this machine; none if there is no such user."""
    try:
        entry = pwd.getpwnam(user)
        return [grp.getgrgid(number).gr_name for number in os.getgrouplist(user, entry.pw_gid)]
    except KeyError:
        return []


def home_of(user: str) -> Path | None:
    """The home directory of a user of this machine."""
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError:
        return None


THIS_MACHINE: Final = Machine(groups_of, home_of)


def convert(path: Path, machine: Machine = THIS_MACHINE, *, trust_keys: bool = False) -> Conversion:
    """Read the file at `path`. Raises AsperaConfUnreadable.

    `trust_keys`: files of keys are taken for users with `allow` in some direction too.
    """
    return convert_tree(read(path), machine, trust_keys=trust_keys)


def convert_tree(root: Element, machine: Machine = THIS_MACHINE, *, trust_keys: bool = False) -> Conversion:
    """Convert what `aspera_tree.parse` gave."""
    result = Conversion()
    read_services(root, result.raw, result.warn)
    found: dict[str, dict[str, Any]] = {}
    for levels in users(root, machine.groups_of):
        if levels.name in found:
            result.warn(levels.own[0].where, "this user stands there twice; the first one holds.")
            continue
        user = _User(levels, machine, result, trust_keys=trust_keys).read()
        if user is not None:
            found[levels.name] = user
    result.raw["user"] = list(found.values())
    _warn_of_the_rest(root, result)
    return result


class _User:
    """One user's settings."""

    def __init__(self, levels: Levels, machine: Machine, result: Conversion, *, trust_keys: bool) -> None:
        self._trust_keys = trust_keys
        self._levels = levels
        self._machine = machine
        self._result = result
        self._where = levels.own[0].where

    def read(self) -> dict[str, Any] | None:
        """The keys of one `[[user]]`, or None when the user is left out."""
        docroot = self._docroot()
        if docroot is None or self._refused():
            return None
        user: dict[str, Any] = {
            "name": self._levels.name,
            "docroot": docroot,
            "upload": self._right("in"),
            "download": self._right("out"),
            "read": self._boolean(f"{_PLACE}/read_allowed"),
            "write": self._boolean(f"{_PLACE}/write_allowed"),
            "browse": self._boolean(f"{_PLACE}/dir_allowed"),
            "overwrite": self._overwrite(),
            **self._cipher(),
            **self._token(),
            **self._rates(),
        }
        self._warn_of_encryption_at_rest(user)
        user.update(self._keys(open_without_token="allow" in (user["upload"], user["download"])))
        value = self._value("user_value", values.number)
        if value is not None:
            user["user_value"] = value
        return user

    def _docroot(self) -> str | None:
        level = next((one for one in self._levels.own if one.all(_PLACE)), None)
        if level is None:
            self._left_out(self._where, "has no docroot, which here means no access")
            return None
        if len(level.all(_PLACE)) > 1:
            self._result.warn(
                f"{level.where}/{_PLACE}", "one docroot per user is supported; the first one holds."
            )
        text = (level.all(_PLACE)[0].findtext("absolute") or "").strip()
        if not text:
            self._left_out(f"{level.where}/{_PLACE}/absolute", "has no docroot, which here means no access")
            return None
        return self._path(text, f"{level.where}/{_PLACE}/absolute")

    def _path(self, text: str, where: str) -> str | None:
        home = self._machine.home_of(self._levels.name)
        if "$(home)" in text and home is None:
            self._left_out(where, "$(home) stands for nothing, since this machine has no such user")
            return None
        path = text.replace("$(name)", self._levels.name).replace("$(home)", str(home))
        if path.startswith("file:"):
            path = "/" + path.removeprefix("file:").lstrip("/")
        if "://" in path or not path.startswith("/"):
            self._left_out(where, "a docroot must be a folder of this machine, with its full path")
            return None
        return path

    def _refused(self) -> bool:
        for way in ("in", "out"):
            found = self._levels.leaf(f"authorization/transfer/{way}/external_provider/url")
            if found is not None:
                self._left_out(found.where, "asking another service for authorization is not supported")
                return True
        found = self._levels.leaf(f"{_PLACE}/restrictions/restriction")
        if found is not None:
            self._left_out(found.where, "restrictions on file names are not supported")
        return found is not None

    def _right(self, way: str) -> str:
        found = self._levels.leaf(f"authorization/transfer/{way}/value")
        if found is None:
            return "allow"
        word = found.text.casefold()
        if word not in ("allow", "deny", "token"):
            self._result.warn(found.where, "neither allow, deny nor token: denied.")
            return "deny"
        return word

    def _boolean(self, path: str) -> bool:
        """A right; what cannot be read gives none."""
        found = self._levels.leaf(path)
        if found is None:
            return True
        try:
            return values.boolean(found.text)
        except values.NotAValue as error:
            self._result.warn(found.where, f"{error}: taken as false.")
            return False

    def _overwrite(self) -> str:
        found = self._levels.leaf("file_system/overwrite")
        if found is None or found.text.casefold() == "allow":
            return "allow"
        if found.text.casefold() != "deny":
            self._result.warn(found.where, "neither allow nor deny: denied.")
        return "deny"

    def _cipher(self) -> dict[str, str]:
        """What a transfer must be encrypted with at least; what cannot be read is taken as the strongest."""
        found = self._levels.leaf("transfer/encryption/allowed_cipher")
        word = "any" if found is None else found.text.casefold().replace(" ", "")
        if found is None or word == "any":
            return {}
        if word == "none":
            self._result.warn(found.where, "not supported.")
            return {}
        cipher = word.removesuffix("-cfb").removesuffix("-gcm")
        if cipher not in CIPHERS:
            self._result.warn(found.where, "not a cipher that is known here: taken as aes-256.")
            cipher = "aes-256"
        return {"lowest_cipher": cipher}

    def _token(self) -> dict[str, Any]:
        token: dict[str, Any] = {}
        key = self._levels.raw("authorization/token/encryption_key") or self._key_from_file()
        if key is not None and len(key.text) < MIN_KEY_CHARACTERS:
            self._result.warn(
                key.where, f"shorter than {MIN_KEY_CHARACTERS} characters, so it can be guessed: not used."
            )
        elif key is not None:
            token["token_key"] = key.text
        life = self._value("authorization/token/life_seconds", values.duration)
        if life is not None:
            token["token_life_seconds"] = min(max(life, 1), 366 * 86_400)
        return token

    def _key_from_file(self) -> Found | None:
        found = self._levels.leaf("authorization/token/key_file")
        if found is None:
            return None
        try:
            return Found(Path(found.text).read_text(encoding="utf-8").strip("\r\n"), found.where)
        except (OSError, ValueError):
            self._result.warn(found.where, "the key file cannot be read: the user has no token key.")
            return None

    def _rates(self) -> dict[str, Any]:
        rates: dict[str, Any] = {}
        for way, key in (("in", "upload_cap_kbps"), ("out", "download_cap_kbps")):
            cap = self._value(_TARGET_RATE.format(way, "cap"), values.number)
            if cap is not None:
                rates[key] = min(max(cap, _LOWEST_RATE), MAX_RATE_KBPS)
        starts = [self._value(_TARGET_RATE.format(way, "default"), values.number) for way in ("in", "out")]
        told = [start for start in starts if start is not None]
        if told:
            # We tell one rate for both directions.
            rates["target_rate_kbps"] = min(max(min(told), _LOWEST_RATE), MAX_RATE_KBPS)
        return rates

    def _keys(self, *, open_without_token: bool) -> dict[str, Any]:
        """The user's file of keys. It may hold the key that Aspera's clients come with, whose private half
        everybody has: harmless where a token is needed too, an open door where none is."""
        home = self._machine.home_of(self._levels.name)
        keys = None if home is None else home / ".ssh" / "authorized_keys"
        if keys is None or not keys.is_file():
            return {}
        if open_without_token and not self._trust_keys:
            self._result.warn(
                f"{self._where}/authorization/transfer",
                f"a direction is allow, so {keys} is left out: it may hold Aspera's published token key, "
                "with which anybody could log in. Look into it, then set aspera_conf_keys = true in [ssh], "
                "or name the keys in a [[user]] of server.toml.",
            )
            return {}
        return {"authorized_keys": [str(keys)]}

    def _warn_of_encryption_at_rest(self, user: dict[str, Any]) -> None:
        found = self._levels.leaf("transfer/encryption/content_protection_required")
        if found is not None and found.text.casefold() not in ("false", "0", "no"):
            user["upload"] = "deny"
            self._result.warn(
                found.where, "this server cannot see to it that uploads stay encrypted: uploads are denied."
            )

    def _value(self, path: str, read_as: Callable[[str], _T]) -> _T | None:
        found = self._levels.leaf(path)
        if found is None:
            return None
        try:
            return read_as(found.text)
        except values.NotAValue as error:
            self._result.warn(found.where, f"{error}: not used.")
            return None

    def _left_out(self, where: str, why: str) -> None:
        self._result.warn(where, f"{why}; the user {self._levels.name} is left out.")


def _warn_of_the_rest(root: Element, result: Conversion) -> None:
    """Name every value at any level that has no counterpart here."""
    default = root.find("default")
    places = [] if default is None else [(default, "default")]
    for kind in ("group", "user"):
        for element in root.iterfind(f"aaa/realms/realm/{kind}s/{kind}"):
            name = (element.findtext("name") or "").strip()
            places.append((element, f"aaa/realms/realm/{kind}s/{kind}[{name}]"))
    for element, where in places:
        for found in leaves(element, ""):
            path = found.where.lstrip("/")
            if path not in _READ | _HARMLESS and not _same_here(path, found.text):
                result.warn(f"{where}/{path}", "not supported.")
    for section in ("trunks", "central_server", "database", "client", "logging"):
        found_section = root.find(section)
        if found_section is not None and any(leaves(found_section, section)):
            result.warn(section, "not supported.")


def _same_here(path: str, text: str) -> bool:
    return text.casefold().replace(" ", "") in _SAME_HERE.get(path, ())
