"""Writes Dask arrays into one session, from threads, processes or a cluster.

Tasks that run in the process of the session write into it directly. A task that runs in another process or on another
machine opens a fork of the session there, writes one block, and returns the changes of the fork. Changes are merged in a tree
of tasks, so that the session's own process merges few of them. Nothing is committed here: call `Session.commit` afterwards.

A worker that dies loses nothing that counts. Dask runs its tasks again elsewhere, and chunks that the dead worker had
written but not returned stay in the repository as unreferenced garbage.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import dask.array as da
import numpy as np
import zarr
from dask.base import compute, tokenize

if TYPE_CHECKING:
    from firnline.session import ForkSession, Session

__all__ = ["store_dask"]

Region = tuple[slice, ...]


def store_dask(
    session: Session,
    *,
    sources: da.Array | Sequence[da.Array],
    targets: zarr.Array | Sequence[zarr.Array],
    regions: Region | Sequence[Region | None] | None = None,
    split_every: int | None = None,
    compute_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Write Dask arrays into Zarr arrays of a session; the equivalent of `dask.array.store`.

    Blocks until everything is written and merged into the session. Nothing is committed.

    Parameters
    ----------
    session
        A writable session, or a fork of one. It may hold uncommitted changes; the workers see them.
    sources
        One Dask array or several.
    targets
        As many arrays of `session.store`, which exist already. Each block of a source should cover whole chunks (whole
        shards) of its target: two tasks that write parts of one chunk overwrite each other in one process, and conflict
        when they run in different ones.
    regions
        For each target the part of it that is written, as slices with step 1. Default: the whole array.
    split_every
        How many changes a task merges at most, as in `dask.array.reduction`. Default: Dask's.
    compute_kwargs
        Passed to `dask.compute`, for example ``{"scheduler": "processes"}``.

    Raises
    ------
    ValueError
        If the numbers of sources, targets and regions differ, if a target does not belong to the session, or if a source
        does not have the shape of its region.
    firnline.ConflictError
        If tasks in different processes wrote different values for the same chunk. The session is left without the changes
        of these tasks.

    Notes
    -----
    If a task fails, its error is raised, and the session may hold chunks that other tasks have written meanwhile. Commit
    only after the call has succeeded, or call `session.discard_changes()`.
    """
    sources = [sources] if isinstance(sources, da.Array) else list(sources)
    targets = [targets] if isinstance(targets, zarr.Array) else list(targets)
    every = _each_region(regions, len(sources))
    if not len(sources) == len(targets) == len(every):
        raise ValueError(f"{len(sources)} sources, {len(targets)} targets and {len(every)} regions: the numbers differ")
    if not sources:
        return
    writer = _Writer(session)
    reduced = [
        _reduced(_written(source, _Target(writer, target, region)), writer, split_every)
        for source, target, region in zip(sources, targets, every, strict=True)
    ]
    results = compute(*reduced, **dict(compute_kwargs or {}))
    for changes in _flat(list(results)):
        session._native.merge(changes)


def _each_region(regions: Region | Sequence[Region | None] | None, count: int) -> list[Region | None]:
    """A region for each target: one that was given for all is repeated."""
    if regions is None:
        return [None] * count
    if isinstance(regions, tuple) and all(isinstance(part, slice) for part in regions):
        return [cast(Region, regions)] * count
    return list(cast("Sequence[Region | None]", regions))


class _Writer:
    """The session that tasks write into; a fork of it after pickling.

    The fork is taken once, when a task is pickled for the first time, and shared by all tasks.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._fork: bytes | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            if self._fork is None:
                self._fork = pickle.dumps(self.session.fork())
        return _RemoteWriter, (self._fork,)

    def merged(self, changes: list[bytes]) -> list[bytes]:
        """Changes of several tasks as they are: the session is here, and merges them at the end."""
        return changes


class _RemoteWriter:
    """The writer in another process: opens the fork anew for every block, so that each task returns its own changes only."""

    def __init__(self, fork: bytes) -> None:
        self._fork = fork

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteWriter, (self._fork,)

    def write(self, path: str, region: Region, block: np.ndarray[Any, Any]) -> list[bytes]:
        fork = _fresh(self._fork)
        zarr.open_array(fork.store, path=path, mode="r+")[region or ...] = block
        return fork._changes()

    def merged(self, changes: list[bytes]) -> list[bytes]:
        """The changes of several tasks as one."""
        if len(changes) < 2:
            return changes
        fork = _fresh(self._fork)
        for one in changes:
            fork._native.merge(one)
        return fork._changes()


def _fresh(sent: bytes) -> ForkSession:
    """A fork without changes of its own."""
    received = _received(sent)
    return type(received)(received._repository, received._document)


@lru_cache(maxsize=4)
def _received(fork: bytes) -> ForkSession:
    """The fork that was sent to this process, with the repository that it opens once."""
    received: ForkSession = pickle.loads(fork)
    return received


class _Target:
    """One array to write to. Where the session lives, it is the array itself."""

    def __init__(self, writer: _Writer, array: zarr.Array, region: Region | None) -> None:
        if getattr(array.store, "session", None) is not writer.session:
            raise ValueError(f"array {array.path!r} does not belong to the session that is written to")
        self.writer = writer
        self.array = array
        self.path = array.path
        self.starts, self.shape = _starts(array, region)

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteTarget, (self.writer, self.path, self.starts)

    def write(self, block: np.ndarray[Any, Any], location: Sequence[Sequence[int]]) -> list[bytes]:
        self.array[_moved(location, self.starts) or ...] = block
        return []


class _RemoteTarget:
    """One array to write to, in another process."""

    def __init__(self, writer: _RemoteWriter, path: str, starts: tuple[int, ...]) -> None:
        self.writer, self.path, self.starts = writer, path, starts

    def write(self, block: np.ndarray[Any, Any], location: Sequence[Sequence[int]]) -> list[bytes]:
        return self.writer.write(self.path, _moved(location, self.starts), block)


def _starts(array: zarr.Array, region: Region | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where a region begins in each dimension, and its shape."""
    if region is None:
        return (0,) * array.ndim, array.shape
    if len(region) != array.ndim:
        raise ValueError(f"the region of array {array.path!r} has {len(region)} dimensions, the array {array.ndim}")
    bounds = [part.indices(size) for part, size in zip(region, array.shape, strict=True)]
    if any(step != 1 for _, _, step in bounds):
        raise ValueError(f"the region of array {array.path!r} has a step other than 1")
    return tuple(start for start, _, _ in bounds), tuple(max(0, stop - start) for start, stop, _ in bounds)


def _moved(location: Sequence[Sequence[int]], starts: tuple[int, ...]) -> Region:
    return tuple(slice(begin + start, end + start) for (begin, end), start in zip(location, starts, strict=True))


def _written(source: da.Array, target: _Target) -> da.Array:
    """An array with one cell for each block of `source`: what is returned by the task that writes the block."""
    if source.shape != target.shape:
        raise ValueError(f"array {target.path!r}: the source has the shape {source.shape}, its region {target.shape}")
    write: Any = _write_block
    return source.map_blocks(
        write,
        target,
        dtype=object,
        chunks=tuple((1,) * count for count in source.numblocks),
        meta=np.empty((0,) * source.ndim, dtype=object),
        name=f"firnline-write-{tokenize(source, target.path, target.starts, id(target.writer))}",
    )


def _write_block(
    block: np.ndarray[Any, Any], target: _Target | _RemoteTarget, block_info: dict[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    changes = target.write(block, (block_info or {})[0]["array-location"])
    return _cell(changes, block.ndim)


def _cell(changes: list[bytes], dimensions: int = 0) -> np.ndarray[Any, Any]:
    cell = np.empty((1,) * dimensions, dtype=object)
    cell[(0,) * dimensions] = changes
    return cell


def _reduced(cells: da.Array, writer: _Writer, split_every: int | None) -> da.Array:
    merge = partial(_merged, writer)
    return da.reduction(
        cells,
        chunk=_as_is,
        combine=merge,
        aggregate=merge,
        split_every=split_every,
        concatenate=False,
        keepdims=False,
        dtype=object,
        meta=np.array(None, dtype=object),
        name="firnline-merge",
    )


def _as_is(cell: Any, axis: Any = None, keepdims: Any = None) -> Any:
    return cell


def _merged(writer: _Writer | _RemoteWriter, cells: Any, axis: Any = None, keepdims: Any = None) -> np.ndarray[Any, Any]:
    """One cell with the changes of all, for the next level of the tree."""
    return _cell(writer.merged([*_flat(cells)]))


def _flat(cells: Any) -> Iterator[bytes]:
    """The changes in nested lists and arrays."""
    if isinstance(cells, bytes):
        yield cells
    else:
        for cell in cells.ravel().tolist() if isinstance(cells, np.ndarray) else cells:
            yield from _flat(cell)
