"""External files: which a version depends on, who depends on a file, and whether files are as recorded."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from firnline.errors import InvalidError
from firnline.progress import ProgressArgument, Report, reporting
from firnline.rows import Rows, RowStream, all_rows, to_datetime

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository, NativeRows

__all__ = ["VALIDATOR", "Checksums", "DependencyMethods", "PlaceUses"]

Place = str | os.PathLike[str]
By = Literal["file", "container", "array"]

_LOGGER = logging.getLogger("firnline")

VALIDATOR = ("size", "modified", "etag", "version", "digest", "pinned_at")
_COUNTS = ("files", "refs", "bytes")
_FILE = ("url", "container", "args", *VALIDATOR, "is_pinned", "is_racy", "refs", "bytes")
_EVER = (*_FILE, "first_id", "first_time", "last_id", "last_time", "versions")
_EVER_TIMES = ("modified", "pinned_at", "first_time", "last_time")
_CHECK = ("url", "state", "problem", "hint", "refs", "bytes")
_CHANGE = ("what", "name", "change", "differences", "old_refs", "old_bytes", "new_refs", "new_bytes")
_KEY_USE = ("key", "url", "offset", "length", "refs")


@dataclass(frozen=True)
class PlaceUses:
    """What depends on a file, or on the files below a URL.

    Attributes
    ----------
    refs : Rows
        The branches and tags whose latest versions do: ``what`` (``branch`` or ``tag``), ``name``, ``id``, ``time``,
        ``message`` and how many ``files``, ``refs`` and ``bytes``.
    versions : Rows
        The versions that do, latest first, if the history was asked for: ``id``, ``time``, ``message`` and the same counts.
    asked_refs, asked_versions : int
        How many branches and tags, and how many versions, were asked.
    since : datetime.datetime or None
        Versions before this time belong to the lines that were asked, and are not in this repository: whether they depend on
        such files is not known. ``None``: all are here, or the history was not asked for.
    is_in_a_container : bool
        Whether a container of any of those versions can name such a file at all.
    keys : Rows or None
        The keys that point into such files, if they were asked for: ``key``, ``url``, ``offset``, ``length`` and the branches
        and tags (``refs``) in whose latest versions they do.
    """

    refs: Rows
    versions: Rows
    asked_refs: int
    asked_versions: int
    since: datetime | None
    is_in_a_container: bool
    keys: Rows | None = None

    @property
    def is_used(self) -> bool:
        """Whether anything that was asked depends on such a file.

        If not, the history was asked for, and `since` is ``None``, nothing in this repository would miss the file.
        """
        return bool(self.refs) or bool(self.versions)


@dataclass(frozen=True)
class Checksums:
    """A list of checksums.

    Attributes
    ----------
    text : bytes
        What ``sha256sum -c`` takes. Bytes, because names of files need not be text.
    left_out : Rows
        ``url`` and ``why`` of the files that are not in the list.
    """

    text: bytes = field(repr=False)
    left_out: Rows

    def write(self, path: Place) -> None:
        """Write the list to a file."""
        Path(path).write_bytes(self.text)


class DependencyMethods:
    """The methods of a repository that tell about external files."""

    _native: NativeRepository

    # --- which files -------------------------------------------------------------------------------------------------

    def dependencies(self, revision: str = "main", *, by: By = "file", all_history: bool = False) -> Rows:
        """The external files that a version needs.

        The cost depends on the number of files, not of references, except with ``by="array"``, which reads all references once.

        Parameters
        ----------
        revision : str, optional
            The version.
        by : {"file", "container", "array"}, optional
            What to count for.
        all_history : bool, optional
            List the files that this version, or one before it, depends on. Where versions before it are not in this
            repository, a warning in the log says before what time, and their files are not listed.

        Returns
        -------
        Rows
            By file: ``url``, ``container``, ``args`` (for its template), what is recorded of the file (``size``, ``modified``,
            ``etag``, ``version``, ``digest``, ``pinned_at``; ``is_pinned``: it would show a change; ``is_racy``: the file was
            modified just before), and how many keys (``refs``) and ``bytes`` depend on it. With the history also ``first_id``,
            ``first_time``, ``last_id``, ``last_time`` of the versions that use it, and how many ``versions`` do; what is
            recorded is then by the last of them.
            By container: ``container``, ``template``, ``defaults``, ``options``, ``files``, ``refs``, ``bytes``.
            By array: ``array``, ``kind`` (``array``, or ``directory`` outside of arrays), ``files``, ``refs``, ``bytes``, and
            ``containers``: a list of dictionaries with ``container``, ``files``, ``refs`` and ``bytes``.

        See Also
        --------
        iter_dependencies : for millions of files
        """
        if by == "container" and not all_history:
            columns = ("container", "template", "defaults", "options", *_COUNTS)
            return Rows(columns, self._native.container_uses(revision))
        if by == "array" and not all_history:
            found = self._native.dependencies_by_array(revision)
            # Dictionaries and not tuples, which Arrow has no type for.
            rows = [(*row, [dict(zip(("container", *_COUNTS), of, strict=True)) for of in each]) for *row, each in found]
            return Rows(("array", "kind", *_COUNTS, "containers"), rows)
        _require_files(by, all_history)
        return all_rows(*self._dependencies(revision, all_history))

    def iter_dependencies(self, revision: str = "main", *, all_history: bool = False) -> RowStream:
        """Like `dependencies`, one file after the other, for versions with millions of them."""
        return RowStream(*self._dependencies(revision, all_history))

    def _dependencies(self, revision: str, all_history: bool) -> tuple[tuple[str, ...], NativeRows, tuple[str, ...]]:
        if all_history:
            rows, _, since = self._native.dependency_history(revision)
            if since is not None:
                _LOGGER.warning("versions before %s are not in this repository and are not counted", to_datetime(since))
            return _EVER, rows, _EVER_TIMES
        return _FILE, self._native.dependencies(revision), ("modified", "pinned_at")

    def places(self, revision: str = "main") -> list[str]:
        """The templates of every container that was ever used on a version's line, sorted. Reads one object."""
        places: list[str] = self._native.commit(revision)["places"]
        return places

    def diff_dependencies(self, old: str, new: str = "main") -> Rows:
        """What differs between the external files of two versions, by reading only what they do not share.

        Returns
        -------
        Rows
            ``what`` (``file`` or ``container``), ``name`` (the URL, or the name), ``change`` (``added``, ``removed``,
            ``changed``, or ``counted``: only the number of references or bytes differs), ``differences`` in words, and
            ``old_refs``, ``old_bytes``, ``new_refs``, ``new_bytes``.
        """
        return all_rows(_CHANGE, self._native.diff_dependencies(old, new))

    def who_uses(self, url: str, *, all_history: bool = False, keys: bool = False) -> PlaceUses:
        """What depends on a file, or on the files below a URL: may it be deleted?

        Parameters
        ----------
        url : str
            The URL of a file, or of something above files.
        all_history : bool, optional
            Ask all versions that any branch or tag shows, has shown or leads back to. Without the file they could not be read
            completely any more. Default: the latest version of each branch and tag.
        keys : bool, optional
            List the keys that point into such files in the latest versions. Reads all references of these versions once.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> repo.who_uses("s3://era5/1979.nc", all_history=True).is_used
        False
        """
        refs, versions, asked_refs, asked_versions, since, is_named = self._native.who_uses(url, all_history)
        version = ("id", "time", "message", *_COUNTS)
        return PlaceUses(
            refs=Rows(("what", "name", *version), refs, ("time",)),
            versions=Rows(version, versions, ("time",)),
            asked_refs=asked_refs,
            asked_versions=asked_versions,
            since=None if since is None else to_datetime(since),
            is_in_a_container=is_named,
            keys=all_rows(_KEY_USE, self._native.keys_using(url)) if keys else None,
        )

    def iter_keys_using(self, url: str) -> RowStream:
        """The keys that point into a file or into files below a URL, one after the other. See `who_uses`."""
        return RowStream(_KEY_USE, self._native.keys_using(url))

    # --- are they as recorded ----------------------------------------------------------------------------------------

    def check_dependencies(
        self,
        revision: str = "main",
        *,
        sample: float | None = None,
        seed: int = 0,
        digest: bool = False,
        progress: ProgressArgument = None,
    ) -> Rows:
        """Ask the sources of external files whether they are still those that were recorded.

        Parameters
        ----------
        revision : str, optional
            The version.
        sample : float, optional
            Ask for so many in a hundred of the files, at least one: the same ones whenever it is called. Default: all.
        seed : int, optional
            Another number draws other files.
        digest : bool, optional
            Read the files of which a digest is locked, and compare it. Default: they are compared like others, by what their
            source tells.
        progress : bool or callable, optional
            See `import_car`. The items are files; no bytes are counted.

        Returns
        -------
        Rows
            ``url``, ``state`` (``ok``, ``changed``, ``missing``, ``corrupt``, ``forbidden``, ``unreachable`` or
            ``unverifiable``), ``problem``, ``hint``, and how many ``refs`` and ``bytes`` depend on the file.
        """
        checks = self._checks(revision, sample, seed, digest)
        with reporting(progress, "check", "files") as report:
            return all_rows(_CHECK, checks, report=report and self._counting(report, revision, sample is None))

    def _counting(self, report: Report, revision: str, is_of_all: bool) -> Callable[[int], None]:
        """Tells `report` how many rows are there, of how many files if that is known before."""
        files = sum(counts[-3] for counts in self._native.container_uses(revision)) if is_of_all else 0
        return lambda rows: report(rows, files, 0, 0)

    def iter_check_dependencies(
        self, revision: str = "main", *, sample: float | None = None, seed: int = 0, digest: bool = False
    ) -> RowStream:
        """Like `check_dependencies`, with each row as soon as it and those before it are known."""
        return RowStream(_CHECK, self._checks(revision, sample, seed, digest))

    def _checks(self, revision: str, sample: float | None, seed: int, digest: bool) -> NativeRows:
        return self._native.check_dependencies(revision, None if sample is None else (float(sample), seed), digest)

    def checksums(self, revision: str = "main", *, relative_to: Place | None = None) -> Checksums:
        """A list of the locked files that ``sha256sum -c`` takes.

        Parameters
        ----------
        revision : str, optional
            The version.
        relative_to : path or URL, optional
            Name the files as they are seen from there. Default: local files by their absolute paths.
        """
        if relative_to is not None:
            relative_to = os.fspath(relative_to)
            relative_to = relative_to if "://" in relative_to else Path(os.path.abspath(relative_to)).as_uri()
        text, left_out = self._native.checksums(revision, relative_to)
        return Checksums(text, Rows(("url", "why"), left_out))


def _require_files(by: str, all_history: bool) -> None:
    if by != "file":
        known = by in ("container", "array") and all_history
        raise InvalidError(
            "all_history lists files; leave out by" if known else f"by {by!r} is not one of file, container and array"
        )
