"""Tables of what a repository knows: sequences of dictionaries that become data frames without a detour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from firnline._firnline import NativeRows

__all__ = ["RowStream", "Rows"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)


def to_datetime(micros: int) -> datetime:
    """Turn microseconds since 1970 into a date in UTC. Dates before the year 1 become the first date there is."""
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return _FIRST


class Rows(Sequence[dict[str, Any]]):
    """Rows of a table, each a dictionary. Behaves like a list that does not change.

    Times are `datetime.datetime` in UTC with microseconds.

    Examples
    --------
    >>> import firnline
    >>> repo = firnline.Repository.create("memory:")
    >>> [row["message"] for row in repo.log("main")]
    ['an empty repository']
    """

    __slots__ = ("_columns", "_records", "_times")

    def __init__(self, columns: Sequence[str], records: list[tuple[Any, ...]], times: Sequence[str] = ()) -> None:
        self._columns = tuple(columns)
        self._records = records
        self._times = frozenset(times)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._columns

    def __len__(self) -> int:
        return len(self._records)

    def _row(self, record: tuple[Any, ...]) -> dict[str, Any]:
        row = dict(zip(self._columns, record, strict=True))
        for name in self._times:
            if row[name] is not None:
                row[name] = to_datetime(row[name])
        return row

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Rows:
        if isinstance(index, slice):
            return Rows(self._columns, self._records[index], tuple(self._times))
        return self._row(self._records[index])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self._row, self._records)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return (self._columns, self._records) == (other._columns, other._records)
        if isinstance(other, list):
            return list(self) == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ",\n ".join(repr(row) for row in self[:10])
        more = f"\n … {len(self)} rows" if len(self) > 10 else ""
        return f"[{shown}]{more}"

    def _column(self, name: str) -> list[Any]:
        at = self._columns.index(name)
        return [record[at] for record in self._records]

    def to_pandas(self) -> pandas.DataFrame:
        """Make a `pandas.DataFrame` with one column for each name. Needs pandas.

        Returns
        -------
        pandas.DataFrame
            Times are ``datetime64[us, UTC]``, and ``NaT`` where there is none.
        """
        import pandas as pd

        data = {}
        for name in self._columns:
            values = self._column(name)
            data[name] = (
                pd.Series([None if v is None else to_datetime(v) for v in values], dtype="datetime64[us, UTC]")
                if name in self._times
                else values
            )
        return pd.DataFrame(data, columns=list(self._columns))

    def to_arrow(self) -> pyarrow.Table:
        """Make a `pyarrow.Table` with one column for each name. Needs pyarrow.

        Returns
        -------
        pyarrow.Table
            Times are ``timestamp[us, UTC]``.
        """
        import pyarrow as pa

        arrays = [
            pa.array(self._column(name), type=pa.timestamp("us", tz="UTC") if name in self._times else None)
            for name in self._columns
        ]
        return pa.table(dict(zip(self._columns, arrays, strict=True)))


class RowStream(Iterator[dict[str, Any]]):
    """Rows of a table that are read while they are used: an iterator of dictionaries, for tables that are too long for `Rows`.

    Other threads run while it waits, and Ctrl-C ends the waiting. After an error there are no more rows.
    """

    __slots__ = ("_columns", "_native", "_piece", "_times")

    def __init__(self, columns: Sequence[str], native: NativeRows, times: Sequence[str] = ()) -> None:
        self._columns = tuple(columns)
        self._native = native
        self._times = tuple(times)
        self._piece: Iterator[dict[str, Any]] = iter(())

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._columns

    def __iter__(self) -> RowStream:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            return next(self._piece)
        except StopIteration:
            pass
        self._piece = iter(Rows(self._columns, self._native.next_piece(), self._times))
        return next(self._piece)

    def __repr__(self) -> str:
        return f"<firnline.RowStream of {', '.join(self._columns)}>"


def all_rows(
    columns: Sequence[str], native: NativeRows, times: Sequence[str] = (), report: Callable[[int], None] | None = None
) -> Rows:
    """Read all rows of a native table, and say now and then how many are there."""
    records: list[tuple[Any, ...]] = []
    while piece := native.next_piece():
        records += piece
        if report is not None:
            report(len(records))
    return Rows(columns, records, times)
