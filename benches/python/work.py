"""One measurement in a process of its own: `python work.py WORK SIDE DIRECTORY [OPTIONS]` prints one JSON object.

Every measurement runs in its own process, so that peak memory is its own and no side warms anything for another.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sides import SIDES

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Times:
    """What a call took, in seconds: by the clock, and of the processor in all threads of this process."""

    wall: float
    cpu: float


def timed(call: Callable[[], Any]) -> Times:
    """What one call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def median(times: list[Times]) -> Times:
    """The median of each."""
    return Times(statistics.median(one.wall for one in times), statistics.median(one.cpu for one in times))


class PeakMemory:
    """The peak of resident memory above what the process held when measuring began, in bytes.

    The kernel's own high-water mark is reset at the beginning where it can be; otherwise memory is sampled.
    """

    def __enter__(self) -> PeakMemory:
        self._reset = True
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self._reset = False
        self.before = self._status("VmRSS")
        self._sampled, self._done = 0, threading.Event()
        if not self._reset:
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        peak = self._status("VmHWM") if self._reset else max(self._sampled, self._status("VmRSS"))
        self.above = max(0, peak - self.before)

    def _sample(self) -> None:
        while not self._done.wait(0.002):
            self._sampled = max(self._sampled, self._status("VmRSS"))

    @staticmethod
    def _status(field: str) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * KIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def make_array(side: Any, chunk: int, chunks: int) -> None:
    """One array of `chunks` uncompressed chunks of `chunk` bytes of noise, committed."""
    import zarr

    data = np.frombuffer(np.random.default_rng(7).bytes(chunk * chunks), dtype="u1")
    store = side.writer()
    array = zarr.create_array(store, name="a", shape=data.shape, chunks=(chunk,), dtype="u1", compressors=None, filters=None)
    array[:] = data
    side.commit()


def get_one(side: Any, chunk: int = KIB, chunks: int = 1000, rounds: int = 20) -> dict[str, float]:
    """Microseconds for one value of 1 KiB: `get_sync` in a loop, and each of 100 in one `asyncio.gather`."""
    from zarr.core.buffer import default_buffer_prototype

    make_array(side, chunk, chunks)
    store, prototype = side.reader(), default_buffer_prototype()
    keys = [f"a/c/{i}" for i in range(chunks)]
    out: dict[str, float] = {}
    if hasattr(store, "get_sync"):

        def loop() -> None:
            for key in keys:
                assert store.get_sync(key, prototype=prototype) is not None

        loop()
        taken = median([timed(loop) for _ in range(rounds)])
        out |= {"get_sync_us": taken.wall / chunks * 1e6, "get_sync_cpu_us": taken.cpu / chunks * 1e6}

    async def hundred(at: int) -> Times:
        wall, cpu = time.perf_counter(), time.process_time()
        values = await asyncio.gather(*(store.get(key, prototype) for key in keys[at : at + 100]))
        taken = Times(time.perf_counter() - wall, time.process_time() - cpu)
        assert all(value is not None for value in values)
        return taken

    async def gathers() -> Times:
        for at in range(0, chunks, 100):
            await hundred(at)
        return median([await hundred(at) for _ in range(rounds) for at in range(0, chunks, 100)])

    taken = asyncio.run(gathers())
    return out | {"gather_us": taken.wall / 100 * 1e6, "gather_cpu_us": taken.cpu / 100 * 1e6}


def read_array(side: Any, chunk: int, chunks: int, rounds: int = 7) -> dict[str, float]:
    """Microseconds for each chunk of `a[:]` with zarr's default pipeline; files are in the page cache."""
    import zarr

    make_array(side, chunk, chunks)
    array = zarr.open_array(side.reader(), path="a", mode="r")
    assert array[:].nbytes == chunk * chunks
    taken = median([timed(lambda: array[:]) for _ in range(rounds)])
    return {"chunk_us": taken.wall / chunks * 1e6, "chunk_cpu_us": taken.cpu / chunks * 1e6}


def write_dataset(side: Any, gigabytes: float = 1.0) -> dict[str, float]:
    """Seconds for `Dataset.to_zarr` of chunks of 1 MiB and the durable commit."""
    import xarray as xr

    rows = int(gigabytes * KIB)
    data = np.random.default_rng(3).standard_normal((rows, MIB // 8))
    dataset = xr.Dataset({"a": (("row", "cell"), data)})
    dataset["a"].encoding = {"chunks": (1, MIB // 8), "compressors": None}
    store = side.writer()

    def work() -> None:
        dataset.to_zarr(store, mode="w", zarr_format=3, consolidated=False)
        side.commit()

    taken = timed(work)
    return {"seconds": taken.wall, "cpu": taken.cpu, "bytes": float(data.nbytes)}


def make_virtual(directory: str, refs: int, files: int = 1000) -> Any:
    """A virtual dataset of `refs` chunks of 8 bytes in `files` files below `directory`, which exist."""
    import xarray as xr
    from virtualizarr.manifests import ChunkManifest, ManifestArray
    from zarr.core.metadata.v3 import ArrayV3Metadata

    import zarr

    data = Path(directory) / "data"
    data.mkdir(parents=True, exist_ok=True)
    each = refs // files
    for number in range(files):
        (data / f"{number:04}.nc").write_bytes(b"\0" * (8 * each))
    names = np.array([(data / f"{number:04}.nc").as_uri() for number in range(files)], dtype=np.dtypes.StringDType())
    manifest = ChunkManifest.from_arrays(
        paths=np.repeat(names, each).reshape(files, each),
        offsets=np.tile(np.arange(each, dtype="u8") * 8, files).reshape(files, each),
        lengths=np.full((files, each), 8, dtype="u8"),
        validate_paths=False,
    )
    template = zarr.create_array(
        {}, shape=(files, each), chunks=(1, 1), dtype="f8", compressors=None, filters=None, dimension_names=("file", "cell")
    )
    metadata = ArrayV3Metadata.from_dict(template.metadata.to_dict())
    return xr.Dataset({"a": (("file", "cell"), ManifestArray(metadata, manifest))})


def write_virtual(side: Any, directory: str, refs: int = 1_000_000) -> dict[str, float]:
    """Seconds and peak memory above the dataset's own to write references through VirtualiZarr and commit them."""
    vds = make_virtual(directory, refs)

    def work() -> None:
        side.write_virtual(vds)
        side.commit()

    with PeakMemory() as memory:
        taken = timed(work)
    return {"seconds": taken.wall, "cpu": taken.cpu, "memory": float(memory.above), "refs": float(refs)}


def import_all(side: str) -> None:
    """Imports in a worker what its first task would import."""
    import dask.array  # noqa: F401
    import xarray  # noqa: F401

    import zarr  # noqa: F401

    if side == "firnline":
        import firnline.dask  # noqa: F401
    elif side == "icechunk":
        import icechunk.dask  # noqa: F401


def write_dask(side: Any, workers: int, megabytes: int = 256) -> dict[str, float]:
    """Seconds in which `workers` processes write eight regions of one array, compressed, and the commit."""
    import dask.array as da
    import xarray as xr
    from distributed import Client, LocalCluster

    rows = megabytes
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        source = da.random.default_rng(5).standard_normal((rows, MIB // 8), chunks=(rows // 8, MIB // 8))
        dataset = xr.Dataset({"a": (("row", "cell"), source)})
        dataset["a"].encoding = {"chunks": (1, MIB // 8)}
        client.run(import_all, side.name)

        def work() -> None:
            side.write_dask(dataset)
            side.commit()

        return {"seconds": timed(work).wall, "workers": float(workers)}


def main() -> None:
    work, name, directory, *rest = sys.argv[1:]
    options = dict(part.split("=", 1) for part in rest)
    numbers: dict[str, Any] = {key: float(value) if "." in value else int(value) for key, value in options.items()}
    place = str(Path(directory) / "repository")
    if work == "write_virtual":
        side = SIDES[name](place, allow=(Path(directory) / "data").as_uri() + "/")
        result = write_virtual(side, directory, **numbers)
    else:
        side = SIDES[name](place)
        result = {"get_one": get_one, "read_array": read_array, "write_dataset": write_dataset, "write_dask": write_dask}[work](
            side, **numbers
        )
    print(json.dumps(result))


if __name__ == "__main__":
    os.environ.pop("OPENBLAS_CORETYPE", None)
    main()
