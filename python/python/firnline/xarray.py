"""Writes xarray objects into a session: `to_firnline`.

`Dataset.to_zarr(session.store)` works too, and is enough as long as no Dask worker runs in another process: a writable
session cannot be sent there. `to_firnline` sends forks instead and merges what they wrote.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from xarray import DataArray, Dataset
from xarray.backends import ZarrStore

if TYPE_CHECKING:
    import zarr

    from firnline import Session

__all__ = ["to_firnline"]

Mode = Literal["w", "w-", "a", "a-", "r+"]
Region = Mapping[str, slice | Literal["auto"]] | Literal["auto"] | None


def to_firnline(
    obj: DataArray | Dataset,
    session: Session,
    *,
    group: str | None = None,
    mode: Mode | None = None,
    safe_chunks: bool = True,
    align_chunks: bool = False,
    append_dim: Hashable | None = None,
    region: Region = None,
    encoding: Mapping[Any, Any] | None = None,
    zarr_format: Literal[2, 3] | None = None,
    chunkmanager_store_kwargs: Mapping[str, Any] | None = None,
    split_every: int | None = None,
) -> None:
    """Write a dataset or data array to a group of a session.

    Metadata and variables in memory are written by this process. Dask variables are computed and written where Dask runs:
    in threads, in processes or on a cluster, whose workers must be able to open the repository under its URL. Blocks
    until all is written; nothing is committed.

    Parameters
    ----------
    obj
        What is written. A `DataArray` is written as a dataset, as `DataArray.to_zarr` does.
    session
        A writable session, or a fork of one. It may hold uncommitted changes.
    group
        Path of the group. Default: the root.
    mode
        ``"w"`` replaces the group, ``"w-"`` creates it and fails if it exists, ``"a"`` adds and replaces variables,
        ``"a-"`` writes only variables with `append_dim`, ``"r+"`` writes only values of existing arrays. Default:
        ``"a"`` with `append_dim`, ``"r+"`` with `region`, else ``"w-"``.
    safe_chunks, align_chunks, append_dim, region, encoding
        As in `xarray.Dataset.to_zarr`.
    zarr_format
        Format of a new hierarchy, 2 or 3. Default: that of the existing group, else 3.
    chunkmanager_store_kwargs
        Passed to `dask.compute`, for example ``{"scheduler": "processes"}``.
    split_every
        How many changes of workers a task merges at most. Default: Dask's.

    Raises
    ------
    ValueError
        If arguments contradict each other, or the object does not fit what is stored.
    TypeError
        If a variable is chunked by something other than Dask.
    firnline.ConflictError
        If two workers wrote different values for one chunk.

    Notes
    -----
    If the call fails, the session holds part of the changes: call `session.discard_changes()`, or open a new session.

    Examples
    --------
    >>> session = repo.writable_session("main")  # doctest: +SKIP
    >>> to_firnline(ds, session, append_dim="time")  # doctest: +SKIP
    >>> session.commit("another month")  # doctest: +SKIP
    """
    dataset = _as_dataset(obj)
    store = open_zarr_store(
        session.store,
        group=group,
        mode=mode,
        append_dim=append_dim,
        region=region,
        safe_chunks=safe_chunks,
        align_chunks=align_chunks,
        zarr_format=zarr_format,
    )
    dataset = store._validate_and_autodetect_region(dataset)
    store._validate_encoding(encoding or {})
    lazy = _LazyWriter()
    dataset.dump_to_store(store, writer=lazy, encoding=dict(encoding or {}))
    if lazy.sources:
        from firnline.dask import store_dask

        store_dask(
            session,
            sources=lazy.sources,
            targets=lazy.targets,
            regions=lazy.regions,
            split_every=split_every,
            compute_kwargs=chunkmanager_store_kwargs,
        )


def open_zarr_store(
    store: Any,
    *,
    group: str | None = None,
    mode: Mode | None = None,
    append_dim: Hashable | None = None,
    region: Region = None,
    safe_chunks: bool = True,
    align_chunks: bool = False,
    zarr_format: Literal[2, 3] | None = None,
) -> ZarrStore:
    """Open a group for writing as xarray does, with the default of `mode` that `Dataset.to_zarr` has."""
    if mode is None:
        mode = "a" if append_dim is not None else "r+" if region is not None else "w-"
    if mode not in ("w", "w-", "a", "a-", "r+"):
        raise ValueError(f"mode must be 'w', 'w-', 'a', 'a-' or 'r+', not {mode!r}")
    if mode == "a-" and append_dim is None:
        raise ValueError("mode 'a-' needs append_dim")
    if append_dim is not None and mode not in ("a", "a-"):
        raise ValueError(f"append_dim needs mode 'a' or 'a-', not {mode!r}")
    if region is not None and mode not in ("a", "r+"):
        raise ValueError(f"region needs mode 'a' or 'r+', not {mode!r}")
    return ZarrStore.open_group(
        store,
        group=group,
        mode=mode,
        consolidated=False,
        consolidate_on_close=False,
        append_dim=append_dim,
        write_region=region,
        safe_chunks=safe_chunks,
        align_chunks=align_chunks,
        zarr_format=zarr_format,
    )


class _LazyWriter:
    """What xarray hands the values to: writes those in memory at once and keeps Dask arrays for later."""

    def __init__(self) -> None:
        self.sources: list[Any] = []
        self.targets: list[zarr.Array] = []
        self.regions: list[tuple[slice, ...] | None] = []

    def add(self, source: Any, target: zarr.Array, region: tuple[slice, ...] | None = None) -> None:
        if hasattr(source, "__dask_graph__"):
            self.sources.append(source)
            self.targets.append(target)
            self.regions.append(region)
        elif hasattr(source, "chunks") and not hasattr(source, "__array_interface__"):
            raise TypeError(
                f"array {target.path!r} is chunked by {type(source).__name__}; "
                "only Dask arrays and values in memory can be written"
            )
        else:
            target[region or ...] = source


def _as_dataset(obj: DataArray | Dataset) -> Dataset:
    """A dataset that `xarray.open_dataarray` turns back into the same data array."""
    if isinstance(obj, Dataset):
        return obj
    if not isinstance(obj, DataArray):
        raise TypeError(f"expected an xarray Dataset or DataArray, not {type(obj).__name__}")
    if obj.name is not None and obj.name not in obj.coords and obj.name not in obj.dims:
        return obj.to_dataset()
    dataset = obj.to_dataset(name="__xarray_dataarray_variable__")
    if obj.name is not None:
        dataset.attrs["__xarray_dataarray_name__"] = obj.name
    return dataset
