"""Which files of the sources take part: patterns and times of a plan. For use by one scan at a time."""

from __future__ import annotations

from connect_helper.spec.patterns import compile_rules
from connect_helper.spec.times import TimeLimits
from connect_helper.transfers.plan import Policies
from connect_helper.transports.base import Enters, Facts

_SECOND = 1_000_000_000  # ns


class Selection:
    """`top` is where an item stands in the transferred set, `below` are the names from the item down."""

    def __init__(self, policies: Policies) -> None:
        self._rules = compile_rules(policies.include_patterns, policies.exclude_patterns)
        self._limits = TimeLimits(policies.newer_than_s, policies.older_than_s)

    def enters(self, top: tuple[str, ...]) -> Enters:
        """The question a scan of one item asks about each folder."""
        return lambda below: self._rules.keeps((*top, *below), folder=True)

    def takes(self, top: tuple[str, ...], below: tuple[bytes, ...], facts: Facts) -> bool:
        """Tell whether something that was found takes part; times are those of files only."""
        if not self._rules.keeps((*top, *below), folder=facts.kind == "folder"):
            return False
        return facts.kind != "file" or self._limits.keeps(facts.mtime_ns / _SECOND)
