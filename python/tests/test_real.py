"""Real files: NetCDF from models and satellites, through the repository and back.

The files lie in the directory that `FIRN_TEST_REAL_DATA` names.
"""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

xr = pytest.importorskip("xarray", reason="xarray is not installed")
pytest.importorskip("h5netcdf", reason="h5netcdf is not installed")

import firnline as fl  # noqa: E402

DATA = os.environ.get("FIRN_TEST_REAL_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="FIRN_TEST_REAL_DATA does not name the directory of real files")

MONTHS = [
    f"nemo_1m_{begin}-{end}_grid-T.nc"
    for begin, end in (("20150101", "20150201"), ("20150201", "20150301"), ("20150301", "20150401"))
]
FILES = ["E1_north_america.nc", "A1B_north_america.nc", "ostia_monthly.nc", *MONTHS]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Copies of the real files, an hour old, which tests may change."""
    copies = tmp_path / "data"
    copies.mkdir()
    for name in FILES:
        shutil.copy(Path(str(DATA)) / name, copies / name)
        os.utime(copies / name, (time.time() - 3600,) * 2)
    return copies


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    return fl.Repository.create(str(tmp_path / "repository"), allow={tmp_path.as_uri() + "/": ""})


def raw(path: Path, **options) -> xr.Dataset:
    """What the file stores, undecoded."""
    return xr.open_dataset(path, engine="h5netcdf", decode_cf=False, **options)


def back(repo: fl.Repository, revision: str = "main", **options) -> xr.Dataset:
    return xr.open_zarr(
        repo.at(revision).store, consolidated=False, decode_cf=False, mask_and_scale=False, chunks=None, **options
    )


def without_encodings(ds: xr.Dataset) -> xr.Dataset:
    for name in ds.variables:
        ds[name].encoding = {}
    return ds


@pytest.mark.parametrize("name", FILES)
def test_values_through_xarray(repo: fl.Repository, data: Path, name: str) -> None:
    ds = without_encodings(raw(data / name).load())
    with repo.transaction("main", message=name) as store:
        ds.to_zarr(store, consolidated=False)
    again = back(repo).load()
    xr.testing.assert_equal(again, ds)
    for variable in ds.variables:
        assert again[variable].dtype == ds[variable].dtype, variable


def virtual(path: Path, **options) -> xr.Dataset:
    virtualizarr = pytest.importorskip("virtualizarr", reason="virtualizarr is not installed")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr.parsers import HDFParser

    registry = ObjectStoreRegistry({"file://": LocalStore()})
    return virtualizarr.open_virtual_dataset(path.as_uri(), registry=registry, parser=HDFParser(), **options)


def decoded(path_or_store: object, **options) -> xr.Dataset:
    if isinstance(path_or_store, Path):
        return xr.open_dataset(path_or_store, engine="h5netcdf", **options)
    return xr.open_zarr(path_or_store, consolidated=False, chunks=None, **options)


@pytest.mark.parametrize("name", FILES)
def test_references_through_virtualizarr(repo: fl.Repository, data: Path, name: str) -> None:
    from firnline.virtualizarr import write

    session = repo.writable_session("main")
    write(virtual(data / name), session.store)
    session.commit(name)
    ds, again = decoded(data / name).load(), decoded(repo.at("main").store).load()
    for variable in ds.variables:
        np.testing.assert_array_equal(again[variable].values, ds[variable].values, err_msg=variable)
    assert {file["url"] for file in repo.dependencies("main")} == {(data / name).as_uri()}


def appended(repo: fl.Repository, data: Path) -> list[datetime]:
    """The NEMO months, one commit each; gives the time of each commit."""
    from firnline.virtualizarr import write

    times = []
    for number, name in enumerate(MONTHS):
        session = repo.writable_session("main")
        vds = virtual(data / name)
        write(vds, session.store, append_dim="time_counter" if number else None)
        session.commit(name)
        times.append(repo.log("main")[0]["time"])
    return times


def test_months_are_readable_at_their_time(repo: fl.Repository, data: Path) -> None:
    times = appended(repo, data)
    months = [decoded(data / name).load() for name in MONTHS]
    for number, moment in enumerate(times):
        then = decoded(repo.readonly_session("main", as_of=moment).store).load()
        assert then.sizes["time_counter"] == number + 1
        for name in ("tos", "time_centered", "time_centered_bounds"):
            expected = np.concatenate([month[name].values for month in months[: number + 1]])
            np.testing.assert_array_equal(then[name].values, expected, err_msg=name)
    assert len(repo.dependencies("main")) == 3


@pytest.mark.parametrize("how", ["eager", "threads", "processes"])
def test_a_changed_source_raises(repo: fl.Repository, data: Path, how: str) -> None:
    """Neither an eager read nor any worker of Dask gives fill values for a file that changed."""
    appended(repo, data)
    changed = data / MONTHS[1]
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    store = repo.at("main").store
    if how == "eager":
        with pytest.raises(fl.SourceChangedError):
            decoded(store).load()
        return
    dask = pytest.importorskip("dask", reason="dask is not installed")
    ds = xr.open_zarr(store, consolidated=False, chunks={"time_counter": 1})
    with dask.config.set(scheduler=how), pytest.raises(fl.SourceChangedError):
        ds.compute()
    with dask.config.set(scheduler=how):
        first = ds.tos.isel(time_counter=0).compute()
    np.testing.assert_array_equal(first.values, decoded(data / MONTHS[0]).tos.values[0])
