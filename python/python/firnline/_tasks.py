"""Runs coroutines, so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def each(items: AsyncIterator[T], limit: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Call `work` for every item, at most `limit` at a time; items are asked for as they can be worked on.

    After the first error no further work is begun, what is under way is cancelled, and the error is raised.
    """
    under_way: set[asyncio.Task[None]] = set()

    async def run(item: T) -> None:
        await work(item)

    try:
        async for item in items:
            under_way.add(asyncio.create_task(run(item)))
            if len(under_way) >= limit:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        while under_way:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
