"""Versioned, transactional storage for Zarr: commits, branches, time travel and virtual data on disk and object stores.

Examples
--------
>>> import firnline as fl
>>> repo = fl.Repository.create("memory:")
>>> with repo.transaction("main", message="January") as store:
...     store.set_sync("zarr.json", fl.buffer(b'{"zarr_format": 3, "node_type": "group"}'))
>>> [row["message"] for row in repo.log("main")]
['January', 'an empty repository']
"""

from __future__ import annotations

import os

from firnline import _firnline
from firnline._firnline import __version__
from firnline.branches import Bisected, BranchStep, StagedMerge
from firnline.credentials import Credentials
from firnline.errors import (
    Conflict,
    ConflictError,
    CorruptError,
    DeniedError,
    ExpiredError,
    FirnlineError,
    InternalError,
    InvalidError,
    LockedError,
    MissingDataError,
    NoPermissionError,
    NotFoundError,
    OutcomeUnknownError,
    SourceChangedError,
    StorageFullError,
    UnavailableError,
    UnsupportedError,
)
from firnline.health import StoredUsage
from firnline.logs import set_log_level
from firnline.netcdf import Virtualized, virtualize
from firnline.repository import Repository
from firnline.retention import Expiration, ExpiredVersions, ExpirePlan, Retention, Withdrawal
from firnline.rows import Rows, RowStream
from firnline.session import ForkSession, Session
from firnline.snapshot import SnapshotInfo
from firnline.store import FirnlineStore, buffer
from firnline.sync import Synced, configured_remotes

__all__ = [
    "Bisected",
    "BranchStep",
    "Conflict",
    "ConflictError",
    "CorruptError",
    "Credentials",
    "DeniedError",
    "Expiration",
    "ExpirePlan",
    "ExpiredError",
    "ExpiredVersions",
    "FirnlineError",
    "FirnlineStore",
    "ForkSession",
    "InternalError",
    "InvalidError",
    "LockedError",
    "MissingDataError",
    "NoPermissionError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Repository",
    "Retention",
    "RowStream",
    "Rows",
    "Session",
    "SnapshotInfo",
    "SourceChangedError",
    "StagedMerge",
    "StorageFullError",
    "StoredUsage",
    "Synced",
    "UnavailableError",
    "UnsupportedError",
    "Virtualized",
    "Withdrawal",
    "__version__",
    "buffer",
    "configured_remotes",
    "set_log_level",
    "virtualize",
]

# A process that was forked must not use the threads of its parent, which it does not have.
os.register_at_fork(after_in_child=_firnline.forked)
