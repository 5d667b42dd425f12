"""What HTTP Basic puts into an Authorization header (RFC 7617)."""

from __future__ import annotations

import base64


def basic_credentials(coded: str) -> str | None:
    """`user:password` out of what stands behind "Basic"; None where it is no base64, no ASCII or no UTF-8."""
    try:
        return base64.b64decode(coded.strip(), validate=True).decode("utf-8")
    except ValueError:
        return None
