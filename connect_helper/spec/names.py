"""Names of files: which are safe, how they are stored on other platforms, and how they are shown.

A name from the other side is data. `safe_component` says whether it may be used at all; nothing in
this module touches a disk. Names are bytes where they go to a file system, text where people read them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from connect_helper.errors import UnsafeName

NAME_LIMIT: Final = 255  # bytes, on every file system in common use
PARTIAL_SUFFIX: Final = b".partial"
_FORBIDDEN: Final = (b"/", b"\\", b"\0")


def safe_component(name: bytes) -> bytes:
    """Return `name` when it can only mean one entry of one folder.

    Raises UnsafeName for an empty name, `.`, `..`, a separator of any platform, NUL, or more than 255 bytes.
    """
    if name in (b"", b".", b".."):
        raise _unsafe(name, "it is not a file name")
    if any(sign in name for sign in _FORBIDDEN):
        raise _unsafe(name, "it contains a path separator or a NUL")
    if len(name) > NAME_LIMIT:
        raise _unsafe(name, "it is longer than 255 bytes")
    return name


def _unsafe(name: bytes, reason: str) -> UnsafeName:
    return UnsafeName(f'The name "{display(name)}" cannot be used: {reason}. Rename it at the source.')


_WINDOWS_SIGNS: Final = frozenset('<>:"|?*/\\') | {chr(code) for code in range(0x20)}
_WINDOWS_DEVICE: Final = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])[ ]*(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")


def windows_safe(name: str) -> str:
    """Return the name under which Windows can store `name`; a name without trouble is returned unchanged.

    Troublesome characters become `%HH`, as in URLs, and so does a `%` that would read as such an escape:
    no two names share a result, and `windows_original` gives the name back. Covers reserved signs, controls,
    a last dot or space, streams (`a:b`), drive letters and device names with any extension.
    """
    marked = _ESCAPE.sub(lambda match: "%25" + match.group(1), name)
    marked = "".join(_escaped(sign) if sign in _WINDOWS_SIGNS else sign for sign in marked)
    if marked.endswith((".", " ")):
        marked = marked[:-1] + _escaped(marked[-1])
    if _WINDOWS_DEVICE.fullmatch(marked):
        marked = _escaped(marked[0]) + marked[1:]
    return marked


def windows_original(stored: str) -> str:
    """Undo `windows_safe`."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), stored)


def _escaped(sign: str) -> str:
    return f"%{ord(sign):02X}"


def collision_key(name: str) -> str:
    """Return a key that is equal for names which a case-blind or normalising file system takes for one."""
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded).casefold())


# Letters by who knows their other case: each case-blind file system knows the first ones, fewer the rest.
_LETTERS: Final = (range(0x80), range(0x80, 0x100), range(0x100, 0x530))


def first_letters(text: str) -> range | None:
    """Return those letters with another case, of some in `text`, that most case-blind file systems know.

    The result is a range of code points; None: `text` has no letters that `other_cases` would write
    otherwise. A file system that keeps their cases apart keeps those of all others apart.
    """
    return next((some for some in _LETTERS if any(_other_case(sign, some) != sign for sign in text)), None)


def other_cases(name: str, letters: range) -> tuple[str, ...]:
    """Return spellings of `name` that a file system takes for it if it takes the cases of `letters` for one.

    Only `letters` (of `first_letters`) are written otherwise, Latin, Greek and Cyrillic ones, one for one.
    """
    turned = "".join(_other_case(sign, letters) for sign in name)
    lower, upper = (
        "".join(turn if is_wanted(turn) else sign for sign, turn in zip(name, turned, strict=True))
        for is_wanted in (str.islower, str.isupper)
    )
    mixed = "".join(pair[at % 2] for at, pair in enumerate(zip(lower, upper, strict=True)))
    return _others(name, (turned, lower, upper, mixed))


def differ_in_cases(one: str, other: str, letters: range) -> bool:
    """Tell whether two names are not the same, but would be without the cases of `letters`."""
    if one == other or len(one) != len(other):
        return False
    return all(a == b or _other_case(a, letters) == b for a, b in zip(one, other, strict=True))


def _other_case(sign: str, letters: range) -> str:
    other = sign.swapcase()
    return other if ord(sign) in letters and len(other) == 1 and other.swapcase() == sign else sign


def other_forms(name: str) -> tuple[str, ...]:
    """Return spellings of `name` that a normalising file system takes for it, and no other does."""
    return _others(name, (unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)))


def differ_in_forms(one: str, other: str) -> bool:
    """Tell whether two names are not the same, but would be in a composed form."""
    return one != other and unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _others(name: str, found: tuple[str, ...]) -> tuple[str, ...]:
    fitting = (one for one in found if len(one.encode("utf-8", "surrogateescape")) <= NAME_LIMIT)
    return tuple(dict.fromkeys(one for one in fitting if one != name))


def has_cases(name: str) -> bool:
    """Tell whether `name` holds letters that have another case."""
    return name.swapcase() != name


def has_forms(name: str) -> bool:
    """Tell whether `name` holds signs that can be composed in another way."""
    return not all(unicodedata.is_normalized(form, name) for form in ("NFC", "NFD"))


def partial_name(name: bytes) -> bytes:
    """Return the name under which an unfinished `name` is kept: the same on every call.

    A name too long for the suffix is cut and told apart by a piece of its SHA-256.
    """
    plain = name + PARTIAL_SUFFIX
    if len(plain) <= NAME_LIMIT:
        return plain
    mark = b"~" + hashlib.sha256(name).hexdigest()[:16].encode()
    return cut_name(name, NAME_LIMIT - len(mark) - len(PARTIAL_SUFFIX)) + mark + PARTIAL_SUFFIX


def partial_depth(name: bytes) -> int:
    """Return how often `PARTIAL_SUFFIX` ends `name`, in any case: by that much it may be in another's way.

    The unfinished file of a name that need not be cut for it has a greater one.
    """
    stem, depth = name.lower(), 0
    while stem.endswith(PARTIAL_SUFFIX):
        stem, depth = stem.removesuffix(PARTIAL_SUFFIX), depth + 1
    return depth


def numbered_name(name: bytes, number: int) -> bytes:
    """Return `name (number)` with the number before the last extension, at most 255 bytes long."""
    stem, dot, extension = name.rpartition(b".")
    if not stem.strip(b".") or len(extension) > 32:
        stem, dot, extension = name, b"", b""
    ending = b" (%d)" % number + dot + extension
    return cut_name(stem, NAME_LIMIT - len(ending)) + ending


def cut_name(name: bytes, length: int) -> bytes:
    """Cut to at most `length` bytes without splitting a UTF-8 character."""
    while length < len(name) and length > 0 and name[length] & 0xC0 == 0x80:
        length -= 1
    return name[:length]


# Characters that draw nothing although their category says letter, mark or symbol.
_INVISIBLE: Final = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    )
)
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def display(text: str | bytes, limit: int = 120) -> str:
    """Return `text` fit for a log, terminal, dialog or page: one line, at most `limit` characters.

    Controls (so ANSI sequences too), bidirectional marks, invisible characters, unusual spaces and lone
    surrogates become visible escapes. Too long, the middle is left out, so that the extension stays.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if len(text) > 2 * limit:  # the middle will not be shown, so it need not be looked at
        text = text[:limit] + text[-limit:]
    pieces = [_visible(sign) if _hidden(sign) else sign for sign in text]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    tail = _fitting(pieces[::-1], limit // 4)
    head = _fitting(pieces, limit - 1 - sum(map(len, tail)))
    return "".join([*head, "…", *reversed(tail)])


def page_text(text: str, limit: int = 80) -> str:
    """Return words of a page (a title, a suggested name) for a dialog: hidden characters and line breaks
    removed, runs of spaces made one, at most `limit` characters."""
    spaced = "".join(" " if sign.isspace() else sign for sign in text[: 20 * limit])
    kept = " ".join("".join(sign for sign in spaced if not _hidden(sign)).split())
    return kept if len(kept) <= limit else kept[: limit - 1].rstrip() + "…"


def _hidden(sign: str) -> bool:
    if " " <= sign <= "~":
        return False
    category = unicodedata.category(sign)
    return category in _HIDDEN_CATEGORIES or category == "Zs" or ord(sign) in _INVISIBLE


def _visible(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _fitting(pieces: list[str], limit: int) -> list[str]:
    """Return as many leading pieces as fit into `limit` characters; an escape is never cut apart."""
    kept: list[str] = []
    for piece in pieces:
        limit -= len(piece)
        if limit < 0:
            break
        kept.append(piece)
    return kept
