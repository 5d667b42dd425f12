"""How uploads are refused; which of them were broken off and can go on says the status."""

from __future__ import annotations

from connect_helper.server.http.problems import Problem
from connect_helper.server.http.receiving import End
from connect_helper.server.http.upload_records import UploadRecord


def wrong_offset(record: UploadRecord) -> Problem:
    return Problem(
        409,
        "wrong_offset",
        "The upload stands at another offset; go on from there.",
        headers={"Upload-Offset": str(record.offset)},
    )


def too_long(record: UploadRecord) -> Problem:
    return Problem(
        413,
        "too_long",
        "More bytes than the upload's length; none of them were kept.",
        headers={"Upload-Offset": str(record.offset)},
        closes=True,
    )


def broken_off(end: End, *, checksum_wrong: bool = False) -> Problem:
    if end is End.WHOLE and checksum_wrong:
        return Problem(460, "checksum_mismatch", "The bytes were damaged on the way; send them again.")
    if end is End.WANTED:
        return Problem(423, "locked", "Another request goes on with this upload.", closes=True)
    return Problem(408, "stalled", "The bytes stopped coming; resume the upload.", closes=True)


def content_wrong() -> Problem:
    return Problem(
        460, "checksum_mismatch", "The file that arrived is not the one that was sent; send it again."
    )


def part_changed() -> Problem:
    return Problem(460, "part_changed", "A part of the file is shorter than it was; send it again.")
