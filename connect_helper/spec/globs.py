"""One include or exclude pattern, taken apart into tokens; what they mean stands in `spec.patterns`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from connect_helper.errors import InvalidRequest
from connect_helper.spec.names import display

STAR: Final = "*"
STARS: Final = "**"
_Range = tuple[str, str]  # first and last character
_DIGIT: Final = (("0", "9"),)
_LOWER: Final = (("a", "z"),)
_UPPER: Final = (("A", "Z"),)
_PUNCT: Final = (("!", "/"), (":", "@"), ("[", "`"), ("{", "~"))
_CLASSES: Final[Mapping[str, tuple[_Range, ...]]] = {  # POSIX names, for ASCII
    "alnum": _DIGIT + _LOWER + _UPPER,
    "alpha": _LOWER + _UPPER,
    "blank": ((" ", " "), ("\t", "\t")),
    "cntrl": (("\0", "\x1f"), ("\x7f", "\x7f")),
    "digit": _DIGIT,
    "graph": (("!", "~"),),
    "lower": _LOWER,
    "print": ((" ", "~"),),
    "punct": _PUNCT,
    "space": ((" ", " "), ("\t", "\r")),
    "upper": _UPPER,
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}


@dataclass(frozen=True, slots=True)
class Literal:
    """One character that stands for itself."""

    sign: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """One character of a set, or one that is not in it; never "/"."""

    ranges: tuple[_Range, ...]
    negated: bool = False

    def takes(self, sign: str) -> bool:
        """Tell whether `sign` is one of them."""
        return sign != "/" and any(low <= sign <= high for low, high in self.ranges) is not self.negated


Token = Literal | OneOf | str  # str: STAR or STARS
SLASH: Final = Literal("/")
_ANY: Final = OneOf((), negated=True)


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern as tokens, and what it may match."""

    tokens: tuple[Token, ...]  # the first is always "/"
    anchored: bool
    files: bool
    folders: bool


def compile_glob(pattern: str, field: str) -> Glob:
    """Take a pattern apart. Raises InvalidRequest naming `field` and showing the pattern with its fault."""
    try:
        tokens = _collapsed(_tokens(pattern))
    except ValueError as error:
        raise _broken(pattern, field, display(str(error))) from None
    if not tokens:
        raise _broken(pattern, field, "it is empty")
    folders_only = tokens[-1] == SLASH
    anchored = tokens[0] == SLASH
    bare = tokens[:-1] if folders_only else tokens
    if not anchored:
        bare = _collapsed([SLASH, *bare])
    if not bare or bare == [SLASH]:
        raise _broken(pattern, field, "it names nothing")
    if any(bare[place : place + 2] == [SLASH, SLASH] for place in range(len(bare))):
        raise _broken(pattern, field, 'it has nothing between two "/"')
    both = not folders_only and bare[-1] in (STAR, STARS)
    return Glob(tuple(bare), anchored, files=not folders_only, folders=folders_only or both)


def _broken(pattern: str, field: str, reason: str) -> InvalidRequest:
    shown = display(pattern)
    return InvalidRequest(f'The pattern "{shown}" in "{field}" cannot be used: {reason}.', field=field)


def _tokens(pattern: str) -> Iterator[Token]:
    place = 0
    while place < len(pattern):
        sign = pattern[place]
        place += 1
        if sign == "\\":
            if place == len(pattern):
                raise ValueError('it ends in "\\"')
            yield Literal(pattern[place])
            place += 1
        elif sign == "[":
            token, place = _set(pattern, place)
            yield token
        elif sign == "?":
            yield _ANY
        else:
            yield STAR if sign == "*" else Literal(sign)


def _collapsed(tokens: Iterable[Token]) -> list[Token]:
    """Make a run of stars one `**`, and `/**/**` one `/**`: a bit moves over one of them at a time."""
    kept: list[Token] = []
    for token in tokens:
        if token in (STAR, STARS) and kept and kept[-1] in (STAR, STARS):
            kept[-1] = STARS
        else:
            kept.append(token)
        if kept[-4:] == [SLASH, STARS, SLASH, STARS]:
            del kept[-2:]
    return kept


def _set(pattern: str, place: int) -> tuple[OneOf, int]:
    """Read a set whose "[" stands before `place`; return it and the place behind it."""
    start = place
    negated = pattern[place : place + 1] in ("!", "^")
    place += negated
    ranges: list[_Range] = []
    first = True
    while place < len(pattern) and (first or pattern[place] != "]"):
        first = False
        if pattern.startswith("[:", place):
            found, place = _class(pattern, place)
            ranges.extend(found)
        else:
            piece, place = _range(pattern, place)
            ranges.append(piece)
    if place >= len(pattern):
        raise ValueError(f'"[{pattern[start : start + 8]}" has no closing "]"')
    return OneOf(tuple(ranges), negated), place + 1


def _class(pattern: str, place: int) -> tuple[tuple[_Range, ...], int]:
    end = pattern.find(":]", place + 2)
    name = pattern[place + 2 : end] if end > 0 else pattern[place + 2 :]
    if end < 0 or name not in _CLASSES:
        raise ValueError(f'"[:{name[:12]}" is no known class of characters')
    return _CLASSES[name], end + 2


def _range(pattern: str, place: int) -> tuple[_Range, int]:
    """Read one character, or two with "-" between them."""
    low, place = _member(pattern, place)
    if pattern[place : place + 1] != "-" or pattern[place + 1 : place + 2] in ("", "]"):
        return (low, low), place
    high, place = _member(pattern, place + 1)
    if low > high:
        raise ValueError(f'the range "{low}-{high}" runs backwards')
    return (low, high), place


def _member(pattern: str, place: int) -> tuple[str, int]:
    if pattern[place] == "\\":
        place += 1
        if place == len(pattern):
            raise ValueError('it ends in "\\"')
    return pattern[place], place + 1
