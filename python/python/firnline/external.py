"""What becomes of external files: accepted anew, locked, moved, copied in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from firnline.dependencies import VALIDATOR
from firnline.progress import ProgressArgument, reporting
from firnline.rows import Rows

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository, NativeSession
    from firnline.repository import Repository
    from firnline.session import OnConflict, OnConflictBelow, Session

__all__ = ["ExternalMethods", "Locked", "Moved", "SessionExternalMethods", "Vendored", "committed"]

Place = str | os.PathLike[str]
Hash = Literal["sha2-256", "blake3"]
Staged = TypeVar("Staged")

_UNPINNED = ("url", "why", "problem", "hint")

# What `Session.commit` takes besides the message.
_COMMIT = ("metadata", "author", "rebase", "on_conflict", "on_conflict_below", "allow_empty")


def require_commit_options(commit: Mapping[str, Any]) -> None:
    """Refuse parameters that `Session.commit` does not have, before anything that takes long."""
    if unknown := [name for name in commit if name not in _COMMIT]:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}; Session.commit has {', '.join(_COMMIT)}")


def committed(session: Session, staged: Staged, message: str | None, default: str, commit: Mapping[str, Any]) -> Staged:
    """Commit what a call has staged, with `default` where no message was given, and put the version into its result."""
    snapshot = session.commit(default if message is None else message, **commit)
    return replace(staged, snapshot_id=snapshot)  # type: ignore[type-var]


@dataclass(frozen=True)
class Locked:
    """Which files were locked.

    Attributes
    ----------
    files : Rows
        ``url`` and ``digest`` (a multihash in hexadecimal digits) of the files that are locked now.
    already : int
        How many were locked before.
    unmatched, ambiguous, unusable : list of str
        Names of a list of checksums that locked nothing: no such file; several files, or several digests for one; a digest of
        another hash.
    snapshot_id : str or None
        The version that was committed; the latest one where no file had to be locked. ``None`` from a session.
    """

    files: Rows
    already: int
    unmatched: list[str]
    ambiguous: list[str]
    unusable: list[str]
    snapshot_id: str | None = None


@dataclass(frozen=True)
class Moved:
    """Which files lie elsewhere from now on.

    Attributes
    ----------
    files : Rows
        ``old_url``, ``new_url``, ``differences`` (in words), and what is recorded of each file before and after.
    containers : Rows
        The containers that have another template: ``name``, ``template``, ``defaults``, ``options``.
    refs, leaves : int
        How many references, in how many leaves of the manifest, are rewritten. 0 where templates alone change.
    snapshot_id : str or None
        The version that was committed. ``None`` from a session.
    """

    files: Rows
    containers: Rows
    refs: int
    leaves: int
    snapshot_id: str | None = None


@dataclass(frozen=True)
class Vendored:
    """What was copied into the repository.

    Attributes
    ----------
    keys, bytes : int
        Keys whose values are in the repository now, and the lengths of these together.
    reused : int
        Keys of these that an earlier call had copied, which was stopped.
    bytes_read : int
        The lengths of the values that this call read.
    snapshot_id : str
        The version that was committed.
    """

    keys: int
    bytes: int
    reused: int
    bytes_read: int
    snapshot_id: str


class ExternalMethods:
    """The methods of a repository that commit what becomes of external files."""

    _native: NativeRepository

    if TYPE_CHECKING:

        def writable_session(self, branch: str) -> Session: ...

    def lock_dependencies(
        self,
        places: str | Iterable[str] | None = None,
        *,
        from_: Place | None = None,
        hash: Hash = "sha2-256",
        progress: ProgressArgument = None,
        branch: str = "main",
        message: str | None = None,
        **commit: Any,
    ) -> Locked:
        """Commit digests of external files. See `Session.lock_dependencies`, and `Session.commit` for further parameters."""
        require_commit_options(commit)
        session = self.writable_session(branch)
        locked = session.lock_dependencies(places, from_=from_, hash=hash, progress=progress)
        return committed(session, locked, message, f"lock {len(locked.files)} files", commit)

    def repin(
        self, places: str | Iterable[str] | None = None, *, branch: str = "main", message: str | None = None, **commit: Any
    ) -> Rows:
        """Commit external files as they are now. See `Session.repin`, and `Session.commit` for further parameters."""
        require_commit_options(commit)
        session = self.writable_session(branch)
        rows = session.repin(places)
        if rows:
            session.commit(f"repin {len(rows)} files" if message is None else message, **commit)
        return rows

    def move_dependencies(
        self,
        old: str,
        new: str,
        *,
        digest: bool = False,
        accept_unverified: bool = False,
        container_options: Mapping[str, str] | None = None,
        progress: ProgressArgument = None,
        branch: str = "main",
        message: str | None = None,
        **commit: Any,
    ) -> Moved:
        """Commit that an archive has moved. See `Session.move_dependencies`, and `Session.commit` for further parameters."""
        require_commit_options(commit)
        session = self.writable_session(branch)
        moved = session.move_dependencies(
            old,
            new,
            digest=digest,
            accept_unverified=accept_unverified,
            container_options=container_options,
            progress=progress,
        )
        return committed(session, moved, message, f"move {len(moved.files)} files from {old} to {new}", commit)

    def vendor(
        self,
        *,
        prefix: str = "",
        container: str | None = None,
        branch: str = "main",
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        rebase: bool = True,
        on_conflict: OnConflict = "fail",
        on_conflict_below: OnConflictBelow | None = None,
        save_bytes: int | None = None,
        progress: ProgressArgument = None,
    ) -> Vendored:
        """Copy virtual values into the repository, in one version: then the branch depends on their files no more.

        Each value is read and verified as by any other read, so its place must be allowed. If the call is stopped, the same
        call goes on where it was. Older versions still depend on the files.

        Parameters
        ----------
        prefix : str, optional
            Only values of keys below this path.
        container : str, optional
            Only values in files of this container.
        branch, message, metadata, author, rebase, on_conflict, on_conflict_below
            As for `Session.commit`.
        save_bytes : int, optional
            Save what was copied on a branch of its own each time so many bytes have been read. Default: 16 GiB.
        progress : bool or callable, optional
            See `import_car`.

        Raises
        ------
        SourceChangedError
            If a file is not as recorded, also when it changes meanwhile. Then nothing is committed.
        """
        from firnline.session import Session

        with reporting(progress, "vendor") as report:
            native, counts, saves = self._native.vendor(branch, prefix.strip("/"), container, save_bytes, report)
        session = Session(cast("Repository", self), native)
        snapshot = session.commit(
            f"copy {counts[0]} virtual values" if message is None else message,
            metadata=metadata,
            author=author,
            rebase=rebase,
            on_conflict=on_conflict,
            on_conflict_below=on_conflict_below,
        )
        if saves is not None:
            self._native.delete_saves(saves)
        return Vendored(*counts, snapshot)


class SessionExternalMethods:
    """The methods of a session that are about external files."""

    if TYPE_CHECKING:

        @property
        def _native(self) -> NativeSession: ...

    def unpinned(self) -> Rows:
        """List the files of staged references of which nothing is recorded that would show a change.

        Returns
        -------
        Rows
            ``url``, ``why``, ``problem`` (in the words of the error that a read would raise), ``hint``.
        """
        return Rows(_UNPINNED, self._native.unpinned())

    def unpinned_places(self) -> Rows:
        """Count the files that `unpinned` lists by the directories in which they lie, for sums over many files.

        Returns
        -------
        Rows
            ``place`` (the URL of the directory, with the final ``/``), ``files`` (how many there are), and of one of them
            ``url``, ``why``, ``problem``, ``hint``. What would help is the same for all of them.
        """
        rows = [(place, files, *first) for place, files, first in self._native.unpinned_places()]
        return Rows(("place", "files", *_UNPINNED), rows)

    def repin(self, places: str | Iterable[str] | None = None) -> Rows:
        """Look up external files anew, and stage what their sources tell now. References stay as they are.

        Parameters
        ----------
        places : str or iterable of str, optional
            URLs of files, or of directories above them. Default: all files of the branch; an empty list names none.

        Returns
        -------
        Rows
            The files that are staged: ``url``, ``differences`` in words, and the state before and after, as
            `Repository.dependencies` has it.

        Raises
        ------
        InvalidError
            By the commit, naming key and file, if a file has become too short for a reference into it.
        """
        rows = self._native.repin(None if places is None else _places(places))
        columns, times = _both_sides()
        return Rows(["url", "differences", *columns], [(url, how, *before, *after) for url, how, before, after in rows], times)

    def lock_dependencies(
        self,
        places: str | Iterable[str] | None = None,
        *,
        from_: Place | None = None,
        hash: Hash = "sha2-256",
        progress: ProgressArgument = None,
    ) -> Locked:
        """Stage a digest for each external file that has none, so that every change of its bytes is noticed.

        A file must be as recorded; one that changed is accepted by `repin`. Nothing else that is recorded changes.

        Parameters
        ----------
        places : str or iterable of str, optional
            URLs of files, or of directories above them. Default: all files of the branch; an empty list names none.
        from_ : path, optional
            Take the digests from a list, and read no file: of ``sha256sum``, a script for wget or a map file of ESGF. A name in
            it is a URL, or the end of one's path.
        hash : {"sha2-256", "blake3"}, optional
            The hash of digests that are made, and of a list that does not name it.
        progress : bool or callable, optional
            See `Repository.import_car`. The items are files; with `from_` there are no reports.

        Raises
        ------
        SourceChangedError
            If a file is not as recorded.
        InvalidError
            If the list contradicts a size or a digest that is recorded.
        """
        path = None if from_ is None else os.fspath(from_)
        named = [] if places is None else _places(places)
        # For the engine, no places are all places.
        if places is not None and not named:
            return Locked(Rows(("url", "digest"), []), 0, [], [], [])
        with reporting(progress, "lock") as report:
            locked = self._native.lock_dependencies(named, path, hash, report)
        files, already, unmatched, ambiguous, unusable = locked
        return Locked(Rows(("url", "digest"), files), already, unmatched, ambiguous, unusable)

    def move_dependencies(
        self,
        old: str,
        new: str,
        *,
        digest: bool = False,
        accept_unverified: bool = False,
        container_options: Mapping[str, str] | None = None,
        progress: ProgressArgument = None,
    ) -> Moved:
        """Stage that all external files at or below one URL lie at or below another one now.

        Every file is looked up in its new place and compared with what is recorded of it. All files are moved, or none.
        Containers whose templates begin with `old` get others, and then no reference is rewritten. Nothing else may be staged
        in the session.

        Parameters
        ----------
        old, new : str
            URLs of files, or of directories above them.
        digest : bool, optional
            Read the files of which a digest is locked, and compare it. Default: sizes are compared, and readers verify the
            digest.
        accept_unverified : bool, optional
            Take also files of which nothing can be compared, or that cannot be pinned in the new place.
        container_options : mapping, optional
            How the server of the new place is reached: ``endpoint``, ``region`` and ``account``, in place of all options of
            each container that gets another template. Default: a container keeps those that it has, and has none where the
            scheme of its template is another one from now on.
        progress : bool or callable, optional
            See `Repository.import_car`. The items are files.

        Raises
        ------
        FirnlineError
            If files are missing, different or not allowed there; its `files` tells which.
        """
        options = None if container_options is None else dict(container_options)
        with reporting(progress, "move", "files") as report:
            moved = self._native.move_dependencies(old, new, digest, accept_unverified, options, report)
        files, containers, refs, leaves = moved
        columns, times = _both_sides()
        return Moved(
            Rows(("old_url", "new_url", "differences", *columns), files, times),
            Rows(("name", "template", "defaults", "options"), containers),
            refs,
            leaves,
        )


def _places(places: str | Iterable[str]) -> list[str]:
    return [places] if isinstance(places, str) else list(places)


def _both_sides() -> tuple[list[str], list[str]]:
    """The columns of the states of a file before and after, and which of them are times."""
    columns = [f"{side}_{name}" for side in ("before", "after") for name in VALIDATOR]
    return columns, [name for name in columns if name.endswith(("modified", "pinned_at"))]
