"""Specs to start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MakeRaw = Callable[..., dict[str, Any]]


@pytest.fixture
def make_raw() -> MakeRaw:
    """Make a small valid spec; keyword arguments add fields, None takes one out."""

    def make(**fields: Any) -> dict[str, Any]:
        plain = {"direction": "send", "remote_host": "b.example", "paths": [{"source": "/data/a.txt"}]}
        return {name: value for name, value in {**plain, **fields}.items() if value is not None}

    return make
