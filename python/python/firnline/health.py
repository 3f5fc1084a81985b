"""What keeps a repository healthy, and versions as files: verifying, counting, CAR files, directories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from firnline.progress import ProgressArgument, reporting
from firnline.rows import Rows

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository

__all__ = ["HealthMethods"]

Place = str | os.PathLike[str]


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
