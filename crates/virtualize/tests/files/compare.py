"""Compares a Zarr hierarchy with the files from which it was made.

usage: compare.py    reads lines of JSON: [ZARR, CONCAT or "-", FILE, …]
Reads all values through zarr and xarray, and those of the files through h5py and xarray. Fails with a traceback where anything differs;
prints for each line how many arrays were compared."""

import json
import sys

import h5py
import hdf5plugin  # noqa: F401, registers its filters
import numpy as np
import xarray as xr
import zarr

store, concat, files, root, compared = "", "-", [], None, 0


def is_dimension_only(dataset):
    return dataset.attrs.get("NAME", b"").startswith(b"This is a netCDF dimension but not a netCDF variable")


def same(name, ours, theirs):
    global compared
    compared += 1
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.dtype.kind in "TUO":
        ours = ours.astype(object)
        theirs = np.array([t.decode() if isinstance(t, bytes) else t for t in theirs.reshape(-1)], object).reshape(theirs.shape)
    elif ours.dtype.newbyteorder("=") != theirs.dtype.newbyteorder("="):
        raise AssertionError(f"{name}: {ours.dtype} for {theirs.dtype}")
    np.testing.assert_array_equal(ours, theirs, err_msg=name)


def by_h5py(file):
    """Every dataset of one file, raw."""

    def visit(name, dataset):
        if isinstance(dataset, h5py.Dataset) and not is_dimension_only(dataset):
            same(name, root[name][...], dataset[()])

    with h5py.File(file) as f:
        f.visititems(visit)


def by_xarray(decode):
    engine = "h5netcdf" if all(h5py.is_hdf5(file) for file in files) else "netcdf4"
    parts = [xr.open_dataset(file, engine=engine, decode_cf=decode, decode_timedelta=False).load() for file in files]
    theirs = parts[0]
    if concat != "-":
        theirs = xr.concat(parts, concat, data_vars="minimal", coords="minimal", compat="override", combine_attrs="override")
    ours = xr.open_zarr(store, consolidated=False, decode_cf=decode, decode_timedelta=False).load()
    assert set(ours.variables) == set(theirs.variables), (set(ours.variables), set(theirs.variables))
    for name in ours.variables:
        a, b = ours[name], theirs[name]
        assert a.dims == b.dims, (name, a.dims, b.dims)
        if decode:
            global compared
            compared += 1
            xr.testing.assert_equal(a.drop_attrs(), b.drop_attrs())
        else:
            same(name, a.values, b.values)
        for key, value in b.attrs.items():
            if key in ("_FillValue", "DIMENSION_LABELS") or (key == "missing_value" and np.isnan(value).all()):
                continue
            mine = a.attrs.get(key)
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(value), err_msg=f"{name}@{key}")


for line in sys.stdin:
    store, concat, *files = json.loads(line)
    root, compared = zarr.open_group(store, mode="r"), 0
    try:
        if concat == "-" and h5py.is_hdf5(files[0]):
            by_h5py(files[0])
        if not files[0].endswith(".h5"):
            by_xarray(False)
            by_xarray(True)
    except Exception as e:
        e.add_note(line)
        raise
    print(compared)
