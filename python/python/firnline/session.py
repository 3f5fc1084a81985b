"""Sessions: one version to read, or changes on top of the tip of a branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from firnline.containers import SessionContainerMethods
from firnline.errors import Conflict, InvalidError
from firnline.external import SessionExternalMethods
from firnline.kerchunk import SessionKerchunkMethods
from firnline.snapshot import SnapshotInfo
from firnline.store import FirnlineStore

if TYPE_CHECKING:
    from firnline._firnline import NativeSession
    from firnline.repository import Repository

__all__ = ["ForkSession", "OnConflict", "OnConflictBelow", "Session"]

OnConflict = Literal["fail", "ours", "theirs"]
OnConflictBelow = Mapping[str, OnConflict]


class Session(SessionExternalMethods, SessionContainerMethods, SessionKerchunkMethods):
    """One version of a repository to read, or changes that are staged on top of the tip of a branch.

    Made by `Repository.readonly_session`, `Repository.at` and `Repository.writable_session`.

    Any number of threads and tasks may use a session at once. Reads of a writable session see its own changes and the
    version on which it was opened. Nobody else sees the changes before `commit`. After a successful commit the session is
    read-only and shows the version that it made.

    A read-only session can be pickled: the other process opens the same version. A writable one cannot.
    """

    _native: NativeSession
    _settled: list[Conflict]
    _committed: bool | None

    def __init__(self, repository: Repository, native: NativeSession) -> None:
        self._repository = repository
        self._native = native
        self._settled = []
        self._committed = None

    @property
    def _place(self) -> str:
        return self._repository.url

    @property
    def repository(self) -> Repository:
        """The repository."""
        return self._repository

    @property
    def store(self) -> FirnlineStore:
        """A Zarr store of the session's keys."""
        return FirnlineStore(self)

    @property
    def read_only(self) -> bool:
        """Whether nothing can be staged: the session was opened to read, or was committed."""
        return self._native.is_read_only

    @property
    def branch(self) -> str | None:
        """The branch that a commit advances; ``None`` for a session that was opened to read."""
        return self._native.branch

    @property
    def snapshot_id(self) -> str:
        """The id of the version that is read, or on which changes are staged."""
        return self._native.snapshot_id

    @property
    def is_final(self) -> bool | None:
        """Whether a session that was opened at a time will always show the same version.

        ``None`` when no time was asked for. ``False`` when the time is so near to now that a later commit may still be
        stamped before it.
        """
        return self._native.is_final

    @property
    def info(self) -> SnapshotInfo:
        """What the version says of itself that is read, or on which changes are staged."""
        return SnapshotInfo._from_native(self._native.commit_info())

    @property
    def containers(self) -> list[dict[str, Any]]:
        """The containers of that version: ``name``, ``template``, ``defaults``, ``options``."""
        return self._native.containers()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        if not (self.read_only and other.read_only):
            return self._native is other._native
        return (self._place, self.snapshot_id) == (other._place, other.snapshot_id)

    def __hash__(self) -> int:
        return hash(self._place)

    def __repr__(self) -> str:
        what = "read-only" if self.read_only else f"writable, {self.branch}"
        return f"<firnline.Session {self._place!r} ({what}) at {self.snapshot_id}>"

    def __getstate__(self) -> dict[str, Any]:
        if not self.read_only:
            raise InvalidError(
                "a writable session cannot be pickled, because each copy would commit its own changes; "
                "use session.fork() to write from several processes"
            )
        if self._place.startswith("memory:"):
            raise InvalidError("a session of a repository in memory cannot be pickled: no other process can read it")
        return {"repository": self._repository, "snapshot": self.snapshot_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        repository: Repository = state["repository"]
        self.__init__(repository, repository._native.read(state["snapshot"]))  # type: ignore[misc]

    # --- staging -----------------------------------------------------------------------------------------------------

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether a commit would have something to write."""
        return not self.read_only and self._native.has_changes()

    def changes(self) -> dict[str, int]:
        """Count what a commit would do to the keys of the version on which the session was opened.

        Returns
        -------
        dict
            ``set`` (values stored in the repository), ``pointed`` (references into external files), ``deleted`` and
            ``unchanged`` (set to what they hold already). Costs one lookup for each staged key.
        """
        return dict(zip(("set", "pointed", "deleted", "unchanged"), self._native.changes(), strict=True))

    def changes_nothing(self) -> bool:
        """Whether a commit of what is staged would find everything there already, and so make no version.

        Costs what `changes` costs, and one lookup for each external file. Of a merge that is staged: whether it brings nothing.
        """
        return self._native.changes_nothing()

    def discard_changes(self) -> None:
        """Forget everything that is staged, and base the session on the tip that its branch has now."""
        self._native.discard()

    def flush(self) -> None:
        """Wait until the store has acknowledged every chunk staged so far. A commit does that by itself."""
        self._native.flush()

    def move(self, source: str, to: str, *, replace: bool = False) -> dict[str, int]:
        """Stage a move of a key, or of everything below a path. No chunk is read or written.

        Parameters
        ----------
        source : str
            A key if there is one, else a path.
        to : str
            The new name.
        replace : bool, optional
            Delete what lies at the destination. Default: that is an `InvalidError`.

        Returns
        -------
        dict
            ``keys`` and ``bytes`` that were moved.
        """
        keys, size = self._native.rename(source.strip("/"), to.strip("/"), replace)
        return {"keys": keys, "bytes": size}

    def copy(self, source: str, to: str, *, revision: str | None = None, replace: bool = False) -> dict[str, int]:
        """Stage a copy of a key, or of everything below a path, from any version. No chunk is read or written.

        Parameters
        ----------
        source : str
            A key if there is one, else a path.
        to : str
            The name of the copy.
        revision : str, optional
            The version to copy from. Default: the version on which the session was opened, without its changes.
        replace : bool, optional
            Delete what lies at the destination. Default: that is an `InvalidError`.

        Returns
        -------
        dict
            ``keys`` and ``bytes`` that were copied.
        """
        keys, size = self._native.copy(revision or self.snapshot_id, source.strip("/"), to.strip("/"), replace)
        return {"keys": keys, "bytes": size}

    # --- several processes -------------------------------------------------------------------------------------------

    def fork(self) -> ForkSession:
        """Make a session for other processes, which sees what is staged here now and gives its changes back.

        Waits until everything that was staged is in the store. Any number of processes can use copies of one fork. A key
        that two of them set to different values is a conflict when they are merged.

        Examples
        --------
        With `concurrent.futures`, and a function ``write`` that sets something in ``fork.store`` and returns ``fork``::

            session = repo.writable_session("main")
            fork = session.fork()
            with ProcessPoolExecutor() as pool:
                session.merge(*pool.map(write, [fork] * 8, range(8)))
            session.commit("by 8 processes")
        """
        return ForkSession(self._repository, self._native.fork())

    def merge(self, *forks: ForkSession) -> None:
        """Stage what forks of this session have changed.

        Parameters
        ----------
        *forks : ForkSession
            Forks of this session, mostly as other processes returned them. Each is merged as a whole or not at all. Merging
            the same changes twice stages them once, as long as nothing else was staged or merged in their places in between.

        Raises
        ------
        ConflictError
            If a fork changed something that this session, or a fork that was merged before, changed too.
        InvalidError
            If a fork was taken from another session, or this one was committed meanwhile.
        """
        for fork in forks:
            for changes in fork._changes():
                self._native.merge(changes)

    # --- committing --------------------------------------------------------------------------------------------------

    def commit(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        rebase: bool = True,
        on_conflict: OnConflict = "fail",
        on_conflict_below: OnConflictBelow | None = None,
        allow_empty: bool = False,
    ) -> str:
        """Publish what is staged as one new version of the branch.

        Parameters
        ----------
        message : str
            What was done, for people. The log shows the first 72 bytes of the first line.
        metadata : mapping, optional
            Further fields by name.
        author : str, optional
            Who did it.
        rebase : bool, optional
            If the branch has moved, apply the changes to its new tip. If false, the commit then fails with
            `ConflictError`, also when both sides changed different things.
        on_conflict : {"fail", "ours", "theirs"}, optional
            What happens when another writer changed the same keys, or how the chunks of an array are read: the commit
            fails, the staged changes win, or they are dropped where they conflict. `settled_conflicts` then tells which.
        on_conflict_below : mapping, optional
            The same for what lies below some paths, and at the keys of their names, by path; the longest path decides. What is
            settled as a whole, an array or a deleted group, is settled by the policy of its own path. Default: `on_conflict`
            holds everywhere.
        allow_empty : bool, optional
            Make a version also if nothing changed. Default: none is made, and the id of the tip is returned.

        Returns
        -------
        str
            The id of the version. The session is read-only afterwards and shows it.

        Raises
        ------
        ConflictError
            With the conflicts. What is staged is intact, and the commit can be tried again, as after every other error.
        OutcomeUnknownError
            If the store cannot be asked whether the commit happened; its method `settle` finds out later.

        Notes
        -----
        Ctrl-C ends the call and the session, and the `KeyboardInterrupt` has a note that tells whether the commit may have
        happened.
        """
        arguments = _commit_arguments(message, metadata, author, rebase, on_conflict, allow_empty, on_conflict_below)
        return self._publish(arguments)

    def _publish(self, arguments: dict[str, Any]) -> str:
        """Commit as `arguments` say."""
        snapshot, self._committed, settled = self._native.commit(arguments)
        self._settled = [Conflict(*conflict) for conflict in settled]
        return snapshot

    @property
    def settled_conflicts(self) -> list[Conflict]:
        """The conflicts that `commit` resolved as `on_conflict` said, at most the first 10,000.

        Also the files that were to be locked or pinned anew, and of which nothing is recorded because another writer dropped
        the last reference.
        """
        return self._settled

    @property
    def committed_new_snapshot(self) -> bool | None:
        """Whether `commit` made a version; ``False`` when nothing had changed, ``None`` before a commit."""
        return self._committed


class ForkSession(Session):
    """A part of a writable session, for other processes.

    Made by `Session.fork`. Its store is writable. A fork can be pickled in both directions: a copy that another process gets
    begins with what the session had staged, and a copy that comes back carries what was set there. Give it to
    `Session.merge`. A fork cannot be committed by itself.

    Send the fork, and take its `store` in the other process. A store that is pickled, also as a part of a Zarr array, is
    read-only there: nothing would merge what was set through it.

    A fork that came back with changes can be merged, and not written to. To go on, take another fork of the session after
    the merge.
    """

    def __init__(self, repository: Repository, document: bytes, changes: list[bytes] | None = None) -> None:
        self._repository = repository
        self._document = document
        self._carried = changes or []
        # Empty until the fork is used here, then its native session under "native".
        self._in_use: dict[str, NativeSession] = {}
        self._settled = []
        self._committed = None

    @property
    def _native(self) -> NativeSession:  # type: ignore[override]
        if self._carried:
            raise InvalidError("this fork has come back from another process; merge it into its session, and take another fork")
        in_use = self._in_use
        if (native := in_use.get("native")) is not None:
            return native
        # Threads that open it at once all get the session that was put here first. A lock would stay locked in a process that
        # is forked while another thread holds it.
        return in_use.setdefault("native", self._repository._native.resume_fork(self._document))

    @property
    def _opened(self) -> NativeSession | None:
        """The native session, if the fork was used here."""
        return self._in_use.get("native")

    @property
    def has_uncommitted_changes(self) -> bool:
        """Whether something was set through this copy of the fork, or through the copy that came back."""
        return bool(self._carried) or ((opened := self._opened) is not None and opened.has_own_changes())

    def _changes(self) -> list[bytes]:
        """What was set through this copy of the fork, or through the copy that came back."""
        if (opened := self._opened) is not None and opened.has_own_changes():
            return [opened.finish()]
        return self._carried

    def commit(self, message: str, **options: Any) -> str:
        """Raise an error: a fork is merged into its session, which is then committed."""
        raise InvalidError("a fork cannot be committed; give it to the method merge of the session that it was taken from")

    def discard_changes(self) -> None:
        """Forget what was set through this copy of the fork. Its stores go on with what the session had staged."""
        self._in_use, self._carried = {}, []

    def fork(self) -> ForkSession:
        """Make a fork of this fork, which is merged into this one."""
        return ForkSession(self._repository, self._native.fork())

    @property
    def read_only(self) -> bool:
        """Always false."""
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ForkSession):
            # Not left to the other session, which would open the fork.
            return False if isinstance(other, Session) else NotImplemented
        return self is other or (self._place, self._document) == (other._place, other._document)

    def __hash__(self) -> int:
        return hash((self._place, self._document))

    def __repr__(self) -> str:
        return f"<firnline.ForkSession {self._place!r}>"

    def __getstate__(self) -> dict[str, Any]:
        return {"repository": self._repository, "document": self._document, "changes": self._changes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["repository"], state["document"], state["changes"])  # type: ignore[misc]


def _policies(below: OnConflictBelow | None) -> list[tuple[str, str]]:
    """Policies by path as the native call takes them."""
    return [(path.strip("/"), policy) for path, policy in (below or {}).items()]


def _commit_arguments(
    message: str,
    metadata: Mapping[str, str] | None,
    author: str | None,
    rebase: bool = True,
    on_conflict: str = "fail",
    allow_empty: bool = False,
    on_conflict_below: OnConflictBelow | None = None,
) -> dict[str, Any]:
    """The arguments of a commit as the native call takes them."""
    return {
        "message": message,
        "metadata": dict(metadata or {}),
        "author": author,
        "rebase": rebase,
        "on_conflict": on_conflict,
        "on_conflict_below": _policies(on_conflict_below),
        "allow_empty": allow_empty,
    }
