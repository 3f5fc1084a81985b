"""Reports of how far long calls have come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ProgressArgument", "reporting"]

Report = Callable[[int, int, int, int], None]
ProgressArgument = bool | Report | None


@contextmanager
def reporting(progress: ProgressArgument, what: str) -> Iterator[Report | None]:
    """Give the callback for an argument ``progress``: the caller's own, or one that draws a bar by tqdm.

    Without tqdm ``True`` has no effect.
    """
    if not progress:
        yield None
        return
    if callable(progress):
        yield progress
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    with tqdm(desc=what, unit="B", unit_scale=True) as bar:

        def report(items: int, all_items: int, done: int, all_done: int) -> None:
            bar.total = all_done or None
            bar.update(done - bar.n)

        yield report
