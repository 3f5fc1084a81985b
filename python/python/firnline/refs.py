"""Branches and tags."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from firnline.errors import InvalidError
from firnline.rows import Rows

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository

__all__ = ["RefMethods"]

_MOVES = ("seq", "time", "from", "to", "op")
_REFS = ("name", "snapshot_id", "time", "message", "author", "metadata", "damage")


class RefMethods:
    """The methods of a repository that are about branches and tags."""

    _native: NativeRepository

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
            ``seq``, ``time``, ``from`` and ``to`` (snapshots), ``op``: ``create``, ``delete``, ``reset``, ``import``,
            ``repair``, ``fast-forward``, ``squash``, ``undo``, ``redo``, ``push`` or ``pull``. Where earlier moves are lost or damaged, only the
            later ones are listed, with a warning.
        """
        if (branch is None) == (tag is None):
            raise InvalidError("name either a branch or a tag")
        rows, damage = self._native.moves(branch if branch is not None else str(tag), tag is not None)
        if damage is not None:
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
        return Rows(("id", "time", "message", "found_in"), rows, ("time",))
