"""What dialogs say: titles, starting points and filters, the same whatever shows them. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from connect_helper.picking.base import CredentialsQuestion, DialogRequest, FileFilter
from connect_helper.spec.names import page_text

_WANTS: Final = {
    "open-file": ("wants a file", "wants files"),
    "open-folder": ("wants a folder", "wants folders"),
    "save-file": ("asks where to save a file", "asks where to save a file"),
}
_EXTENSION_LIMIT: Final = 32  # characters
_FILTER_LIMIT: Final = 50
_EXTENSIONS_PER_FILTER: Final = 200


def caller_text(caller: str) -> str:
    """The caller as shown: long enough that the end of an origin, where its owner stands, is never cut."""
    return page_text(caller, limit=300)


def request_title(request: DialogRequest) -> str:
    """The window's title: who asks, for what, and then the page's own words."""
    title = f"{caller_text(request.caller)} {request_wants(request)}"
    own_words = page_text(request.title)
    return f"{title}: {own_words}" if own_words else title


def request_wants(request: DialogRequest) -> str:
    """The middle of the title: "wants files"."""
    return _WANTS[request.kind][1 if request.multiple else 0]


def suggested_name(request: DialogRequest) -> str:
    """The page's suggestion as a bare file name that can leave no folder; "" when nothing is left of it."""
    name = "".join(
        letter for letter in request.suggested_name if unicodedata.category(letter) not in _NO_NAME
    )
    name = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    while len(name.encode("utf-8")) > 200:
        name = name[:-1]
    return "" if name in {".", ".."} else name


_NO_NAME: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, bidi marks, surrogates, line ends


def clean_filters(filters: Iterable[FileFilter]) -> tuple[FileFilter, ...]:
    """Filters without empty or odd entries; an extension is letters, digits and a few marks, or "*".

    What could be a pattern, a separator or markup in one of the dialog programs is dropped.
    """
    cleaned = []
    for entry in list(filters)[:_FILTER_LIMIT]:
        extensions = tuple(
            extension
            for extension in (item.strip().removeprefix("*.").removeprefix(".") for item in entry.extensions)
            if extension == "*" or _is_extension(extension)
        )[:_EXTENSIONS_PER_FILTER]
        if extensions:
            name = page_text(entry.name.translate(_FILTER_MARKS))
            cleaned.append(FileFilter(name or ", ".join(extensions[:5]), extensions))
    return tuple(cleaned)


_FILTER_MARKS: Final = str.maketrans({"|": " ", ";": " ", "(": " ", ")": " ", "*": " "})


def _is_extension(text: str) -> bool:
    return 0 < len(text) <= _EXTENSION_LIMIT and all(letter.isalnum() or letter in "._-+~" for letter in text)


def patterns(entry: FileFilter) -> tuple[str, ...]:
    """Shell patterns of a cleaned filter, upper and lower case: "*.png", "*.PNG"."""
    if "*" in entry.extensions:
        return ("*",)
    both = (
        form for extension in entry.extensions for form in (extension, extension.lower(), extension.upper())
    )
    return tuple(f"*.{extension}" for extension in dict.fromkeys(both))


def plain_extensions(request: DialogRequest) -> tuple[str, ...]:
    """Every extension of every filter, () when one of them lets all files through."""
    cleaned = clean_filters(request.filters)
    if any("*" in entry.extensions for entry in cleaned):
        return ()
    return tuple(dict.fromkeys(extension for entry in cleaned for extension in entry.extensions))


def question_lines(heading: str, details: Iterable[str]) -> list[str]:
    """The question and its facts, each one line, without controls and at a bounded length."""
    lines = [page_text(heading, limit=400)]
    lines += [page_text(detail, limit=300) for detail in list(details)[:30]]
    return lines


def credentials_heading(question: CredentialsQuestion) -> str:
    """The one line above the fields: who asks, for which server, as whom."""
    heading = page_text(question.heading, limit=400)
    return f"{heading} as {page_text(question.user, limit=200)}" if question.user else heading
