"""Reads a revision of a repository as a store of VirtualiZarr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from virtualizarr.manifests import ChunkManifest, ManifestArray, ManifestGroup, ManifestStore
from zarr.core.metadata.v3 import ArrayV3Metadata

from firnline.errors import UnsupportedError

if TYPE_CHECKING:
    from obspec_utils.registry import ObjectStoreRegistry

    from firnline import FirnlineStore

#: What stands in the column of URLs for a cell whose value the repository stores. `0xFFFFFFFF` stands for one without a chunk.
NATIVE = 0xFFFFFFFE

#: Whether manifests of this VirtualiZarr can hold values themselves.
_INLINES = hasattr(ChunkManifest({}, shape=(1,)), "_inlined")


class FirnlineParser:
    """A parser of VirtualiZarr: makes virtual datasets of one revision of a repository.

    Virtual chunks become references to the files they lie in, which can be written to another repository or exported as
    kerchunk references. Stored chunks become references to ``firn://REPOSITORY@SNAPSHOT/KEY``; they are read through
    Firnline, which verifies them, here and by whoever knows `firnline.fsspec`. Such references cannot be written to another
    repository: load these variables, or copy the values with `Repository.import_zarr`.

    Parameters
    ----------
    revision
        A branch, tag, snapshot id or ``BRANCH@TIME``. Default: ``"main"``.
    group
        Path of the group that becomes the root. Default: the root of the repository.
    skip_variables
        Names of arrays that are left out, at every level.
    allow
        Places that virtual data may be read from, as for `firnline.Repository.open`. Needed only for variables that are
        loaded through the repository, because VirtualiZarr reads virtual chunks itself, through the registry.

    Examples
    --------
    >>> from virtualizarr import open_virtual_dataset
    >>> vds = open_virtual_dataset("file:///data/era5", registry=registry, parser=FirnlineParser("v1.0"))  # doctest: +SKIP
    """

    def __init__(
        self,
        revision: str = "main",
        *,
        group: str | None = None,
        skip_variables: Iterable[str] | None = None,
        allow: Mapping[str, Any] | None = None,
    ) -> None:
        self.revision = revision
        self.group = (group or "").strip("/")
        self.skip_variables = frozenset(skip_variables or ())
        self.allow = dict(allow or {})

    def __call__(self, url: str, registry: ObjectStoreRegistry) -> ManifestStore:
        """Read the references of the repository at `url`.

        Adds a reader of stored chunks to `registry`. Raises what `firnline.Repository.open` raises, `UnsupportedError` for
        arrays in Zarr format 2 or with chunks of different sizes, and `NotFoundError` if there is no such group.
        """
        from firnline import Repository

        repository = Repository.open(url, allow=self.allow or None, read_only=True)
        store = repository.at(self.revision).store
        reader = _ValueReader(repository.url, store)
        registry.register(reader.url, reader)
        return ManifestStore(self._group(store, reader, self.group), registry=registry)

    def _group(self, store: FirnlineStore, reader: _ValueReader, path: str) -> ManifestGroup:
        group = zarr.open_group(store, path=path, mode="r", use_consolidated=False)
        arrays: dict[str, ManifestArray] = {}
        groups: dict[str, ManifestGroup] = {}
        for name, member in group.members():
            if isinstance(member, zarr.Group):
                groups[name] = self._group(store, reader, member.path)
            elif name not in self.skip_variables:
                arrays[name] = _array(store, reader, member)
        return ManifestGroup(arrays=arrays, groups=groups, attributes=dict(group.attrs))


class _ValueReader:
    """Reads stored values for VirtualiZarr, as its registry expects of a store: paths are keys."""

    def __init__(self, repository: str, store: FirnlineStore) -> None:
        self._native = store._native
        self.url = f"firn://{repository.replace('@', '%40')}@{store.session.snapshot_id}"

    async def get_range_async(self, path: str, *, start: int, end: int | None = None, length: int | None = None) -> Any:
        return self.get_range(path, start=start, end=end, length=length)

    def get_range(self, path: str, *, start: int, end: int | None = None, length: int | None = None) -> Any:
        value = self._native.get(path, start, end if end is not None else start + (length or 0), False)
        if value is None:
            raise FileNotFoundError(path)
        return value


def _array(store: FirnlineStore, reader: _ValueReader, array: zarr.Array) -> ManifestArray:
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata) or not hasattr(metadata.chunk_grid, "chunk_shape"):
        raise UnsupportedError(f"{array.path}: only arrays of Zarr format 3 with a regular grid can be virtual")
    chunks = metadata.chunk_grid.chunk_shape
    grid = tuple(-(-size // chunk) for size, chunk in zip(metadata.shape, chunks, strict=True))
    urls, columns, values = store._native.references(array.path, list(grid))
    url, offsets, lengths = (np.frombuffer(column, dtype) for column, dtype in zip(columns, ("<u4", "<u8", "<u8"), strict=True))
    names = np.array([*urls, ""], dtype=np.dtypes.StringDType())
    paths = names[np.minimum(url, len(urls))]
    inlined: dict[tuple[int, ...], bytes] = {}
    for flat in np.flatnonzero(url == NATIVE):
        cell = tuple(int(at) for at in np.unravel_index(flat, grid)) if grid else ()
        if _INLINES and int(flat) in values:
            inlined[cell] = bytes(values[int(flat)])
            paths[flat] = "__inlined__"
        else:
            paths[flat] = f"{reader.url}/{'/'.join((array.path, 'c', *map(str, cell)))}"
    manifest = ChunkManifest.from_arrays(
        paths=paths.reshape(grid),
        offsets=offsets.astype("u8").reshape(grid),
        lengths=lengths.astype("u8").reshape(grid),
        validate_paths=False,
        **({"inlined": inlined} if inlined else {}),
    )
    return ManifestArray(metadata, manifest)


__all__ = ["FirnlineParser"]
