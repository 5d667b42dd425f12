"""Strong entity tags from what the file system says about a file. Pure.

A tag must change whenever the bytes may have (RFC 9110 section 8.8.1). The change time does not follow the
wishes of programs as the modification time does, but it moves in the kernel's clock ticks: two writes within
one tick leave it alone. So a tag is final only when the last change lies a tick back.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from connect_helper.storage.file_data import version_of

# The coarsest clock tick of a Linux kernel (CONFIG_HZ=100), doubled.
SETTLING_NS: Final = 20_000_000


def etag_of(facts: os.stat_result) -> str:
    """The strong tag of a file, with its quotes; device and inode numbers cannot be read from it."""
    return f'"{hashlib.blake2b(repr(version_of(facts)).encode(), digest_size=15).hexdigest()}"'


def settles_in_ns(facts: os.stat_result, now_ns: int) -> int:
    """How long to wait, in nanoseconds, before the tag of a file changed just now can be trusted.

    0 for a file whose last change lies back far enough, or in the future (a clock that was set back).
    """
    age_ns = now_ns - facts.st_ctime_ns
    return SETTLING_NS - age_ns if 0 <= age_ns < SETTLING_NS else 0


def same_content(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file read between the two looks at it was one version all along."""
    return version_of(before) == version_of(after)
