"""Reports of how far long calls have come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ProgressArgument", "reporting"]

Report = Callable[[int, int, int, int], None]
ProgressArgument = bool | Report | None


@contextmanager
def reporting(progress: ProgressArgument, what: str, items: str | None = None) -> Iterator[Report | None]:
    """Give the callback for an argument ``progress``: the caller's own, or one that draws a bar by tqdm.

    The bar shows bytes; if `items` says what the items are called, it shows these. Without tqdm ``True`` has no effect.
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
    with tqdm(desc=what, unit="B" if items is None else f" {items}", unit_scale=items is None) as bar:

        def report(count: int, all_items: int, size: int, all_bytes: int) -> None:
            done, total = (size, all_bytes) if items is None else (count, all_items)
            bar.total = total or None
            bar.update(done - bar.n)

        yield report
