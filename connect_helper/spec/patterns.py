"""Which files and folders take part: include and exclude patterns (transfer spec reference, section 2.8).

A pattern is looked at as a path from the root of the transferred set, `/proj/sub/a.txt`, whose first name is
that of the source itself (of the first folder below `src_base`, when that is set):

    *          any characters but "/", and not the dot a name begins with
    **         any characters; "/**/" also stands for a single "/"
    ?          one character but "/"
    [...]      one of a set, never "/": [abc] [a-z] [!a] [^a] [[:digit:]]
    \\          takes the next character literally
    /first     anchored at the root; other patterns may begin at any name
    last/      folders only; last* and last/** mean both; everything else means files only

All includes come first, then all excludes, and the first that matches decides; nothing matching means
"keep". A folder left out takes everything below it along. An anchored include also keeps the folders that
lead to it, as far as its first "**" (ascp manual, rule composition).

Many patterns are matched as one: each token is a bit, and reading a character moves all bits at once. So no
pattern, however it is built, makes matching slower than the length of the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connect_helper.errors import InvalidRequest
from connect_helper.spec.globs import SLASH, STARS, Glob, Literal, OneOf, compile_glob
from connect_helper.spec.lenient import as_text
from connect_helper.spec.words import pick

INCLUDE: Final = ("include_patterns", "inclusion_patterns")  # spellings, newest first
EXCLUDE: Final = ("exclude_patterns", "exclusion_patterns")
MOST_PATTERNS: Final = 256  # in each list
MOST_CHARACTERS: Final = 16_384  # in each list; a page must not make its start slow for others
LONGEST_PATTERN: Final = 1_024  # characters
_REMEMBERED: Final = 4_096  # folders, and characters; what a hostile tree can make us keep


def read_patterns(raw: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Read a list of patterns under the newest of `names` that is set; text or `{"pattern": text}`.

    Raises InvalidRequest naming the field, also for a pattern that does not compile.
    """
    field, entries = pick(raw, *names)
    if entries is None:
        return ()
    if not isinstance(entries, list) or len(entries) > MOST_PATTERNS:
        raise InvalidRequest(f'"{field}" must be a list of at most {MOST_PATTERNS} patterns.', field=field)
    patterns = tuple(_pattern_text(entry, field) for entry in entries)
    if sum(map(len, patterns)) > MOST_CHARACTERS:
        raise InvalidRequest(
            f'The patterns in "{field}" are too long together: at most {MOST_CHARACTERS} characters.',
            field=field,
        )
    for pattern in patterns:
        compile_glob(pattern, field)
    return patterns


def _pattern_text(entry: Any, field: str) -> str:
    text = entry.get("pattern") if isinstance(entry, Mapping) else entry
    if not isinstance(text, str) or not text:
        raise InvalidRequest(f'Each pattern in "{field}" must be text that is not empty.', field=field)
    return as_text(text, field, limit=LONGEST_PATTERN, path=True) or ""


def compile_rules(
    include: Sequence[str],
    exclude: Sequence[str],
    *,
    include_field: str = INCLUDE[0],
    exclude_field: str = EXCLUDE[0],
) -> Rules:
    """Make the rules of two lists of patterns.

    Raises InvalidRequest naming the field and showing the pattern that does not compile.
    """
    return Rules(
        [compile_glob(pattern, include_field) for pattern in include],
        [compile_glob(pattern, exclude_field) for pattern in exclude],
    )


class Rules:
    """Compiled patterns. The verdict on a path depends on nothing but the path.

    States of folders are remembered, so that a walk reads each name once. For use from one thread.
    """

    def __init__(self, include: Iterable[Glob], exclude: Iterable[Glob]) -> None:
        self._bits = 0  # bits given to patterns so far
        self._at_root = 0
        self._floating = 0  # first bits of patterns that may begin at any name
        self._literals: dict[str, int] = {}  # character: bits of tokens that take it
        self._sets: list[tuple[OneOf, int]] = []
        self._stars = 0  # bits of * and **
        self._many = 0  # bits of ** alone
        self._leaps = 0  # bits of "/" in "/**/": the leap over "/**"
        self._files = self._folders = 0  # accepting bits
        for pattern in include:
            self._add(pattern, leads=pattern.anchored)
        self._first_exclude = 1 << self._bits
        for pattern in exclude:
            self._add(pattern, leads=False)
        self._floating = self._settled(self._floating)
        self._takers: dict[str, int] = {}
        self._states: dict[tuple[str | bytes, ...], int | None] = {}

    def keeps(self, parts: tuple[str | bytes, ...], folder: bool) -> bool:
        """Tell whether a file or folder takes part; `parts` are its names from the root of the set down.

        Bytes are read as UTF-8, other bytes as lone surrogates. The root itself, (), is always kept.
        """
        if not self._bits or not parts:
            return True
        above = self._folder_state(parts[:-1])
        if above is None:
            return False
        return self._folder_state(parts) is not None if folder else self._passes(above, parts[-1])

    def _add(self, pattern: Glob, *, leads: bool) -> None:
        """Give each token of a pattern a bit, and one more to its end."""
        start = 1 << self._bits
        if pattern.anchored:
            self._at_root |= start
        else:
            self._floating |= start
        tokens = pattern.tokens
        for place, token in enumerate(tokens):
            bit = start << place
            if isinstance(token, Literal):
                self._literals[token.sign] = self._literals.get(token.sign, 0) | bit
            elif isinstance(token, OneOf):
                self._sets.append((token, bit))
            else:
                self._stars |= bit
                self._many |= bit if token == STARS else 0
            leads = leads and token != STARS
            if token == SLASH and place and leads:
                self._folders |= bit
            if tokens[place : place + 3] == (SLASH, STARS, SLASH):
                self._leaps |= bit
        end = start << len(tokens)
        self._files |= end if pattern.files else 0
        self._folders |= end if pattern.folders else 0
        self._bits += len(tokens) + 1

    def _folder_state(self, folder: tuple[str | bytes, ...]) -> int | None:
        """Return the bits after the path of a folder; None when it, or one above it, is left out."""
        if len(self._states) > _REMEMBERED:
            self._states = {}
        states = self._states
        known = len(folder)
        while known and folder[:known] not in states:
            known -= 1
        state = states[folder[:known]] if known else self._settled(self._at_root)
        for depth in range(known, len(folder)):
            if state is not None:
                state = self._read(state, folder[depth])
                state = state if self._verdict(state & self._folders) else None
            states[folder[: depth + 1]] = state
        return state

    def _passes(self, above: int, name: str | bytes) -> bool:
        return self._verdict(self._read(above, name) & self._files)

    def _verdict(self, matching: int) -> bool:
        """The lowest bit is that of the first pattern."""
        return not matching or matching & -matching < self._first_exclude

    def _read(self, state: int, name: str | bytes) -> int:
        """Move all bits over "/" and a name."""
        text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
        state = self._settled(((state | self._floating) & self._takes("/")) << 1 | state & self._many)
        for place, sign in enumerate(text):
            staying = self._many if sign == "." and not place else self._stars
            state = self._settled((state & self._takes(sign)) << 1 | state & staying)
        return state

    def _settled(self, state: int) -> int:
        """Add the bits reached without reading: stars may take nothing, "/**/" may be one "/"."""
        state |= (state & self._stars) << 1
        return state | (state & self._leaps) << 2

    def _takes(self, sign: str) -> int:
        bits = self._takers.get(sign)
        if bits is None:
            bits = self._literals.get(sign, 0)
            for one_of, bit in self._sets:
                bits |= bit if one_of.takes(sign) else 0
            if len(self._takers) > _REMEMBERED:
                self._takers = {}
            self._takers[sign] = bits
        return bits
