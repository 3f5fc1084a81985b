"""Moments, in the forms in which Python has them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from firnline.errors import InvalidError

__all__ = ["Moment", "Span", "moment", "seconds"]

Moment = datetime | date | np.datetime64
Span = float | timedelta


def seconds(span: Span) -> float:
    """A length of time in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else span


def moment(given: Moment, what: str) -> datetime:
    """A moment with a time zone. A date means its first moment in UTC, and NumPy's times are in UTC, to the microsecond.

    `what` names the argument in the `InvalidError` for a `datetime` without a time zone and for values that are no time.
    """
    if isinstance(given, np.datetime64):
        # `item` of a year that `datetime` does not have, and of NaT, is no `datetime`.
        found = given.astype("datetime64[us]").item()
        if not isinstance(found, datetime):
            raise InvalidError(f"{what} {given} is no time of the years 1 to 9999")
        return found.replace(tzinfo=UTC)
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise InvalidError(f"{what} {given} has no time zone; use datetime.now(timezone.utc)")
        return given
    if isinstance(given, date):
        return datetime.combine(given, time.min, UTC)
    raise InvalidError(f"{what} {given!r} is no time")
