"""What keeps a repository healthy, and versions as files: verifying, counting, removing garbage, CAR files, directories."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from firnline._times import Span, seconds
from firnline.errors import InvalidError
from firnline.progress import ProgressArgument, reporting
from firnline.rows import Rows

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository

__all__ = ["HealthMethods", "StoredUsage"]

Place = str | os.PathLike[str]

_KINDS = ("kind", "stored", "stored_bytes", "garbage", "garbage_bytes", "removed", "removed_bytes")
_USAGE = ("kind", "stored", "stored_bytes", "unique", "unique_bytes")


def _optional(span: Span | None) -> float | None:
    return None if span is None else seconds(span)


@dataclass(frozen=True)
class StoredUsage:
    """What a version, a branch or a tag takes up in the store.

    Attributes
    ----------
    kinds : Rows
        ``kind``, as of `Repository.gc`; ``stored`` and ``stored_bytes``, the objects that it leads to, each once; ``unique``
        and ``unique_bytes``, those of them to which nothing else leads.
    stored, stored_bytes, unique, unique_bytes : int
        The sums over all kinds.
    """

    kinds: Rows
    stored: int
    stored_bytes: int
    unique: int
    unique_bytes: int


class HealthMethods:
    """The methods of a repository that verify and count, and that write and read versions as files."""

    _native: NativeRepository

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

    def stored_usage(
        self, revision: str | None = None, *, branch: str | None = None, tag: str | None = None
    ) -> StoredUsage:
        """Count what a version, a branch or a tag takes up in the store, and what of it nothing else leads to.

        Reads all that branches and tags lead to, and lists all objects, as `gc` does.

        Parameters
        ----------
        revision : str, optional
            A version: the data that it consists of. ``unique`` is then what `gc` would remove if it expired.
        branch, tag : str, optional
            Instead of a version, everything to which this branch or tag leads: its tip, what its moves name, and all versions
            before these. ``unique`` is then what would be garbage if it had never been.

        Returns
        -------
        StoredUsage
            In objects and bytes.

        Raises
        ------
        NotFoundError
            If there is no such version, or has never been such a branch or tag.
        CorruptError
            If a branch or a tag, or something that it leads to, cannot be read.
        """
        if sum(name is not None for name in (revision, branch, tag)) != 1:
            raise InvalidError("name one of revision, branch and tag")
        if revision is not None:
            kinds = self._native.usage_of_version(revision)
        else:
            kinds = self._native.usage_of_ref(str(branch if branch is not None else tag), tag is not None)
        return StoredUsage(Rows(_USAGE, kinds), *(sum(row[at] for row in kinds) for at in range(1, len(_USAGE))))

    def settle(self, branch: str, snapshot_id: str) -> bool:
        """Find out whether a commit whose outcome was not known happened, and make the answer definite.

        Returns
        -------
        bool
            Whether the commit is in the history of the branch. If not, it can never happen any more.
        """
        return self._native.settle(branch, snapshot_id)

    # --- garbage -----------------------------------------------------------------------------------------------------

    def gc(
        self,
        *,
        dry_run: bool = False,
        grace: Span = timedelta(hours=24),
        wait: Span | None = None,
        progress: ProgressArgument = None,
    ) -> dict[str, Any]:
        """Remove the objects that no branch and no tag leads to, while others read and write.

        A branch or a tag keeps its tip, what its recorded moves name, and everything before these; a deleted one does so too. Of
        versions that have expired they keep the ids and dates, and no data. What interrupted writers have left is garbage.

        Parameters
        ----------
        dry_run : bool, optional
            Remove nothing, and tell what would be removed.
        grace : float or datetime.timedelta, optional
            Garbage that was written so shortly before, in seconds, stays: a writer may be about to commit it. With 0 a session
            that has uploaded values and not committed them may fail to commit: `ConflictError`, with everything staged intact.
        wait : float or datetime.timedelta, optional
            How long to wait after the last removal, at least, in seconds. Default: what the store needs; nothing on local disk, 20
            minutes in object stores, which may carry out a request late.
        progress : bool or callable, optional
            See `import_car`. Tells the objects that are removed.

        Returns
        -------
        dict
            ``epoch``, the number of the collection, 0 if there was nothing to remove; ``kinds``, Rows of ``kind`` (``snapshots``,
            ``manifests``, ``files``, ``history``, ``chunks``, ``moves``, ``shallow``), and of objects and bytes that were
            ``stored``, are ``garbage``, and were ``removed``; ``young`` and ``foreign``, ``objects`` and ``bytes`` that
            stay because of `grace`, or because their names are not the repository's; ``refs``, ``versions`` and ``reads`` of the
            search; ``saved``, objects that a writer published meanwhile; ``failed`` and ``problem``, how many objects could not be
            removed, and why; ``calls`` of the store; ``seconds``; ``resumed``, whether a collection that another process had left
            was ended first.

        Raises
        ------
        LockedError
            If another process collects.
        CorruptError
            If a branch or a tag, or something that it leads to, cannot be read. Then nothing is removed.
        UnsupportedError
            If objects in the store cannot be removed.

        Notes
        -----
        A collection that is interrupted has removed nothing that is needed, and the next one ends it; a `KeyboardInterrupt` then
        has a note that says so. In object stores the next one waits for six minutes before it knows that the first has stopped.
        """
        with reporting(progress, "gc", "objects") as report:
            told = self._native.gc(dry_run, seconds(grace), _optional(wait), report)
        told["kinds"] = Rows(_KINDS, told["kinds"])
        for name in ("young", "foreign"):
            told[name] = dict(zip(("objects", "bytes"), told[name], strict=True))
        return told

    def gc_status(self) -> dict[str, Any]:
        """Tell whether garbage is being collected.

        Returns
        -------
        dict
            ``activity``: ``"idle"``, ``"under way"``, ``"left"`` (its process is gone, and `gc` ends it) or ``"unclear"`` (one of
            the last two, in stores without locks). ``epoch``: the number of the last collection that has begun.
        """
        return dict(zip(("activity", "epoch"), self._native.gc_status(), strict=True))

    def repair_gc(self, *, wait: Span | None = None) -> dict[str, Any]:
        """Make the register of garbage collection anew if it is damaged, or was lost after a collection.

        Without it nobody can write. If nothing is wrong with it, nothing changes. Removes nothing and changes no branch and no tag.
        Sessions that were opened before write again what they commit, or fail with `ConflictError` if they hold it no more.

        Parameters
        ----------
        wait : float or datetime.timedelta, optional
            How long to wait for collectors that may still be at work, at least, in seconds. Default: what the store needs;
            nothing on local disk, 26 minutes in object stores.

        Returns
        -------
        dict
            ``wrong``: what was wrong, or ``None``. ``epoch``: the number of the last collection, as the register says now.

        Raises
        ------
        LockedError
            If another process collects, or has replaced the register meanwhile.
        CorruptError
            If no branch and no list of a collection can be read.

        Notes
        -----
        If Ctrl-C ends the call, the register is as it was, or is made anew. To call again does no harm.
        """
        return dict(zip(("wrong", "epoch"), self._native.repair_gc(_optional(wait)), strict=True))

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
