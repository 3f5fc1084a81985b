"""Makes HDF5 and NetCDF files of every layout, and says what is in them. usage: make.py OUTDIR"""

import ctypes
import os
import re
import sys

import h5py
import hdf5plugin
import netCDF4
import numpy as np

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
random = np.random.default_rng(1)
table = random.integers(0, 1000, (20, 30)).astype("i4")


def low_level(f, name, shape, layout):
    """A dataset whose layout only the C interface chooses."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout(plist)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(f.id, name, h5py.h5t.NATIVE_INT32, space, plist)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(np.prod(shape), dtype="i4").reshape(shape))


def implicit(plist):
    plist.set_chunk((5, 10))
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)


def layouts(f):
    f.attrs["title"] = "every layout"
    f.create_dataset("contiguous", data=table)
    f.create_dataset("chunked", data=table.astype("f8"), chunks=(7, 8))
    f.create_dataset("deflate", data=table, chunks=(5, 10), compression="gzip", shuffle=True)
    f.create_dataset("checked", data=table, chunks=(5, 10), compression="gzip", fletcher32=True)
    f.create_dataset("growing", data=table, chunks=(5, 10), maxshape=(None, 30))
    f.create_dataset("growing_deflate", data=table, chunks=(1, 10), maxshape=(None, 30), compression="gzip")
    f.create_dataset("growing_both", data=table, chunks=(5, 10), maxshape=(None, None))
    f.create_dataset("growing_both_deflate", data=table, chunks=(5, 10), maxshape=(None, None), compression="gzip")
    f.create_dataset("one_chunk", data=table, chunks=(20, 30))
    f.create_dataset("one_chunk_deflate", data=table, chunks=(20, 30), compression="gzip")
    f.create_dataset("long_chunk", data=table, chunks=(64, 30), maxshape=(None, 30))
    sparse = f.create_dataset("sparse", (100, 100), chunks=(10, 10), dtype="f4", fillvalue=-9.5, maxshape=(None, 100))
    sparse[35:45, 0:10] = 3
    f.create_dataset("never", (10, 10), dtype="f4", fillvalue=7)
    f.create_dataset("never_chunked", (10, 10), chunks=(5, 5), dtype="f4", fillvalue=7)
    low_level(f, b"compact", (4,), lambda plist: plist.set_layout(h5py.h5d.COMPACT))
    low_level(f, b"implicit", (20, 30), implicit)
    # More than one page of the indexes that have pages.
    many = random.integers(0, 99, 1100).astype("i4")
    f.create_dataset("many", data=many, chunks=(1,))
    f.create_dataset("many_deflate", data=many, chunks=(1,), maxshape=(None,), compression="gzip")


def types(f):
    for name in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16", ">i2", ">u4", ">f4", ">f8", ">i8"):
        f.create_dataset(f"type_{name.strip('>')}{'_big' if '>' in name else ''}", data=(table % 100).astype(name))
    f.create_dataset("bool", data=table % 2 == 0)
    f.create_dataset("enum", data=(table % 2).astype("u1"), dtype=h5py.enum_dtype({"RED": 0, "GREEN": 1}, basetype="u1"))
    f.create_dataset("fixed", data=np.array([b"abc", b"de"] * 600, dtype="S5"))
    f.create_dataset("texts", data=["a", "bcd", "ünï", ""], dtype=h5py.string_dtype())
    f.create_dataset("text", data="hello")
    f.create_dataset("scalar", data=3.5)
    f.create_dataset("nothing", shape=(0, 10), chunks=(1, 10), maxshape=(None, 10), dtype="i4")


def attributes(f):
    d = f.create_dataset("attributes", data=table)
    for i in range(40):
        d.attrs[f"a{i}"] = i
    d.attrs["text"] = "a text"
    d.attrs["bytes"] = np.bytes_("fixed")
    d.attrs["texts"] = ["x", "y"]
    d.attrs["numbers"] = [1.5, 2.5]
    d.attrs["single"] = np.float32(0.1)
    d.attrs["small"] = np.int8(-3)
    d.attrs["big"] = np.array([1, 2], ">i4")


for name, low, userblock in (
    ("earliest", "earliest", 0),
    ("v108", "v108", 0),
    ("v110", "v110", 0),
    ("v112", "v112", 0),
    ("latest", "latest", 0),
    ("userblock", "earliest", 1024),
):
    with h5py.File(f"{out}/{name}.h5", "w", libver=(low, "latest"), userblock_size=userblock, track_order=name == "latest") as f:
        layouts(f)
        types(f)
        attributes(f)
        group = f.create_group("group")
        group.attrs["of"] = "a group"
        group.create_dataset("inner", data=table, chunks=(10, 10))
        group.create_group("deeper").create_dataset("deep", data=table)

with h5py.File(f"{out}/plugins.h5", "w") as f:
    f.create_dataset("zstd", data=table, chunks=(5, 10), **hdf5plugin.Zstd(clevel=5))
    f.create_dataset("blosc", data=table, chunks=(5, 10), **hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=1))
    f.create_dataset("bzip2", data=table, chunks=(5, 10), **hdf5plugin.BZip2())

# h5py has no name for this; netCDF4 may bring another library.
libraries = {line.split()[-1] for line in open("/proc/self/maps") if re.search(r"/libhdf5-?[0-9a-f]*\.so", line)}
library = max(libraries, key=lambda path: "h5py" in path)
set_chunk_opts = ctypes.CDLL(library).H5Pset_chunk_opts
set_chunk_opts.argtypes = [ctypes.c_int64, ctypes.c_uint]


def unfiltered_edges(deflate):
    def layout(plist):
        plist.set_chunk((4, 4))
        plist.set_shuffle()
        if deflate:
            plist.set_deflate(4)
        assert set_chunk_opts(plist.id, 2) >= 0

    return layout


with h5py.File(f"{out}/refused.h5", "w", libver=("v110", "latest")) as f:
    low_level(f, b"edges", (6, 6), unfiltered_edges(False))
    low_level(f, b"edges_deflate", (6, 6), unfiltered_edges(True))
    f.create_dataset("record", data=np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]))
    f.create_dataset("lzf", data=table, chunks=(5, 10), compression="lzf")
    f.create_dataset("bitshuffle", data=table, chunks=(5, 10), **hdf5plugin.Bitshuffle())
    f.create_dataset("empty", data=h5py.Empty("f4"))
    masked = f.create_dataset("masked", shape=(4000,), chunks=(2000,), dtype="i4", compression="gzip")
    masked[:2000] = 1
    masked.id.write_direct_chunk((2000,), np.arange(2000, dtype="i4").tobytes(), filter_mask=1)
    external = f.create_dataset("external", (2000,), dtype="i4", external=[(f"{out}/external.bin", 0, 8000)])
    external[:] = 1
    f.create_dataset("long", (2,), "S100000", chunks=(1,))
    # References to one string of 60,000 bytes, together more than is copied.
    one = f.create_dataset("one", (1,), h5py.string_dtype(), chunks=(1,))
    one[0] = "x" * 60_000
    f.flush()
    heavy = f.create_dataset("heavy", (1200,), h5py.string_dtype(), chunks=(1200,))
    heavy.id.write_direct_chunk((0,), one.id.read_direct_chunk((0,))[1] * 1200)
    f.create_dataset("lists", data=np.array([np.array([1, 2]), np.array([3])], dtype=object), dtype=h5py.vlen_dtype("i4"))


# Small files that would take very much memory.
def many_names(f):
    """2048 names of one variable, whose attribute has 56,000 bytes."""
    groups = [f.create_group(f"g{n}") for n in range(12)]
    groups[-1].create_dataset("d", data=table).attrs["numbers"] = np.arange(7000)
    for above, below in zip(groups, groups[1:]):
        above["a"] = above["b"] = below
    for n in range(1, 12):
        del f[f"g{n}"]


def many_copies(f):
    """70 variables of 4 MiB each, none of which was ever written."""
    for n in range(70):
        f.create_dataset(f"v{n}", (1 << 19,), "f8")


def shared_headers(path):
    """900 variables whose headers go on in the same block of 340,000 bytes of attributes."""
    with h5py.File(path, "w", libver="earliest") as f:
        first = f.create_dataset("first", (1,), "i1")
        for n in range(6):
            first.attrs[f"numbers{n}"] = np.arange(7000)
        # Made first, so that there is no room for attributes behind them.
        for other in [f.create_dataset(f"v{n}", (1,), "i1") for n in range(900)]:
            other.attrs["text"] = np.bytes_(b"t" * 300)
            other.attrs["more"] = np.bytes_(b"t" * 300)
        addresses = [h5py.h5o.get_info(o.id).addr for o in f.values()]
    with open(path, "r+b") as f:
        whole = bytearray(f.read())
        # A message of kind 16 with 16 bytes says where the header goes on; behind the version comes the number of messages.
        places = [whole.index(b"\x10\0\x10\0\0\0\0\0", at) + 8 for at in addresses]
        header, place = addresses[0], places[0]
        for at, other in zip(addresses, places):
            # Of some the type has moved, and these stay as they are.
            if other - at > 280 or b"\3\0\x10\0" not in whole[at:other]:
                continue
            whole[other : other + 16] = whole[place : place + 16]
            whole[at + 2 : at + 4] = whole[header + 2 : header + 4]
        f.seek(0)
        f.write(whole)


with h5py.File(f"{out}/hostile-names.h5", "w", libver="latest") as f:
    many_names(f)
shared_headers(f"{out}/hostile-headers.h5")
with h5py.File(f"{out}/hostile-copies.h5", "w") as f:
    many_copies(f)
with h5py.File(f"{out}/hostile-texts.h5", "w") as f:
    one = f.create_dataset("one", (1,), h5py.string_dtype(), chunks=(1,))
    one[0] = "x" * 100_000
    f.attrs.create("many", ["y"] * 4000, dtype=h5py.string_dtype())
    f.flush()
    reference = one.id.read_direct_chunk((0,))[1]
# All strings of the attribute become the long one.
with open(f"{out}/hostile-texts.h5", "r+b") as f:
    whole = f.read()
    found = re.search(rb"(?s)(?:\x01\0\0\0.{10}\0\0){4000}", whole)
    f.seek(found.start())
    f.write(reference * 4000)


def netcdf(path, form, start=0, steps=3, **changes):
    """One file of a series along time."""
    with netCDF4.Dataset(path, "w", format=form) as n:
        n.createDimension("time", None)
        n.createDimension("lat", 40)
        n.createDimension("lon", 60)
        n.createDimension("letters", 5)
        is_compressed = {} if "NETCDF3" in form else {"zlib": True, "shuffle": True, "chunksizes": (1, 20, 30)}
        time = n.createVariable("time", "f8", ("time",))
        time.units = changes.get("units", "days since 2000-01-01")
        time.calendar = "standard"
        lat = n.createVariable("lat", "f4", ("lat",))
        lon = n.createVariable("lon", "f4", ("lon",))
        lat[:] = np.linspace(-80, 80, 40) + changes.get("shift", 0)
        lon[:] = np.arange(60)
        temp = n.createVariable("temp", "i2", ("time", "lat", "lon"), fill_value=-32767, **is_compressed)
        temp.scale_factor, temp.add_offset, temp.units = changes.get("scale", 0.01), 273.15, "K"
        temp.long_name = changes.get("long_name", "temperature")
        wind = n.createVariable("wind", changes.get("type", "f4"), ("time", "lat", "lon"), **is_compressed)
        wind.missing_value = np.float32(-1e30)
        names = n.createVariable("names", "S1", ("lat", "letters"))
        names[:] = netCDF4.stringtochar(np.array(["ab", "cde", "f", "ghijk"] * 10, "S5"))
        crs = n.createVariable("crs", "i4", ())
        crs.grid_mapping_name = "latitude_longitude"
        crs[...] = 7
        height = n.createVariable("height", "f4", ("lat", "lon"))
        height[:] = np.arange(2400).reshape(40, 60)
        height.missing_value = np.float32(np.nan)
        odd = n.createVariable("odd", "i2", ("time", "letters"))
        time[:] = np.arange(start, start + steps)
        values = np.random.default_rng(start + 2)
        temp[:] = 280 + values.random((steps, 40, 60))
        wind[:] = values.random((steps, 40, 60))
        odd[:] = np.arange(steps * 5).reshape(steps, 5) + start
        n.Conventions = "CF-1.8"
        n.version = np.int32(3)
        if form == "NETCDF4" and not changes:
            labels = n.createVariable("labels", str, ("lat",))
            labels[:] = np.array(["a", "bb", "ccc", "d"] * 10, object)
            flags = n.createVariable("flags", "u1", ("lat", "lon"))
            flags[:] = 1
            flags.flag_values, flags.flag_meanings = np.array([0, 1], "u1"), "no yes"
            many = n.createVariable("letters", "f4", ("letters", "lat"))
            many[:] = 3


for form in ("NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"):
    netcdf(f"{out}/{form}.nc", form)
    netcdf(f"{out}/{form}-2.nc", form, start=3, steps=4)
    netcdf(f"{out}/{form}-3.nc", form, start=7, steps=1)
for name, change in (
    ("units", {"units": "months since 2001-01-01"}),
    ("type", {"type": "f8"}),
    ("scale", {"scale": 0.02}),
    ("shift", {"shift": 1.0}),
    ("long_name", {"long_name": "air temperature"}),
):
    netcdf(f"{out}/other-{name}.nc", "NETCDF4_CLASSIC", start=3, **change)

with h5py.File(f"{out}/unwritten.h5", "w") as f:
    # The attribute is not the value of what was never written, whatever its type.
    for name, dtype, attribute in (
        ("same", "i4", np.int32(-9999)),
        ("float_on_int", "i4", np.float32(1e20)),
        ("double_on_float", "f4", np.float64(-9999)),
        ("little_on_big", ">f4", np.float32(-9999)),
    ):
        for shape, chunks in (((40,), (10,)), ((7, 5), (3, 2))):
            d = f.create_dataset(f"{name}_{len(shape)}", shape, dtype, chunks=chunks, maxshape=(None,) * len(shape))
            d.attrs["_FillValue"] = attribute
            d[tuple(chunks)] = 5
        f.create_dataset(f"{name}_never", (4,), dtype).attrs["_FillValue"] = attribute
        d = f.create_dataset(f"{name}_stated", (40,), dtype, chunks=(10,), fillvalue=3)
        d.attrs["_FillValue"] = attribute
    texts = f.create_dataset("texts", (4,), h5py.string_dtype(), chunks=(1,))
    texts.attrs["_FillValue"] = "absent"
    texts[1] = "there"

with netCDF4.Dataset(f"{out}/named.nc", "w") as n:
    n.createDimension("time", None)
    n.createDimension("level", 3)
    inner = n.createGroup("inner")
    inner.createDimension("x", 4)
    n.createVariable("time", "f8", ("time",))[:] = [0, 1]
    n.createVariable("v", "f4", ("time", "level"))[:] = 1
    # netCDF stores it under another name, since it is not the coordinate of its dimension.
    n.createVariable("level", "f4", ("time", "level"))[:] = np.arange(6).reshape(2, 3)
    inner.createVariable("x", "f4", ("x",))[:] = np.arange(4)
    inner.createVariable("w", "f4", ("time", "x"))[:] = 2

# Argo profiles have such variables.
for form in ("NETCDF4", "NETCDF3_CLASSIC"):
    with netCDF4.Dataset(f"{out}/argo-{form}.nc", "w", format=form) as f:
        f.createDimension("time", None)
        f.createDimension("letters", 8)
        for name, value in (("time", np.arange(600.0)), ("platform", np.array([[c.encode() for c in "6901234 "]] * 600))):
            v = f.createVariable(name, value.dtype, ("time", "letters")[: value.ndim], fill_value=b" " if name == "platform" else None)
            v[:] = value
        if form == "NETCDF4":
            v = f.createVariable("station", str, ("time",), fill_value="absent")
            v[:] = np.array(["a", "bb"] * 300, object)


def padded(f, name, padding, values):
    """Strings of a fixed length, as their bytes are in the file."""
    values = np.array(values, "S6")
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(6)
    kind.set_strpad(padding)
    d = h5py.h5d.create(f.id, name, kind, h5py.h5s.create_simple(values.shape))
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, values, mtype=kind)


with h5py.File(f"{out}/padded.h5", "w") as f:
    for times, size in ((1, "few"), (500, "many")):
        padded(f, f"{size}_spaces".encode(), h5py.h5t.STR_SPACEPAD, [b"ab    ", b"abcdef", b"      ", b" b  c "] * times)
        padded(f, f"{size}_zeros".encode(), h5py.h5t.STR_NULLPAD, [b"ab", b"abcdef", b"", b"a\0c"] * times)
    padded(f, b"few_ended", h5py.h5t.STR_NULLTERM, [b"ab\0cde", b"abcde", b"", b"\0bcde"])

# Old versions keep links in a table; new ones keep few of them in the header of the group, and many in a heap.
for name, version, count in (("links", "earliest", 0), ("links-few", "latest", 0), ("links-many", "latest", 40)):
    with h5py.File(f"{out}/{name}.h5", "w", libver=version) as f:
        f.create_dataset("a/d", data=table)
        f["lost"] = h5py.SoftLink("/nowhere")
        f["a/lost"] = h5py.SoftLink("d/e")
        for n in range(count):
            f[f"soft{n}"] = h5py.SoftLink("/a/d")
        f["b"] = f["a"]
        f["a/up"] = f["/"]
        f["away"] = h5py.ExternalLink("other.h5", "/d")
        f["soft"] = h5py.SoftLink("/a/d")

for name, rows in (("full", (0, 1)), ("holes", (0,))):
    with h5py.File(f"{out}/{name}.h5", "w") as f:
        time = f.create_dataset("time", data=np.arange(2.0), maxshape=(None,), chunks=(4,))
        time.make_scale("time")
        v = f.create_dataset("v", (2, 4), "f4", chunks=(1, 4), maxshape=(None, 4), fillvalue=-1)
        for row in rows:
            v[row] = row + 1
        v.dims[0].attach_scale(time)

for n, rows in enumerate((0, 3)):
    with netCDF4.Dataset(f"{out}/rows-{rows}.nc", "w") as f:
        f.createDimension("time", None)
        f.createDimension("x", 3)
        f.createDimension("y", 3000)
        large = f.createVariable("large", "f4", ("time", "y"), zlib=True, chunksizes=(1, 3000))
        if rows:
            large[:] = np.arange(9000).reshape(3, 3000)
        for name, dtype, dims in (("time", "f8", ("time",)), ("s", str, ("time",)), ("small", "f4", ("time", "x")), ("v", "i2", ("time", "x"))):
            v = f.createVariable(name, dtype, dims, **({"zlib": True, "chunksizes": (1, 3)} if name == "v" else {}))
            if rows:
                v[:] = np.array(["a", "bb", "c"], object) if dtype is str else np.arange(9).reshape(3, 3)[:, :len(dims) * 2 - 1].squeeze()

# Little-endian chunks of one row without filters: the form in which long rows are copied.
for n, height in ((0, 0), (1, 0), (2, 1)):
    with netCDF4.Dataset(f"{out}/plain-{n}.nc", "w") as f:
        f.createDimension("time", None)
        f.createDimension("lat", 30)
        f.createDimension("lon", 100)
        f.createVariable("time", "f8", ("time",))[:] = np.arange(3.0) + 3 * n
        f.createVariable("v", "f4", ("time", "lat", "lon"), chunksizes=(1, 30, 100))[:] = np.random.default_rng(n).random((3, 30, 100))
        f.createVariable("height", "f4", ("lat", "lon"))[:] = height

with netCDF4.Dataset(f"{out}/no-observations.nc", "w") as f:
    f.createDimension("time", None)
    f.createDimension("observation", None)
    f.createVariable("time", "f8", ("time",))[:] = np.arange(3.0)
    f.createVariable("v", "f4", ("time", "observation"))

# As xarray writes one file for each month: every one counts from its own first day, and the bounds do not repeat the units.
for name, epoch, values, unit in (
    ("january", "2025-01-01", np.arange(0, 31), "days"),
    ("february", "2025-02-01", np.arange(0, 28), "days"),
    ("hours", "2025-03-01", np.arange(0, 48, 24), "hours"),
    ("between", "2025-03-01", np.arange(0, 48, 6), "hours"),
):
    with netCDF4.Dataset(f"{out}/{name}.nc", "w") as f:
        f.createDimension("time", None)
        f.createDimension("bnds", 2)
        time = f.createVariable("time", "i8", ("time",))
        time.units, time.calendar, time.bounds = f"{unit} since {epoch}", "proleptic_gregorian", "time_bnds"
        time[:] = values
        ends = f.createVariable("time_bnds", "i8", ("time", "bnds"))
        ends[:] = np.stack([values, values + values[1]], 1)

# A later file that does not name its bounds, or by another name; and bounds that lie in the group above.
for name, day, bounds, is_inner in (
    ("unnamed", "2025-02-01", None, False),
    ("renamed", "2025-02-01", "time_bounds", False),
    ("by-path", "2025-02-01", "/time_bnds", False),
    ("inner-january", "2025-01-01", "time_bnds", True),
    ("inner-february", "2025-02-01", "time_bnds", True),
):
    with netCDF4.Dataset(f"{out}/{name}.nc", "w") as f:
        f.createDimension("time", None)
        f.createDimension("bnds", 2)
        time = (f.createGroup("g") if is_inner else f).createVariable("time", "i8", ("time",))
        time.units, time.calendar = f"days since {day}", "proleptic_gregorian"
        if bounds:
            time.bounds = bounds
        time[:] = np.arange(28)
        f.createVariable("time_bnds", "i8", ("time", "bnds"))[:] = np.stack([np.arange(28), np.arange(28) + 1], 1)

for form in ("NETCDF4", "NETCDF3_CLASSIC"):
    with netCDF4.Dataset(f"{out}/odd-{form}.nc", "w", format=form) as f:
        f.createDimension("x", 4)
        v = f.createVariable("v", "f4", ("x",))
        v[:] = 1
        v.valid_range, v.valid_max, v.missing_value, v.units = np.array([np.nan, 1.0]), np.float32(np.inf), np.float32(np.nan), "K"
        f.limit = np.float64(np.nan)
with h5py.File(f"{out}/odd-h5.h5", "w") as f:
    for name, fill in (("nan", np.float32(np.nan)), ("large", np.float64(1e20)), ("two", np.array([1, 2], "i4")), ("whole", np.float32(-9))):
        f.create_dataset(name, (3,), "i4", data=[1, 2, 3]).attrs["_FillValue"] = fill
    f["whole"].attrs["square"] = np.ones((2, 2), "i4")
