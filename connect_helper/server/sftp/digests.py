"""Digests of file contents, for clients that compare what arrived (check-file), and copies on the server.

Source of the request's form: draft-ietf-secsh-filexfer-extensions-00, sections 3 and 6. Both may take hours:
they are done in slices, between which others have their turn. Each step blocks; `stop` ends it early with
OSError ECANCELED.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from connect_helper.server.sftp.files import errno_error
from connect_helper.spec.block_hash import BLOCK_HASH, new_hash
from connect_helper.storage.file_data import copy_range

ALGORITHMS: Final = ("sha256", "sha512", "sha384", "sha224", "sha1", "md5", BLOCK_HASH)
SMALLEST_BLOCK: Final = 256  # bytes (section 3)
MOST_DIGESTS: Final = 4096  # in one answer
_NAMES: Final = 1024  # bytes of a client's list of algorithms that are looked at
QUICK: Final = 512 * 1024  # cost of what is done in a turn like any other, see `is_quick`
_EACH: Final = 16 * 1024  # bytes that could be hashed while one more digest is begun and ended
_SLOWER: Final = 4  # times, than the block hash
SLICE: Final = 64 * 1024 * 1024  # bytes read or copied in one step
_CHUNK: Final = 4 * 1024 * 1024

_T = TypeVar("_T")
Slices = Generator[None, None, _T]  # yields after each slice and returns what was found


def at_once(slices: Slices[_T]) -> _T:
    """What slices find that are so few and short that nobody need have a turn in between."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            found: _T = end.value
            return found


def choose(wanted: bytes) -> str:
    """The first algorithm of the client's list that we have; "" for none."""
    names = wanted[:_NAMES].decode("ascii", "replace").split(",")
    return next((name for name in names if name in ALGORITHMS), "")


def is_quick(algorithm: str, length: int, block: int) -> bool:
    """Tell whether digests as `check_file` makes them are soon made, and have an answer of no great length.

    What our own client asks of each small file is. The cost is counted in bytes of the block hash.
    """
    if not length:
        return False
    count = -(-length // block) if block else 1
    return length * (1 if algorithm == BLOCK_HASH else _SLOWER) + count * _EACH <= QUICK


def check_file(
    handle: int, algorithm: str, start: int, length: int, block: int, stop: threading.Event
) -> Slices[bytes]:
    """The digests of an open file's bytes from `start`, one after the other.

    `length` in bytes, 0 is up to the end; `block` in bytes, 0 is one digest for all. Raises OSError EINVAL
    for blocks that are too small or give too many digests, or a part the file does not have.
    """
    size = os.fstat(handle).st_size
    end = start + length if length else size
    if start > size or end > size or 0 < block < SMALLEST_BLOCK:
        raise errno_error(errno.EINVAL)
    if block and (end - start) > block * MOST_DIGESTS:
        raise errno_error(errno.EINVAL)
    digests: list[bytes] = []
    at, pause_at = start, start + SLICE
    while at < end or not digests:
        hashing = new_hash(algorithm)
        block_end = min(at + block, end) if block else end
        while at < block_end:
            if at >= pause_at:
                yield
                pause_at = at + SLICE
            if stop.is_set():
                raise errno_error(errno.ECANCELED)
            data = os.pread(handle, min(_CHUNK, block_end - at), at)
            if not data:
                raise errno_error(errno.EIO)  # it became shorter while it was read
            hashing.update(data)
            at += len(data)
        digests.append(hashing.digest())
    return b"".join(digests)


def copy_data(
    source: int,
    start: int,
    length: int,
    target: int,
    at: int,
    *,
    check_space: Callable[[], None],
    stop: threading.Event,
) -> Slices[int]:
    """Copy bytes from one open file to another; returns how many.

    Where `length` is 0, up to the end that the file has now: what is added meanwhile may be this very copy.
    `check_space` raises OSError where the target's disk is as full as it may be.
    """
    facts = os.fstat(source)
    if os.path.samestat(facts, os.fstat(target)) and (not length or abs(start - at) < length):
        raise OSError(errno.EINVAL, "the two parts of the file overlap: copy it to another file")
    whole = length or max(facts.st_size - start, 0)
    copied = 0
    while copied < whole:
        if copied:
            yield
        if stop.is_set():
            raise errno_error(errno.ECANCELED)
        check_space()
        count = copy_range(source, start + copied, min(SLICE, whole - copied), target, at + copied)
        if not count:
            if length:
                raise errno_error(errno.EINVAL)  # the file ends before
            break
        copied += count
    return copied
