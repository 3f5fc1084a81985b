"""Work on branches: merging, applying and reverting commits, squashing, undo and redo, blame, and searching for a bad version."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from firnline.errors import Conflict, InvalidError
from firnline.rows import Rows, RowStream, to_datetime
from firnline.session import OnConflict, OnConflictBelow, Session, _commit_arguments, _policies

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository, NativeSession
    from firnline.repository import Repository

__all__ = ["Bisected", "BranchMethods", "BranchStep", "StagedMerge"]

_LOG = ("id", "time", "message")
_BLAMED = ("name", *_LOG, "known")


class StagedMerge:
    """Changes of other versions, staged on the tip of a branch and not yet committed.

    Made by `Repository.merge`, `Repository.cherry_pick` and `Repository.revert`. Nothing is in the store before `commit`, and
    dropping it leaves nothing. Look at `session`, and stage more there, before.
    """

    def __init__(
        self, session: Session, arguments: dict[str, Any], base: str, settled: list[tuple[str, str, str | None]]
    ) -> None:
        self._session = session
        self._arguments = arguments
        self._base = base
        self._settled = [Conflict(*conflict) for conflict in settled]

    @property
    def session(self) -> Session:
        """The session of the branch: it reads and stages as every writable session.

        Its own `commit` works too, with a message and policies of your own; there ``"ours"`` is what is staged.
        """
        return self._session

    @property
    def message(self) -> str:
        """The message of the commit."""
        return str(self._arguments["message"])

    @property
    def author(self) -> str | None:
        """The author of the commit."""
        return cast("str | None", self._arguments["author"])

    @property
    def metadata(self) -> dict[str, str]:
        """The further fields of the commit, such as ``cherry-picked-from`` and ``reverts``."""
        return dict(self._arguments["metadata"])

    @property
    def base(self) -> str:
        """The version from which the changes of both sides were counted."""
        return self._base

    @property
    def settled_conflicts(self) -> list[Conflict]:
        """The conflicts that the policies settled, at most the first 10,000; after `commit` also those with later writers."""
        return self._settled + self._session.settled_conflicts

    def commit(self) -> str:
        """Publish what is staged as one new version of the branch.

        A merge is committed even if it changes nothing, unless the branch has the version already; then the id of the tip is
        returned, and `Session.committed_new_snapshot` is false. A branch that moves meanwhile is followed, and conflicts
        with what is new there are settled as those of the merge were.

        Returns
        -------
        str
            The id of the version. The session is read-only afterwards and shows it.

        Raises
        ------
        ConflictError
            As for `Session.commit`, as are the other errors, and Ctrl-C.
        """
        return self._session._publish(self._arguments)

    def __repr__(self) -> str:
        return f"<firnline.StagedMerge {self.message.splitlines()[0]!r} on {self._session.branch}>"


@dataclass(frozen=True)
class BranchStep:
    """A step back or forth of a branch.

    Attributes
    ----------
    branch : str
        The branch.
    op : str
        ``"undo"`` or ``"redo"``.
    event : str
        What is undone: ``"commit"``, or what `Repository.moves` calls ``op``. Of a redo: ``"undo"``.
    commit : str or None
        The id of the commit that is undone.
    time : datetime.datetime or None
        The time of the move that is undone.
    old, new : str or None
        What the branch showed before the step and shows after it; ``None`` where it is deleted.
    """

    branch: str
    op: Literal["undo", "redo"]
    event: str
    commit: str | None
    time: datetime | None
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Bisected:
    """What a search for the first bad version has found.

    Attributes
    ----------
    first_bad : str or None
        The id of the first bad version; ``None`` if versions before it could not be told.
    suspects : Rows
        The versions of which one is the first bad one, oldest first: ``id``, ``time``, ``message``. All but the last could not
        be told.
    tried : dict
        What `check` returned for each version that it was called with, by id, in their order.
    """

    first_bad: str | None
    suspects: Rows
    tried: dict[str, bool | None]


def _merge_arguments(
    message: str | None,
    metadata: Mapping[str, str] | None,
    author: str | None,
    base: str | None,
    on_conflict: str,
    on_conflict_below: OnConflictBelow | None,
) -> dict[str, Any]:
    """The arguments of a merge as the native call takes them."""
    return {
        "message": message,
        "metadata": dict(metadata or {}),
        "author": author,
        "base": base,
        "on_conflict": on_conflict,
        "on_conflict_below": _policies(on_conflict_below),
    }


class BranchMethods:
    """The methods of a repository that are about branches as a whole."""

    _native: NativeRepository

    if TYPE_CHECKING:

        def at(self, revision: str) -> Session: ...

    def _staged(self, told: tuple[NativeSession, dict[str, Any], str, list[tuple[str, str, str | None]]]) -> StagedMerge:
        native, arguments, base, settled = told
        return StagedMerge(Session(cast("Repository", self), native), arguments, base, settled)

    # --- applying versions -------------------------------------------------------------------------------------------

    def merge(
        self,
        revision: str,
        *,
        branch: str = "main",
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        base: str | None = None,
        on_conflict: OnConflict = "fail",
        on_conflict_below: OnConflictBelow | None = None,
    ) -> StagedMerge:
        """Stage what changed between the latest common ancestor and a version, on the tip of a branch.

        Both sides are compared as two writers of one branch are: key by key, and an array as a whole if one side changed how its
        chunks are read. The commit has the tip as its first parent, so it continues the line of the branch, and the version as
        its second one. If the branch has the version already, nothing is staged.

        Parameters
        ----------
        revision : str
            The version to merge.
        branch : str, optional
            The branch to commit to.
        message : str, optional
            What was done. Default: what was merged.
        metadata, author : optional
            As for `Session.commit`.
        base : str, optional
            The version from which the changes of both sides count. Default: the latest common ancestor.
        on_conflict : {"fail", "ours", "theirs"}, optional
            What happens to what both sides changed in different ways: the call fails, what the branch has stays, or what the
            version has.
        on_conflict_below : mapping, optional
            The same for what lies below some paths, by path; the longest path decides. An array or a deleted group that is
            settled as a whole is settled by the policy of its own path.

        Returns
        -------
        StagedMerge
            Call its `commit`. It has the session for a look before.

        Raises
        ------
        ConflictError
            With the conflicts that no policy settles. Also when there are several latest common ancestors, which the message
            names; then name a base.
        InvalidError
            When there is no common ancestor, or no branch or tag keeps the version.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> repo.create_branch("side")
        >>> for branch in ("main", "side"):
        ...     with repo.transaction(branch, message=f"work on {branch}") as store:
        ...         store.set_sync(branch, firnline.buffer(b"1"))
        >>> merged = repo.merge("side").commit()
        >>> [row["message"] for row in repo.log("main", limit=2)]
        ['Merge side into main', 'work on main']
        >>> repo.is_behind("side", "main")
        True
        """
        text = f"Merge {revision} into {branch}" if message is None else message
        arguments = _merge_arguments(text, metadata, author, base, on_conflict, on_conflict_below)
        return self._staged(self._native.merge(branch, revision, arguments))

    def cherry_pick(
        self,
        revision: str,
        *,
        branch: str = "main",
        parent: str | None = None,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        on_conflict: OnConflict = "fail",
        on_conflict_below: OnConflictBelow | None = None,
    ) -> StagedMerge:
        """Stage what one commit changed against its parent, on the tip of a branch.

        The new commit names it in the field ``cherry-picked-from``.

        Parameters
        ----------
        revision : str
            The commit.
        parent : str, optional
            The parent against which its changes count. Needed if it is a merge.
        message, author : str, optional
            Default: those of the commit.
        branch, metadata, on_conflict, on_conflict_below
            As for `merge`.

        Raises
        ------
        ConflictError, InvalidError
            As `merge` does. `InvalidError` also for a merge without `parent`, and for a commit that has none.
        """
        arguments = _merge_arguments(message, metadata, author, parent, on_conflict, on_conflict_below)
        return self._staged(self._native.cherry_pick(branch, revision, arguments))

    def revert(
        self,
        revision: str,
        *,
        branch: str = "main",
        parent: str | None = None,
        message: str | None = None,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        on_conflict: OnConflict = "fail",
        on_conflict_below: OnConflictBelow | None = None,
    ) -> StagedMerge:
        """Stage the opposite of what one commit changed, on the tip of a branch: what it set becomes what it was before.

        The history stays as it is. The new commit names the other one in the field ``reverts``. Parameters and errors as for
        `cherry_pick`; `ConflictError` if what the commit changed was changed again since.
        """
        arguments = _merge_arguments(message, metadata, author, parent, on_conflict, on_conflict_below)
        return self._staged(self._native.revert(branch, revision, arguments))

    # --- moving branches ---------------------------------------------------------------------------------------------

    def fast_forward(self, revision: str, *, branch: str = "main", dry_run: bool = False) -> bool:
        """Point a branch at a version that has its tip behind it, without a merge commit.

        Parameters
        ----------
        revision : str
            The version.
        branch : str, optional
            The branch.
        dry_run : bool, optional
            Only find out whether it would move.

        Returns
        -------
        bool
            Whether the branch moved, or would move; false if it has the version already.

        Raises
        ------
        ConflictError
            If the branch has commits that the version does not have behind it, so that a merge is needed.
        """
        return self._native.fast_forward(branch, revision, dry_run)

    def squash(
        self,
        onto: str,
        *,
        branch: str = "main",
        message: str,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
    ) -> str:
        """Make one commit of all those after `onto`, with exactly what the tip of the branch holds, and point the branch at it.

        The commits stay readable, by their ids and at the times at which the branch showed them, and `undo` brings them back.
        The new one names the last of them in the field ``squashed-from``. No chunk is read or written.

        Parameters
        ----------
        onto : str
            The commit to keep, before the tip on its line; for the last three commits ``"main~3"``.
        branch, message, metadata, author
            As for `Session.commit`.

        Returns
        -------
        str
            The id of the new commit.

        Raises
        ------
        InvalidError
            If `onto` is not before the tip of the branch on its line.
        ConflictError
            If the branch moves meanwhile. Then it is as it was.
        """
        return self._native.squash(branch, onto, _commit_arguments(message, metadata, author))

    def undo(self, branch: str = "main", *, dry_run: bool = False) -> BranchStep:
        """Take back what happened to a branch last: a commit, a merge, or a move, deletion included.

        Undone again, what happened before that. The branch shows again what it showed before, and the step is recorded as a move.
        Nothing is lost: `redo` brings it back, and what was undone stays readable by its id and at its times.

        Parameters
        ----------
        branch : str, optional
            The branch.
        dry_run : bool, optional
            Only tell what would be undone.

        Raises
        ------
        NotFoundError
            If nothing is left to undo.
        InvalidError
            For the creation of a branch.
        ConflictError
            If the branch changes meanwhile.
        """
        return self._step(branch, redo=False, dry_run=dry_run)

    def redo(self, branch: str = "main", *, dry_run: bool = False) -> BranchStep:
        """Take back the last `undo` of a branch that was not taken back.

        Raises
        ------
        NotFoundError
            If there is none, or something else happened to the branch since.
        ConflictError
            If the branch changes meanwhile.
        """
        return self._step(branch, redo=True, dry_run=dry_run)

    def _step(self, branch: str, *, redo: bool, dry_run: bool) -> BranchStep:
        op, event, commit, time, old, new = self._native.step(branch, redo, dry_run)
        return BranchStep(branch, op, event, commit, None if time is None else to_datetime(time), old, new)

    # --- looking for commits -----------------------------------------------------------------------------------------

    def common_ancestors(self, one: str, other: str) -> list[str]:
        """The ids of the latest commits that are ancestors of both versions, or one of the two, latest first.

        Empty if the two have nothing in common. There are several only where two branches were merged into each other.

        Raises
        ------
        NotFoundError
            If a commit that may decide was not imported together with its descendants.
        """
        return self._native.common_ancestors(one, other)

    def is_behind(self, revision: str, other: str) -> bool:
        """Whether a version is `other`, or an ancestor of it over any parents. Raises as `common_ancestors` does."""
        return self._native.is_behind(revision, other)

    def blame(self, path: str = "", revision: str = "main") -> Rows:
        """Find the commits of a line that last changed each array at or below a path, and each key there outside of arrays.

        Returns
        -------
        Rows
            ``name`` (a key, or the path of an array, which ends in ``/``); ``id``, ``time`` and ``message`` of the commit;
            ``known``, whether it made the change: otherwise it is the oldest commit that this repository has, and has the same.

        Raises
        ------
        NotFoundError
            If nothing lies there.

        Notes
        -----
        A merge is named for what it brought. Reads what neighbouring versions do not share, back to the last commit that is named.
        """
        return Rows(_BLAMED, self._native.blame(path.strip("/"), revision), ("time",))

    def blame_keys(self, path: str = "", revision: str = "main") -> RowStream:
        """Find the commits of a line that last changed each key below a path.

        Returns
        -------
        RowStream
            As of `blame`, for each key. Before the first row, every node below the path of all versions is read, once.
        """
        return RowStream(_BLAMED, self._native.blame_keys(path.strip("/"), revision), ("time",))

    def bisect(self, check: Callable[[Session], bool | None], good: str, bad: str = "main") -> Bisected:
        """Find the first version of a line that is bad, by trying the one in the middle again and again.

        Parameters
        ----------
        check : callable
            Called with a read-only session of a version. Returns whether the version is good, or ``None`` if that cannot be told.
            An exception that it raises ends the search. Is called about log2 of the number of versions between the two times.
        good, bad : str
            A good version, and a bad one after it on the same line.

        Returns
        -------
        Bisected
            With ``first_bad``.

        Raises
        ------
        InvalidError
            If `good` is not before `bad` on the line.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> for n in range(8):
        ...     with repo.transaction("main", message=str(n)) as store:
        ...         store.set_sync("n", firnline.buffer(str(n).encode()))
        >>> found = repo.bisect(lambda session: int(session.store.get_sync("n").to_bytes()) < 5, "main~7")
        >>> repo.lookup_snapshot(found.first_bad).message
        '5'
        """
        search = self._native.bisect(good, bad)
        tried: dict[str, bool | None] = {}
        while (version := search.next_version()) is not None:
            verdict = check(self.at(version))
            if inspect.isawaitable(verdict):
                if inspect.iscoroutine(verdict):
                    verdict.close()
                raise InvalidError("check is a coroutine function; give a function that returns whether the version is good")
            # Arrays of NumPy without dimensions are no bool, and mean one.
            tried[version] = None if verdict is None else bool(verdict)
            search.mark(version, tried[version])
        suspects = Rows(_LOG, search.suspects(), ("time",))
        return Bisected(suspects[0]["id"] if len(suspects) == 1 else None, suspects, tried)
