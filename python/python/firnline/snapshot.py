"""What a version says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firnline.retention import Expiration, Withdrawal
from firnline.rows import to_datetime

__all__ = ["SnapshotInfo"]


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot says of itself.

    Attributes
    ----------
    id : str
        Its content identifier.
    time : datetime.datetime
        When it was committed, in UTC.
    message : str
        What was done, for people.
    author : str or None
        Who did it.
    metadata : dict
        Anything else, by name.
    parents : list of str
        The snapshots that it was made from; the history follows the first.
    containers : list of dict
        Where its external files lie: ``name``, ``template``, ``defaults``, ``options``.
    places : list of str
        The templates of every container that was ever used on this line.
    since : datetime.datetime or None
        Commits before this time are not in this repository.
    manifest : str
        The content id of everything that it holds.
    withdrawn : Withdrawal or None
        By whom, when and why it was withdrawn, as it was when the version was opened.
    expired : Expiration or None
        By whom, when and why its data was given up. Of the version of a session, which has been read, ``None``.
    """

    id: str
    time: datetime
    message: str
    author: str | None
    metadata: dict[str, str]
    parents: list[str]
    containers: list[dict[str, Any]] = field(repr=False)
    places: list[str] = field(repr=False)
    since: datetime | None
    manifest: str = field(repr=False)
    withdrawn: Withdrawal | None = None
    expired: Expiration | None = None

    @classmethod
    def _from_native(cls, told: dict[str, Any], expired: Expiration | None = None) -> SnapshotInfo:
        since, withdrawn = told.pop("since"), told.pop("withdrawn")
        return cls(
            time=to_datetime(told.pop("time")),
            since=None if since is None else to_datetime(since),
            withdrawn=None if withdrawn is None else Withdrawal._from_native(withdrawn),
            expired=expired,
            **told,
        )
