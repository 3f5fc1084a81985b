"""The three stores that are compared, behind one small interface.

Each side makes a place to write to below a directory, gives a zarr store for writing and one for reading, and makes what
was written durable. `local` is zarr's LocalStore, which knows no commits: there, durable means that every file and
directory was synced (`syncfs` of the file system, one call).
"""

from __future__ import annotations

import ctypes
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Firnline:
    """Firnline: a commit is durable when it returns."""

    name = "firnline"
    versioned = True

    def __init__(self, directory: str, allow: str | None = None) -> None:
        import firnline as fl

        options = {} if allow is None else {"allow": {allow: ""}}
        self.repository = fl.Repository.open_or_create(directory, **options)

    def writer(self) -> Any:
        self.session = self.repository.writable_session("main")
        return self.session.store

    def commit(self) -> None:
        self.session.commit("bench")

    def reader(self) -> Any:
        return self.repository.readonly_session("main").store

    def write_virtual(self, vds: Any) -> None:
        from firnline.virtualizarr import write

        write(vds, self.writer(), last_updated_at=datetime.now(UTC))

    def write_dask(self, dataset: Any) -> None:
        from firnline.xarray import to_firnline

        self.writer()
        to_firnline(dataset, self.session, mode="w")


class Icechunk:
    """Icechunk with its defaults: a commit syncs nothing."""

    name = "icechunk"
    versioned = True

    def __init__(self, directory: str, allow: str | None = None) -> None:
        import icechunk

        storage = icechunk.local_filesystem_storage(directory)
        config = icechunk.RepositoryConfig.default()
        credentials = None
        if allow is not None:
            config.set_virtual_chunk_container(
                icechunk.VirtualChunkContainer(allow, icechunk.local_filesystem_store(allow[7:]))
            )
            credentials = icechunk.containers_credentials({allow: None})
        self.repository = icechunk.Repository.open_or_create(storage, config=config, authorize_virtual_chunk_access=credentials)

    def writer(self) -> Any:
        self.session = self.repository.writable_session("main")
        return self.session.store

    def commit(self) -> None:
        self.session.commit("bench")

    def reader(self) -> Any:
        return self.repository.readonly_session("main").store

    def write_virtual(self, vds: Any) -> None:
        vds.vz.to_icechunk(self.writer(), last_updated_at=datetime.now(UTC))

    def write_dask(self, dataset: Any) -> None:
        from icechunk.xarray import to_icechunk

        self.writer()
        to_icechunk(dataset, self.session, mode="w")


class Local:
    """zarr's LocalStore: a directory of files, without versions."""

    name = "local"
    versioned = False

    def __init__(self, directory: str, allow: str | None = None) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)

    def writer(self) -> Any:
        import zarr.storage

        return zarr.storage.LocalStore(self.directory)

    def commit(self) -> None:
        sync_file_system(self.directory)

    def reader(self) -> Any:
        import zarr.storage

        return zarr.storage.LocalStore(self.directory, read_only=True)

    def write_dask(self, dataset: Any) -> None:
        dataset.to_zarr(self.writer(), mode="w", zarr_format=3, consolidated=False)


def sync_file_system(path: Path) -> None:
    """Makes everything written to the file system of `path` durable (`syncfs`); raises OSError if that fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", str(path))
    finally:
        os.close(descriptor)


SIDES = {side.name: side for side in (Firnline, Icechunk, Local)}


def installed() -> list[str]:
    """The sides whose library can be imported, Firnline first."""
    from importlib.util import find_spec

    return [name for name in SIDES if name == "local" or find_spec(name) is not None]
