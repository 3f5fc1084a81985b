"""Reads Icechunk repositories, version by version, into a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from zarr.core.buffer import default_buffer_prototype

from firnline._tasks import each

if TYPE_CHECKING:
    from firnline import FirnlineStore, Session

Cell = tuple[int, ...]

#: What Icechunk calls the kinds of chunks in a batch of `array_chunk_iterator`.
VIRTUAL = 2

#: Cells that are staged in one call may be at most so many times as many as there are references among them.
SPARSE = 4


@dataclass
class Changed:
    """What one version of an Icechunk repository changed against the one before.

    Attributes
    ----------
    nodes
        Groups and arrays whose documents are new or changed.
    arrays
        Arrays of which every chunk counts as changed.
    chunks
        Changed chunks of other arrays.
    deleted
        Groups and arrays that are gone.
    """

    nodes: set[str] = field(default_factory=set)
    arrays: set[str] = field(default_factory=set)
    chunks: dict[str, set[Cell]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)


def changed(repository: Any, old: str | None, new: str) -> Changed | None:
    """What changed between two snapshots; None if that is not known, so that everything has to be compared."""
    if old is None:
        return None
    diff = repository.diff(from_snapshot_id=old, to_snapshot_id=new)
    if getattr(diff, "moved_nodes", None):
        return None
    # Chunks that a smaller shape removed are not listed, so arrays with a changed document are read as a whole.
    arrays = _paths(diff.new_arrays) | _paths(diff.updated_arrays)
    chunks = {path.strip("/"): {tuple(cell) for cell in cells} for path, cells in diff.updated_chunks.items()}
    return Changed(
        nodes=arrays | _paths(diff.new_groups) | _paths(diff.updated_groups),
        arrays=arrays,
        chunks={path: cells for path, cells in chunks.items() if path not in arrays},
        deleted=_paths(diff.deleted_arrays) | _paths(diff.deleted_groups),
    )


def _paths(names: Iterable[str]) -> set[str]:
    return {name.strip("/") for name in names}


@dataclass
class VersionReader:
    """Copies one version of an Icechunk repository into a session.

    Attributes
    ----------
    source
        A read-only session of Icechunk.
    target
        The session that stages.
    prefix
        Empty, or the path below which keys are stored, with a slash at its end.
    virtual
        Whether virtual references stay references, or their bytes are copied.
    """

    source: Any
    target: Session
    prefix: str
    virtual: Literal["keep", "copy"]
    concurrency: int
    copied: int = 0
    copied_bytes: int = 0
    references: int = 0

    async def replace_all(self) -> None:
        """Stage everything that the version holds in place of what is there."""
        await self._store.delete_dir(self.prefix.rstrip("/"))
        nodes, arrays = set(), set()
        async for key in self.source.store.list():
            directory, _, name = key.rpartition("/")
            if name == "zarr.json":
                nodes.add(directory)
        for path in nodes:
            if await self._copy_document(path) == "array":
                arrays.add(path)
        for path in sorted(arrays):
            await self._copy_chunks(path, None)

    async def apply(self, changes: Changed) -> None:
        """Stage what the version changed."""
        for path in changes.deleted:
            await self._store.delete_dir(self.prefix + path if path else self.prefix.rstrip("/"))
        for path in sorted(changes.arrays):
            await self._store.delete_dir(f"{self.prefix}{path}")
        for path in sorted(changes.nodes):
            await self._copy_document(path)
        for path in sorted(changes.arrays):
            await self._copy_chunks(path, None)
        for path, cells in sorted(changes.chunks.items()):
            await self._copy_chunks(path, cells)

    @property
    def _store(self) -> FirnlineStore:
        return self.target.store

    async def _copy_document(self, path: str) -> str:
        key = f"{path}/zarr.json" if path else "zarr.json"
        document = await self.source.store.get(key, default_buffer_prototype())
        if document is None:
            raise FileNotFoundError(f"the Icechunk repository lists {path or '/'!r} and has no document for it")
        await self._store.set(self.prefix + key, document)
        import json

        return str(json.loads(document.to_bytes())["node_type"])

    async def _copy_chunks(self, path: str, only: set[Cell] | None) -> None:
        """Copy the chunks of an array, all or some; some that do not exist any more are deleted."""
        missing = set(only or ())
        async for cells, references in self._located(path, only):
            missing.difference_update(cells)
            missing.difference_update(tuple(cell) for cell in references.cells)
            self._point(path, references)
            await each(_iterated(cells), self.concurrency, lambda cell: self._copy_value(_key(path, cell)))
        for cell in missing:
            await self._store.delete(self.prefix + _key(path, cell))

    async def _copy_value(self, key: str) -> None:
        value = await self.source.store.get(key, default_buffer_prototype())
        if value is None:
            raise FileNotFoundError(f"the Icechunk repository lists chunk {key!r} and does not hold it")
        await self._store.set(self.prefix + key, value)
        self.copied += 1
        self.copied_bytes += len(value)

    async def _located(self, path: str, only: set[Cell] | None) -> AsyncIterator[tuple[list[Cell], _References]]:
        """In batches: the chunks whose bytes have to be copied, and those that are references to keep."""
        if not hasattr(self.source.store, "array_chunk_iterator"):
            async for batch in self._located_by_cell(path, only):
                yield batch
            return
        async for coords, kinds, urls, offsets, lengths, _ in self.source.store.array_chunk_iterator(f"/{path}"):
            chosen = np.ones(len(kinds), bool)
            if only is not None:
                chosen = np.fromiter((tuple(cell) in only for cell in coords.tolist()), bool, len(kinds))
            kept = chosen & (kinds == VIRTUAL) if self.virtual == "keep" else np.zeros(len(kinds), bool)
            cells = [tuple(cell) for cell in coords[chosen & ~kept].tolist()]
            at = np.flatnonzero(kept)
            yield cells, _References(coords[at], [urls[i] for i in at], offsets[at], lengths[at])

    async def _located_by_cell(self, path: str, only: set[Cell] | None) -> AsyncIterator[tuple[list[Cell], _References]]:
        """For Icechunk before 2.0.5, which does not tell where a virtual chunk lies."""
        cells = [cell async for cell in self.source.chunk_coordinates(f"/{path}")]
        cells = [cell for cell in cells if only is None or cell in only]
        if self.virtual == "keep":
            from icechunk import ChunkType

            # Named otherwise by some releases.
            kind = getattr(ChunkType, "VIRTUAL", None) or getattr(ChunkType, "virtual", None)
            for cell in cells:
                if await self.source.chunk_type_async(f"/{path}", cell) == kind:
                    raise NotImplementedError(
                        f"chunk {_key(path, cell)!r} is virtual, and this Icechunk does not tell where it lies; "
                        "install Icechunk 2.0.5 or newer, or import with virtual='copy'"
                    )
        yield cells, _References(np.zeros((0, 0), "u4"), [], np.zeros(0, "u8"), np.zeros(0, "u8"))

    def _point(self, path: str, references: _References) -> None:
        """Stage references: as one dense box of the grid where that is not mostly empty, else one by one."""
        count = len(references.urls)
        if not count:
            return
        self.references += count
        low, high = references.cells.min(axis=0), references.cells.max(axis=0)
        box = tuple(int(size) for size in high.astype("i8") - low + 1)
        if references.cells.shape[1] == 0 or np.prod(box, dtype=float) > SPARSE * count:
            for cell, url, offset, length in references.rows():
                self._store.set_virtual_ref(
                    self.prefix + _key(path, cell), url, offset=offset, length=length, validate_container=False
                )
            return
        urls, (offsets, lengths) = [""] * int(np.prod(box)), np.zeros((2, int(np.prod(box))), "u8")
        flat = np.ravel_multi_index(tuple((references.cells - low).T), box)
        for at, url in zip(flat.tolist(), references.urls, strict=True):
            urls[at] = url
        offsets[flat], lengths[flat] = references.offsets, references.lengths
        origin = tuple(int(start) for start in low)
        self._store.set_virtual_refs_arr(
            self.prefix + path, box, urls, offsets, lengths, validate_containers=False, arr_offset=origin, checksum=None
        )


@dataclass
class _References:
    """Virtual chunks: cells of the grid, and where each lies."""

    cells: np.ndarray[Any, Any]
    urls: Sequence[str]
    offsets: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]

    def rows(self) -> Iterable[tuple[Cell, str, int, int]]:
        for cell, url, offset, length in zip(self.cells.tolist(), self.urls, self.offsets, self.lengths, strict=True):
            yield tuple(cell), url, int(offset), int(length)


def _key(path: str, cell: Cell) -> str:
    return "/".join((*([path] if path else []), "c", *map(str, cell)))


async def _iterated(items: Sequence[Cell]) -> AsyncIterator[Cell]:
    for item in items:
        yield item


def opened(source: Any) -> tuple[Any, Any]:
    """The Icechunk repository (None if only a session is there) and the session that `source` means."""
    import icechunk

    if isinstance(source, icechunk.Session):
        return None, source
    if isinstance(source, icechunk.Repository):
        return source, None
    if isinstance(source, icechunk.Storage):
        return icechunk.Repository.open(source), None
    place = str(source)
    scheme, separator, rest = place.partition("://")
    if not separator or scheme == "file":
        storage = icechunk.local_filesystem_storage(rest if separator else place)
    elif scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        storage = icechunk.s3_storage(bucket=bucket, prefix=prefix, from_env=True)
    else:
        raise ValueError(
            f"{place}: open the Icechunk repository yourself and pass it; only paths and s3:// URLs are opened here"
        )
    return icechunk.Repository.open(storage), None
