"""Virtual datasets into a repository and back."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

xr = pytest.importorskip("xarray", reason="xarray is not installed")
pytest.importorskip("virtualizarr", reason="virtualizarr is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")

import zarr  # noqa: E402
from obspec_utils.registry import ObjectStoreRegistry  # noqa: E402
from obstore.store import LocalStore  # noqa: E402
from virtualizarr import open_virtual_dataset  # noqa: E402
from virtualizarr.manifests import ChunkManifest, ManifestArray  # noqa: E402
from virtualizarr.parsers import HDFParser  # noqa: E402
from zarr.core.metadata.v3 import ArrayV3Metadata  # noqa: E402

import firnline as fl  # noqa: E402
from firnline.virtualizarr import FirnlineParser, write  # noqa: E402

REGISTRY = ObjectStoreRegistry({"file://": LocalStore()})


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    return fl.Repository.create(str(tmp_path / "repository"), allow={tmp_path.as_uri() + "/": ""})


def month(tmp_path: Path, number: int) -> tuple[str, xr.Dataset]:
    """A NetCDF4 file with four steps, compressed and packed, and what it holds."""
    path = tmp_path / f"month{number}.nc"
    values = np.random.default_rng(number).integers(0, 100, (4, 6, 8)).astype("f8")
    ds = xr.Dataset(
        {"t2m": (("time", "y", "x"), values, {"units": "K"}), "mask": (("y", "x"), np.arange(48).reshape(6, 8))},
        coords={"time": np.arange(4) + 4 * number, "x": np.arange(8.0)},
        attrs={"title": "months"},
    )
    packed = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1, "chunksizes": (2, 3, 8), "zlib": True}
    ds.to_netcdf(path, engine="h5netcdf", encoding={"t2m": packed}, unlimited_dims=[])
    return path.as_uri(), ds


def virtual(url: str) -> xr.Dataset:
    return open_virtual_dataset(url, registry=REGISTRY, parser=HDFParser())


def stored(repo: fl.Repository, group: str | None = None) -> xr.Dataset:
    return xr.open_zarr(repo.readonly_session("main").store, group=group, consolidated=False).load()


def test_a_file_is_read_through_the_repository(repo: fl.Repository, tmp_path: Path) -> None:
    url, ds = month(tmp_path, 0)
    session = repo.writable_session("main")
    write(virtual(url), session.store)
    session.commit("January")
    xr.testing.assert_equal(stored(repo), ds)
    assert stored(repo).t2m.attrs["units"] == "K" and stored(repo).attrs["title"] == "months"
    (file,) = repo.dependencies("main")
    assert file["url"] == url and file["refs"] == 4 + 1


def test_months_append(repo: fl.Repository, tmp_path: Path) -> None:
    months = [month(tmp_path, number) for number in range(3)]
    for number, (url, _) in enumerate(months):
        session = repo.writable_session("main")
        write(virtual(url), session.store, append_dim="time" if number else None)
        session.commit(f"month {number}")
    expected = xr.concat([ds for _, ds in months], "time", data_vars="minimal")
    xr.testing.assert_equal(stored(repo), expected)
    assert len(repo.dependencies("main")) == 3


def test_a_region_is_replaced(repo: fl.Repository, tmp_path: Path) -> None:
    (first, one), (second, two) = month(tmp_path, 0), month(tmp_path, 1)
    session = repo.writable_session("main")
    write(virtual(first), session.store)
    write(virtual(second), session.store, append_dim="time")
    replacement = virtual(first).drop_vars(["mask", "x"])
    write(replacement.assign_coords(time=two.time), session.store, region="auto")
    session.commit("the first month twice")
    np.testing.assert_array_equal(stored(repo).t2m[4:], one.t2m)
    write_region = repo.writable_session("main")
    with pytest.raises(ValueError, match="not aligned"):
        write(virtual(first).drop_vars(["mask", "x", "time"]), write_region.store, region={"time": slice(1, 5)})


def test_groups_and_trees(repo: fl.Repository, tmp_path: Path) -> None:
    (first, one), (second, two) = month(tmp_path, 0), month(tmp_path, 1)
    session = repo.writable_session("main")
    write(virtual(first), session.store, "deep/one")
    write(xr.DataTree.from_dict({"/": virtual(second), "/sub": virtual(second).drop_vars("x")}), session.store, "tree")
    session.commit("groups")
    xr.testing.assert_equal(stored(repo, "deep/one"), one)
    xr.testing.assert_equal(stored(repo, "tree"), two)
    np.testing.assert_array_equal(stored(repo, "tree/sub").t2m, two.t2m)


def test_what_does_not_fit_is_refused(repo: fl.Repository, tmp_path: Path) -> None:
    url, _ = month(tmp_path, 0)
    session = repo.writable_session("main")
    write(virtual(url), session.store)
    session.commit("one")
    other = tmp_path / "other.nc"
    ds = xr.Dataset({"t2m": (("time", "y", "x"), np.zeros((4, 6, 8)))}, coords={"time": np.arange(4)})
    ds.to_netcdf(other, engine="h5netcdf", encoding={"t2m": {"chunksizes": (2, 3, 8)}})
    with pytest.raises(ValueError, match="t2m"):
        write(virtual(other.as_uri()), repo.writable_session("main").store, append_dim="time")
    with pytest.raises(ValueError, match="read-only"):
        write(virtual(url), repo.readonly_session("main").store)
    with pytest.raises(ValueError, match="no dimension"):
        write(virtual(url), repo.writable_session("main").store, append_dim="depth")


def test_append_after_a_partial_chunk_is_refused(repo: fl.Repository, tmp_path: Path) -> None:
    """The stored array ends inside a chunk: what follows would be read at the wrong place."""
    session = repo.writable_session("main")
    write(made(tmp_path, cells=3, chunk=2), session.store)
    with pytest.raises(ValueError, match="ends inside a chunk"):
        write(made(tmp_path, cells=3, chunk=2), session.store, append_dim="x")


def made(
    tmp_path: Path,
    cells: int = 4,
    chunk: int = 1,
    missing: tuple[int, ...] = (),
    inlined: dict[tuple[int, ...], bytes] | None = None,
) -> xr.Dataset:
    """An uncompressed array of `f8` whose chunks lie in one file."""
    count = -(-cells // chunk)
    file = tmp_path / "made.bin"
    if not file.exists():
        file.write_bytes(np.arange(100, dtype="<f8").tobytes())
    paths = np.array(["" if at in missing else file.as_uri() for at in range(count)], dtype=np.dtypes.StringDType())
    lengths = np.array([0 if at in missing else 8 * chunk for at in range(count)], "u8")
    offsets = np.arange(count, dtype="u8") * 8 * chunk
    options = {}
    if inlined is not None:
        for cell in inlined:
            paths[cell], lengths[cell] = "__inlined__", len(inlined[cell])
        options["inlined"] = inlined
    manifest = ChunkManifest.from_arrays(paths=paths, offsets=offsets, lengths=lengths, validate_paths=False, **options)
    template = zarr.create_array(
        {}, shape=(cells,), chunks=(chunk,), dtype="f8", compressors=None, filters=None, fill_value=-5.0, dimension_names=("x",)
    )
    return xr.Dataset({"a": ("x", ManifestArray(ArrayV3Metadata.from_dict(template.metadata.to_dict()), manifest))})


def values(repo: fl.Repository) -> list[float]:
    return zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")[:].tolist()


def test_missing_chunks_are_fill_values(repo: fl.Repository, tmp_path: Path) -> None:
    session = repo.writable_session("main")
    write(made(tmp_path, missing=(1, 3)), session.store)
    session.commit("gaps")
    assert values(repo) == [0, -5, 2, -5]


def test_missing_chunks_of_a_region_are_removed(repo: fl.Repository, tmp_path: Path) -> None:
    session = repo.writable_session("main")
    write(made(tmp_path), session.store)
    write(made(tmp_path, cells=2, missing=(1,)), session.store, region={"x": slice(2, 4)})
    session.commit("less")
    assert values(repo) == [0, 1, 0, -5]


def test_values_inside_a_manifest_are_stored(repo: fl.Repository, tmp_path: Path) -> None:
    if not hasattr(made(tmp_path)["a"].variable.data.manifest, "_inlined"):
        pytest.skip("this VirtualiZarr keeps no values in manifests")
    session = repo.writable_session("main")
    write(made(tmp_path, inlined={(2,): np.array([99.0]).tobytes()}), session.store)
    session.commit("one value inside")
    assert values(repo) == [0, 1, 99, 3]


def test_a_changed_file_raises_and_never_gives_fill_values(repo: fl.Repository, tmp_path: Path) -> None:
    session = repo.writable_session("main")
    write(made(tmp_path), session.store)
    session.commit("as it was")
    assert values(repo) == [0, 1, 2, 3]
    (tmp_path / "made.bin").write_bytes(np.arange(7, 107, dtype="<f8").tobytes())
    os.utime(tmp_path / "made.bin", (1_600_000_000, 1_600_000_000))
    ds = xr.open_zarr(
        fl.Repository.open(str(tmp_path / "repository"), allow={tmp_path.as_uri() + "/": ""}).readonly_session("main").store,
        consolidated=False,
    )
    with pytest.raises(fl.SourceChangedError):
        ds.load()


def test_a_file_modified_after_it_was_parsed_is_refused(repo: fl.Repository, tmp_path: Path) -> None:
    vds = made(tmp_path)
    parsed = datetime.now(UTC) - timedelta(hours=1)
    session = repo.writable_session("main")
    with pytest.raises(fl.SourceChangedError):
        write(vds, session.store, last_updated_at=parsed)
    old = datetime.now(UTC) - timedelta(hours=2)
    os.utime(tmp_path / "made.bin", (old.timestamp(), old.timestamp()))
    session = repo.writable_session("main")
    write(vds, session.store, last_updated_at=parsed)
    session.commit("parsed an hour ago")
    assert values(repo) == [0, 1, 2, 3]


def test_the_parser_reads_a_repository_back(repo: fl.Repository, tmp_path: Path) -> None:
    url, ds = month(tmp_path, 0)
    session = repo.writable_session("main")
    write(virtual(url), session.store)
    xr.Dataset({"native": ("n", np.arange(5000))}).to_zarr(session.store, group="own", consolidated=False)
    session.commit("January")
    place = str(tmp_path / "repository")
    parser = FirnlineParser(allow={tmp_path.as_uri() + "/": ""})
    again = open_virtual_dataset(f"file://{place}", registry=REGISTRY, parser=parser)
    before = virtual(url)
    manifest, expected = again.t2m.variable.data.manifest, before.t2m.variable.data.manifest
    assert manifest.dict() == expected.dict(), "references differ from those that were written"
    np.testing.assert_array_equal(again.time, ds.time)
    copy = fl.Repository.create(str(tmp_path / "copy"), allow={tmp_path.as_uri() + "/": ""})
    session = copy.writable_session("main")
    write(again, session.store)
    session.commit("a copy of the references")
    xr.testing.assert_equal(stored(copy), ds)


def test_the_parser_reads_native_values(repo: fl.Repository, tmp_path: Path) -> None:
    ds = xr.Dataset({"small": ("x", np.arange(4)), "large": (("y", "x"), np.random.default_rng(0).random((500, 4)))})
    session = repo.writable_session("main")
    ds.to_zarr(session.store, consolidated=False)
    session.commit("values")
    place = str(tmp_path / "repository")
    vds = open_virtual_dataset(
        f"file://{place}", registry=REGISTRY, parser=FirnlineParser(), loadable_variables=["small", "large"]
    )
    xr.testing.assert_equal(vds.load(), ds)


def packed(path: Path, number: int, encoding: dict, units: str = "K", times: str = "days since 2020-01-01") -> xr.Dataset:
    """A NetCDF4 file of two steps whose only difference from others is how its values are decoded, as a virtual dataset."""
    ds = xr.Dataset(
        {"t2m": (("time", "x"), np.array([[1.0, 2.0], [3.0, 4.0]]), {"units": units})},
        coords={"time": ("time", np.arange(2) + 2 * number, {"units": times})},
    )
    ds.to_netcdf(path, engine="h5netcdf", encoding={"t2m": {"dtype": "i2", "chunksizes": (2, 2), **encoding}})
    return open_virtual_dataset(path.as_uri(), registry=REGISTRY, parser=HDFParser(), loadable_variables=[], decode_times=False)


OTHER_DECODING = [
    ({"scale_factor": 0.5}, {"scale_factor": 0.1}, {}, "scale_factor"),
    ({"scale_factor": 0.5}, {}, {}, "scale_factor"),
    ({}, {"scale_factor": 0.5}, {}, "scale_factor"),
    ({"add_offset": 1.0}, {"add_offset": -1.0}, {}, "add_offset"),
    ({"_FillValue": -1}, {"_FillValue": -2}, {}, "fill_value|_FillValue"),
    ({"_FillValue": -1}, {}, {}, "fill_value|_FillValue"),
    ({"missing_value": -1}, {}, {}, "missing_value"),
    ({}, {}, {"units": "degC"}, "units"),
    ({}, {}, {"times": "days since 2021-01-01"}, "units"),
]


@pytest.mark.parametrize(("first", "second", "others", "name"), OTHER_DECODING)
def test_files_that_are_decoded_otherwise_are_not_appended(
    repo: fl.Repository, tmp_path: Path, first: dict, second: dict, others: dict, name: str
) -> None:
    """Parsers keep scale factors in `attrs`; only `encoding` was compared, so values were read wrongly without an error."""
    one, two = packed(tmp_path / "one.nc", 0, first), packed(tmp_path / "two.nc", 1, second, **others)
    session = repo.writable_session("main")
    write(one, session.store)
    with pytest.raises(ValueError, match=name) as failed:
        write(two, session.store, append_dim="time")
    assert "t2m" in str(failed.value) or "time" in str(failed.value)
    with pytest.raises(ValueError, match=name):
        write(two, session.store, region={"time": slice(0, 2)})


def test_files_that_are_decoded_alike_are_appended(repo: fl.Repository, tmp_path: Path) -> None:
    """Numbers of NumPy against those of JSON, and NaN against NaN."""
    alike = {
        "dtype": "f4",
        "scale_factor": np.float32(0.1),
        "_FillValue": np.float32("nan"),
        "missing_value": np.float32("nan"),
    }
    session = repo.writable_session("main")
    write(packed(tmp_path / "one.nc", 0, alike), session.store)
    write(packed(tmp_path / "two.nc", 1, alike), session.store, append_dim="time")
    session.commit("both")
    np.testing.assert_allclose(stored(repo).t2m, [[1, 2], [3, 4]] * 2, rtol=1e-6)


def recorded(repo: fl.Repository, tmp_path: Path) -> Path:
    """A repository with references into a file that was modified an hour ago."""
    vds = made(tmp_path)
    file = tmp_path / "made.bin"
    hour = datetime.now(UTC).timestamp() - 3600
    os.utime(file, (hour, hour))
    session = repo.writable_session("main")
    write(vds, session.store)
    session.commit("as it was")
    return file


def parsed(tmp_path: Path, registry: ObjectStoreRegistry = REGISTRY, **options) -> xr.Dataset:
    url = (tmp_path / "repository").as_uri()
    return open_virtual_dataset(url, registry=registry, parser=FirnlineParser(**options), loadable_variables=[])


@pytest.mark.parametrize("is_allowed", [False, True])
def test_the_parser_refuses_a_changed_file(repo: fl.Repository, tmp_path: Path, is_allowed: bool) -> None:
    """The references of one repository were pinned anew by another, in a state that the first one refuses."""
    file = recorded(repo, tmp_path)
    options = {"allow": {tmp_path.as_uri() + "/": ""}} if is_allowed else {}
    assert parsed(tmp_path, **options).a.shape == (4,)
    before = os.stat(file)
    content = file.read_bytes()
    file.write_bytes(content[::-1])
    with pytest.raises(fl.SourceChangedError, match=r"made\.bin"):
        parsed(tmp_path, **options)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    with pytest.raises(fl.SourceChangedError, match="modified"):
        parsed(tmp_path, **options)
    file.write_bytes(content + b"longer")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(fl.SourceChangedError, match="size"):
        parsed(tmp_path, **options)
    assert parsed(tmp_path, check=False, **options).a.shape == (4,)
    file.unlink()
    with pytest.raises(fl.MissingDataError, match=r"made\.bin"):
        parsed(tmp_path, **options)
    assert parsed(tmp_path, skip_variables=["a"], **options).sizes == {}


def test_the_parser_reads_what_it_cannot_look_up(repo: fl.Repository, tmp_path: Path) -> None:
    """No store of the registry has the file, and the reader allows nothing."""
    file = recorded(repo, tmp_path)
    place = tmp_path / "repository"
    file.unlink()
    registry = ObjectStoreRegistry({place.as_uri(): LocalStore(place)})
    assert parsed(tmp_path, registry).a.variable.data.manifest.dict()["0"]["path"] == file.as_uri()


def test_the_parser_tells_which_source_refuses(repo: fl.Repository, tmp_path: Path) -> None:
    class Refusing:
        """A store whose answers are errors."""

        def __init__(self, error: Exception) -> None:
            self.error = error

        def head(self, path: str) -> dict:
            raise self.error

    recorded(repo, tmp_path)
    for error, kind in ((PermissionError("no"), fl.DeniedError), (TimeoutError("late"), fl.UnavailableError)):
        with pytest.raises(kind, match=r"made\.bin"):
            FirnlineParser()((tmp_path / "repository").as_uri(), ObjectStoreRegistry({"file://": Refusing(error)}))


def test_etags_and_dates_are_compared() -> None:
    from firnline._parser import _difference

    when = datetime(2025, 1, 1, 12, 0, 0, 250_000, UTC)
    record = {"size": 3, "etag": "abc", "version": None, "modified": when, "pinned_at": when}
    same = {"size": 3, "e_tag": '"abc"', "version": "7", "last_modified": when.replace(microsecond=0)}
    assert _difference(record, same) is None
    assert _difference(record, {**same, "e_tag": 'W/"abd"'}) is None
    assert "etag" in str(_difference(record, {**same, "e_tag": '"abd"'}))
    assert "version" in str(_difference({**record, "version": "6"}, same))
    assert "modified" in str(_difference(record, {**same, "last_modified": when + timedelta(seconds=1)}))
    undated = {**record, "modified": None}
    assert _difference(undated, same) is None
    assert "after it was recorded" in str(_difference(undated, {**same, "last_modified": when + timedelta(seconds=1)}))


# Two messages in GRIB2, of temperatures in 8 × 12 places: from 280 K on, and 6 K more after 6 hours. Written by ecCodes.
_GRIB_2T = """
R1JJQv//AAIAAAAAAAABEwAAABUBAGIAAAQAAQfpAQEAAAAAAgAAAEgDAAAAAGAAAAAABv///////////////////wAAAAwAAAAIAAAAAP////8ELB2AAAAA
ADAAAAAAE6tmgAHJw4AAmJaAAAAAACIEAAAAAAAAAP+AAAAAAQAAAABnAAAAAAL///////8AAAAVBQAAAGAAAEOMAACAAQAACAAAAAAGBv8AAABlBwACBAYI
CgwOEBIUFhgaHB4gIiQmKCosLjAyNDY4Ojw+QEJERkhKTE5QUlRWWFpcXmBiZGZoamxucHJ0dnh6fH6AgoSGiIqMjpCSlJaYmpyeoKKkpqiqrK6wsrS2uLq8
vjc3NzdHUklC//8AAgAAAAAAAAETAAAAFQEAYgAABAABB+kBAQAAAAACAAAASAMAAAAAYAAAAAAG////////////////////AAAADAAAAAgAAAAA/////wQs
HYAAAAAAMAAAAAATq2aAAcnDgACYloAAAAAAIgQAAAAAAAAA/4AAAAABAAAABmcAAAAAAv///////wAAABUFAAAAYAAAQ48AAIABAAAIAAAAAAYG/wAAAGUH
AAIEBggKDA4QEhQWGBocHiAiJCYoKiwuMDI0Njg6PD5AQkRGSEpMTlBSVFZYWlxeYGJkZmhqbG5wcnR2eHp8foCChIaIioyOkJKUlpianJ6goqSmqKqsrrCy
tLa4ury+Nzc3Nw==
"""
TEMPERATURES = 280.0 + np.arange(96.0).reshape(8, 12) + np.array([0.0, 6.0]).reshape(2, 1, 1)


@pytest.fixture
def forecast(tmp_path: Path) -> Path:
    path = tmp_path / "forecast.grib2"
    path.write_bytes(base64.b64decode(_GRIB_2T))
    return path


def test_messages_of_a_grib_file(repo: fl.Repository, forecast: Path) -> None:
    parsers = pytest.importorskip("gribberish.virtualizarr", reason="gribberish is not installed")
    vds = open_virtual_dataset(forecast.as_uri(), registry=REGISTRY, parser=parsers.GribberishParser(collapse_groups=True))
    with repo.transaction("main", message="forecast") as store:
        write(vds, store, group="forecast")
    stored = xr.open_zarr(repo.at("main").store, group="forecast", consolidated=False)
    np.testing.assert_array_equal(stored.tmp, TEMPERATURES)
    assert [row["url"] for row in repo.dependencies()] == [forecast.as_uri()]
    forecast.write_bytes(forecast.read_bytes() + b"GRIB")
    with pytest.raises(fl.SourceChangedError):
        repo.reopen().at("main").store.get_sync("forecast/tmp/c/1/0/0")


def test_messages_of_a_grib_file_by_kerchunk(repo: fl.Repository, forecast: Path) -> None:
    pytest.importorskip("cfgrib", reason="cfgrib is not installed")
    from kerchunk.combine import MultiZarrToZarr
    from kerchunk.grib2 import scan_grib

    same = ["latitude", "longitude", "heightAboveGround", "time"]
    steps = MultiZarrToZarr(scan_grib(str(forecast)), concat_dims=["step"], identical_dims=same, inline_threshold=0).translate()
    assert repo.import_kerchunk(steps, prefix="steps").references == 2
    stored = xr.open_zarr(repo.at("main").store, group="steps", consolidated=False)
    np.testing.assert_array_equal(stored.t2m, TEMPERATURES)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (32, 32)},
        {"tile": (32, 32), "compression": "deflate", "predictor": True},
        {"rowsperstrip": 16, "compression": "lzw"},
        {"rowsperstrip": 16, "compression": "zstd"},
    ],
    ids=lambda options: "-".join(options) + "-" + str(options.get("compression")),
)
def test_images_of_a_tiff_file(repo: fl.Repository, tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    virtual_tiff = pytest.importorskip("virtual_tiff", reason="virtual-tiff is not installed")
    heights = np.random.default_rng(0).integers(0, 3000, (64, 100)).astype("u2")
    path = tmp_path / "elevation.tif"
    tifffile.imwrite(path, heights, **options)
    vds = open_virtual_dataset(path.as_uri(), registry=REGISTRY, parser=virtual_tiff.VirtualTIFF(ifd=0))
    with repo.transaction("main", message="elevation") as store:
        write(vds, store, group="elevation")
    stored = xr.open_zarr(repo.at("main").store, group="elevation", consolidated=False)
    np.testing.assert_array_equal(stored["0"], heights)
    assert [row["url"] for row in repo.dependencies()] == [path.as_uri()]
