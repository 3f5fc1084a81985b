"""Makes the virtual datasets that virtual.py measures: the same ones on every machine, each made once.

A dataset is a directory with `files/` (sparse: only their sizes count) and the same references in three forms: `refs.json` and
`refs.parq` as kerchunk writes them, and `refs.ndjson` for `firn apply`. `hdf5/` holds real files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PER_STEP = 100
KINDS = {
    "regular": "equal lengths, one after the other in 1,000 files",
    "random": "random lengths, one after the other in 1,000 files",
    "scattered": "one file each, random offset and length",
}


@dataclass(frozen=True)
class Dataset:
    """Where the forms of one set of references are."""

    directory: Path
    kind: str
    refs: int

    @property
    def json(self) -> Path:
        return self.directory / "refs.json"

    @property
    def parquet(self) -> Path:
        return self.directory / "refs.parq"

    @property
    def lines(self) -> Path:
        return self.directory / "refs.ndjson"

    @property
    def allow(self) -> str:
        return (self.directory / "files").as_uri() + "/"


def columns(kind: str, refs: int, files: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each reference its file, offset and length."""
    random = np.random.default_rng(refs)
    if kind == "scattered":
        return np.arange(refs), random.integers(0, 1 << 24, refs), random.integers(1 << 16, 1 << 17, refs)
    file = np.arange(refs) * files // refs
    # Lengths with 16 random bits, so that 2.0 bytes for each is the least that any encoding needs.
    length = np.full(refs, 1 << 16) if kind == "regular" else random.integers(1 << 16, 1 << 17, refs)
    end = np.cumsum(length)
    first = np.searchsorted(file, np.arange(file[-1] + 1))
    before = np.concatenate([[0], end])[first]
    return file, 4096 + end - length - before[file], length


def urls(dataset: Dataset, count: int) -> list[str]:
    """The places of the files. Those of scattered references do not exist, and nobody looks for them."""
    if dataset.kind == "scattered":
        return [f"s3://archive/goes-16/{n // 8640:03}/OR_ABI-L2-CMIPF_{n:07}.nc" for n in range(count)]
    return [f"{dataset.allow}{1980 + n // 24}_air_{n:05}.nc" for n in range(count)]


def documents(refs: int) -> dict[str, str]:
    """The documents of Zarr version 2 for an array with so many chunks."""
    array = {
        "zarr_format": 2,
        "shape": [refs // PER_STEP, 100, 100],
        "chunks": [1, 10, 10],
        "dtype": "<f4",
        "compressor": {"id": "zlib", "level": 4},
        "fill_value": None,
        "filters": None,
        "order": "C",
    }
    return {
        ".zgroup": json.dumps({"zarr_format": 2}),
        "air/.zarray": json.dumps(array),
        "air/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": ["time", "lat", "lon"]}),
    }


def cells(refs: int) -> Iterator[tuple[int, int, int]]:
    return ((n // PER_STEP, n % PER_STEP // 10, n % 10) for n in range(refs))


def make(root: Path, kind: str, refs: int, files: int = 1000) -> Dataset:
    """The dataset of a kind, made if it is not there."""
    dataset = Dataset(root / f"{kind}-{refs}", kind, refs)
    if (dataset.directory / "made").exists():
        return dataset
    shutil.rmtree(dataset.directory, ignore_errors=True)
    (dataset.directory / "files").mkdir(parents=True)
    file, offset, length = columns(kind, refs, min(files, refs))
    names = urls(dataset, int(file[-1]) + 1)
    if kind != "scattered":
        for number, url in enumerate(names):
            with open(url.removeprefix("file://"), "wb") as made:
                made.truncate(int((offset + length)[file == number].max()))
    _write(dataset, [names[n] for n in file], offset.tolist(), length.tolist())
    (dataset.directory / "made").touch()
    return dataset


def _write(dataset: Dataset, names: list[str], offset: list[int], length: list[int]) -> None:
    from kerchunk.df import refs_to_dataframe

    references: dict[str, str | list[str | int]] = dict(documents(dataset.refs))
    with dataset.lines.open("w") as lines:
        for key, text in references.items():
            lines.write(json.dumps({"op": "put", "key": key, "text": text}) + "\n")
        for (t, y, x), url, at, size in zip(cells(dataset.refs), names, offset, length, strict=True):
            key = f"air/{t}.{y}.{x}"
            lines.write(f'{{"op":"virtual","key":"{key}","url":"{url}","offset":{at},"length":{size}}}\n')
            references[key] = [url, at, size]
    dataset.json.write_text(json.dumps({"version": 1, "refs": references}))
    dataset.parquet.mkdir()
    refs_to_dataframe(references, str(dataset.parquet), record_size=100_000)


def make_hdf5(root: Path, files: int, chunks: int) -> list[Path]:
    """NetCDF4 files of `chunks` small compressed chunks each, which differ in their times; made if they are not there."""
    import h5py

    directory = root / f"hdf5-{files}-{chunks}"
    made = [directory / f"air_{n:04}.nc" for n in range(files)]
    if (directory / "made").exists():
        return made
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    steps = chunks // 100
    with h5py.File(made[0], "w") as first:
        for name, size in (("time", steps), ("lat", 100), ("lon", 100)):
            first[name] = np.arange(size, dtype="f8")
            first[name].make_scale(name)
        first["time"].attrs["units"] = "hours since 2000-01-01"
        values = np.random.default_rng(1).standard_normal((steps, 100, 100)).astype("f4")
        air = first.create_dataset("air", data=values, chunks=(1, 10, 10), compression="gzip", compression_opts=4, shuffle=True)
        for axis, name in enumerate(("time", "lat", "lon")):
            air.dims[axis].attach_scale(first[name])
    for number, path in enumerate(made[1:], start=1):
        shutil.copyfile(made[0], path)
        with h5py.File(path, "r+") as file:
            file["time"][:] = np.arange(number * steps, (number + 1) * steps, dtype="f8")
    (directory / "made").touch()
    return made
