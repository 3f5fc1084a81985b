"""What sources tell about values without handing them out, and a file that remembers it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

if TYPE_CHECKING:
    from os import PathLike

#: A modification date that was less than so many seconds old when the source was listed shows nothing: the value may
#: change again without another date.
RACY = 2.0

#: What a source tells about a value, comparable as text.
Identity = str


async def listed(store: Store) -> AsyncIterator[tuple[str, Identity | None]]:
    """Every key of a store, with what the store tells about the value, or None where that is not enough to notice a change."""
    if isinstance(store, LocalStore):
        async for key in store.list():
            yield key, await asyncio.to_thread(_of_file, Path(store.root) / key)
    elif isinstance(store, FsspecStore):
        async for one in _of_fsspec(store):
            yield one
    elif type(store).__name__ == "ObjectStore" and hasattr(store, "store"):
        async for one in _of_obstore(store.store):
            yield one
    else:
        async for key in store.list():
            yield key, None


def _of_file(path: Path) -> Identity | None:
    found = os.stat(path)
    return _identity(found.st_size, None, found.st_mtime_ns, found.st_mtime)


async def _of_fsspec(store: FsspecStore) -> AsyncIterator[tuple[str, Identity | None]]:
    root = store.path.rstrip("/")
    found = await store.fs._find(root, detail=True, withdirs=False)
    for path, told in found.items():
        changed = told.get("mtime") or told.get("LastModified") or told.get("last_modified") or told.get("updated")
        etag = told.get("ETag") or told.get("etag")
        yield path.removeprefix(root).lstrip("/"), _identity(told.get("size"), etag, changed, _seconds(changed))


async def _of_obstore(store: Any) -> AsyncIterator[tuple[str, Identity | None]]:
    async for batch in store.list():
        for told in batch:
            changed = told.get("last_modified")
            yield told["path"], _identity(told.get("size"), told.get("e_tag"), changed, _seconds(changed))


def _seconds(changed: Any) -> float | None:
    if isinstance(changed, datetime):
        return changed.timestamp()
    return float(changed) if isinstance(changed, int | float) else None


def _identity(size: Any, etag: Any, changed: Any, seconds: float | None) -> Identity | None:
    """Size and strong ETag, else size and date if the date is not too young; None if the source tells neither."""
    if size is None:
        return None
    if isinstance(etag, str) and etag and not etag.startswith("W/"):
        return json.dumps([int(size), etag, str(changed)])
    if seconds is None or time.time() - seconds < RACY:
        return None
    return json.dumps([int(size), None, str(changed)])


class Identities:
    """What values were like when they were imported: key → identity and content id, in an SQLite file.

    The file belongs to one source and one prefix at a time; another one begins it anew. A damaged file is an error of
    SQLite: delete it.
    """

    def __init__(self, path: str | PathLike[str], source: str) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False)
        with self._connection as database:
            database.execute("create table if not exists source (name text)")
            database.execute(
                "create table if not exists known (key text primary key, identity text, content text) without rowid"
            )
            named = database.execute("select name from source").fetchone()
            if named != (source,):
                database.execute("delete from known")
                database.execute("delete from source")
                database.execute("insert into source values (?)", (source,))

    def recall(self, key: str, identity: Identity | None) -> str | None:
        """The content id under which the value was stored, if the source told the same about it then."""
        if identity is None:
            return None
        row = self._connection.execute("select content from known where key = ? and identity = ?", (key, identity)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, found: Iterable[tuple[str, Identity, str]]) -> None:
        """Remember values that are committed."""
        with self._connection as database:
            database.executemany("insert or replace into known values (?, ?, ?)", found)

    def close(self) -> None:
        self._connection.close()
