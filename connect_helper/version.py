"""The version, in a module that imports nothing: every room may tell it."""

from __future__ import annotations

__version__ = "0.1.0"
