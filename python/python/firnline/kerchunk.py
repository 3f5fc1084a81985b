"""Reference sets of kerchunk: importing them, and writing versions as such sets."""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from firnline.errors import InvalidError
from firnline.external import committed, require_commit_options
from firnline.progress import ProgressArgument, reporting

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository, NativeSession
    from firnline.repository import Repository
    from firnline.session import Session

__all__ = ["KerchunkExport", "KerchunkImport", "KerchunkMethods", "SessionKerchunkMethods"]

Place = str | os.PathLike[str]
References = Place | Mapping[str, Any]
Format = Literal["json", "parquet"]


@dataclass(frozen=True)
class KerchunkImport:
    """What an import staged or committed.

    Attributes
    ----------
    references : int
        References to byte ranges.
    values : int
        Values that the set itself holds, documents of Zarr among them.
    missing : int
        Files that do not exist.
    snapshot_id : str or None
        The version that was committed. ``None`` from a session.
    """

    references: int
    values: int
    missing: int
    snapshot_id: str | None = None


@dataclass(frozen=True)
class KerchunkExport:
    """What an export wrote.

    Attributes
    ----------
    references : int
        References to byte ranges of external files.
    values, value_bytes : int
        Values that the set itself holds, Zarr metadata among them, and their length together.
    stored_chunks : int
        How many of these values are chunks that the repository stores.
    notes : list of str
        What a reader of the set has to know: options that its client needs, arrays that read differently.
    """

    references: int
    values: int
    value_bytes: int
    stored_chunks: int
    notes: list[str]


class KerchunkMethods:
    """The methods of a repository that are about reference sets of kerchunk."""

    _native: NativeRepository

    if TYPE_CHECKING:

        def writable_session(self, branch: str) -> Session: ...

    def import_kerchunk(
        self,
        references: References,
        *,
        prefix: str = "",
        allow_missing: bool = False,
        compact_metadata: bool = False,
        progress: ProgressArgument = None,
        branch: str = "main",
        message: str | None = None,
        **commit: Any,
    ) -> KerchunkImport:
        """Commit what a reference set refers to, without copying bytes.

        See `Session.import_kerchunk` for the parameters, and `Session.commit` for further ones.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> repo.import_kerchunk({".zgroup": '{"zarr_format": 2}', "a/0": ["s3://bucket/a.nc", 100, 20]}).references
        1
        """
        require_commit_options(commit)
        session = self.writable_session(branch)
        done = session.import_kerchunk(
            references, prefix=prefix, allow_missing=allow_missing, compact_metadata=compact_metadata, progress=progress
        )
        what = "a dictionary" if isinstance(references, Mapping) else os.fspath(references)
        return committed(session, done, message, f"kerchunk references of {what}", commit)

    def export_kerchunk(
        self,
        revision: str,
        path: Place,
        *,
        format: Format = "json",
        prefix: str = "",
        inline_limit: int | None = None,
        record_size: int | None = None,
        keep_v3: bool = False,
        overwrite: bool = False,
    ) -> KerchunkExport:
        """Write a version as a reference set of kerchunk, which xarray opens by ``engine="kerchunk"``.

        Parameters
        ----------
        revision : str
            The version.
        path : path
            The file to make, or for Parquet the directory. It appears when it is complete.
        format : {"json", "parquet"}, optional
            A JSON file of version 1, or a directory of Parquet files.
        prefix : str, optional
            Only what lies below this path. The keys of the set do not include it.
        inline_limit : int, optional
            Chunks that the repository itself stores have no URL. Those of at most so many bytes are written into the set,
            longer ones are an error. Default: 64 KiB.
        record_size : int, optional
            How many references one Parquet file holds. Default: 100,000.
        keep_v3 : bool, optional
            Leave Zarr v3 metadata and the names of its chunks as they are. Default: they are written as Zarr v2, which is what
            ``engine="kerchunk"`` reads.
        overwrite : bool, optional
            Replace the file, or the reference set, that has this name.

        Raises
        ------
        InvalidError
            If `path` exists, or if a stored chunk is longer than `inline_limit`.
        UnsupportedError
            For what Zarr v2 or a reference cannot express, with the key and the reason.
        """
        options = _options(prefix, inline_limit, record_size, keep_v3)
        if format == "parquet":
            written = self._native.export_kerchunk_parquet(revision, os.path.abspath(path), overwrite, options)
        elif format == "json":
            with _whole(Path(os.path.abspath(path)), overwrite) as temporary:
                written = self._native.export_kerchunk_json(revision, os.fspath(temporary), options)
        else:
            raise InvalidError(f"format {format!r} is not one of json and parquet")
        return KerchunkExport(*written)


class SessionKerchunkMethods:
    """The methods of a session that are about reference sets of kerchunk."""

    if TYPE_CHECKING:

        @property
        def _native(self) -> NativeSession: ...
        @property
        def repository(self) -> Repository: ...
        @property
        def read_only(self) -> bool: ...
        @property
        def snapshot_id(self) -> str: ...

    def import_kerchunk(
        self,
        references: References,
        *,
        prefix: str = "",
        allow_missing: bool = False,
        compact_metadata: bool = False,
        progress: ProgressArgument = None,
    ) -> KerchunkImport:
        """Stage everything that a reference set of kerchunk holds. No bytes are copied.

        Each file is looked up once, where its place is allowed, and what its source tells is recorded.

        Parameters
        ----------
        references : path or mapping
            A JSON file of version 0 or 1, a directory of Parquet files with its ``.zmetadata``, or the dictionary that
            kerchunk and VirtualiZarr make. Relative paths in a file are relative to its directory, in a dictionary to the
            working directory.
        prefix : str, optional
            Put the keys below this path.
        allow_missing : bool, optional
            Take references into files that do not exist.
        compact_metadata : bool, optional
            Write the documents of Zarr without white space and in one spelling, so that the same references give the same
            version, whether they came as JSON or as Parquet.
        progress : bool or callable, optional
            See `Repository.import_car`. The items are references and values; their number is not known before, and no bytes
            are counted.

        Raises
        ------
        NotFoundError
            If a file does not exist. The error names the key.
        InvalidError
            If a range lies beyond the end of its file, or if something in the set is not understood, which is quoted. Some of
            it is staged then: discard the session.
        """
        with _set(references) as path, reporting(progress, "import", "references") as report:
            directory = os.getcwd() if isinstance(references, Mapping) else None
            done = self._native.import_kerchunk(path, prefix, allow_missing, compact_metadata, directory, report)
        return KerchunkImport(*done)

    def to_kerchunk(self, *, prefix: str = "", inline_limit: int | None = None, keep_v3: bool = False) -> dict[str, Any]:
        """The version as a reference set of kerchunk: a dictionary, as fsspec and kerchunk take it.

        `Repository.export_kerchunk` writes it to a file, and explains the parameters.

        Examples
        --------
        ::

            references = repo.readonly_session("main").to_kerchunk()
            ds = xarray.open_dataset(references, engine="kerchunk")
        """
        if not self.read_only:
            raise InvalidError("a writable session is no version; commit it, or open one to read")
        options = _options(prefix, inline_limit, None, keep_v3)
        text, _ = self.repository._native.kerchunk_json(self.snapshot_id, options)
        references: dict[str, Any] = json.loads(text)
        return references


def _options(prefix: str, inline_limit: int | None, record_size: int | None, keep_v3: bool) -> dict[str, Any]:
    """The options of an export as the native calls take them."""
    return {"prefix": prefix, "inline_limit": inline_limit, "record_size": record_size, "keep_v3": keep_v3}


@contextmanager
def _whole(path: Path, overwrite: bool) -> Iterator[Path]:
    """A file beside the place, which gets its name at the end of the block."""
    if path.exists() and not overwrite:
        raise InvalidError(f"{path} exists already; pass overwrite=True to replace it")
    temporary = path.with_name(f".{path.name}.firn-{secrets.token_hex(8)}")
    # With the permissions of any other new file.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        if overwrite:
            temporary.replace(path)
        else:
            _give_name(temporary, path)
    except FileExistsError:
        raise InvalidError(f"{path} exists already; pass overwrite=True to replace it") from None
    finally:
        temporary.unlink(missing_ok=True)


def _give_name(temporary: Path, path: Path) -> None:
    """Give a file a name that is free. A link, unlike a rename, never replaces a file that was made meanwhile."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # Where the file system has no links, as on many USB disks, an empty file takes the name first.
        path.touch(exist_ok=False)
        temporary.replace(path)


@contextmanager
def _set(references: References) -> Iterator[str]:
    """The path of a reference set; one that is a dictionary is written to a file for the time of the block."""
    if not isinstance(references, Mapping):
        yield os.fspath(references)
        return
    with tempfile.TemporaryDirectory(prefix="firn-") as directory:
        path = os.path.join(directory, "references.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(dict(references), file, default=_text)
        yield path


def _text(value: Any) -> Any:
    """What JSON does not have: bytes, as kerchunk writes them, mappings that are no dictionaries, and numbers of NumPy."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return "base64:" + base64.b64encode(value).decode()
    if hasattr(value, "item"):
        return value.item()
    raise InvalidError(f"a reference set cannot hold a {type(value).__name__}")
