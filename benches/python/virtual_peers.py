"""What other libraries do with the datasets of virtual_data.py: `python virtual_peers.py WORK ARGUMENT…` prints a JSON object.

Each runs in a process of its own. `seconds` and `cpu` are those of the work alone, without starting Python and importing;
`peak` is the peak memory of the whole process in bytes, to compare with that of the whole command `firn`.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from work import Times, timed


def kerchunk_json(path: str) -> tuple[Times, int]:
    """Opens a reference set in JSON, which reads and interprets all of it."""
    import ujson  # noqa: F401
    from fsspec.implementations.reference import ReferenceFileSystem

    opened: list[ReferenceFileSystem] = []
    taken = timed(lambda: opened.append(ReferenceFileSystem(path, remote_protocol="file", skip_instance_cache=True)))
    return taken, sum(1 for key in opened[0].references if key.startswith("air/") and ".z" not in key)


def kerchunk_parquet(path: str) -> tuple[Times, int]:
    """Opens a reference set in Parquet and asks for every reference, in order."""
    import fsspec
    import pandas  # noqa: F401
    from fsspec.implementations.reference import LazyReferenceMapper

    count = 0

    def work() -> None:
        nonlocal count
        references = LazyReferenceMapper(path, fs=fsspec.filesystem("file"))
        for key in references._keys_in_field("air"):
            if ".z" not in key and len(references[key]) == 3:
                count += 1

    return timed(work), count


def kerchunk_tables(path: str) -> tuple[Times, int]:
    """Reads the tables of a reference set in Parquet as kerchunk's own dependency does, and looks at none of the references."""
    import pandas

    count = 0

    def work() -> None:
        nonlocal count
        count = sum(len(pandas.read_parquet(part, engine="fastparquet")) for part in Path(path, "air").glob("refs.*.parq"))

    return timed(work), count


def icechunk_virtualize(directory: str, place: str, pattern: str = "air_*.nc") -> tuple[Times, int]:
    """Opens files with VirtualiZarr, joins them along time, and commits them to Icechunk."""
    import icechunk
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr import open_virtual_mfdataset
    from virtualizarr.parsers import HDFParser

    files = [path.as_uri() for path in sorted(Path(directory).glob(pattern))]
    allow = Path(directory).as_uri() + "/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(allow, icechunk.local_filesystem_store(directory)))
    repository = icechunk.Repository.create(
        icechunk.local_filesystem_storage(place),
        config=config,
        authorize_virtual_chunk_access=icechunk.containers_credentials({allow: None}),
    )

    def work() -> None:
        vds = open_virtual_mfdataset(
            files,
            registry=ObjectStoreRegistry({"file://": LocalStore()}),
            parser=HDFParser(),
            combine="nested",
            concat_dim="time",
            data_vars="minimal",
            coords="minimal",
            compat="override",
            loadable_variables=["time", "lat", "lon"],
            decode_times=False,
        )
        session = repository.writable_session("main")
        vds.vz.to_icechunk(session.store, last_updated_at=datetime.now(UTC))
        session.commit("bench")

    return timed(work), len(files)


WORKS: dict[str, Callable[..., tuple[Times, int]]] = {
    work.__name__: work for work in (kerchunk_json, kerchunk_parquet, kerchunk_tables, icechunk_virtualize)
}


def main() -> None:
    work, *arguments = sys.argv[1:]
    taken, count = WORKS[work](*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": taken.wall, "cpu": taken.cpu, "peak": peak, "count": count}))


if __name__ == "__main__":
    main()
