"""Repositories: opening them, their versions, branches and tags, and what keeps them healthy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from firnline._firnline import NativeRepository
from firnline.errors import InvalidError
from firnline.progress import ProgressArgument, reporting
from firnline.rows import Rows, to_datetime
from firnline.session import OnConflict, Session, SnapshotInfo, _commit_arguments
from firnline.store import FirnlineStore

__all__ = ["Repository"]

Place = str | os.PathLike[str]
Credentials = Literal["named", "anonymous", "machine"]
Allow = Mapping[str, str] | Iterable[str]
Time = datetime | str

_VALIDATOR = ("size", "modified", "etag", "version", "digest", "pinned_at")
_LOG = ("id", "time", "message")
_MOVES = ("seq", "time", "from", "to", "op")
_REFS = ("name", "snapshot_id", "time", "message", "author", "metadata", "damage")
_ENTRY = ("kind", "size", "content_id")
_NO_ENTRY = (None, None, None)


def _absolute(place: Place) -> str:
    """A place that means the same in a process with another working directory."""
    text = os.fspath(place)
    head = text.split("/", 1)[0]
    if not text or ":" in head:
        return text
    return os.path.abspath(text)


def _entries(allow: Allow | str | None) -> list[str]:
    """Allowed places as the engine reads them: ``URL`` or ``URL=words``."""
    if allow is None:
        return []
    if isinstance(allow, str):
        return [allow]
    if isinstance(allow, Mapping):
        return [f"{url}={words}" if words else url for url, words in allow.items()]
    return list(allow)


def _rebinds(rebind: Mapping[str, str | tuple[str, bool]] | None) -> list[tuple[str, str, bool]]:
    """Where containers were put elsewhere: name, template, whether bytes are taken that nothing proves."""
    rebinds = []
    for name, to in (rebind or {}).items():
        template, accept = (to, False) if isinstance(to, str) else to
        rebinds.append((name, template if "{" in template else template + "{}", accept))
    return rebinds


class Repository:
    """A repository: versions of a set of keys, and branches and tags that name some of them.

    Make one by `create`, `open` or `open_or_create`. Threads may share it. It can be pickled; the other process opens
    it again.

    All methods wait for their result, and give up the interpreter's lock meanwhile. In a coroutine call them by
    `asyncio.to_thread`. Ctrl-C ends a call.

    A *revision* is the name of a branch or of a tag, the id of a snapshot or the beginning of one, ``REV~N`` (N commits
    before) or ``REV@TIME`` (what a reader saw at that time), such as ``"main@2025-03-01"`` or ``"main@2 days ago"``.

    See Also
    --------
    firnline.Session, firnline.FirnlineStore
    """

    def __init__(self, native: NativeRepository, url: str, options: dict[str, Any], share_secrets: bool) -> None:
        self._native = native
        self._url = url
        self._options = options
        self._share_secrets = share_secrets

    # --- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, url: Place, *, hash: str = "sha2-256", **options: Any) -> Repository:
        """Make a repository with a branch ``main``, and open it.

        Parameters
        ----------
        url : str or path
            A directory; ``s3://BUCKET/PREFIX``, ``gs://…``, ``az://…``; or ``memory:`` for one in memory.
        hash : {"sha2-256", "blake3"}, optional
            The hash of every id, for ever.
        **options
            As for `open`.

        Raises
        ------
        ConflictError
            If there is a repository already.
        """
        place, arguments, share = _arguments(url, **options)
        return cls(NativeRepository.create(place, hash, arguments), place, arguments, share)

    @classmethod
    def open(
        cls,
        url: Place,
        *,
        allow: Allow | str | None = None,
        rebind: Mapping[str, str | tuple[str, bool]] | None = None,
        read_only: bool = False,
        cache_bytes: int | None = None,
        staged_bytes: int | None = None,
        upload_bytes: int | None = None,
        scratch: Place | None = None,
        credentials: Credentials | None = None,
        variables: Mapping[str, str] | None = None,
        share_secrets: bool = False,
        network_file_systems: bool = False,
    ) -> Repository:
        """Open a repository.

        Parameters
        ----------
        url : str or path
            As for `create`; also the ``http://`` or ``https://`` URL of one, to read.
        allow : mapping, iterable of str or str, optional
            The places from which external files may be read: ``{"s3://noaa/": "anonymous", "file:///data/": ""}``. The
            value says how: ``"anonymous"``, ``"env"`` (with the credentials of the environment), ``"private"`` (also at
            addresses that are not public), ``"unpinned"`` (also files of which nothing is recorded that would show a
            change), ``"at:URL"`` (at this server), joined by ``+``. Default: none. The environment variable ``FIRN_ALLOW``
            adds to them.
        rebind : mapping, optional
            Other places for containers, by name: a template, or a template and whether to take bytes that nothing proves
            to be the committed ones.
        read_only : bool, optional
            Refuse every call that would change the repository.
        cache_bytes : int, optional
            How many bytes of decoded nodes are kept in memory, roughly. Default: 64 MiB.
        staged_bytes : int, optional
            How many bytes of staged changes a session keeps in memory, roughly; what is more goes to a scratch file.
            Default: 64 MiB.
        upload_bytes : int, optional
            How many bytes a session holds for uploads at once. Default: 256 MiB.
        scratch : path, optional
            The directory of scratch files. Default: ``TMPDIR``, else ``/tmp``.
        credentials : {"named", "anonymous", "machine"}, optional
            Which credentials requests to an object store carry: those that variables name, none, or also those of the
            machine's metadata service. Default: what ``FIRN_CREDENTIALS`` says, else ``"named"``.
        variables : mapping, optional
            Settings and credentials of object stores, under the names of the environment variables of the vendors' tools
            (``AWS_ACCESS_KEY_ID``, …). Default: those of this process; then ``FIRN_ALLOW`` is read too.
        share_secrets : bool, optional
            Put `variables` into pickles. Default: pickles hold no secrets, and the other process reads its own environment.
        network_file_systems : bool, optional
            Write also to network and FUSE file systems, on which two writers may overwrite each other's commits.

        Raises
        ------
        NotFoundError
            If there is no repository.
        """
        place, arguments, share = _arguments(
            url,
            allow=allow,
            rebind=rebind,
            read_only=read_only,
            cache_bytes=cache_bytes,
            staged_bytes=staged_bytes,
            upload_bytes=upload_bytes,
            scratch=scratch,
            credentials=credentials,
            variables=variables,
            share_secrets=share_secrets,
            network_file_systems=network_file_systems,
        )
        return cls(NativeRepository.open(place, arguments), place, arguments, share)

    @classmethod
    def open_or_create(cls, url: Place, *, hash: str = "sha2-256", **options: Any) -> Repository:
        """Open a repository, or make one where there is none. Parameters as for `create` and `open`."""
        place, arguments, share = _arguments(url, **options)
        return cls(NativeRepository.open_or_create(place, hash, arguments), place, arguments, share)

    @staticmethod
    def exists(url: Place, **options: Any) -> bool:
        """Whether there is a repository. Options as for `open`.

        Raises
        ------
        FirnlineError
            If that cannot be found out, for example because the store does not answer.
        """
        place, arguments, _ = _arguments(url, **options)
        return NativeRepository.exists(place, arguments)

    @property
    def url(self) -> str:
        """Where the repository lies. A path is absolute."""
        return self._url

    @property
    def hash(self) -> str:
        """The hash of every id: ``"sha2-256"`` or ``"blake3"``."""
        return self._native.hash

    @property
    def read_only(self) -> bool:
        """Whether it was opened to read only."""
        return bool(self._options["read_only"])

    def __repr__(self) -> str:
        return f"<firnline.Repository {self._url!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Repository):
            return NotImplemented
        if self._url.startswith("memory:"):
            return self._native is other._native
        return self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __getstate__(self) -> dict[str, Any]:
        if self._url.startswith("memory:"):
            raise InvalidError("a repository in memory cannot be pickled: no other process can read it")
        options = self._options if self._share_secrets else {**self._options, "variables": None}
        return {"url": self._url, "options": options, "share_secrets": self._share_secrets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        native = NativeRepository.open(state["url"], state["options"])
        self.__init__(native, state["url"], state["options"], state["share_secrets"])  # type: ignore[misc]

    # --- sessions ----------------------------------------------------------------------------------------------------

    def readonly_session(
        self,
        branch: str | None = None,
        *,
        tag: str | None = None,
        snapshot_id: str | None = None,
        as_of: Time | None = None,
    ) -> Session:
        """Open one version to read. Give one of `branch`, `tag` and `snapshot_id`.

        Parameters
        ----------
        branch : str, optional
            The branch whose tip to read.
        tag : str, optional
            The tag to read.
        snapshot_id : str, optional
            The id of the snapshot to read.
        as_of : datetime.datetime or str, optional
            Read what a reader of the branch saw at this time, through resets and deletions. A date without a time means
            its first moment in UTC; a time needs an offset, such as ``"2025-03-01T12:00Z"``. Of a tag or a snapshot: the
            latest version on its line that is not later.

        Returns
        -------
        Session
            `Session.is_final` tells whether the same call will always open the same version.

        Raises
        ------
        NotFoundError
            If there is no such branch, tag or snapshot, or none at that time.
        """
        named = [("branch:", branch), ("tag:", tag), ("", snapshot_id)]
        given = [prefix + name for prefix, name in named if name is not None]
        if len(given) != 1:
            raise InvalidError("name one of branch, tag and snapshot_id")
        return self.at(given[0] if as_of is None else f"{given[0]}@{_time_text(as_of)}")

    def at(self, revision: str) -> Session:
        """Open the version that a revision means, to read.

        Parameters
        ----------
        revision : str
            Such as ``"main"``, ``"v1.0"``, ``"main~3"``, ``"main@2025-03-01"`` or the id of a snapshot.
        """
        return Session(self, self._native.read(revision))

    def writable_session(self, branch: str) -> Session:
        """Open a session in which changes are staged on top of the tip of a branch.

        Raises
        ------
        NotFoundError
            If there is no such branch.
        """
        return Session(self, self._native.write(branch))

    @contextmanager
    def transaction(
        self,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str] | None = None,
        author: str | None = None,
        rebase: bool = True,
        on_conflict: OnConflict = "fail",
        allow_empty: bool = False,
    ) -> Iterator[FirnlineStore]:
        """Write to a branch: what the block sets is committed at its end, and nothing if the block raises.

        Parameters
        ----------
        branch : str
            The branch.
        message, metadata, author, rebase, on_conflict, allow_empty
            As for `Session.commit`. What the commit would be refused for, whatever it holds, is refused before the block.

        Yields
        ------
        FirnlineStore
            The store of a writable session. Its `session` tells the id of the version after the block.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> with repo.transaction("main", message="January") as store:
        ...     store.set_sync("a/c/0", firnline.buffer(b"..."))
        >>> store.session.snapshot_id == repo.lookup_branch("main")
        True
        """
        session = self.writable_session(branch)
        arguments = _commit_arguments(message, metadata, author, rebase, on_conflict, allow_empty)
        session._native.check_commit(arguments)
        yield session.store
        session.commit(
            message,
            metadata=metadata,
            author=author,
            rebase=rebase,
            on_conflict=on_conflict,
            allow_empty=allow_empty,
        )

    # --- branches and tags -------------------------------------------------------------------------------------------

    def list_branches(self) -> list[str]:
        """The names of the branches, sorted. `branches` tells more."""
        return [row[0] for row in self._native.refs(False)]

    def list_tags(self) -> list[str]:
        """The names of the tags, sorted. `tags` tells more."""
        return [row[0] for row in self._native.refs(True)]

    def branches(self) -> Rows:
        """The branches: ``name``, ``snapshot_id``, ``time`` of that snapshot, ``damage`` (why one cannot be read)."""
        rows = [(name, tip, time, damage) for name, tip, time, *_, damage in self._native.refs(False)]
        return Rows(("name", "snapshot_id", "time", "damage"), rows, ("time",))

    def tags(self) -> Rows:
        """The tags: as `branches`, with the ``message``, ``author`` and ``metadata`` of each."""
        return Rows(_REFS, self._native.refs(True), ("time",))

    def lookup_branch(self, name: str) -> str:
        """The id of the snapshot that a branch points at.

        Raises
        ------
        NotFoundError
            If there is no such branch.
        CorruptError
            If its record cannot be read.
        """
        return self._tip(name, tag=False)

    def lookup_tag(self, name: str) -> str:
        """The id of the snapshot that a tag points at. Raises as `lookup_branch` does."""
        return self._tip(name, tag=True)

    def _tip(self, name: str, *, tag: bool) -> str:
        tip = self._native.lookup(name, tag)[1]
        if tip is not None:
            return tip
        # The record of a damaged ref names no snapshot. To read it raises with the reason.
        return self._native.read(f"{'tag' if tag else 'branch'}:{name}").snapshot_id

    def create_branch(self, name: str, revision: str = "main") -> None:
        """Make a branch at a version.

        Raises
        ------
        ConflictError
            If it exists.
        """
        self._native.create_branch(name, revision)

    def create_tag(
        self,
        name: str,
        revision: str = "main",
        *,
        message: str = "",
        author: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Make a tag at a version.

        Raises
        ------
        ConflictError
            If it exists.
        """
        self._native.create_tag(name, revision, message, author, dict(metadata or {}))

    def reset_branch(self, name: str, revision: str) -> None:
        """Point a branch at another version. What it showed until now stays readable at its times.

        To undo it, reset to the snapshot that `moves` names as ``from``.
        """
        self._native.reset_branch(name, revision)

    def delete_branch(self, name: str) -> None:
        """Delete a branch. What it showed until now stays readable at its times."""
        self._native.delete_ref(name, False)

    def delete_tag(self, name: str) -> None:
        """Delete a tag."""
        self._native.delete_ref(name, True)

    def moves(self, branch: str | None = None, *, tag: str | None = None) -> Rows:
        """Every change of a branch or a tag that is not a plain commit, oldest first.

        Returns
        -------
        Rows
            ``seq``, ``time``, ``from`` and ``to`` (snapshots), ``op``: ``create``, ``delete``, ``reset``, ``import`` or
            ``repair``. Where earlier moves are lost or damaged, only the later ones are listed, with a warning.
        """
        if (branch is None) == (tag is None):
            raise InvalidError("name either a branch or a tag")
        rows, damage = self._native.moves(branch if branch is not None else str(tag), tag is not None)
        if damage is not None:
            import warnings

            warnings.warn(damage, RuntimeWarning, stacklevel=2)
        return Rows(_MOVES, rows, ("time",))

    def readable_snapshots(self, branch: str | None = None, *, tag: str | None = None, limit: int = 100) -> Rows:
        """The latest snapshots of a branch or a tag that can be read, also where the ref is damaged.

        Returns
        -------
        Rows
            ``id``, ``time``, ``message``, ``found_in``.
        """
        if (branch is None) == (tag is None):
            raise InvalidError("name either a branch or a tag")
        rows = self._native.readable_snapshots(branch if branch is not None else str(tag), tag is not None, limit)
        return Rows((*_LOG, "found_in"), rows, ("time",))

    # --- history -----------------------------------------------------------------------------------------------------

    def log(self, revision: str = "main", *, limit: int | None = None) -> Rows:
        """The commits of a version's line, latest first, from its history alone.

        Parameters
        ----------
        revision : str, optional
            The version to begin with.
        limit : int, optional
            How many commits at most. Default: all.

        Returns
        -------
        Rows
            ``id``, ``time``, ``message`` (its first line, at most 72 bytes).

        Raises
        ------
        NotFoundError
            If the line reaches back beyond what this repository has.
        """
        return Rows(_LOG, self._native.log(revision, limit), ("time",))

    def ancestry(
        self,
        branch: str | None = None,
        *,
        tag: str | None = None,
        snapshot_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[SnapshotInfo]:
        """The snapshots of a line, latest first, with everything that they say of themselves.

        Reads each snapshot as it is asked for. `log` is faster and tells the first line of each message.
        """
        given = [name for name in (branch, tag, snapshot_id) if name is not None]
        if len(given) != 1:
            raise InvalidError("name one of branch, tag and snapshot_id")
        prefix = "branch:" if branch is not None else "tag:" if tag is not None else ""
        for snapshot, *_ in self._native.log(prefix + given[0], limit):
            yield self.lookup_snapshot(snapshot)

    def lookup_snapshot(self, revision: str) -> SnapshotInfo:
        """What a snapshot says of itself: time, message, author, metadata, parents."""
        return SnapshotInfo._from_native(self._native.commit(revision))

    def as_of(self, branch: str, time: Time) -> tuple[str, bool]:
        """The snapshot that a branch showed at a time, and whether that answer is final."""
        return self._native.as_of(branch, self._native.parse_time(_time_text(time)))

    def diff(self, old: str, new: str, *, prefix: str = "") -> Rows:
        """What differs between two versions, by reading only what they do not share.

        Parameters
        ----------
        old, new : str
            The versions.
        prefix : str, optional
            Compare only the keys below this path.

        Returns
        -------
        Rows
            ``what`` (``key``, ``file`` or ``container``), ``name``, ``change`` (``added``, ``removed`` or ``changed``); of
            keys also ``old_kind``, ``old_size``, ``old_content_id`` and the same for ``new``. A kind is ``inline``,
            ``chunk`` or ``virtual``; only chunks have a content id.
        """
        columns = ("what", "name", "change", *(f"{side}_{name}" for side in ("old", "new") for name in _ENTRY))
        rows = self._native.diff(old, new, prefix)
        return Rows(columns, [(what, name, how, *(a or _NO_ENTRY), *(b or _NO_ENTRY)) for what, name, how, a, b in rows])

    def versions_of(self, key: str, revision: str = "main") -> Rows:
        """The commits that changed a key, latest first.

        Returns
        -------
        Rows
            ``id``, ``time``, ``message``, ``event`` (``set``, ``repinned``, ``deleted`` or ``present``), ``kind``, ``size``,
            ``content_id``, ``url`` of a virtual value.
        """
        rows = self._native.versions_of(key, revision)
        columns = (*_LOG, "event", *_ENTRY, "url")
        records = [(*head, event, *(entry or _NO_ENTRY), url) for *head, event, entry, url in rows]
        return Rows(columns, records, ("time",))

    def content_id(self, revision: str, path: str = "") -> str:
        """The content id of what a path or a key holds.

        The same array has the same content id under any name, in any branch and in any repository of the same hash. The
        content id of a key is the one that an IPFS node gives the bytes of its value.

        Raises
        ------
        NotFoundError
            If nothing lies there.
        UnsupportedError
            For a key whose value is virtual: its bytes have never been hashed.
        """
        return self._native.content_id(revision, path.lstrip("/"))

    def totals(self, revision: str = "main") -> dict[str, int]:
        """How much a version holds, from the roots of its maps alone: ``keys``, ``bytes``, ``files``, ``ancestors``."""
        return dict(zip(("keys", "bytes", "files", "ancestors"), self._native.totals(revision), strict=True))

    # --- external files ----------------------------------------------------------------------------------------------

    def dependencies(self, revision: str = "main") -> Rows:
        """Every external file that a version needs. The cost depends on the number of files, not of references.

        Returns
        -------
        Rows
            ``url``, ``container``, what is recorded of the file (``size``, ``modified``, ``etag``, ``version``,
            ``digest``, ``pinned_at``), and how many keys (``refs``) and ``bytes`` depend on it.
        """
        rows = [(url, name, *known, refs, size) for url, name, known, refs, size in self._native.dependencies(revision)]
        return Rows(("url", "container", *_VALIDATOR, "refs", "bytes"), rows, ("modified", "pinned_at"))

    def check_dependencies(self, revision: str = "main") -> Rows:
        """Ask the sources of all external files whether they are still those that were recorded.

        Returns
        -------
        Rows
            ``url``, ``state`` (``unchanged``, ``changed``, ``missing``, ``corrupt``, ``denied``, ``unreachable`` or
            ``unverifiable``), ``problem``.
        """
        return Rows(("url", "state", "problem"), self._native.check_dependencies(revision))

    def origin(self, key: str, revision: str = "main") -> dict[str, Any] | None:
        """Where the value of a key comes from, without reading it.

        Returns
        -------
        dict or None
            ``kind``, ``size``, ``content_id``; of a virtual value also ``url``, ``offset``, ``container`` and what is
            recorded of the file. ``None`` when there is no such key.
        """
        found = self._native.origin(revision, key)
        if found is None:
            return None
        entry, source = found
        told: dict[str, Any] = dict(zip(_ENTRY, entry, strict=True))
        if source is not None:
            url, offset, container, known = source
            told |= {"url": url, "offset": offset, "container": container, **dict(zip(_VALIDATOR, known, strict=True))}
            for name in ("modified", "pinned_at"):
                told[name] = None if told[name] is None else to_datetime(told[name])
        return told

    # --- health ------------------------------------------------------------------------------------------------------

    def verify(self, revision: str | None = None, *, progress: ProgressArgument = None) -> dict[str, Any]:
        """Read and hash again everything that a version reaches, or, without a revision, everything that refs keep.

        Returns
        -------
        dict
            ``ok``; ``findings``, Rows of ``kind``, ``object``, ``message``, ``keys``, ``versions``, at most 10,000;
            ``found``, how many there were; and how many ``refs``, ``snapshots``, ``nodes``, ``chunks`` and ``bytes`` were
            read. ``shallow``: versions that were imported without what came before them, which is no damage.
        """
        with reporting(progress, "verify") as report:
            told = self._native.verify(revision, report)
        told["findings"] = Rows(("kind", "object", "message", "keys", "versions"), told["findings"])
        return {"ok": told["found"] == 0, **told}

    def stats(self, revision: str = "main") -> dict[str, Any]:
        """What a version is made of. Reads all its nodes, and no chunk.

        Returns
        -------
        dict
            ``kinds``: ``keys`` and ``bytes`` of ``inline``, ``chunk`` and ``virtual`` values. ``arrays``: Rows of
            ``path``, ``keys``, ``bytes``. ``other``: the same for keys outside of arrays. ``manifest``, ``files``,
            ``history``: ``entries``, ``nodes``, ``depth``, ``stored`` bytes of each map. ``containers``: their number.
        """
        told = self._native.stats(revision)
        counts, maps = ("keys", "bytes"), ("entries", "nodes", "depth", "stored")
        told["kinds"] = {kind: dict(zip(counts, pair, strict=True)) for kind, pair in told["kinds"].items()}
        told["other"] = dict(zip(counts, told["other"], strict=True))
        told["arrays"] = Rows(("path", *counts), told["arrays"])
        for name in ("manifest", "files", "history"):
            told[name] = dict(zip(maps, told[name], strict=True))
        return told

    def settle(self, branch: str, snapshot_id: str) -> bool:
        """Find out whether a commit whose outcome was not known happened, and make the answer definite.

        Returns
        -------
        bool
            Whether the commit is in the history of the branch. If not, it can never happen any more.
        """
        return self._native.settle(branch, snapshot_id)

    # --- CAR files and directories -----------------------------------------------------------------------------------

    def export_car(self, revision: str, path: Place, *, progress: ProgressArgument = None) -> dict[str, Any]:
        """Write a version, with all its chunks, as a CAR file: the same bytes on every machine.

        Parameters
        ----------
        revision : str
            The version.
        path : path
            The file to make, which must not exist. It is removed if the call fails.
        progress : bool or callable, optional
            See `import_car`.

        Returns
        -------
        dict
            ``root`` (the id of the version), ``blocks``, ``bytes``.
        """
        with reporting(progress, "export") as report:
            written = self._native.export_car(revision, os.fspath(path), report)
        return dict(zip(("root", "blocks", "bytes"), written, strict=True))

    def import_car(
        self,
        path: Place,
        *,
        branch: str | None = None,
        tag: str | None = None,
        max_bytes: int | None = None,
        progress: ProgressArgument = None,
    ) -> dict[str, Any]:
        """Verify the version in a CAR file, and point a branch or a tag at it.

        Parameters
        ----------
        path : path
            The file.
        branch, tag : str, optional
            What to point at the version: a branch, which is made if it does not exist, or a tag, which must not exist.
        max_bytes : int, optional
            How many bytes the chunks may have together. Default: 16 times the length of the file, at least 256 MiB.
        progress : bool or callable, optional
            ``True`` shows a bar, if tqdm is installed. A callable is called now and then with the items that are done, all
            items (0: not known), and the same of bytes; an exception that it raises ends the call.

        Returns
        -------
        dict
            ``id``, ``blocks``, ``unlinked`` (blocks that are no part of the version), ``bytes``, ``is_shallow`` (whether
            the commits before it are not in this repository).

        Raises
        ------
        CorruptError
            If anything in the file is damaged or missing. Then no branch or tag has changed.
        """
        with reporting(progress, "import") as report:
            done = self._native.import_car(os.fspath(path), branch, tag, max_bytes, report)
        return dict(zip(("id", "blocks", "unlinked", "bytes", "is_shallow"), done, strict=True))

    def checkout(
        self, revision: str, directory: Place, *, prefix: str = "", progress: ProgressArgument = None
    ) -> dict[str, int]:
        """Write what a version holds into an absent or empty directory, one file for each key: completely or not at all.

        Returns
        -------
        dict
            ``files`` and ``bytes``.
        """
        with reporting(progress, "checkout") as report:
            files, size = self._native.checkout(revision, os.fspath(directory), prefix, report)
        return {"files": files, "bytes": size}


def _arguments(
    url: Place,
    *,
    allow: Allow | str | None = None,
    rebind: Mapping[str, str | tuple[str, bool]] | None = None,
    read_only: bool = False,
    cache_bytes: int | None = None,
    staged_bytes: int | None = None,
    upload_bytes: int | None = None,
    scratch: Place | None = None,
    credentials: Credentials | None = None,
    variables: Mapping[str, str] | None = None,
    share_secrets: bool = False,
    network_file_systems: bool = False,
) -> tuple[str, dict[str, Any], bool]:
    """The place, and the options as the native calls take them."""
    arguments = {
        "allow": _entries(allow),
        "rebind": _rebinds(rebind),
        "read_only": read_only,
        "cache_bytes": cache_bytes,
        "staged_bytes": staged_bytes,
        "upload_bytes": upload_bytes,
        "scratch": None if scratch is None else os.path.abspath(scratch),
        "credentials": credentials,
        "variables": None if variables is None else dict(variables),
        "network_file_systems": network_file_systems,
    }
    return _absolute(url), arguments, share_secrets


def _time_text(time: Time) -> str:
    """A time as the engine reads it."""
    if isinstance(time, str):
        return time
    if time.tzinfo is None:
        raise InvalidError(f"time {time} has no time zone; use datetime.now(timezone.utc) or a text that ends in Z")
    return time.astimezone(UTC).isoformat(timespec="microseconds")
