"""Writes virtual datasets of VirtualiZarr into a session, and reads a repository back as virtual datasets.

`write` uses only VirtualiZarr's arrays and manifests, so it works with every release since 2.5; VirtualiZarr's own Icechunk
writer is not involved. References reach the repository as columns, with each file's URL named once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
import zarr
from virtualizarr.manifests import ChunkManifest, ManifestArray
from xarray.backends.zarr import encode_zarr_attr_value
from zarr.core.buffer import default_buffer_prototype
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.core.sync import sync

from firnline._parser import FirnlineParser
from firnline.xarray import Mode, Region, open_zarr_store

if TYPE_CHECKING:
    from firnline import FirnlineStore

__all__ = ["FirnlineParser", "write"]

#: Encodings of a variable that are stored as attributes, because decoding needs them.
STORED_ENCODINGS = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "units", "calendar")


def write(
    vds: xr.Dataset | xr.DataTree,
    store: FirnlineStore,
    group: str | None = None,
    append_dim: str | None = None,
    region: Region = None,
    last_updated_at: datetime | None = None,
    *,
    mode: Literal["w", "w-", "a"] | None = None,
) -> None:
    """Write a virtual dataset, or a tree of them, to a store of a writable session. Nothing is committed.

    Virtual variables become references to the files they lie in; no chunk is read. Other variables are written as values.

    Parameters
    ----------
    vds
        A dataset with variables backed by VirtualiZarr's `ManifestArray`. A `DataTree` is written group by group, with
        neither `append_dim` nor `region`.
    store
        The store of a writable session or of a fork.
    group
        Path of the group. Default: the root.
    append_dim
        The dimension along which the dataset is appended to the existing arrays. What is stored must end at a chunk
        boundary there.
    region
        The part of the existing arrays that is replaced, as in `xarray.Dataset.to_zarr`; it must begin and end at chunk
        boundaries (or at the end of the array). Chunks that are missing in `vds` are removed from the region.
    last_updated_at
        The moment at which the files were in the state that `vds` describes: when they were parsed. A file modified later
        raises `SourceChangedError`, here if the file can be looked up, else when it is read. Default: the files are
        looked up now and pinned in the state they have now.
    mode
        ``"w-"`` creates the group and fails if it exists, ``"w"`` replaces it, ``"a"`` adds and replaces variables.
        Default: ``"w-"``, or the existing group with `append_dim` or `region`.

    Raises
    ------
    ValueError
        If arguments contradict each other, if the store is read-only, or if a variable does not fit the array it is
        appended to: another type, other codecs, chunks, fill value or sizes, no chunk boundary, or another value of an
        attribute by which values are decoded (``scale_factor``, ``add_offset``, ``_FillValue``, ``missing_value``,
        ``_Unsigned``, ``units``, ``calendar``), also if only one of them has it.
    firnline.SourceChangedError
        If a file was modified after `last_updated_at`, or differs from the state in which the repository pinned it.
    firnline.DeniedError, firnline.MissingDataError
        If a file may be looked up and the source refuses it, or does not have it.

    Notes
    -----
    If the call fails, the session holds part of the changes: call `session.discard_changes()`, or open a new session.
    """
    if store.read_only:
        raise ValueError("the store is read-only; use the store of a writable session")
    if mode not in (None, "w", "w-", "a"):
        raise ValueError(f"mode must be 'w', 'w-' or 'a', not {mode!r}")
    if (append_dim is not None or region is not None) and mode is not None:
        raise ValueError("mode cannot be combined with append_dim or region, which need the existing group")
    if isinstance(vds, xr.DataTree):
        if append_dim is not None or region is not None:
            raise ValueError("a DataTree can be neither appended nor written to a region; write its datasets one by one")
        for node in vds.subtree:
            below = node.relative_to(vds)
            path = "/".join(part for part in (group, None if below == "." else below) if part)
            _write_dataset(node.to_dataset(inherit=False), store, path, _Where(mode=mode, last_updated_at=last_updated_at))
        return
    if append_dim is not None and append_dim not in vds.dims:
        raise ValueError(f"append_dim {append_dim!r} is no dimension of the dataset; it has {sorted(map(str, vds.dims))}")
    _write_dataset(vds, store, group, _Where(mode, append_dim, region, last_updated_at))


@dataclass(frozen=True)
class _Where:
    """How a dataset meets what is stored."""

    mode: Literal["w", "w-", "a"] | None = None
    append_dim: str | None = None
    region: Any = None
    last_updated_at: datetime | None = None

    @property
    def existing(self) -> bool:
        return self.append_dim is not None or self.region is not None


def _write_dataset(vds: xr.Dataset, store: FirnlineStore, group: str | None, where: _Where) -> None:
    group_mode: Mode = where.mode or ("a" if where.append_dim else "r+" if where.region is not None else "w-")
    opened = open_zarr_store(
        store, group=group or None, mode=group_mode, append_dim=where.append_dim, region=where.region, zarr_format=3
    )
    if where.region is not None:
        vds = opened._validate_and_autodetect_region(vds)
        where = _Where(None, None, dict(opened._write_region), where.last_updated_at)
    virtual = {str(name): var for name, var in vds.variables.items() if isinstance(var.data, ManifestArray)}
    for name, var in virtual.items():
        _check_name(name)
        if where.region is not None or where.append_dim in var.dims:
            _checked_array(store, _joined(group, name), var, where)
    loadable = xr.Dataset({name: var for name, var in vds.variables.items() if str(name) not in virtual})
    if loadable.variables:
        loadable.to_zarr(
            store,
            group=group or None,
            zarr_format=3,
            consolidated=False,
            mode=None if where.existing else "a",
            append_dim=where.append_dim,
            region=where.region,
        )
    for name, var in virtual.items():
        _write_variable(store, _joined(group, name), var, where)
    if where.region is None:
        _write_group_attributes(store, group, vds)


def _write_group_attributes(store: FirnlineStore, group: str | None, vds: xr.Dataset) -> None:
    """Attributes of the group, and which variables are coordinates, as xarray stores it."""
    attributes = {str(key): encode_zarr_attr_value(value) for key, value in vds.attrs.items()}
    coordinates = [str(name) for name in vds.coords if name not in vds.dims]
    if coordinates:
        attributes["coordinates"] = " ".join(coordinates)
    zarr.open_group(store, path=group or None, mode="r+", zarr_format=3).update_attributes(attributes)


def _write_variable(store: FirnlineStore, path: str, var: xr.Variable, where: _Where) -> None:
    array: ManifestArray = var.data
    chunks = _chunk_shape(array.metadata, path)
    origin = (0,) * array.ndim
    if where.append_dim is not None and where.append_dim in var.dims:
        stored = _checked_array(store, path, var, where)
        axis = var.dims.index(where.append_dim)
        origin = tuple(stored.shape[i] // chunks[i] if i == axis else 0 for i in range(array.ndim))
        stored.resize(tuple(size + (array.shape[i] if i == axis else 0) for i, size in enumerate(stored.shape)))
    elif where.region is not None:
        _checked_array(store, path, var, where)
        origin = tuple(_start(where.region, dim) // chunk for dim, chunk in zip(var.dims, chunks, strict=True))
        _remove_missing(store, path, array.manifest, origin)
    else:
        sync(_replace_array(store, path, _document(array.metadata, var)))
    _write_manifest(store, path, array.manifest, origin, where.last_updated_at)


async def _replace_array(store: FirnlineStore, path: str, metadata: ArrayV3Metadata) -> None:
    await store.delete_dir(path)
    prototype = default_buffer_prototype()
    await store.set(f"{path}/zarr.json", metadata.to_buffer_dict(prototype)["zarr.json"])


def _document(metadata: ArrayV3Metadata, var: xr.Variable) -> ArrayV3Metadata:
    """The metadata that is stored: the array's own, names and attributes that xarray keeps beside it, and our chunk keys."""
    document = dict(metadata.to_dict())
    document["attributes"] = _attributes(var)
    document["dimension_names"] = tuple(map(str, var.dims))
    document["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
    return ArrayV3Metadata.from_dict(document)


def _attributes(var: xr.Variable) -> dict[str, Any]:
    """The attributes that are stored. Parsers keep what decoding needs in `attrs`, xarray in `encoding`."""
    encodings = {key: var.encoding[key] for key in STORED_ENCODINGS if var.encoding.get(key) is not None}
    return {str(key): encode_zarr_attr_value(value) for key, value in {**encodings, **var.attrs}.items()}


def _checked_array(store: FirnlineStore, path: str, var: xr.Variable, where: _Where) -> zarr.Array:
    """The stored array, if the variable can be written into it."""
    try:
        stored = zarr.open_array(store, path=path, mode="r+", zarr_format=3)
    except (FileNotFoundError, KeyError):
        raise ValueError(f"there is no array {path!r} to write the variable into") from None
    new, old = var.data.metadata.to_dict(), stored.metadata.to_dict()
    for what in ("data_type", "codecs", "chunk_grid", "fill_value"):
        if not _is_same(new[what], old[what]):
            raise ValueError(f"variable {path!r} has the {what} {new[what]}, the stored array {old[what]}")
    attributes = _attributes(var)
    for name in STORED_ENCODINGS:
        value, there = attributes.get(name), stored.attrs.get(name)
        if not _is_same(value, there):
            raise ValueError(
                f"variable {path!r} has {_attribute(name, value)}, the stored array {_attribute(name, there)}; "
                "its values would be decoded wrongly"
            )
    _check_extent(stored, path, var, where)
    return stored


def _attribute(name: str, value: Any) -> str:
    return f"no attribute {name}" if value is None else f"the attribute {name}={value!r}"


def _is_same(one: Any, other: Any) -> bool:
    """Whether two attributes mean the same: NaN is NaN, and a list of one value is that value."""
    one, other = (value[0] if isinstance(value, list | tuple) and len(value) == 1 else value for value in (one, other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other) or (one != one and other != other)


def _check_extent(stored: zarr.Array, path: str, var: xr.Variable, where: _Where) -> None:
    """Sizes must agree, and what is added or replaced must begin and end at chunk boundaries."""
    if var.ndim != stored.ndim:
        raise ValueError(f"variable {path!r} has {var.ndim} dimensions, the stored array {stored.ndim}")
    chunks = _chunk_shape(stored.metadata, path)
    for dim, size, there, chunk in zip(var.dims, var.shape, stored.shape, chunks, strict=True):
        if dim == where.append_dim:
            if there % chunk:
                raise ValueError(f"array {path!r} ends inside a chunk: {there} along {dim!r} is no multiple of {chunk}")
        elif where.region is not None and dim in where.region:
            start = _start(where.region, dim)
            if start % chunk or (size % chunk and start + size != there):
                raise ValueError(f"array {path!r}: {start} to {start + size} along {dim!r} is not aligned to chunks of {chunk}")
            if start + size > there:
                raise ValueError(f"array {path!r} has only {there} along {dim!r}, the region ends at {start + size}")
        elif size != there:
            raise ValueError(f"variable {path!r} has {size} along {dim!r}, the stored array {there}")


def _chunk_shape(metadata: Any, path: str) -> tuple[int, ...]:
    shape: tuple[int, ...] | None = getattr(metadata.chunk_grid, "chunk_shape", None)
    if shape is None:
        raise ValueError(f"array {path!r} has chunks of different sizes, to which no reference can be added")
    return shape


def _start(region: Mapping[Any, slice], dim: Any) -> int:
    return (region[dim].start or 0) if dim in region else 0


def _write_manifest(
    store: FirnlineStore, path: str, manifest: ChunkManifest, origin: tuple[int, ...], seen: datetime | None
) -> None:
    """Stage the references of an array, in columns, and the values that the manifest holds itself."""
    inlined = _inlined(manifest)
    # The arrays of a manifest have no public name; they have had these ones in every release since 2.0.
    locations: Any = manifest._paths.reshape(-1)
    if inlined:
        locations = np.where(locations == "__inlined__", "", locations)
    if (locations != "").any():
        store.set_virtual_refs_arr(
            path,
            manifest.shape_chunk_grid,
            locations,
            manifest._offsets.reshape(-1),
            manifest._lengths.reshape(-1),
            validate_containers=False,
            arr_offset=origin if any(origin) else None,
            checksum=seen,
        )
    if inlined:
        sync(_write_inlined(store, path, inlined, origin))


def _inlined(manifest: ChunkManifest) -> Mapping[tuple[int, ...], bytes]:
    """Values by cell that the manifest holds itself; VirtualiZarr before 2.6 holds none."""
    return getattr(manifest, "_inlined", None) or {}


async def _write_inlined(
    store: FirnlineStore, path: str, values: Mapping[tuple[int, ...], bytes], origin: tuple[int, ...]
) -> None:
    prototype = default_buffer_prototype()
    for cell, value in values.items():
        await store.set(_chunk_key(path, cell, origin), prototype.buffer.from_bytes(value))


def _remove_missing(store: FirnlineStore, path: str, manifest: ChunkManifest, origin: tuple[int, ...]) -> None:
    """Remove what the region holds where the manifest has no chunk, which would show through otherwise."""

    async def remove() -> None:
        for cell in np.argwhere(manifest._paths == "").tolist():
            await store.delete(_chunk_key(path, tuple(cell), origin))

    sync(remove())


def _chunk_key(path: str, cell: tuple[int, ...], origin: tuple[int, ...]) -> str:
    return "/".join((path, "c", *(str(at + start) for at, start in zip(cell, origin, strict=True))))


def _joined(group: str | None, name: str) -> str:
    return "/".join(part for part in ((group or "").strip("/"), name) if part)


def _check_name(name: str) -> None:
    if not name or "/" in name:
        raise ValueError(f"{name!r} cannot be the name of an array")
