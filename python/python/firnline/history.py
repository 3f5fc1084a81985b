"""Versions: their log, what differs between them, the history of a key, and where a value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

from firnline._times import Moment, moment
from firnline.errors import InvalidError
from firnline.rows import Rows, to_datetime
from firnline.snapshot import SnapshotInfo

if TYPE_CHECKING:
    from firnline._firnline import NativeRepository
    from firnline.retention import Retention

__all__ = ["HistoryMethods", "Time", "time_text"]

Time = Moment | str

_VALIDATOR = ("size", "modified", "etag", "version", "digest", "pinned_at")
_LOG = ("id", "time", "message")
_ENTRY = ("kind", "size", "content_id")
_NO_ENTRY = (None, None, None)


class HistoryMethods:
    """The methods of a repository that are about its versions."""

    _native: NativeRepository

    if TYPE_CHECKING:

        def retention(self) -> Retention: ...

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
            ``id``, ``time``, ``message`` (its first line, at most 72 bytes); ``expired``, when the data of the version was
            given up, and ``withdrawn``, when it was withdrawn, or ``None``. `retention` tells why.

        Raises
        ------
        NotFoundError
            If the line reaches back beyond what this repository has.
        """
        columns, times = (*_LOG, "expired", "withdrawn"), ("time", "expired", "withdrawn")
        return Rows(columns, self._native.log(revision, limit), times)

    def ancestry(
        self,
        branch: str | None = None,
        *,
        tag: str | None = None,
        snapshot_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[SnapshotInfo]:
        """The snapshots of a line, latest first, with everything that they say of themselves.

        Reads each snapshot as it is asked for, also those whose data has expired. `log` is faster and tells the first line of
        each message.
        """
        given = [name for name in (branch, tag, snapshot_id) if name is not None]
        if len(given) != 1:
            raise InvalidError("name one of branch, tag and snapshot_id")
        prefix = "branch:" if branch is not None else "tag:" if tag is not None else ""
        log, retention = self._native.log(prefix + given[0], limit), self.retention()
        for snapshot, *_ in log:
            yield SnapshotInfo._from_native(self._native.commit(snapshot), retention.expired(snapshot))

    def lookup_snapshot(self, revision: str) -> SnapshotInfo:
        """What a snapshot says of itself: time, message, author, metadata, parents. Also if its data has expired."""
        told = self._native.commit(revision)
        return SnapshotInfo._from_native(told, self.retention().expired(told["id"]))

    def as_of(self, branch: str, time: Time) -> tuple[str, bool]:
        """The snapshot that a branch showed at a time, and whether that answer is final."""
        return self._native.as_of(branch, self._native.parse_time(time_text(time)))

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
            ``content_id``, ``url`` of a virtual value; ``known``, whether it was this commit: otherwise versions before it have
            expired, and one of them may have done the same.
        """
        rows = self._native.versions_of(key, revision)
        columns = (*_LOG, "event", *_ENTRY, "url", "known")
        records = [(*head, event, *(entry or _NO_ENTRY), url, known) for *head, event, entry, url, known in rows]
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


def time_text(time: Time) -> str:
    """A time as the engine reads it."""
    if isinstance(time, str):
        return time
    return moment(time, "time").astimezone(UTC).isoformat(timespec="microseconds")
