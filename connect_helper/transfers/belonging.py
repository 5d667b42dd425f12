"""Whose an unfinished file on a server is: a name alone does not prove that it is still ours (REL-20).

One that stands under its name is ours when it ends, where the record says so, in the bytes this program sent.
Over HTTP an upload has no name, but an address that only who began it knows, and that is proof enough.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace

from connect_helper.errors import ConnectError, SourceDenied, TransferError
from connect_helper.spec.block_hash import BLOCK_HASH, new_hash
from connect_helper.spec.names import display
from connect_helper.transports.base import RECORD_BLOCK, Proof, Transport
from connect_helper.transports.resume import Record

_log = logging.getLogger(__name__)


def made_this_way(record: Record, transport: Transport) -> bool:
    """Tell whether a file was being sent as `transport` sends; the other way it is not there at all."""
    return record.proof.chained == bool(transport.whole_hash)


async def is_ours(transport: Transport, record: Record) -> bool | None:
    """Tell whether the partial file of a record is there and ours; None: nothing can be compared.

    Raises ConnectError.
    """
    if not made_this_way(record, transport):
        return False
    partial = os.fsencode(record.partial)
    try:
        facts = await transport.unfinished(partial)
        if facts is None or facts.kind != "file":
            return False
        if record.proof.chained:
            return True
        proof = at_most(record.proof, facts.size)
        if not proof.offset:
            return True if facts.size == record.proof.offset else None
        begin = (proof.offset - 1) // RECORD_BLOCK * RECORD_BLOCK
        there = await _digest(transport, partial, begin, proof)
    except ConnectError:
        raise
    except TransferError as error:
        _log.info("%s: %s", display(partial), error.internal_message)
        return None
    return there == (proof.tail or proof.blocks[-1]) if there else None


async def _digest(transport: Transport, partial: bytes, begin: int, proof: Proof) -> str:
    """Hex digest of the last part of what was confirmed; "": nobody tells."""
    length = proof.offset - begin
    try:
        (data,) = await transport.read_ranges(partial, ((begin, length),))
    except SourceDenied:  # who may only send may not read either: the server hashes, if it can
        return await transport.block_digest(partial, begin, length) if proof.algorithm == BLOCK_HASH else ""
    digest = new_hash(proof.algorithm)
    digest.update(data)
    return digest.hexdigest()


def at_most(proof: Proof, size: int) -> Proof:
    """The part of a proof that a file of `size` bytes can fulfil: the server may have lost its end."""
    if proof.offset <= size:
        return proof
    blocks = proof.blocks[: size // RECORD_BLOCK]
    return replace(proof, offset=len(blocks) * RECORD_BLOCK, blocks=blocks, tail="")
