"""Copying versions between repositories: push, pull and clone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firnline import _firnline
from firnline.errors import InvalidError
from firnline.progress import ProgressArgument, reporting
from firnline.rows import Rows

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository
    from firnline.repository import Repository

__all__ = ["SyncMethods", "Synced", "configured_remotes"]

Place = str | os.PathLike[str]
Refs = str | Iterable[str] | Mapping[str, str]

_REFS = ("kind", "name", "source", "outcome", "from", "to")


@dataclass(frozen=True)
class Synced:
    """What became of branches and tags that were copied, and what was sent for that.

    Attributes
    ----------
    refs : Rows
        ``kind`` (``branch`` or ``tag``); ``name`` where it was copied to, ``source``, its name where it comes from;
        ``outcome``: ``created``, ``moved``, ``unchanged``, or ``ahead`` (it has commits after the version, and stays as it is);
        ``from``, the version that it showed before, or ``None``; ``to``, the version that the source shows.
    versions : int
        Versions that the other repository had not.
    nodes : int
        Nodes of maps that were sent. Zero after a dry run, as are the numbers below.
    chunks, chunk_bytes : int
        Chunks that were sent, and their bytes.
    reused : int
        Chunks that an earlier call had sent and noted, which was stopped.
    dry_run : bool
        Whether nothing was copied and nothing changed.
    """

    refs: Rows
    versions: int
    nodes: int
    chunks: int
    chunk_bytes: int
    reused: int
    dry_run: bool

    @classmethod
    def _from_native(cls, told: dict[str, Any]) -> Synced:
        return cls(refs=Rows(_REFS, told.pop("refs")), **told)


def configured_remotes() -> dict[str, str]:
    """The repositories that the table ``remotes`` of the user's configuration file names.

    Returns
    -------
    dict
        Places, as `Repository.open` takes them, by name. Empty if there is no such file or table.

    Raises
    ------
    InvalidError
        If the file cannot be understood.
    """
    return dict(_firnline.configured_remotes())


def _sync_arguments(
    refs: Refs | None, *, force: bool = False, dry_run: bool = False, shallow: bool = False, no_chunks: bool = False
) -> dict[str, Any]:
    """The arguments of a copy as the native call takes them."""
    if isinstance(refs, str):
        refs = [refs]
    names = refs if isinstance(refs, Mapping) else dict.fromkeys(refs or ())
    pairs: list[tuple[str, str | None]] = [*names.items()]
    # For the engine, no names are all names.
    if refs is not None and not pairs:
        raise InvalidError("no branch and no tag is named; None names all of them")
    return {"refs": pairs, "force": force, "dry_run": dry_run, "shallow": shallow, "no_chunks": no_chunks}


class SyncMethods:
    """The methods of a repository that copy versions from it or to it."""

    _native: NativeRepository

    if TYPE_CHECKING:

        def _opening(self, url: Place, options: dict[str, Any]) -> tuple[str, dict[str, Any], bool]: ...

    def push(
        self,
        to: Repository | Place,
        refs: Refs | None = "main",
        *,
        force: bool = False,
        dry_run: bool = False,
        no_chunks: bool = False,
        progress: ProgressArgument = None,
    ) -> Synced:
        """Copy branches and tags to another repository, with everything behind them that it lacks.

        A branch there only moves forward, to a version that has its tip behind it; one that does not exist is made, and so is a
        tag, which never moves. All are looked at before anything is copied, and moved at the end, each as a recorded move.
        Everything is verified on the way. Ids stay the same.

        Parameters
        ----------
        to : Repository, str or path
            The other repository. A place is opened with the options of this repository. A text may be a name that
            `configured_remotes` has.
        refs : str, iterable of str or mapping, optional
            The branches, and tags as ``"tag:NAME"``; a mapping gives each the name that it gets there. ``None``: all of them,
            except the branches on which long calls save what they stored.
        force : bool, optional
            Move branches also to versions that do not have their tips behind them, and tags to other versions. What they showed
            stays readable, as after `reset_branch`.
        dry_run : bool, optional
            Only tell what would become of the branches and tags, and how many versions would be copied.
        no_chunks : bool, optional
            Send no chunks, and fail if the other repository lacks any.
        progress : bool or callable, optional
            See `import_car`. Tells the chunks that were sent; their number is not known before.

        Returns
        -------
        Synced
            What became of each branch and tag, and how much was sent.

        Raises
        ------
        ConflictError
            If a branch there has commits that are not behind its new tip, or a tag is another one; then nothing was copied.
        InvalidError
            If `no_chunks` is given and chunks are lacking.
        ExpiredError
            If a version that is to be shown has expired here meanwhile.
        UnsupportedError
            If the two repositories have different hashes.
        NotFoundError
            If there is no such branch or tag here, or no repository there.

        Notes
        -----
        After each GiB, or 100,000 chunks, what has arrived is noted on a branch of the target, whose name begins with
        ``pushing-``. If a call failed, or Ctrl-C ended it, the same call goes on from there, and removes the branch in the end;
        a `KeyboardInterrupt` has a note that says so. Branches and tags may have been moved by then.

        Examples
        --------
        >>> import firnline
        >>> repo, other = (firnline.Repository.create("memory:") for _ in range(2))
        >>> with repo.transaction("main", message="January") as store:
        ...     store.set_sync("a", firnline.buffer(b"1"))
        >>> done = repo.push(other)
        >>> done.refs[0]["outcome"], other.lookup_branch("main") == repo.lookup_branch("main")
        ('moved', True)
        """
        arguments = _sync_arguments(refs, force=force, dry_run=dry_run, no_chunks=no_chunks)
        other = self._peer(to, read_only=False)
        with reporting(progress, "push") as report:
            return Synced._from_native(self._native.sync(other, False, arguments, report))

    def pull(
        self,
        source: Repository | Place,
        refs: Refs | None = "main",
        *,
        force: bool = False,
        dry_run: bool = False,
        shallow: bool = False,
        progress: ProgressArgument = None,
    ) -> Synced:
        """Copy branches and tags of another repository to this one, with everything behind them that this one lacks.

        Parameters
        ----------
        source : Repository, str or path
            The other repository, as for `push`. Nothing is changed there.
        refs : str, iterable of str or mapping, optional
            As for `push`. To look at a branch that is not a step forward, and to merge it, give it another name:
            ``{"main": "theirs"}``.
        shallow : bool, optional
            Copy only the versions that branches and tags show, without those before them. Their logs end there.
        force, dry_run, progress
            As for `push`.

        Raises
        ------
        FirnlineError
            As `push` does.
        """
        arguments = _sync_arguments(refs, force=force, dry_run=dry_run, shallow=shallow)
        other = self._peer(source, read_only=True)
        with reporting(progress, "pull") as report:
            return Synced._from_native(self._native.sync(other, True, arguments, report))

    def clone_to(
        self,
        url: Place,
        *,
        refs: Refs | None = None,
        shallow: bool = False,
        progress: ProgressArgument = None,
        **options: Any,
    ) -> tuple[Repository, Synced]:
        """Make a repository with the same hash, and copy branches and tags into it, with everything behind them.

        Parameters
        ----------
        url : str or path
            Where it goes, as for `create`.
        refs : str, iterable of str or mapping, optional
            As for `push`. Default: all.
        shallow, progress
            As for `pull`.
        **options
            As for `open`, for the new repository. Those that are not given are those of this one; it can be written to.

        Returns
        -------
        Repository
            The new one.
        Synced
            What was copied.

        Raises
        ------
        ConflictError
            If there is another repository already. One of which a call was stopped is gone on with.
        FirnlineError
            As `push` does.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> copy, done = repo.clone_to("memory:")
        >>> [(row["name"], row["outcome"]) for row in done.refs]
        [('main', 'moved')]
        """
        from firnline.repository import Repository, _native_options

        arguments = _sync_arguments(refs, shallow=shallow)
        place, merged, share = self._opening(url, {"read_only": False, **options})
        with reporting(progress, "clone") as report:
            native, told = self._native.clone_to(place, _native_options(merged), arguments, report)
        return Repository(native, place, merged, share), Synced._from_native(told)

    def _peer(self, other: Repository | Place, *, read_only: bool) -> NativeRepository:
        """The other repository, opened if need be."""
        from firnline.repository import Repository, _native_options

        if isinstance(other, Repository):
            return other._native
        named = _firnline.remote_place(other) if isinstance(other, str) else other
        place, merged, _ = self._opening(named, {"read_only": read_only})
        return _firnline.NativeRepository.open(place, _native_options(merged))
