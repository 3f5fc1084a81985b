"""NetCDF and HDF5 files as virtual Zarr arrays: their metadata is read and stored, their data stays where it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from firnline.errors import InvalidError
from firnline.external import committed, require_commit_options
from firnline.progress import ProgressArgument, reporting
from firnline.repository import Repository
from firnline.session import Session

__all__ = ["Virtualized", "virtualize"]

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Virtualized:
    """What `virtualize` staged or committed.

    Attributes
    ----------
    files, arrays : int
        Files that were read, and arrays.
    copied : int
        How many of the arrays hold copies of values, as coordinates do.
    references, bytes : int
        References, and the sum of their lengths.
    values : int
        Values that were staged: chunks of copied arrays, and metadata.
    reads : int
        Reads of files that were needed; of remote files each is a request.
    rows : int or None
        The length of the dimension along which the files are joined, afterwards.
    other_attributes : list of str
        Attributes, as ``path@name``, that a later file has with another value. Those of the first file, or of the store, are
        kept.
    dropped_attributes : list of str
        Attributes that are left out because the metadata of Zarr cannot hold them.
    links : list of str
        Links that are not followed, as ``path, what it is``: to other files, with the path of the group in which they lie, and
        to a group above. What lies behind them is not in the arrays.
    snapshot_id : str or None
        The version that was committed. ``None`` when they were staged in a session.
    """

    files: int
    arrays: int
    copied: int
    references: int
    bytes: int
    values: int
    reads: int
    rows: int | None
    other_attributes: list[str]
    dropped_attributes: list[str]
    links: list[str]
    snapshot_id: str | None = None


def virtualize(
    files: Place | Iterable[Place],
    into: Repository | Session,
    *,
    prefix: str = "",
    concat: str | None = None,
    append: bool = False,
    zarr_format: Literal[2, 3] = 3,
    inline_limit: int = 4096,
    group: str = "",
    drop: Iterable[str] = (),
    rows: int | None = None,
    progress: ProgressArgument = None,
    branch: str = "main",
    message: str | None = None,
    **commit: Any,
) -> Virtualized:
    """Make virtual arrays of NetCDF3, NetCDF4 and HDF5 files.

    Shapes, attributes and the places of chunks are read, and no data. Coordinates and small variables are copied into the
    repository; all else stays where it is, and is read from there.

    Parameters
    ----------
    files : path, URL or iterable of these
        The files, in the order in which they are joined. Their places must be allowed (``allow`` of `Repository.open`).
    into : Repository or Session
        A repository, to which they are committed, or a writable session, in which they are staged.
    prefix : str, optional
        Where the arrays are put.
    concat : str, optional
        The dimension along which the files are joined. Needed for more than one file.
    append : bool, optional
        Add the files to arrays that are there, along `concat`. Only references of the new files are written.
    zarr_format : {2, 3}, optional
        The version of Zarr of new arrays.
    inline_limit : int, optional
        Variables of at most so many bytes are copied.
    group : str, optional
        The group of the files that is meant.
    drop : iterable of str, optional
        Variables and groups to leave out.
    rows : int, optional
        The length along `concat` of the chunks of variables that lie in one piece in each file. Default: that of the first
        file.
    progress : bool or callable, optional
        See `Repository.import_car`. The items are files; no bytes are counted.
    branch, message
        As for `Session.commit`, if `into` is a repository. Further parameters as there.

    Returns
    -------
    Virtualized
        Counts, and the version.

    Raises
    ------
    InvalidError
        If files do not fit each other, or what is there: another type, chunks, filters, fill value, units. The error names
        file and variable, and what differs.
    UnsupportedError
        If a file has another format, or a variable a type or filter that Zarr has no word for.

    Notes
    -----
    Every file is read in one state, and references are pinned to that state. GRIB and TIFF files are read by parsers for
    VirtualiZarr, and written by `firnline.virtualizarr.write`; the guide shows how.

    Examples
    --------
    ::

        repo = firnline.Repository.create("archive", allow=["file:///data/"])
        firnline.virtualize(["/data/2025-01.nc", "/data/2025-02.nc"], repo, prefix="air", concat="time", message="two months")
        firnline.virtualize("/data/2025-03.nc", repo, prefix="air", concat="time", append=True, message="March")
    """
    names = [os.fspath(file) for file in ([files] if isinstance(files, str | os.PathLike) else files)]
    arguments = {
        "prefix": prefix,
        "concat": concat,
        "append": append,
        "zarr_format": zarr_format,
        "inline_limit": inline_limit,
        "group": group,
        "drop": [*drop],
        "rows": rows,
    }
    is_repository = isinstance(into, Repository)
    if not is_repository and (message is not None or commit):
        raise InvalidError("a session is committed by itself: pass the message to its commit")
    require_commit_options(commit)
    session = into.writable_session(branch) if isinstance(into, Repository) else into
    with reporting(progress, "virtualize", "files") as report:
        done = Virtualized(**session._native.virtualize(names, arguments, report))
    if not is_repository:
        return done
    return committed(session, done, message, f"virtualize {done.files} files", commit)
