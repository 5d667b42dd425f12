"""Many small pieces of work, a bounded number of them at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


async def side_by_side(items: Iterable[Item], do: Callable[[Item], Awaitable[object]], most: int) -> None:
    """Await `do` for each of `items`, begun in their order, `most` at a time.

    The first error ends all. Raises an ExceptionGroup of what `do` raises.
    """
    left = iter(items)

    async def one_after_another() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(most):
            group.create_task(one_after_another())
