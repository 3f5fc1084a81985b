"""Brings what other tools wrote into a repository: any Zarr store, and Icechunk repositories with their history.

The functions here are methods of `firnline.Repository`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import zarr.storage
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from firnline._identities import Identities, listed
from firnline._tasks import each
from firnline.errors import NotFoundError, UnsupportedError
from firnline.progress import ProgressArgument, Report, reporting

if TYPE_CHECKING:
    from os import PathLike

    from firnline import Repository

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


@dataclass
class Imported:
    """What an import did.

    Attributes
    ----------
    snapshot_id
        The snapshot that holds everything that was imported.
    read, read_bytes
        Values that were read from the source.
    skipped
        Values that were not read, because the cache tells that they are stored already.
    """

    snapshot_id: str
    read: int = 0
    read_bytes: int = 0
    skipped: int = 0


def import_zarr(
    self: Repository,
    source: Store | str | PathLike[str],
    *,
    branch: str = "main",
    prefix: str = "",
    message: str | None = None,
    metadata: Mapping[str, str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    concurrency: int = 16,
    commit_every: int | None = None,
    cache: str | PathLike[str] | None = None,
    progress: ProgressArgument = None,
) -> Imported:
    """Copy every value of a Zarr store into a branch and commit it.

    Keys and bytes stay as they are, so formats 2 and 3, every codec and every chunk key are kept. Keys that the source does
    not have are left alone. An import of what is stored already makes no commit.

    Parameters
    ----------
    source
        A `zarr` store object, a directory, or a URL that fsspec understands. A consolidated document is copied like any
        other; Firnline does not need it.
    branch
        The branch to commit to. It exists already.
    prefix
        Path below which the keys are stored. Default: the root.
    message, metadata
        Of the commit. Default message: ``"import of SOURCE"``.
    storage_options
        Options for fsspec, if `source` is a URL.
    concurrency
        How many values are read at a time. So many values are in memory at most, beside what the session holds for uploads.
    commit_every
        Commit whenever so many bytes were read, and not at the end alone. Documents (``zarr.json``, …) are stored last, but
        readers of the branch do see unfinished imports: use a branch of its own.
    cache
        A file (SQLite) that remembers what the source told about each value when it was imported. A value is not read
        again if the source tells the same size and ETag, or the same size and modification date, and if the branch still
        holds what was stored then. Only directories, `zarr.storage.ObjectStore` and `zarr.storage.FsspecStore` tell
        enough; values of other stores are always read. A date is not trusted if it was less than two seconds old when the
        source was listed.
    progress
        Called after each value with the number of values done, 0, the bytes read, and 0, because neither total is known;
        or True to draw a bar with tqdm.

    Returns
    -------
    Imported
        Counts, and the id of the snapshot.

    Raises
    ------
    ValueError
        If `source` holds no key, or `concurrency` is below 1.
    firnline.InvalidError
        If a key of the source cannot be a key of a repository.

    Notes
    -----
    An interrupted import leaves no trace on the branch, except the commits of `commit_every`. To go on where it
    stopped, give `commit_every` and `cache`: what is committed and in the cache is not read again.

    Examples
    --------
    >>> repo.import_zarr("/data/air.zarr", prefix="air")  # doctest: +SKIP
    >>> repo.import_zarr("s3://bucket/air.zarr", storage_options={"anon": True}, cache="air.cache")  # doctest: +SKIP
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency}")
    store = _opened(source, storage_options)
    identities = Identities(cache, f"{store} -> {prefix}") if cache is not None else None
    try:
        plan = _Plan(self, store, branch, _directory(prefix), message or f"import of {store}", metadata, commit_every)
        with reporting(progress, "import") as report:
            return sync(_import_zarr(plan, identities, concurrency, report))
    finally:
        if identities is not None:
            identities.close()


def _opened(source: Store | str | PathLike[str], storage_options: Mapping[str, Any] | None) -> Store:
    if isinstance(source, Store):
        return source
    place = str(source)
    if "://" in place or "::" in place:
        return zarr.storage.FsspecStore.from_url(place, storage_options=dict(storage_options or {}), read_only=True)
    return zarr.storage.LocalStore(place, read_only=True)


def _directory(prefix: str) -> str:
    prefix = prefix.strip("/")
    return f"{prefix}/" if prefix else ""


class _Plan:
    """Where values go, and the session that stages them at the moment."""

    def __init__(
        self,
        repository: Repository,
        source: Store,
        branch: str,
        prefix: str,
        message: str,
        metadata: Mapping[str, str] | None,
        commit_every: int | None,
    ) -> None:
        self.repository, self.source, self.branch, self.prefix = repository, source, branch, prefix
        self.message, self.metadata, self.commit_every = message, dict(metadata or {}), commit_every
        self.session = repository.writable_session(branch)
        self.base = self.session.snapshot_id
        self.staged_bytes = 0
        self.staged: list[tuple[str, Any]] = []

    def commit(self, identities: Identities | None) -> str:
        """Commit what is staged, remember it in the cache, and begin anew."""
        snapshot = self.session.commit(self.message, metadata=self.metadata or None, rebase=True)
        if identities is not None:
            found = ((key, identity, self.repository.content_id(snapshot, self.prefix + key)) for key, identity in self.staged)
            identities.remember(found)
        self.session = self.repository.writable_session(self.branch)
        self.base = self.session.snapshot_id
        self.staged_bytes, self.staged = 0, []
        return snapshot

    def holds(self, key: str, content: str) -> bool:
        """Whether the branch holds the value of that content id."""
        try:
            return self.repository.content_id(self.base, self.prefix + key) == content
        except (NotFoundError, UnsupportedError):
            # Gone, or a reference to a file by now.
            return False


async def _import_zarr(plan: _Plan, identities: Identities | None, concurrency: int, report: Report | None) -> Imported:
    prototype, done, keys = default_buffer_prototype(), Imported(""), 0

    async def copy(one: tuple[str, Any]) -> None:
        nonlocal done
        key, identity = one
        known = identities.recall(key, identity) if identities is not None else None
        if known is not None and plan.holds(key, known):
            done.skipped += 1
        else:
            value = await plan.source.get(key, prototype)
            if value is None:
                raise FileNotFoundError(f"{key} was listed by {plan.source} and is not there")
            await plan.session.store.set(plan.prefix + key, value)
            done.read += 1
            done.read_bytes += len(value)
            plan.staged_bytes += len(value)
            if identity is not None:
                plan.staged.append((key, identity))
        if report is not None:
            report(done.read + done.skipped, 0, done.read_bytes, 0)

    documents: list[tuple[str, Any]] = []

    async def chunks() -> AsyncIterator[tuple[str, Any]]:
        nonlocal keys
        async for one in listed(plan.source):
            keys += 1
            if one[0].rsplit("/", 1)[-1] in DOCUMENTS:
                documents.append(one)
            else:
                yield one

    async for batch in _batches(chunks(), plan, concurrency, copy):
        if batch:
            await asyncio.to_thread(plan.commit, identities)
    await each(_iterated(documents), concurrency, copy)
    if not keys:
        raise ValueError(f"{plan.source} holds no key")
    done.snapshot_id = await asyncio.to_thread(plan.commit, identities)
    return done


async def _iterated(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _batches(items: AsyncIterator[Any], plan: _Plan, concurrency: int, copy: Callable[[Any], Any]) -> AsyncIterator[bool]:
    """Handles items, and yields True whenever enough bytes are staged for a commit; nothing is being copied then."""
    full = False

    async def until_full() -> AsyncIterator[Any]:
        nonlocal full
        while not full:
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            yield item
            full = plan.commit_every is not None and plan.staged_bytes >= plan.commit_every

    while True:
        full = False
        await each(until_full(), concurrency, copy)
        yield full
        if not full:
            return


@dataclass
class ImportedIcechunk:
    """What an import of an Icechunk repository did.

    Attributes
    ----------
    snapshots
        For each Icechunk snapshot that was imported, oldest first, the id of the snapshot that was committed for it.
    copied, copied_bytes
        Chunks whose bytes were copied.
    references
        Virtual chunks that were stored as references.
    tags
        Tags that were created.
    """

    snapshots: dict[str, str] = field(default_factory=dict)
    copied: int = 0
    copied_bytes: int = 0
    references: int = 0
    tags: list[str] = field(default_factory=list)


def import_icechunk(
    self: Repository,
    source: Any,
    *,
    branch: str = "main",
    source_branch: str = "main",
    prefix: str = "",
    history: bool = True,
    replace: bool = False,
    tags: bool = False,
    virtual: Literal["keep", "copy"] = "keep",
    concurrency: int = 16,
    progress: ProgressArgument = None,
) -> ImportedIcechunk:
    """Copy an Icechunk repository into a branch, one commit for each of its snapshots. Needs the package `icechunk`.

    Each commit has the message of the snapshot. Its time is the time of the import, because Firnline records when a commit
    became visible; the time of the snapshot is in the metadata ``icechunk.written_at``, its id in ``icechunk.snapshot``, its
    own metadata as JSON in ``icechunk.metadata``.

    Parameters
    ----------
    source
        An `icechunk.Repository`, an `icechunk.Session` (of which that one version is imported), an `icechunk.Storage`, a
        path, or an ``s3://`` URL, for which credentials come from the environment.
    branch
        The branch to commit to. It exists already.
    source_branch
        The branch of the Icechunk repository.
    prefix
        Path below which the hierarchy is stored. Nothing else may lie there. Default: the root.
    history
        Whether every snapshot of the branch is imported, oldest first, or the latest alone.
    replace
        Whether the first import into `prefix` removes what lies there, instead of raising an error.
    tags
        Whether tags of the imported snapshots are created under the same name. A tag that exists already is left alone.
    virtual
        ``"keep"`` stores virtual chunks as references to the same files, ``"copy"`` stores their bytes, for which the
        Icechunk repository must have been opened with access to them.
    concurrency
        How many chunks are copied at a time.
    progress
        Called after each snapshot with the number of snapshots done, of all snapshots, the bytes copied, and 0; or True to
        draw a bar with tqdm.

    Returns
    -------
    ImportedIcechunk
        Which snapshot became which, and counts.

    Raises
    ------
    NotImplementedError
        If a chunk is virtual, `virtual` is ``"keep"`` and the installed Icechunk does not tell where it lies (before 2.0.5).
    ValueError
        If `virtual` is neither word, if `source` is of no kind that is understood, or if something that was not imported from
        Icechunk lies below `prefix` and `replace` is false.

    Notes
    -----
    An interrupted import leaves whole commits. Called again, it goes on after the last snapshot that it finds in the
    history of the branch; so it also brings over what was added since.

    What Icechunk's library does not tell is lost: the time or ETag by which it would notice that a virtual file changed
    (files are pinned in the state that they have at the import, where they may be looked up), other branches than
    `source_branch`, and versions that expired.
    """
    from firnline import _icechunk

    if virtual not in ("keep", "copy"):
        raise ValueError(f"virtual must be 'keep' or 'copy', not {virtual!r}")
    repository, session = _icechunk.opened(source)
    result = ImportedIcechunk()
    known, is_tip = _imported(self, branch, _directory(prefix))
    if known is None and not replace and not sync(self.readonly_session(branch).store.is_empty(prefix)):
        where = f"below {prefix!r}" if prefix else "in the branch"
        raise ValueError(f"there are values {where} that an import would remove; give another prefix, or replace=True")
    steps = _steps(repository, session, source_branch, history, known, is_tip)
    with reporting(progress, "import") as report:
        for number, step in enumerate(steps, 1):
            _import_step(self, repository, session, step, branch, _directory(prefix), virtual, concurrency, result)
            if report is not None:
                report(number, len(steps), result.copied_bytes, 0)
    if tags and repository is not None:
        _import_tags(self, repository, result)
    return result


def _import_step(
    target: Repository,
    repository: Any,
    session: Any,
    step: _Step,
    branch: str,
    prefix: str,
    virtual: Literal["keep", "copy"],
    concurrency: int,
    result: ImportedIcechunk,
) -> None:
    """Commit one snapshot."""
    from firnline import _icechunk

    source = session or repository.readonly_session(snapshot_id=step.snapshot)
    staging = target.writable_session(branch)
    reader = _icechunk.VersionReader(source, staging, prefix, virtual, concurrency)
    changes = _icechunk.changed(repository, step.base, step.snapshot)
    sync(reader.replace_all() if changes is None else reader.apply(changes))
    committed = staging.commit(step.message, metadata=step.metadata(prefix), rebase=True, allow_empty=True)
    result.snapshots[step.snapshot] = committed
    result.copied += reader.copied
    result.copied_bytes += reader.copied_bytes
    result.references += reader.references


@dataclass(frozen=True)
class _Step:
    """One snapshot to import, and the one that the branch holds before it, if that is known."""

    snapshot: str
    base: str | None
    message: str
    told: Mapping[str, str]

    def metadata(self, prefix: str) -> dict[str, str]:
        return {**self.told, "icechunk.snapshot": self.snapshot, **({"icechunk.prefix": prefix} if prefix else {})}


def _steps(repository: Any, session: Any, source_branch: str, history: bool, known: str | None, is_tip: bool) -> list[_Step]:
    """The snapshots that are not imported yet, oldest first."""
    if repository is None:
        return [_Step(session.snapshot_id, None, f"import of Icechunk snapshot {session.snapshot_id}", {})]
    line = list(repository.ancestry(branch=source_branch))
    if not history:
        return [_step(line[0], None)]
    # The first snapshot of every repository is empty.
    line = [snapshot for snapshot in reversed(line) if snapshot.parent_id is not None]
    ids = [snapshot.id for snapshot in line]
    begin = ids.index(known) + 1 if known in ids else 0
    steps = []
    for at in range(begin, len(line)):
        base = ids[at - 1] if at > begin or (begin and is_tip) else None
        steps.append(_step(line[at], base))
    return steps


def _step(snapshot: Any, base: str | None) -> _Step:
    told = {"icechunk.written_at": snapshot.written_at.isoformat()}
    if snapshot.metadata:
        told["icechunk.metadata"] = json.dumps(snapshot.metadata, sort_keys=True, default=str)
    return _Step(snapshot.id, base, snapshot.message, told)


def _imported(target: Repository, branch: str, prefix: str) -> tuple[str | None, bool]:
    """The Icechunk snapshot that was imported last into the prefix of a branch, and whether the branch still shows that."""
    for number, commit in enumerate(target.ancestry(branch=branch)):
        told = commit.metadata
        if "icechunk.snapshot" in told and told.get("icechunk.prefix", "") == prefix:
            return told["icechunk.snapshot"], number == 0
    return None, False


def _import_tags(target: Repository, repository: Any, result: ImportedIcechunk) -> None:
    existing = set(target.list_tags())
    for name in sorted(repository.list_tags()):
        snapshot = result.snapshots.get(repository.lookup_tag(name))
        if snapshot is not None and name not in existing:
            target.create_tag(name, snapshot)
            result.tags.append(name)


class ImportMethods:
    """The methods of a repository that import."""

    import_zarr = import_zarr
    import_icechunk = import_icechunk
