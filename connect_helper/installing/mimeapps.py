"""Lists of default programs, `mimeapps.list`. Pure: text in, text out.

Source: freedesktop.org, "Association between MIME types and applications". A line names programs in the
order of preference, so ours is put in front and what was there comes back when ours is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_SECTION: Final = "[Default Applications]"


def with_default(text: str, entry: str, kinds: Iterable[str]) -> str:
    """Return the list with `entry` in front for each of `kinds`; other lines stay as they are."""
    lines = _lines(without_default(text, entry, kinds))
    if _SECTION not in lines:
        lines += ["", _SECTION] if lines else [_SECTION]
    for kind in kinds:
        start, end = _bounds(lines)
        at = next((index for index in range(start, end) if _key(lines[index]) == kind), None)
        if at is None:
            lines.insert(_last_filled(lines, start, end), f"{kind}={entry}")
        else:
            lines[at] = f"{kind}={entry};{_value(lines[at])}"
    return "\n".join(lines) + "\n"


def without_default(text: str, entry: str, kinds: Iterable[str]) -> str:
    """Return the list without `entry` for any of `kinds`, and without the section once that is empty."""
    wanted, kept = set(kinds), []
    changed, inside = False, False
    for line in _lines(text):
        inside = line.strip() == _SECTION if line.lstrip().startswith("[") else inside
        names = [name for name in _value(line).split(";") if name]
        if inside and _key(line) in wanted and entry in names:
            changed = True
            names.remove(entry)
            if names:
                kept.append(f"{_key(line)}={_value(line).replace(entry + ';', '', 1)}")
            continue
        kept.append(line)
    if not changed:
        return text
    return "".join(f"{line}\n" for line in _without_empty_section(kept))


def has_default(text: str, entry: str, kind: str) -> bool:
    """Tell whether `entry` comes first for `kind`."""
    lines = _lines(text)
    start, end = _bounds(lines) if _SECTION in lines else (0, 0)
    values = (_value(line) for line in lines[start:end] if _key(line) == kind)
    return next(values, "").split(";")[0] == entry


def _without_empty_section(lines: list[str]) -> list[str]:
    start, end = _bounds(lines)
    if any(line.strip() for line in lines[start:end]):
        return lines
    before, after = lines[: start - 1], lines[end:]
    if not after and before and not before[-1]:
        before.pop()  # the line that `with_default` left free
    return [*before, *after]


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _bounds(lines: list[str]) -> tuple[int, int]:
    """The lines below the section's heading."""
    start = lines.index(_SECTION) + 1
    below = (index for index in range(start, len(lines)) if lines[index].lstrip().startswith("["))
    return start, next(below, len(lines))


def _last_filled(lines: list[str], start: int, end: int) -> int:
    while end > start and not lines[end - 1].strip():
        end -= 1
    return end


def _key(line: str) -> str:
    return line.partition("=")[0].strip()


def _value(line: str) -> str:
    return line.partition("=")[2].strip()
