"""Reads a revision of a repository as a store of VirtualiZarr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import zarr
from virtualizarr.manifests import ChunkManifest, ManifestArray, ManifestGroup, ManifestStore
from zarr.core.metadata.v3 import ArrayV3Metadata

from firnline.errors import (
    CorruptError,
    DeniedError,
    FirnlineError,
    MissingDataError,
    SourceChangedError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from obspec_utils.registry import ObjectStoreRegistry

    from firnline import FirnlineStore, Repository

#: What stands in the column of URLs for a cell whose value the repository stores. `0xFFFFFFFF` stands for one without a chunk.
NATIVE = 0xFFFFFFFE

#: How many files are looked up at the same time.
LOOKUPS = 16

#: The error for each answer of `Repository.check_dependencies` that tells of a file which cannot be read as it was recorded.
PROBLEMS: Mapping[str, type[FirnlineError]] = {
    "changed": SourceChangedError,
    "missing": MissingDataError,
    "corrupt": CorruptError,
    "unreachable": UnavailableError,
}

#: Errors of obstore that say that a source refuses. They are no `PermissionError`.
REFUSALS = ("PermissionDeniedError", "UnauthenticatedError")

#: Whether manifests of this VirtualiZarr can hold values themselves.
_INLINES = hasattr(ChunkManifest({}, shape=(1,)), "_inlined")


class FirnlineParser:
    """A parser of VirtualiZarr: makes virtual datasets of one revision of a repository.

    Virtual chunks become references to the files they lie in, which can be written to another repository or exported as
    kerchunk references. Stored chunks become references to ``firn://REPOSITORY@SNAPSHOT/KEY``; they are read through
    Firnline, which verifies them, here and by whoever knows `firnline.fsspec`. Such references cannot be written to another
    repository: load these variables, or copy the values with `Repository.import_zarr`.

    A virtual dataset cannot hold what the repository records of a file to notice changes. So each file is compared with its
    record when the dataset is made: through the repository where `allow` covers it, else through the registry's store for
    its URL. A file for which there is neither is not looked up, and a change of it is not noticed. Nor is a change between
    this comparison and a later `firnline.virtualizarr.write`, unless that is given `last_updated_at`.

    Parameters
    ----------
    revision
        A branch, tag, snapshot id or ``BRANCH@TIME``. Default: ``"main"``.
    group
        Path of the group that becomes the root. Default: the root of the repository.
    skip_variables
        Names of arrays that are left out, at every level.
    allow
        Places where files may be compared with their records through the repository, as for `firnline.Repository.open`.
        This also verifies locked digests, which the registry's stores cannot. VirtualiZarr reads virtual chunks itself,
        through the registry.
    check
        Compare files with their records. If false, no file is looked up, as is needed to list the references into files that
        changed or are gone. Do not write such references to another repository: they would be pinned in the new state.

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
        check: bool = True,
    ) -> None:
        self.revision = revision
        self.group = (group or "").strip("/")
        self.skip_variables = frozenset(skip_variables or ())
        self.allow = dict(allow or {})
        self.check = check

    def __call__(self, url: str, registry: ObjectStoreRegistry) -> ManifestStore:
        """Read the references of the repository at `url`.

        Adds a reader of stored chunks to `registry`. Raises what `firnline.Repository.open` raises, `UnsupportedError` for
        arrays in Zarr format 2 or with chunks of different sizes, and `NotFoundError` if there is no such group. Of a file
        that the arrays need: `SourceChangedError` if it differs from its record, `MissingDataError` if it is gone,
        `CorruptError` if its locked digest does not match, `DeniedError` if its source refuses to tell, and
        `UnavailableError` if that cannot be reached.
        """
        from firnline import Repository

        repository = Repository.open(url, allow=self.allow or None, read_only=True)
        store = repository.at(self.revision).store
        reader = _ValueReader(repository.url, store)
        manifests = ManifestStore(self._group(store, reader, self.group), registry=registry)
        if self.check:
            self._check(repository, store.session.snapshot_id, reader.files, registry)
        registry.register(reader.url, reader)
        return manifests

    def _check(self, repository: Repository, snapshot: str, files: set[str], registry: ObjectStoreRegistry) -> None:
        """Raise unless the files are those of the records, as far as this reader may look."""
        checked = set()
        for row in repository.check_dependencies(snapshot) if self.allow and files else ():
            if row["url"] in files and row["state"] in PROBLEMS:
                raise PROBLEMS[row["state"]](f"{row['url']}: {row['problem']}")
            if row["state"] != "forbidden":
                checked.add(row["url"])
        rows = [row for row in repository.dependencies(snapshot) if row["url"] in files - checked] if files - checked else []
        with ThreadPoolExecutor(LOOKUPS) as pool:
            # The first error in the order of the files is raised.
            for _ in pool.map(lambda row: _check_file(row, registry), rows):
                pass

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
        #: The URLs of the files that the arrays made so far need.
        self.files: set[str] = set()
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
    # Typing knows the buffer protocol from Python 3.12 on.
    buffers: tuple[Any, ...] = columns
    url, offsets, lengths = (np.frombuffer(column, dtype) for column, dtype in zip(buffers, ("<u4", "<u8", "<u8"), strict=True))
    reader.files.update(urls)
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


def _check_file(record: Any, registry: ObjectStoreRegistry) -> None:
    """Compare a file with its record through the registry's store, if there is one that tells about files."""
    url = record["url"]
    try:
        store, path = registry.resolve(url)
    except ValueError:
        return
    if not hasattr(store, "head"):
        return
    try:
        now = _looked_up(store, path)
    except FileNotFoundError as error:
        raise MissingDataError(f"{url} does not exist") from error
    except Exception as error:
        is_refusal = isinstance(error, PermissionError) or type(error).__name__ in REFUSALS
        kind = DeniedError if is_refusal else UnavailableError
        raise kind(f"{url} cannot be compared with its record: {error}") from error
    different = _difference(record, now)
    if different is not None:
        raise SourceChangedError(f"{url} is not the file that was recorded: {different}")


def _looked_up(store: Any, path: str) -> Mapping[str, Any]:
    """What a store tells of a file. Some stores take the path of a URL as it is, others decoded."""
    try:
        found: Mapping[str, Any] = store.head(path)
    except FileNotFoundError:
        if unquote(path) == path:
            raise
        found = store.head(unquote(path))
    return found


def _difference(record: Any, now: Mapping[str, Any]) -> str | None:
    """What differs between a record and what a store tells, in words. What only one of them tells is no difference."""
    etag = now.get("e_tag")
    told = {
        "size": now.get("size"),
        "etag": None if etag is None or etag.startswith("W/") else etag.strip('"'),
        "version": now.get("version"),
    }
    for name, value in told.items():
        if value is not None and record[name] is not None and value != record[name]:
            return f"its {name} is {value}, and was {record[name]}"
    modified: datetime | None = now.get("last_modified")
    if modified is None:
        return None
    if record["modified"] is None:
        is_later = modified > record["pinned_at"]
        return f"it was modified at {modified}, after it was recorded at {record['pinned_at']}" if is_later else None
    # Some answers of one server have fractions of a second, and others have not.
    exact = modified.microsecond and record["modified"].microsecond
    dates = [date if exact else date.replace(microsecond=0) for date in (modified, record["modified"])]
    return None if dates[0] == dates[1] else f"it was modified at {modified}, and was at {record['modified']}"


__all__ = ["FirnlineParser"]
