"""Makes hierarchies of Zarr and a NetCDF file, and compares what xarray and zarr-python read in reference sets of them.

usage: python kerchunk_export.py make DIR | compare DIR
needs: zarr xarray kerchunk fastparquet fsspec h5netcdf numpy, and pyarrow, with which fastparquet reads strings in another way

`make` writes below DIR:
  codecs/      a Zarr v3 group of many data types and codecs
  masked/      a Zarr v3 store as xarray writes it, with values that it masks
  many.json    references to 3000 files with names of 800 letters
  air.nc       a NetCDF file, and air.json: the references that kerchunk finds in it
  *.ndjson     what `firn apply` commits: the documents of each v3 store, and its chunks as references into its files
`compare` expects codecs, masked and air2 there as .json and .parq, and many.parq, and prints one line of JSON for each.
"""

import json
import os
import pathlib
import sys
import warnings

import fsspec
import numpy as np
import xarray as xr
import zarr
import zarr.codecs as zc
from fsspec.implementations.reference import LazyReferenceMapper
from zarr.codecs import numcodecs as zn

warnings.filterwarnings("ignore")


def make_codecs(root):
    group = zarr.open_group(root, mode="w", zarr_format=3, attributes={"title": "codecs", "z": 1, "a": [1.5, None]})
    rng = np.random.default_rng(0)
    reals = rng.standard_normal((10, 7)).astype("f4")
    whole = rng.integers(-99, 99, (10, 7)).astype("i4")

    def add(name, data, chunks, fill, sparse=False, **more):
        more.setdefault("compressors", None)
        names = [f"{name}_{axis}" for axis in range(data.ndim)] or None
        array = group.create_array(
            name, shape=data.shape, chunks=chunks, dtype=data.dtype, fill_value=fill, dimension_names=names, **more
        )
        if data.ndim == 0:
            array[...] = data
        elif sparse:
            first = tuple(slice(0, n) for n in chunks)
            array[first] = data[first]
        else:
            array[:] = data

    for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
        add(f"whole_{kind}", (whole % 100).astype(kind), (4, 3), 7)
    for kind in ("f2", "f4", "f8"):
        add(f"real_{kind}", reals.astype(kind), (4, 3), np.nan)
    for kind in ("c8", "c16"):
        add(f"complex_{kind}", (reals + 1j * reals).astype(kind), (4, 3), complex(1, 2))
    add("flag", reals > 0, (4, 3), True)
    add("big_endian", reals, (4, 3), 1.5, serializer=zc.BytesCodec(endian="big"))
    add("bytes", np.array([b"a", b"bc", b"def"]), (2,), b"")
    add("points", np.array(["a", "b\u00e9", "def"]), (2,), "")
    add("times", np.arange(5).astype("M8[s]"), (2,), np.datetime64("NaT"))
    add("spans", np.arange(5).astype("m8[10ms]"), (2,), np.timedelta64(3, "s"))
    add("scalar", np.array(5.5), (), 0.0)
    add("empty", np.zeros((0, 3), "i4"), (1, 3), 0)
    add("sparse", reals, (4, 3), np.nan, sparse=True)
    add("sparse_whole", whole, (4, 3), 7, sparse=True)
    add("dotted", reals, (4, 3), 0.0, chunk_key_encoding={"name": "default", "separator": "."})
    add("old_names", reals, (4, 3), 0.0, chunk_key_encoding={"name": "v2", "separator": "/"})
    text = np.array(["a", "", "\u00fcn\u00ef"], dtype=object).astype(np.dtypes.StringDType())
    add("text", text, (2,), "", compressors=[zc.ZstdCodec()])
    for name, compressors in {
        "gzip": [zc.GzipCodec(level=3)],
        "zstd": [zc.ZstdCodec(level=3, checksum=True)],
        "blosc": [zc.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")],
        "crc32c": [zc.ZstdCodec(level=1), zc.Crc32cCodec()],
        "shuffle_zlib": [zn.Shuffle(elementsize=4), zn.Zlib(level=4)],
        "lz4": [zn.LZ4()],
        "bz2": [zn.BZ2()],
        "lzma": [zn.LZMA()],
        "crc32": [zn.CRC32()],
        "fletcher32": [zn.Fletcher32()],
    }.items():
        add(name, reals, (4, 3), 0.0, compressors=compressors)
    doubles = reals.astype("f8")
    add("delta", whole, (4, 3), 0, filters=[zn.Delta(dtype="<i4", astype="<i4")], compressors=[zn.Zlib(level=1)])
    add("scaled", doubles.round(1), (4, 3), 0.0, filters=[zn.FixedScaleOffset(offset=0, scale=10, dtype="<f8", astype="<i2")])
    add("quantized", doubles, (4, 3), 0.0, filters=[zn.Quantize(digits=2, dtype="<f8")])
    add("rounded", reals, (4, 3), 0.0, filters=[zn.BitRound(keepbits=8)])
    add("packed", reals > 0, (4, 3), False, filters=[zn.PackBits()])
    add("transposed", reals, (4, 3), 0.0, filters=[zc.TransposeCodec(order=(1, 0))], compressors=[zn.Zlib(level=1)])
    add("transposed_delta", whole, (4, 3), 0, filters=[zc.TransposeCodec(order=(1, 0)), zn.Delta(dtype="<i4")])


def weather():
    rng = np.random.default_rng(1)
    air = rng.standard_normal((6, 5)).astype("f4")
    air[1, 2] = np.nan
    zeros = np.zeros((6, 5))
    zeros[0, 0] = 1
    return xr.Dataset(
        {
            "air": (("time", "x"), air, {"units": "K"}),
            "packed": (("time", "x"), air.astype("f8")),
            "zeros": (("time", "x"), zeros),
            "whole": (("time", "x"), np.arange(30).reshape(6, 5)),
            "one": ((), 3.5),
        },
        {"time": np.arange(6).astype("M8[D]").astype("M8[ns]"), "x": np.arange(5.0)},
        {"title": "weather"},
    )


PACKED = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 1.0, "_FillValue": np.int16(-32768)}


def many_files():
    return [[f"https://data.example.org/{'long' * 200}/{n}.grib2", n, 4] for n in range(3000)]


def make(root):
    make_codecs(root / "codecs")
    array = {"zarr_format": 2, "shape": [3000], "chunks": [1], "dtype": "<i4", "fill_value": 0, "order": "C"}
    documents = {".zgroup": '{"zarr_format": 2}', "v/.zarray": json.dumps(array | {"filters": None, "compressor": None})}
    refs = documents | {f"v/{n}": reference for n, reference in enumerate(many_files())}
    (root / "many.json").write_text(json.dumps({"version": 1, "refs": refs}))
    encoding = {
        "air": {"_FillValue": np.float32(-9999), "chunks": (2, 5)},
        "packed": {**PACKED, "chunks": (3, 5)},
        "zeros": {"chunks": (2, 2)},
        "whole": {"chunks": (2, 5)},
    }
    # Files of NetCDF have no complex numbers.
    wave = np.full((6, 5), -1, "c8")
    wave[0] = 2 + 3j
    encoding["wave"] = {"_FillValue": np.complex64(-1), "chunks": (2, 5)}
    weather().assign(wave=(("time", "x"), wave)).to_zarr(root / "masked", zarr_format=3, encoding=encoding, consolidated=False)
    for store in ("codecs", "masked"):
        with open(root / f"{store}.ndjson", "w") as out:
            for path in sorted(p for p in (root / store).rglob("*") if p.is_file()):
                key = f"{store}/{path.relative_to(root / store)}"
                if path.name == "zarr.json":
                    operation = {"op": "put", "key": key, "file": str(path)}
                else:
                    operation = {"op": "virtual", "key": key, "url": path.as_uri(), "offset": 0, "length": path.stat().st_size}
                out.write(json.dumps(operation) + "\n")
    encoding = {"air": {"_FillValue": np.float32(-9999), "chunksizes": (2, 5), "zlib": True, "shuffle": True}, "packed": PACKED}
    weather().to_netcdf(root / "air.nc", engine="h5netcdf", encoding=encoding)
    from kerchunk.hdf import SingleHdf5ToZarr

    (root / "air.json").write_text(json.dumps(SingleHdf5ToZarr(str(root / "air.nc"), inline_threshold=100).translate()))


def compare(root):
    want = zarr.open_group(root / "codecs", mode="r", zarr_format=3)
    for name in ("codecs.json", "codecs.parq"):
        files = fsspec.filesystem("reference", fo=str(root / name), asynchronous=True, remote_protocol="file")
        found = zarr.open_group(zarr.storage.FsspecStore(files, read_only=True, path=""), mode="r", zarr_format=2)
        assert dict(found.attrs) == dict(want.attrs), (name, dict(found.attrs))
        arrays = [array for array, _ in want.arrays()]
        for array in arrays:
            one, other = want[array][...], found[array][...]
            has_nan = one.dtype.kind in "fcmM"
            # The order of bytes is a part of a data type in Zarr v2 only.
            assert (one.dtype.kind, one.dtype.itemsize) == (other.dtype.kind, other.dtype.itemsize), (name, array, other.dtype)
            assert np.array_equal(one, other, equal_nan=has_nan), (name, array, one, other)
        print(json.dumps({"set": name, "arrays": len(arrays)}))
    found = LazyReferenceMapper(str(root / "many.parq"))
    wrong = [n for n, reference in enumerate(many_files()) if found[f"v/{n}"] != reference]
    assert wrong == [], wrong
    print(json.dumps({"set": "many.parq", "arrays": len(many_files())}))
    sets = {
        "masked.json": xr.open_zarr(root / "masked", consolidated=False, zarr_format=3).load(),
        "air2.json": xr.open_dataset(root / "air.nc", engine="h5netcdf").load(),
    }
    sets |= {name.replace(".json", ".parq"): want for name, want in sets.items()}
    for name, want in sets.items():
        found = xr.open_dataset(str(root / name), engine="kerchunk").load()
        xr.testing.assert_equal(found, want)
        print(json.dumps({"set": name, "arrays": len(found.variables)}))


if __name__ == "__main__":
    os.environ.pop("PYTHONWARNINGS", None)
    {"make": make, "compare": compare}[sys.argv[1]](pathlib.Path(sys.argv[2]))
