"""Exceptions: one class for each kind of error of the engine, which says what to do next."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from firnline.rows import to_datetime

__all__ = [
    "ConflictError",
    "CorruptError",
    "DeniedError",
    "ExpiredError",
    "FirnlineError",
    "InternalError",
    "InvalidError",
    "LockedError",
    "MissingDataError",
    "NoPermissionError",
    "NotFoundError",
    "OutcomeUnknownError",
    "SourceChangedError",
    "StorageFullError",
    "UnavailableError",
    "UnsupportedError",
]


class FirnlineError(Exception):
    """An error of the engine.

    Attributes
    ----------
    kind : str
        The kind of the error in words, such as ``"not found"``; the same for all errors of one class.
    key : str or None
        The key that the call was about, where it was about one.
    snapshot : str or None
        The id of the snapshot that was read, where the error is about reading one. Of an `OutcomeUnknownError`: the
        snapshot that may have been committed.
    hint : str or None
        A step that would let the same call succeed, where one is known.
    causes : list of str
        What led to the error, the nearest cause first.
    files : list of str
        What is wrong with each external file, in one line that names it, where the error is about several.
    """

    kind: str = "internal"

    def __init__(
        self,
        message: str = "",
        *,
        key: str | None = None,
        snapshot: str | None = None,
        hint: str | None = None,
        causes: list[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.key = key
        self.snapshot = snapshot
        self.hint = hint
        self.causes = causes or []
        self.files: list[str] = []

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  because {cause}" for cause in self.causes]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (type(self), self.message, self.__dict__.copy()))

    def _as(self, cls: type[FirnlineError]) -> FirnlineError:
        """The same error of another class."""
        return _restored(cls, self.message, self.__dict__)


class ConflictError(FirnlineError):
    """Another writer changed what this one wanted to change, or made what this one wanted to make.

    The session keeps what was staged. Look at both sides, then commit again.

    Attributes
    ----------
    conflicts : list of Conflict
        What both sides changed, at most the first 10,000. Empty where the error is not about a commit.
    """

    kind = "conflict"

    def __init__(self, message: str = "", **about: Any) -> None:
        super().__init__(message, **about)
        self.conflicts: list[Conflict] = []


class Conflict:
    """Something that two writers both changed.

    Attributes
    ----------
    kind : str
        ``"key"``, ``"array"``, ``"group"``, ``"container"`` or ``"file"``.
    name : str
        The key, the path of the node (``"/"`` is the root), or the name of the container or file.
    why : str or None
        What each side did, or how to avoid the conflict, where kind and name are not enough.
    """

    __slots__ = ("kind", "name", "why")

    def __init__(self, kind: str, name: str, why: str | None = None) -> None:
        self.kind = kind
        self.name = name
        self.why = why

    def __repr__(self) -> str:
        return f"Conflict({self.kind!r}, {self.name!r}, {self.why!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Conflict):
            return NotImplemented
        return (self.kind, self.name, self.why) == (other.kind, other.name, other.why)

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.why))


class NotFoundError(FirnlineError, KeyError, FileNotFoundError):
    """The named repository, branch, tag, snapshot, key or file does not exist."""

    kind = "not found"


class MissingDataError(FirnlineError):
    """A key exists, but the bytes that it refers to do not: the external file is gone, or an object of the repository.

    This is neither a `KeyError` nor a `FileNotFoundError`, so that no library takes the value for one that was never
    written and gives out fill values.
    """

    kind = "missing data"


class InvalidError(FirnlineError, ValueError):
    """The call is wrong and will stay wrong."""

    kind = "invalid"


class DeniedError(FirnlineError):
    """The bytes lie in a place that was not allowed when the repository was opened, or its server refuses this reader."""

    kind = "denied"


class SourceChangedError(FirnlineError):
    """An external file is not the one that was committed. Restore it, or pin it anew."""

    kind = "source changed"


class ExpiredError(FirnlineError):
    """The data of a version was given up on purpose. Its id, its date and the log remain; read a version that is kept.

    Attributes
    ----------
    snapshot : str or None
        The version.
    committed, expired : datetime.datetime or None
        When it was committed, and when its data was given up, in UTC.
    author : str or None
        By whom, if that was said.
    reason : str or None
        Why.
    nearest : str or None
        The id of the first later version, of the first branch or tag that has this one on its line, whose data is kept.
    nearest_time : datetime.datetime or None
        When that was committed.
    """

    kind = "expired"

    def __init__(self, message: str = "", **about: Any) -> None:
        super().__init__(message, **about)
        self.committed: datetime | None = None
        self.expired: datetime | None = None
        self.author: str | None = None
        self.reason: str | None = None
        self.nearest: str | None = None
        self.nearest_time: datetime | None = None


class CorruptError(FirnlineError):
    """Stored bytes do not decode, are cut short, or do not match their digest. Run `Repository.verify`."""

    kind = "corrupt"


class UnsupportedError(FirnlineError):
    """Made by a newer version, or something that this build or this store cannot do."""

    kind = "unsupported"


class UnavailableError(FirnlineError):
    """The store or the source could not be reached or did not answer. The same call may succeed later."""

    kind = "unavailable"


class NoPermissionError(FirnlineError, PermissionError):
    """The operating system does not let this process read or write there."""

    kind = "no permission"


class StorageFullError(FirnlineError):
    """There is no space left. Make room, then try again."""

    kind = "storage full"


class LockedError(FirnlineError):
    """Another process holds a lock for longer than this one waits. The same call may succeed later."""

    kind = "locked"


class OutcomeUnknownError(FirnlineError):
    """A commit was sent, and the store could not be asked whether it happened.

    Attributes
    ----------
    branch : str or None
        The branch that the commit was sent to.
    """

    kind = "outcome unknown"

    def __init__(self, message: str = "", **about: Any) -> None:
        super().__init__(message, **about)
        self.branch: str | None = None

    def settle(self, repository: Any) -> bool:
        """Find out whether the commit happened, and make the answer definite.

        Parameters
        ----------
        repository : Repository
            The repository that the commit was sent to.

        Returns
        -------
        bool
            Whether the commit is in the history of its branch. If not, it can never happen any more.
        """
        if self.branch is None or self.snapshot is None:
            raise InvalidError("this error names no commit that could be settled")
        return bool(repository.settle(self.branch, self.snapshot))


class InternalError(FirnlineError):
    """A bug of the engine. Please report it with the message."""

    kind = "internal"


class _Kinds:
    """The class for each kind, by the engine's word."""

    classes: ClassVar[dict[str, type[FirnlineError]]] = {
        cls.kind: cls
        for cls in (
            ConflictError,
            NotFoundError,
            MissingDataError,
            InvalidError,
            DeniedError,
            SourceChangedError,
            ExpiredError,
            CorruptError,
            UnsupportedError,
            UnavailableError,
            NoPermissionError,
            StorageFullError,
            LockedError,
            OutcomeUnknownError,
            InternalError,
        )
    }


def _from_native(kind: str, message: str, causes: list[str], about: dict[str, Any]) -> FirnlineError:
    """Make the exception for an error of the engine."""
    cls = _Kinds.classes.get(kind, FirnlineError)
    error = cls(message, key=about["key"], snapshot=about["snapshot"], hint=about["hint"] or None, causes=causes)
    error.files = about.get("files", [])
    if isinstance(error, ConflictError):
        error.conflicts = [Conflict(*conflict) for conflict in about["conflicts"]]
    if isinstance(error, ExpiredError) and about.get("expired") is not None:
        committed, expired, error.author, error.reason, error.nearest, nearest_time = about["expired"]
        error.committed, error.expired = to_datetime(committed), to_datetime(expired)
        error.nearest_time = None if nearest_time is None else to_datetime(nearest_time)
    if isinstance(error, OutcomeUnknownError) and about["pending"] is not None:
        error.branch, error.snapshot = about["pending"]
        error.hint = f"repository.settle({error.branch!r}, {error.snapshot!r}) tells whether it happened"
    return error


def _restored(cls: type[FirnlineError], message: str, attributes: dict[str, Any]) -> FirnlineError:
    """Make an exception again that was pickled."""
    error = cls(message)
    error.__dict__.update(attributes)
    return error
