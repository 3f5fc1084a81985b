"""References into external files, from the columns in which importers have them."""

from __future__ import annotations

import json
import logging
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firnline._firnline import Locations, Pending
from firnline._times import Moment, moment
from firnline.errors import InvalidError

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

    from firnline._firnline import NativeSession

__all__ = [
    "Checksum",
    "LocationsArgument",
    "ReferenceMethods",
    "chunk_keys",
    "known",
    "locations_column",
    "numbers_column",
    "region",
    "result",
    "whole",
]

Checksum = str | Moment | None
LocationsArgument = Sequence[str] | npt.NDArray[Any]

# How many texts of an array are turned into other objects at a time.
_PIECE = 1 << 16

# How a URL begins. The engine checks the rest.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_LOGGER = logging.getLogger("firnline")


def known(checksum: Checksum) -> tuple[str | None, int | None]:
    """What is known of a file, as the native calls take it: its ETag, or when it was looked at.

    A weak ETag stays the same while the bytes change, so it is not recorded.
    """
    if checksum is None:
        return None, None
    if isinstance(checksum, str):
        etag = checksum.strip()
        return (None if etag[:2] in ("W/", "w/") else etag.strip('"')), None
    since = moment(checksum, "checksum").astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
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


def whole(numbers: Sequence[int], name: str) -> tuple[int, ...]:
    """Counts of chunks. `name` is that of the argument in the error."""
    try:
        found = tuple(operator.index(n) for n in numbers)
    except TypeError:
        raise InvalidError(f"{name} {numbers!r} has something other than whole numbers") from None
    if any(n < 0 for n in found):
        raise InvalidError(f"{name} {found} has a negative number")
    return found


def region(shape: tuple[int, ...], offset: Sequence[int] | None) -> list[tuple[int, int]]:
    """The coordinates of a part of a grid: from where to where in each dimension."""
    start = (0,) * len(shape) if offset is None else whole(offset, "arr_offset")
    if len(start) != len(shape):
        raise InvalidError(f"arr_offset has {len(start)} dimensions, chunk_grid_shape {len(shape)}")
    return [(begin, begin + count) for begin, count in zip(start, shape, strict=True)]


def locations_column(locations: LocationsArgument, array: str, shape: tuple[int, ...]) -> Locations:
    """Find the different URLs in a column, without making an object of each text of an array of texts."""
    column = Locations()
    if isinstance(locations, str):
        raise InvalidError(f"locations of array {array!r} is the text {locations!r}; give a list or an array of URLs")
    if isinstance(locations, np.ndarray):
        _check_dimensions(locations, "locations", array, shape)
        flat = locations.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            if piece.dtype.kind == "U" and piece.dtype.itemsize:
                points = np.ascontiguousarray(piece, dtype=piece.dtype.newbyteorder("=")).view(np.uint32)
                column.add_code_points(points, piece.dtype.itemsize // 4)
            else:
                _add_list(column, piece.tolist(), array)
    else:
        _add_list(column, list(locations), array)
    if len(column) != prod(shape):
        raise InvalidError(f"array {array!r}: there are {prod(shape)} chunks, but {len(column)} locations")
    for url in column.urls():
        if not _URL.match(url):
            raise InvalidError(f"array {array!r}: location {url!r} is not a URL, such as file:///data/a.nc or s3://bucket/a.nc")
    return column


def _add_list(column: Locations, texts: list[Any], array: str) -> None:
    before = len(column)
    try:
        column.add_list(texts)
    except TypeError:
        at = next((at for at, text in enumerate(texts) if not isinstance(text, str)), 0)
        raise InvalidError(
            f"array {array!r}: location {before + at} is {texts[at]!r}, not a text; use '' for a chunk that does not exist"
        ) from None


def _check_dimensions(column: npt.NDArray[Any], name: str, array: str, shape: tuple[int, ...]) -> None:
    """A column is flat, or has the shape of the grid: any other shape runs through the chunks in another order."""
    if column.ndim > 1 and column.shape != shape:
        raise InvalidError(f"array {array!r}: {name} has the shape {column.shape}, and chunk_grid_shape is {shape}")


def numbers_column(numbers: Any, name: str, array: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """A column of numbers as the native calls take it."""
    column = np.asarray(numbers)
    if column.size != prod(shape):
        raise InvalidError(f"array {array!r}: there are {prod(shape)} chunks, but {column.size} {name}")
    _check_dimensions(column, name, array, shape)
    if column.size and column.dtype.kind not in "ui":
        raise InvalidError(f"array {array!r}: {name} are {column.dtype}, not whole numbers")
    flat = column.reshape(-1)
    if column.dtype.kind == "i" and flat.size and flat.min() < 0:
        at = int(np.argmax(flat < 0))
        raise InvalidError(f"array {array!r}: {name} has the negative number {flat[at]} at index {at}")
    return np.ascontiguousarray(flat, dtype=np.uint64)


def _range(key: str, offset: int, length: int) -> tuple[int, int]:
    """A range of bytes as the native calls take it."""
    try:
        found = operator.index(offset), operator.index(length)
    except TypeError:
        found = (-1, -1)
    if not all(0 <= n < 1 << 64 for n in found):
        raise InvalidError(f"{key}: offset {offset!r} and length {length!r} are not whole numbers from 0 on")
    return found


@dataclass(frozen=True)
class _Part:
    """The part of an array whose references are staged.

    Attributes
    ----------
    texts
        The locations, flat.
    present
        How many of them are not empty; 0 if none can be left out.
    """

    array: str
    shape: tuple[int, ...]
    offset: Sequence[int] | None
    texts: Sequence[str] | npt.NDArray[Any]
    present: int

    def left_out(self, places: list[int]) -> list[tuple[int, ...]] | None:
        """The coordinates of the references that were left out; ``None`` when all were staged, an error when none was."""
        if not places:
            return None
        why = f"of array {self.array!r} lie in no container of the session, such as {self.texts[places[0]]}"
        advice = "define one by session.set_container, or pass validate_containers=False"
        if len(places) == self.present:
            raise InvalidError(f"all references {why}; {advice}")
        _LOGGER.warning("%d references %s, and were left out; %s", len(places), why, advice)
        return _unravel(places, self.shape, self.offset)


def _unravel(places: list[int], shape: tuple[int, ...], offset: Sequence[int] | None) -> list[tuple[int, ...]]:
    """The coordinates of places in the columns."""
    if not shape:
        return [()]
    start = np.zeros(len(shape), dtype=int) if offset is None else np.asarray(offset)
    cells = np.stack(np.unravel_index(places, tuple(shape)), axis=1) + start
    return [tuple(int(n) for n in cell) for cell in cells]


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
        checksum : str, datetime.datetime, datetime.date or numpy.datetime64, optional
            What is known of the file: its ETag, of which a weak one (``W/"..."``) tells nothing and is ignored; or when it was
            scanned for the reference, so that a file that was modified later is a `SourceChangedError`. A `datetime` needs
            a time zone, a date means its first moment in UTC, and times of NumPy are in UTC.
        validate_container : bool, optional
            Refuse a location that lies in no container of the session. If false, a container for its bucket, server or root
            directory is made.

        Raises
        ------
        InvalidError
            If no container has a place for the location, if the range is negative or ends beyond the end of the file, or if
            `checksum` has no time zone.
        MissingDataError
            If the file does not exist.
        SourceChangedError
            If the file differs from what is recorded of it.
        """
        self._check_writable()
        self._native.set_virtual(key, location, *_range(key, offset, length), known(checksum), validate_container, False)

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
        span = _range(key, offset, length)
        call = self._native.set_virtual(key, location, *span, known(checksum), validate_container, True)
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
            How many chunks there are in each dimension. The columns run through them in row-major order. A column with
            several dimensions must have this shape.
        locations : array of texts or sequence of str
            The URLs of the files: an array of dtype ``U``, ``StringDType`` or ``object``, or a list. An empty text stands for
            a chunk that does not exist.
        offsets, lengths : array of int
            Where the bytes begin, and how many they are.
        validate_containers : bool, optional
            Leave out references into places for which the session has no container, and log a warning under the name
            ``firnline``. If false, a container is made for each bucket, server or root directory.
        arr_offset : sequence of int, optional
            The chunk with which the part begins, such as ``(n, 0, 0)`` to append. Default: the first chunk of the array.
        checksum : str, datetime.datetime, datetime.date or numpy.datetime64, optional
            As for `set_virtual_ref`, for all files.

        Returns
        -------
        list of tuple of int, or None
            The chunks whose references were left out, ``None`` when all were staged.

        Raises
        ------
        InvalidError
            If a column has another size or shape, or something in it is no URL or no whole number from 0 on; or if all
            references would be left out.
        FirnlineError
            As for `set_virtual_ref`. After every error none of the references is staged.
        """
        call, part = self._references(
            array_path, chunk_grid_shape, locations, offsets, lengths, validate_containers, arr_offset, checksum, False
        )
        return part.left_out(call)

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
        call, part = self._references(
            array_path, chunk_grid_shape, locations, offsets, lengths, validate_containers, arr_offset, checksum, True
        )
        return part.left_out(await result(call))

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
    ) -> tuple[Any, _Part]:
        """Begin the native call for columns of references."""
        self._check_writable()
        shape = whole(chunk_grid_shape, "chunk_grid_shape")
        prefix, separator, alone = chunk_keys(self, array_path)
        if not isinstance(locations, np.ndarray | str):
            locations = list(locations)
        column = locations_column(locations, array_path, shape)
        texts: Any = locations.reshape(-1) if isinstance(locations, np.ndarray) else locations
        present = 0
        if validate:
            present = int(np.count_nonzero(texts != "")) if isinstance(texts, np.ndarray) else sum(map(bool, texts))
        grid = (prefix if shape else alone, region(shape, arr_offset), separator)
        call = self._native.set_virtual_many(
            grid,
            column,
            numbers_column(offsets, "offsets", array_path, shape),
            numbers_column(lengths, "lengths", array_path, shape),
            known(checksum),
            validate,
            is_async,
        )
        return call, _Part(array_path, shape, arr_offset, texts, present)
