"""What reference sets of kerchunk must give, by software that knows nothing of them.

usage: kerchunk_sets.py chunks DATASET OUT    writes OUT/KEY: the bytes of each chunk of the NetCDF files in DATASET, as HDF5 reads them
       kerchunk_sets.py values DATASET STORE  prints true if zarr-python reads in STORE the values that DATASET expects, else false
needs: h5py, numpy, zarr
"""
import json
import pathlib
import sys

import h5py
import numpy
import zarr

from virtual_months import chunks


def write_chunks(dataset, out):
    times = []
    for month, path in enumerate(sorted(dataset.glob("src*.nc"))):
        with h5py.File(path) as file:
            times.append(file["time"][()])
            names = ["lat", "lon", "t2m"] if month == 0 else ["t2m"]
            for name in names:
                for key, _, data in chunks(name, file[name], 0):
                    if name == "t2m":
                        first, *rest = key.removeprefix("t2m/").split(".")
                        # Twelve hours in chunks of six: two steps a file.
                        key = f"t2m/{int(first) + 2 * month}." + ".".join(rest)
                    want = pathlib.Path(out, key)
                    want.parent.mkdir(parents=True, exist_ok=True)
                    want.write_bytes(data)
    pathlib.Path(out, "time").mkdir()
    pathlib.Path(out, "time", "0").write_bytes(numpy.concatenate(times).astype("<i8").tobytes())


def main(what, dataset, other):
    dataset = pathlib.Path(dataset)
    if what == "chunks":
        write_chunks(dataset, other)
    else:
        found = zarr.open_group(other, mode="r")["t2m"][:]
        print(json.dumps(bool(numpy.array_equal(found, numpy.load(dataset / "expected.npy")))))


if __name__ == "__main__":
    main(*sys.argv[1:])
