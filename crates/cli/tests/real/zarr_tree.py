"""Real data as Zarr stores on disk, and what they hold, as zarr-python sees it.

usage: zarr_tree.py write FILE.nc DIR 2|3      the variables of a NetCDF4 file as a Zarr store of that format
       zarr_tree.py change DIR 1|2             what a scientist does next: 1 corrects values and attributes, 2 appends, deletes and adds
       zarr_tree.py values PLACE…              one JSON object a place: every array with shape, type and a hash of its values
                                               (a Zarr store, a NetCDF4 file, or several joined by commas that append along the first axis)
needs: zarr 3, h5py, numpy
"""
import hashlib
import json
import pathlib
import sys
import warnings

import h5py
import numpy as np
import zarr

warnings.filterwarnings("ignore", module="zarr")
HIDDEN = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict")


def plain(value):
    """An HDF5 attribute as JSON has it."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value] if value.size != 1 else plain(value.flat[0])
    return value.item() if isinstance(value, np.generic) else value


def attributes(node):
    return {name: plain(node.attrs[name]) for name in node.attrs if name not in HIDDEN}


def variables(file):
    """The variables of a NetCDF4 file: its datasets but for the mere dimensions."""
    for name, node in sorted(file.items()):
        if isinstance(node, h5py.Dataset) and not plain(node.attrs.get("NAME", b"")).startswith("This is a netCDF dimension but"):
            yield name, node


def dimensions(file, node):
    return tuple((d[0].name.rsplit("/", 1)[-1] if len(d) else f"dim{i}") for i, d in enumerate(node.dims))


def write(source, target, version):
    with h5py.File(source) as file:
        group = zarr.open_group(target, mode="w", zarr_format=version, attributes=attributes(file))
        for name, node in variables(file):
            values = node[()]
            # As it lies in the file, chunk by chunk; and one chunk of more than a mebibyte, uncompressed.
            put(group, name, values, node.chunks or node.shape, dimensions(file, node), attributes(node))
            if values.nbytes > 1 << 20:
                put(group, f"whole/{name}", values, node.shape, dimensions(file, node), {}, compressors=None)
    zarr.consolidate_metadata(target)


def put(group, name, values, chunks, names, attrs, **more):
    values = np.asarray(values)
    if group.metadata.zarr_format == 3:
        more["dimension_names"] = names
    else:
        attrs = {**attrs, "_ARRAY_DIMENSIONS": list(names)}
    array = group.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype, attributes=attrs, **more)
    array[...] = values


def change(target, step):
    group = zarr.open_group(target, mode="r+", use_consolidated=False)
    air = group["air_temperature"]
    if step == 1:
        air[3:6] = air[3:6] + 1
        air.attrs["comment"] = "months 4 to 6 corrected by one kelvin"
        group.attrs["revision"] = 1
        whole = group["whole/air_temperature"]
        whole[3:6] = whole[3:6] + 1
    else:
        months = air.shape[0]
        air.resize((months + 12, *air.shape[1:]))
        air[months:] = air[months - 12 : months] + 0.5
        del group["height"]
        mean = np.asarray(air[...]).mean(axis=0)
        put(group, "derived/mean", mean, (20, 20), ("latitude", "longitude"), {"units": "K"})
    zarr.consolidate_metadata(target)


def described(values, attrs=None):
    values = np.asarray(values)
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    found = {"shape": list(values.shape), "type": little.dtype.str, "sha256": hashlib.sha256(little.tobytes()).hexdigest()}
    return found if attrs is None else {**found, "attributes": attrs}


def values(place):
    if place.endswith(".nc"):
        return joined([h5py.File(part) for part in place.split(",")])
    group = zarr.open_group(place, mode="r")
    arrays = {name: described(node[...], dict(node.attrs)) for name, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    return {"attributes": dict(group.attrs), "arrays": arrays}


def joined(files):
    arrays = {}
    for name, first in variables(files[0]):
        grows = first.maxshape and first.maxshape[0] is None
        arrays[name] = described(np.concatenate([file[name][()] for file in files]) if grows else first[()])
    return {"arrays": arrays}


def main(verb, *args):
    if verb == "write":
        write(args[0], args[1], int(args[2]))
    elif verb == "change":
        change(args[0], int(args[1]))
    elif verb == "values":
        for place in args:
            print(json.dumps(values(place), sort_keys=True))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
