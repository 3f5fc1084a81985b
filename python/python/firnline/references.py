"""References into external files, from the columns in which importers have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firnline._firnline import Locations, Pending
from firnline.errors import InvalidError

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

    from firnline._firnline import NativeSession

__all__ = [
    "Checksum",
    "LocationsArgument",
    "ReferenceMethods",
    "cells",
    "chunk_keys",
    "known",
    "locations_column",
    "numbers_column",
    "region",
    "result",
    "unravel",
]

Checksum = str | datetime | None
LocationsArgument = Sequence[str] | npt.NDArray[Any]

# How many texts of an array are turned into other objects at a time.
_PIECE = 1 << 16


def known(checksum: Checksum) -> tuple[str | None, int | None]:
    """What is known of a file, as the native calls take it: its ETag, or when it was looked at."""
    if checksum is None:
        return None, None
    if isinstance(checksum, str):
        return checksum.strip().strip('"'), None
    if checksum.tzinfo is None:
        raise InvalidError(f"checksum {checksum} has no time zone; use datetime.now(timezone.utc)")
    since = checksum.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return None, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def chunk_keys(store: ReferenceMethods, array_path: str) -> tuple[str, str, str]:
    """How the chunks of an array are called.

    Returns
    -------
    tuple of str
        What stands before the coordinates, the separator between them, and the key of the only chunk of an array without
        dimensions. By the array's own metadata; without any, as Zarr version 3 does by default.
    """
    path = array_path.strip("/")
    base = f"{path}/" if path else ""
    separator, begins, alone = "/", "c/", "c"
    if (document := store.get_sync(f"{base}zarr.json")) is not None:
        encoding = json.loads(document.to_bytes()).get("chunk_key_encoding", {})
        if isinstance(encoding, str):
            encoding = {"name": encoding}
        is_v2 = encoding.get("name") == "v2"
        separator = encoding.get("configuration", {}).get("separator", "." if is_v2 else "/")
        begins, alone = ("", "0") if is_v2 else (f"c{separator}", "c")
    elif (document := store.get_sync(f"{base}.zarray")) is not None:
        separator, begins, alone = json.loads(document.to_bytes()).get("dimension_separator", "."), "", "0"
    return base + begins, separator, base + alone


def region(shape: Sequence[int], offset: Sequence[int] | None) -> list[tuple[int, int]]:
    """The coordinates of a part of a grid: from where to where in each dimension."""
    start = [0] * len(shape) if offset is None else [int(n) for n in offset]
    if len(start) != len(shape):
        raise InvalidError(f"arr_offset has {len(start)} dimensions, chunk_grid_shape {len(shape)}")
    if any(n < 0 for n in (*start, *shape)):
        raise InvalidError("chunk_grid_shape and arr_offset cannot be negative")
    return [(begin, begin + int(count)) for begin, count in zip(start, shape, strict=True)]


def locations_column(locations: LocationsArgument) -> Locations:
    """Find the different URLs in a column, without making an object of each text of an array of texts."""
    column = Locations()
    if not isinstance(locations, np.ndarray):
        column.add_list(list(locations))
        return column
    flat = locations.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        if piece.dtype.kind == "U" and piece.dtype.itemsize:
            points = np.ascontiguousarray(piece, dtype=piece.dtype.newbyteorder("=")).view(np.uint32)
            column.add_code_points(points, piece.dtype.itemsize // 4)
        else:
            column.add_list(piece.tolist())
    return column


def numbers_column(numbers: Any, count: int, name: str) -> npt.NDArray[np.uint64]:
    """A column of numbers as the native calls take it."""
    array = np.asarray(numbers)
    if array.dtype.kind not in "ui" or (array.dtype.kind == "i" and array.size and array.min() < 0):
        raise InvalidError(f"{name} are not whole numbers from 0 on")
    if array.size != count:
        raise InvalidError(f"there are {count} locations, but {array.size} {name}")
    return np.ascontiguousarray(array.reshape(-1), dtype=np.uint64)


def unravel(places: list[int], shape: Sequence[int], offset: Sequence[int] | None) -> list[tuple[int, ...]] | None:
    """The coordinates of places in the columns; ``None`` when there are none."""
    if not places:
        return None
    if not shape:
        return [()]
    start = np.zeros(len(shape), dtype=int) if offset is None else np.asarray(offset)
    cells = np.stack(np.unravel_index(places, tuple(shape)), axis=1) + start
    return [tuple(int(n) for n in cell) for cell in cells]


def cells(shape: Sequence[int]) -> int:
    """How many chunks there are in a grid."""
    return prod(int(n) for n in shape)


async def result(result: Any) -> Any:
    """Wait for a native call, unless its result was known at once."""
    if type(result) is not Pending:
        return result
    try:
        return await result.future
    except BaseException:
        result.cancel()
        raise


class ReferenceMethods:
    """The methods of a store that stage references into external files."""

    if TYPE_CHECKING:

        @property
        def _native(self) -> NativeSession: ...
        def _check_writable(self) -> None: ...
        def get_sync(self, key: str) -> Buffer | None: ...

    def set_virtual_ref(
        self,
        key: str,
        location: str,
        *,
        offset: int,
        length: int,
        checksum: Checksum = None,
        validate_container: bool = True,
    ) -> None:
        """Stage a reference: the value of a key is a range of the bytes of an external file.

        Where the place is allowed (``allow`` of `Repository.open`) the file is looked up once, when the first reference into
        it is staged, and what its source tells is recorded. Later reads refuse a file that changed.

        Parameters
        ----------
        key : str
            The key of the chunk, such as ``"air/c/0/0"``.
        location : str
            The URL of the file.
        offset, length : int
            Where the bytes begin, and how many they are.
        checksum : str or datetime.datetime, optional
            What is known of the file: its ETag; or when it was scanned for the reference, so that a file that was modified
            later is a `SourceChangedError`.
        validate_container : bool, optional
            Refuse a location that lies in no container of the session. If false, a container for its bucket, server or root
            directory is made.

        Raises
        ------
        InvalidError
            If no container has a place for the location, or the range ends beyond the end of the file.
        MissingDataError
            If the file does not exist.
        SourceChangedError
            If the file differs from what is recorded of it.
        """
        self._check_writable()
        self._native.set_virtual(key, location, offset, length, known(checksum), validate_container, False)

    async def set_virtual_ref_async(
        self,
        key: str,
        location: str,
        *,
        offset: int,
        length: int,
        checksum: Checksum = None,
        validate_container: bool = True,
    ) -> None:
        """Stage a reference. Like `set_virtual_ref`."""
        self._check_writable()
        call = self._native.set_virtual(key, location, offset, length, known(checksum), validate_container, True)
        await result(call)

    def set_virtual_refs_arr(
        self,
        array_path: str,
        chunk_grid_shape: Sequence[int],
        locations: LocationsArgument,
        offsets: Any,
        lengths: Any,
        *,
        validate_containers: bool = True,
        arr_offset: Sequence[int] | None = None,
        checksum: Checksum = None,
    ) -> list[tuple[int, ...]] | None:
        """Stage references for the chunks of an array, or of a part of it, from columns.

        About 0.1 µs for each reference, beside the texts of the locations. The keys follow the metadata of the array, which
        must be set before if it is not that of Zarr version 3 with the default chunk keys.

        Parameters
        ----------
        array_path : str
            The path of the array.
        chunk_grid_shape : sequence of int
            How many chunks there are in each dimension. The columns run through them in row-major order.
        locations : array of texts or sequence of str
            The URLs of the files: an array of dtype ``U``, ``StringDType`` or ``object``, or a list. An empty text stands for
            a chunk that does not exist.
        offsets, lengths : array of int
            Where the bytes begin, and how many they are.
        validate_containers : bool, optional
            Leave out references into places for which the session has no container.
        arr_offset : sequence of int, optional
            The chunk with which the part begins, such as ``(n, 0, 0)`` to append. Default: the first chunk of the array.
        checksum : str or datetime.datetime, optional
            As for `set_virtual_ref`, for all files.

        Returns
        -------
        list of tuple of int, or None
            The chunks whose references were left out, ``None`` when all were staged.

        Raises
        ------
        FirnlineError
            As for `set_virtual_ref`. Then none of the references is staged.
        """
        call, shape = self._references(
            array_path, chunk_grid_shape, locations, offsets, lengths, validate_containers, arr_offset, checksum, False
        )
        return unravel(call, shape, arr_offset)

    async def set_virtual_refs_arr_async(
        self,
        array_path: str,
        chunk_grid_shape: Sequence[int],
        locations: LocationsArgument,
        offsets: Any,
        lengths: Any,
        *,
        validate_containers: bool = True,
        arr_offset: Sequence[int] | None = None,
        checksum: Checksum = None,
    ) -> list[tuple[int, ...]] | None:
        """Stage references from columns. Like `set_virtual_refs_arr`; the columns are read before the call waits."""
        call, shape = self._references(
            array_path, chunk_grid_shape, locations, offsets, lengths, validate_containers, arr_offset, checksum, True
        )
        return unravel(await result(call), shape, arr_offset)

    def _references(
        self,
        array_path: str,
        chunk_grid_shape: Sequence[int],
        locations: LocationsArgument,
        offsets: Any,
        lengths: Any,
        validate: bool,
        arr_offset: Sequence[int] | None,
        checksum: Checksum,
        is_async: bool,
    ) -> tuple[Any, tuple[int, ...]]:
        """Begin the native call for columns of references."""
        self._check_writable()
        shape = tuple(int(n) for n in chunk_grid_shape)
        prefix, separator, alone = chunk_keys(self, array_path)
        column = locations_column(locations)
        if len(column) != cells(shape):
            raise InvalidError(f"there are {cells(shape)} chunks, but {len(column)} locations")
        grid = (prefix if shape else alone, region(shape, arr_offset), separator)
        call = self._native.set_virtual_many(
            grid,
            column,
            numbers_column(offsets, len(column), "offsets"),
            numbers_column(lengths, len(column), "lengths"),
            known(checksum),
            validate,
            is_async,
        )
        return call, shape
