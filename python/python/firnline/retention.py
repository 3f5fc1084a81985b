"""Versions that expire or are withdrawn: their data is given up, or whoever reads them is told why not to use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from firnline._times import Span, seconds
from firnline.errors import InvalidError
from firnline.rows import Rows, to_datetime

if TYPE_CHECKING:
    from firnline._firnline import NativeExpirePlan, NativeRepository, NativeRetention

__all__ = ["Expiration", "ExpirePlan", "ExpiredVersions", "KeepFor", "Retention", "RetentionMethods", "Withdrawal"]

KeepFor = int | timedelta | Literal["all"]

_VERSION = ("id", "time", "message")


@dataclass(frozen=True)
class Expiration:
    """An act by which the data of versions was given up.

    Attributes
    ----------
    number : int
        Acts are counted from 1.
    time : datetime.datetime
        When, in UTC.
    author : str or None
        By whom, if that was said.
    reason : str
        Why.
    rules : str
        Which versions were kept, in words.
    versions : int
        How many versions expired.
    """

    number: int
    time: datetime
    author: str | None
    reason: str
    rules: str
    versions: int


@dataclass(frozen=True)
class Withdrawal:
    """By whom, when and why a version was withdrawn.

    Attributes
    ----------
    id : str
        The version.
    time : datetime.datetime
        When it was withdrawn, in UTC.
    author : str or None
        By whom, if that was said.
    reason : str
        Why.
    """

    id: str
    time: datetime
    author: str | None
    reason: str

    @classmethod
    def _from_native(cls, told: tuple[str, int, str | None, str]) -> Withdrawal:
        version, time, author, reason = told
        return cls(version, to_datetime(time), author, reason)


class Retention:
    """Which versions of a repository have expired, and which are withdrawn, as it was read at one moment.

    Made by `Repository.retention`. A version that a branch or a tag points at counts as kept, also if it is on record as
    expired.
    """

    def __init__(self, native: NativeRetention) -> None:
        self._native = native

    def expired(self, snapshot_id: str) -> Expiration | None:
        """The act by which the data of a version expired; ``None`` if it is kept. Takes the whole id."""
        if (told := self._native.expired(snapshot_id)) is None:
            return None
        number, time, author, reason, rules, versions = told
        return Expiration(number, to_datetime(time), author, reason, rules, versions)

    def withdrawn(self, snapshot_id: str) -> Withdrawal | None:
        """By whom, when and why a version was withdrawn; ``None`` if it was not. Takes the whole id."""
        told = self._native.withdrawn(snapshot_id)
        return None if told is None else Withdrawal._from_native(told)

    @property
    def expirations(self) -> Rows:
        """Every act by which versions expired, in their order: the attributes of `Expiration`."""
        return Rows([column.name for column in fields(Expiration)], self._native.expirations(), ("time",))

    @property
    def withdrawals(self) -> Rows:
        """Every version that is withdrawn, by id: the attributes of `Withdrawal`."""
        return Rows([column.name for column in fields(Withdrawal)], self._native.withdrawals(), ("time",))

    def __repr__(self) -> str:
        acts, withdrawals = self._native.expirations(), self._native.withdrawals()
        return f"<firnline.Retention: {sum(act[-1] for act in acts)} expired, {len(withdrawals)} withdrawn>"


@dataclass(frozen=True)
class ExpirePlan:
    """What would expire.

    Made by `Repository.plan_expire`, and carried out by `Repository.expire`.

    Attributes
    ----------
    expire : Rows
        The versions that expire, latest first: ``id``, ``time``, ``message`` (its first line, at most 72 bytes).
    keep : Rows
        The versions that stay, latest first, and also ``why``: ``branch NAME`` or ``tag NAME`` that points at it; ``last``,
        ``within``, ``hourly``, ``daily``, ``weekly``, ``monthly`` or ``yearly`` for a rule; ``other ref`` for one that a
        branch which was not named leads to, or only tags; ``moves`` for one that a move has taken away lately.
    already : int
        How many versions have expired already.
    rules : str
        What is kept, in words.
    """

    expire: Rows
    keep: Rows
    already: int
    rules: str
    _native: NativeExpirePlan = field(repr=False, compare=False)
    _repository: RetentionMethods = field(repr=False, compare=False)


@dataclass(frozen=True)
class ExpiredVersions:
    """What was recorded.

    Attributes
    ----------
    act : int
        The number of the act; 0 when nothing was left to expire.
    versions : list of str
        The ids of the versions that have expired.
    shown_again : list of str
        Versions of the plan that stay, because a branch or a tag has been pointed at them since.
    """

    act: int
    versions: list[str]
    shown_again: list[str]


def _counted(name: str, count: int) -> int:
    if count < 0:
        raise InvalidError(f"{name} is {count}, which is not a number of versions")
    return count


def _keep_for(name: str, keep: KeepFor) -> tuple[str, int | None, float | None]:
    """For how many periods, or how long, one version of each is kept, as the native call takes it."""
    if keep == "all":
        return name, None, None
    if isinstance(keep, timedelta):
        return name, None, keep.total_seconds()
    if isinstance(keep, int):
        return name, _counted(f"keep_{name}", keep), None
    raise InvalidError(f'keep_{name} is {keep!r}, which is no number of periods, no timedelta and not "all"')


class RetentionMethods:
    """The methods of a repository that are about versions that expire or are withdrawn."""

    _native: NativeRepository

    def plan_expire(
        self,
        *,
        keep_last: int | None = None,
        keep_within: Span | None = None,
        keep_hourly: KeepFor | None = None,
        keep_daily: KeepFor | None = None,
        keep_weekly: KeepFor | None = None,
        keep_monthly: KeepFor | None = None,
        keep_yearly: KeepFor | None = None,
        keep_moves: Span = timedelta(days=30),
        branches: Iterable[str] | None = None,
    ) -> ExpirePlan:
        """Find out which old versions would expire by rules that say what is kept, and change nothing.

        The rules are applied to the line of each branch; a version stays if any rule keeps it on any branch. These stay always:
        what a branch or a tag points at, what a branch leads to that is not named, and what only tags lead to. Of versions that
        were merged into a branch only `keep_within` keeps any.

        Parameters
        ----------
        keep_last : int, optional
            Keep so many of the latest versions of each branch.
        keep_within : float or datetime.timedelta, optional
            Keep versions that are no older, in seconds.
        keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly : int, datetime.timedelta or "all", optional
            Keep the last version of each hour, day, …: of so many of those that have versions, for so long, or for ever. Days
            begin at midnight UTC, weeks on Monday.
        keep_moves : float or datetime.timedelta, optional
            Keep for so long, in seconds, what a reset or a deletion of a branch has taken away, so that it can be undone.
        branches : iterable of str, optional
            Let only versions of these branches expire. Default: of all.

        Returns
        -------
        ExpirePlan
            Look at it, then give it to `expire`.

        Raises
        ------
        InvalidError
            If no rule is given, or `branches` names none.
        NotFoundError
            If one of `branches` does not exist.
        CorruptError
            If a branch or a tag, or something that it leads to, cannot be read.

        Examples
        --------
        >>> import firnline
        >>> repo = firnline.Repository.create("memory:")
        >>> for n in range(4):
        ...     with repo.transaction("main", message=str(n)) as store:
        ...         store.set_sync("n", firnline.buffer(str(n).encode()))
        >>> plan = repo.plan_expire(keep_last=2)
        >>> [row["message"] for row in plan.expire], plan.rules
        (['1', '0', 'an empty repository'], 'last 2; moves 30d')
        >>> done = repo.expire(plan, reason="only the latest are of use")
        >>> try:
        ...     repo.at("main~2")
        ... except firnline.ExpiredError as error:
        ...     print(error.reason)
        only the latest are of use
        """
        periods = {
            "hourly": keep_hourly,
            "daily": keep_daily,
            "weekly": keep_weekly,
            "monthly": keep_monthly,
            "yearly": keep_yearly,
        }
        if isinstance(branches, str):
            branches = [branches]
        native = self._native.plan_expire(
            {
                "keep_last": None if keep_last is None else _counted("keep_last", keep_last),
                "keep_within": None if keep_within is None else seconds(keep_within),
                "keep_each": [_keep_for(name, keep) for name, keep in periods.items() if keep is not None],
                "keep_moves": seconds(keep_moves),
                "branches": None if branches is None else list(branches),
            }
        )
        expire = Rows(_VERSION, native.expire(), ("time",))
        keep = Rows((*_VERSION, "why"), native.keep(), ("time",))
        return ExpirePlan(expire, keep, native.already, native.rules, native, self)

    def _own(self, plan: ExpirePlan) -> NativeExpirePlan:
        """The plan for native calls, if it is one of this repository: what is on record as expired stays so for ever."""
        if plan._repository != self:
            raise InvalidError(f"the plan was made for {plan._repository!r}; make one of this repository")
        return plan._native

    def expire(self, plan: ExpirePlan, *, reason: str, author: str | None = None) -> ExpiredVersions:
        """Give up the data of the versions that a plan names, in one recorded act.

        From then on, to read one of them raises `ExpiredError`, and no branch and no tag can be pointed at it. Ids, dates and
        `log` remain. The data itself is removed by the next `gc`, but for what other versions share. There is no way back: tag a
        version first to keep it. What was committed since the plan was made is not touched.

        Parameters
        ----------
        plan : ExpirePlan
            What `plan_expire` of this repository has found.
        reason : str
            Why, for everybody who asks for such a version. At most 4,096 bytes.
        author : str, optional
            Who does it.

        Raises
        ------
        InvalidError
            If a text is too long, or the plan is one of another repository.
        UnavailableError
            If the store cannot be asked whether the act was recorded. To call again does no harm.

        Notes
        -----
        If Ctrl-C ends the call, the act is recorded as a whole or not at all.
        """
        return ExpiredVersions(*self._native.expire(self._own(plan), reason, author))

    def freed_by(self, plan: ExpirePlan) -> Rows:
        """Count what `gc` would remove, besides what is garbage already, if the versions of a plan expired.

        Reads all that branches and tags lead to, twice, and lists all objects.

        Returns
        -------
        Rows
            ``kind``, as of `gc`, ``objects`` and ``bytes``. Kinds of which nothing would be removed are left out.
        """
        return Rows(("kind", "objects", "bytes"), self._native.freed_by(self._own(plan)))

    def retention(self) -> Retention:
        """Read which versions have expired, and which are withdrawn: one request where none has."""
        return Retention(self._native.retention())

    def withdraw(self, revision: str, *, reason: str, author: str | None = None) -> Withdrawal:
        """Withdraw a version: whoever opens it is told why it should not be used.

        It stays readable, and so does everything that was made of it. The reason is a warning of the logger ``firnline`` each
        time the version is opened, which Python prints unless logging is set up otherwise, and `SnapshotInfo.withdrawn`.
        `reinstate` takes it back. A version that was withdrawn before gets the new reason.

        Parameters
        ----------
        revision : str
            The version.
        reason : str
            Why, for everybody who reads it. At most 4,096 bytes.
        author : str, optional
            Who withdraws it.

        Raises
        ------
        InvalidError
            If a text is too long, or 1,000 versions are withdrawn.
        """
        return Withdrawal._from_native(self._native.withdraw(revision, reason, author))

    def reinstate(self, revision: str) -> bool:
        """Take the withdrawal of a version back.

        Returns
        -------
        bool
            Whether there was one.
        """
        return self._native.reinstate(revision)
