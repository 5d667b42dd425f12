"""An existing aspera.conf in the words of our own configuration, and a list of what could not be taken over.

What would open more than the file says is never passed over: such a user is left out, or the direction
denied, and a warning names the XML path. What would only be less convenient is left out with a warning.
Source: Aspera server configuration reference, section 3.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from connect_helper.server import aspera_values as values
from connect_helper.server.aspera_leftovers import LINKS, TARGET_RATE, TRUNK, warn_of_the_rest
from connect_helper.server.aspera_services import read_services
from connect_helper.server.aspera_tree import PLACE, Found, Levels, read, trunks_on, users
from connect_helper.server.ciphers import CIPHERS
from connect_helper.server.configuration import MAX_RATE_KBPS, is_user_name
from connect_helper.server.issuing import LONGEST_LIFE_S
from connect_helper.server.tokens import MIN_KEY_CHARACTERS

_T = TypeVar("_T")
_LINK_WORDS: Final = frozenset({"none", "create", "follow", "follow_wide"})
_RATES: Final = (8, MAX_RATE_KBPS)  # kbit/s


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

    groups_of: Callable[[str], Collection[str] | None]
    home_of: Callable[[str], Path | None]


def groups_of(user: str) -> Collection[str] | None:
    """The groups of a user of this machine; None if there is no such user."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return [name for number in os.getgrouplist(user, entry.pw_gid) for name in _group_name(number)]


def _group_name(number: int) -> Iterator[str]:
    with contextlib.suppress(KeyError):  # a number without a name
        yield grp.getgrgid(number).gr_name


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
    seen: set[str] = set()
    trunks = trunks_on(root)
    result.raw["user"] = []
    for levels in users(root, machine.groups_of):
        if levels.name in seen:
            result.warn(levels.own[0].where, "this user stands there twice; the first one holds.")
            continue
        seen.add(levels.name)  # also when it is left out: a second entry may lack what the first one forbids
        user = _User(levels, machine, result, trunks, trust_keys=trust_keys).read()
        if user is not None:
            result.raw["user"].append(user)
    warn_of_the_rest(root, result.warn)
    return result


class _User:
    """One user's settings."""

    def __init__(
        self,
        levels: Levels,
        machine: Machine,
        result: Conversion,
        trunks: Collection[int | None],
        *,
        trust_keys: bool,
    ) -> None:
        self._trust_keys = trust_keys
        self._trunks = trunks
        self._levels = levels
        self._machine = machine
        self._result = result
        self._where = levels.own[0].where

    def read(self) -> dict[str, Any] | None:
        """The keys of one `[[user]]`, or None when the user is left out."""
        docroot = None if self._unknown() else self._docroot()
        if docroot is None or self._refused():
            return None
        user: dict[str, Any] = {
            "name": self._levels.name,
            "docroot": docroot,
            "upload": self._right("in"),
            "download": self._right("out"),
            "read": self._boolean(f"{PLACE}/read_allowed"),
            "write": self._boolean(f"{PLACE}/write_allowed"),
            "browse": self._boolean(f"{PLACE}/dir_allowed"),
            "overwrite": self._overwrite(),
            **self._links(),
            **self._cipher(),
            **self._token(),
            **self._rates(),
            **self._trunk("in", "upload"),
            **self._trunk("out", "download"),
        }
        self._warn_of_encryption_at_rest(user)
        user.update(self._keys(open_without_token="allow" in (user["upload"], user["download"])))
        value = self._within("user_value", values.signed, -(2**63), 2**63 - 1)
        if value is not None:
            user["user_value"] = value
        return user

    def _unknown(self) -> bool:
        if not is_user_name(self._levels.name):
            self._left_out(
                f"{self._where}/name", "a user's name has letters, digits and _ . @ + - only, 128 at most"
            )
            return True
        if not self._levels.groups_known:
            self._left_out(
                self._where,
                "groups have settings in this file, and which of them hold cannot be told, since this "
                "machine has no such user; make it, or take the groups out",
            )
        return not self._levels.groups_known

    def _docroot(self) -> str | None:
        level = next(
            (one for one in self._levels.own if one.element.find(f"{PLACE}/absolute") is not None), None
        )
        if level is None:
            self._left_out(self._where, "has no docroot, which here means no access")
            return None
        if len(level.element.findall(PLACE)) > 1:
            self._result.warn(
                f"{level.where}/{PLACE}", "one docroot per user is supported; the first one holds."
            )
        found = level.leaf(f"{PLACE}/absolute")
        if found is None:
            self._left_out(f"{level.where}/{PLACE}/absolute", "has no docroot, which here means no access")
            return None
        return self._path(found.text, found.where)

    def _path(self, text: str, where: str) -> str | None:
        home = self._machine.home_of(self._levels.name) if "$(home)" in text else None
        if "$(home)" in text and home is None:
            self._left_out(where, "$(home) stands for nothing, since this machine has no such user")
            return None
        path = _local_path(text)
        if path is None:
            self._left_out(where, "a docroot must be a folder of this machine, with its full path")
            return None
        return path.replace("$(name)", self._levels.name).replace("$(home)", str(home))

    def _refused(self) -> bool:
        for way in ("in", "out"):
            found = self._levels.leaf(f"authorization/transfer/{way}/external_provider/url")
            if found is not None:
                self._left_out(found.where, "asking another service for authorization is not supported")
                return True
        found = self._levels.leaf(f"{PLACE}/restrictions/restriction")
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

    def _links(self) -> dict[str, bool]:
        """Whether links are followed and made; a word that cannot be read gives no right."""
        found = self._levels.leaf(LINKS)
        if found is None:
            return {}
        words = {word.strip() for word in found.text.casefold().split(",")}
        if not words <= _LINK_WORDS:
            self._result.warn(found.where, "holds a word that is not known here, which gives no right.")
        if "follow_wide" in words:
            self._result.warn(found.where, "no link is followed out of the docroot here.")
        allowed = set() if "none" in words else words
        rights = {
            "follow_links": bool(allowed & {"follow", "follow_wide"}),
            "make_links": "create" in allowed,
        }
        return {name: right for name, right in rights.items() if not right}

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
        life = self._within("authorization/token/life_seconds", values.duration, 1, LONGEST_LIFE_S)
        if life is not None:
            token["token_life_seconds"] = life
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
        rates = {**self._cap("in", "upload"), **self._cap("out", "download")}
        starts = [
            self._within(TARGET_RATE.format(way, "default"), values.number, *_RATES) for way in ("in", "out")
        ]
        told = [start for start in starts if start is not None]
        if told:
            rates["target_rate_kbps"] = min(told)
        if len(set(told)) > 1:
            self._result.warn(
                f"{self._where}/{TARGET_RATE.format('out', 'default')}",
                f"one start rate for both directions is supported, here the lower one: {min(told)}.",
            )
        return rates

    def _cap(self, way: str, right: str) -> dict[str, Any]:
        found = self._levels.leaf(TARGET_RATE.format(way, "cap"))
        if found is None:
            return {}
        try:
            cap = values.number(found.text)
        except values.NotAValue as error:
            return self._denied(found.where, error, right)
        return {} if cap is None else {f"{right}_cap_kbps": self._moved(found, cap, *_RATES)}

    def _denied(self, where: str, error: values.NotAValue, right: str) -> dict[str, str]:
        self._result.warn(
            where, f"{error}, and a limit that cannot be read is not none: {right}s are denied."
        )
        return {right: "deny"}

    def _trunk(self, way: str, right: str) -> dict[str, str]:
        """A virtual link bounds what several users move together, which no limit here does."""
        found = self._levels.leaf(TRUNK.format(way))
        if found is None:
            return {}
        try:
            number = values.number(found.text)
        except values.NotAValue as error:
            return self._denied(found.where, error, right)
        if number is None:
            return {}
        if number in self._trunks or None in self._trunks:
            self._result.warn(
                found.where,
                f"virtual links are not supported, and this one has a capacity: {right}s are denied. Take it "
                "out and give the user a cap, or the server one in [limits].",
            )
            return {right: "deny"}
        self._result.warn(found.where, "that virtual link is not on in this file: not used.")
        return {}

    def _keys(self, *, open_without_token: bool) -> dict[str, Any]:
        """The user's file of keys. It may hold the key that Aspera's clients come with, whose private half
        everybody has: harmless where a token is needed too, an open door where none is."""
        home = self._machine.home_of(self._levels.name)
        keys = None if home is None else home / ".ssh" / "authorized_keys"
        try:
            if keys is None or not keys.is_file():
                return {}
            keys.open("rb").close()
        except OSError as error:
            self._result.warn(
                self._where,
                f"{keys} cannot be read by this account: {error.strerror}; the keys in it open nothing here.",
            )
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
        if found is not None and not _says_no(found.text):
            user["upload"] = "deny"
            self._result.warn(
                found.where, "this server cannot see to it that uploads stay encrypted: uploads are denied."
            )

    def _within(
        self, path: str, read_as: Callable[[str], int | None], lowest: int, highest: int
    ) -> int | None:
        """A number that is moved into what we support, and told if it was."""
        found = self._levels.leaf(path)
        value = None if found is None else self._value(found, read_as)
        if found is None or value is None:
            return None
        return self._moved(found, value, lowest, highest)

    def _moved(self, found: Found, value: int, lowest: int, highest: int) -> int:
        moved = min(max(value, lowest), highest)
        if moved != value:
            self._result.warn(found.where, f"not from {lowest} to {highest}: taken as {moved}.")
        return moved

    def _value(self, found: Found, read_as: Callable[[str], _T]) -> _T | None:
        try:
            return read_as(found.text)
        except values.NotAValue as error:
            self._result.warn(found.where, f"{error}: not used.")
            return None

    def _left_out(self, where: str, why: str) -> None:
        self._result.warn(where, f"{why}; the user {self._levels.name} is left out.")


def _local_path(text: str) -> str | None:
    """A full path, written as such or as a URI; None for a folder of another machine, or of a cloud."""
    path = text
    if text.startswith("file:"):
        path = text.removeprefix("file:")
        if path.startswith("//") and not path.startswith("///"):
            return None  # file://machine/folder
        try:
            path = "/" + unquote(path, errors="strict").lstrip("/")
        except UnicodeDecodeError:
            return None
    full = path.startswith(("/", "$(home)"))
    return path if full and "://" not in path and "\0" not in path else None


def _says_no(text: str) -> bool:
    try:
        return not values.boolean(text)
    except values.NotAValue:
        return False
