"""NetCDF and HDF5 files as virtual arrays in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

xr = pytest.importorskip("xarray", reason="xarray is not installed")
pytest.importorskip("h5netcdf", reason="h5netcdf is not installed")

import firnline as fl  # noqa: E402

DATA = os.environ.get("FIRN_TEST_REAL_DATA")


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    return fl.Repository.create(tmp_path / "repo", allow={tmp_path.as_uri() + "/": ""})


def month(directory: Path, number: int, units: str = "K") -> tuple[Path, Any]:
    """A NetCDF4 file with four steps, compressed and packed, and what it holds."""
    path = directory / f"month{number}.nc"
    values = np.random.default_rng(number).integers(0, 100, (4, 6, 8)).astype("f8")
    ds = xr.Dataset(
        {"t2m": (("time", "y", "x"), values, {"units": units}), "mask": (("y", "x"), np.arange(48).reshape(6, 8))},
        coords={"time": np.arange(4) + 4 * number, "x": np.arange(8.0)},
        attrs={"title": "months"},
    )
    packed = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1, "chunksizes": (2, 3, 8), "zlib": True}
    ds.to_netcdf(path, engine="h5netcdf", encoding={"t2m": packed}, unlimited_dims=["time"])
    return path, ds


def stored(repo: fl.Repository, **options: Any) -> Any:
    return xr.open_zarr(repo.at("main").store, consolidated=False, **options).load()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_files_are_joined_and_appended(repo: fl.Repository, tmp_path: Path, zarr_format: Any) -> None:
    months = [month(tmp_path, number) for number in range(3)]
    first, second, third = (path for path, _ in months)
    joined: dict[str, Any] = {"prefix": "air", "concat": "time", "inline_limit": 0}
    done = fl.virtualize([first, str(second)], repo, zarr_format=zarr_format, message="two", **joined)
    assert (done.files, done.rows) == (2, 8) and done.references >= 8 and done.copied >= 2
    assert done.snapshot_id == repo.lookup_branch("main") and repo.log()[0]["message"] == "two"
    session = repo.writable_session("main")
    added = fl.virtualize(third.as_uri(), session, append=True, **joined)
    assert (added.files, added.rows, added.references, added.snapshot_id) == (1, 12, 4, None)
    session.commit("a third")
    whole = xr.concat([ds for _, ds in months], "time", data_vars="minimal")
    xr.testing.assert_equal(stored(repo, group="air"), whole)
    assert {row["url"] for row in repo.dependencies()} >= {path.as_uri() for path in (first, second, third)}


def test_files_that_do_not_fit_are_refused(repo: fl.Repository, tmp_path: Path) -> None:
    before = repo.lookup_branch("main")
    files = [month(tmp_path, 0)[0], month(tmp_path, 1, units="C")[0]]
    with pytest.raises(fl.InvalidError, match=r"month1\.nc.*t2m.*units"):
        fl.virtualize(files, repo, concat="time")
    with pytest.raises(fl.InvalidError):
        fl.virtualize(files, repo)
    with pytest.raises(fl.DeniedError):
        fl.virtualize(files[0], repo.reopen(allow=[]))
    (tmp_path / "text.nc").write_text("no file of NetCDF")
    with pytest.raises(fl.FirnlineError, match=r"text\.nc"):
        fl.virtualize(tmp_path / "text.nc", repo)
    with pytest.raises(fl.InvalidError, match="its commit"):
        fl.virtualize(files[0], repo.writable_session("main"), message="x")
    assert repo.lookup_branch("main") == before


def test_links_that_are_not_followed_are_named(repo: fl.Repository, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path, _ = month(tmp_path, 0)
    assert fl.virtualize(path, repo, prefix="plain").links == []
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("other.nc", "/t2m")
    assert fl.virtualize(path, repo, prefix="linked").links == ["/, a link to other.nc"]


def test_files_are_counted_while_they_are_read(repo: fl.Repository, tmp_path: Path) -> None:
    told: list[tuple[int, ...]] = []
    files = [month(tmp_path, number)[0] for number in range(3)]
    fl.virtualize(files, repo, concat="time", progress=lambda *counts: told.append(counts))
    assert told[0] == (0, 0, 0, 0) and told[-1] == (3, 3, 0, 0)


def test_variables_are_left_out_and_copied(repo: fl.Repository, tmp_path: Path) -> None:
    path, ds = month(tmp_path, 0)
    done = fl.virtualize(path, repo, drop=["mask"], inline_limit=1 << 20)
    assert done.references == 0 and done.copied == done.arrays == 3
    xr.testing.assert_equal(stored(repo), ds.drop_vars("mask"))
    path.unlink()
    xr.testing.assert_equal(stored(repo), ds.drop_vars("mask"))


@pytest.mark.skipif(DATA is None, reason="FIRN_TEST_REAL_DATA does not name the directory of real files")
def test_months_of_an_ocean_model_one_commit_each(tmp_path: Path) -> None:
    place = Path(str(DATA))
    files = sorted(place.glob("nemo_1m_*_grid-T.nc"))
    assert len(files) == 3
    repo = fl.Repository.create(tmp_path / "repo", allow={place.as_uri() + "/": ""})
    for number, file in enumerate(files):
        done = fl.virtualize(file, repo, prefix="ocean", concat="time_counter", append=number > 0, message=file.name)
        assert done.rows == number + 1
    again = stored(repo, group="ocean")
    months = [xr.open_dataset(file, engine="h5netcdf").load() for file in files]
    for name in ("tos", "time_centered", "time_centered_bounds", "nav_lat"):
        expected = [m[name].values for m in months]
        whole = np.concatenate(expected) if "time_counter" in months[0][name].dims else expected[0]
        np.testing.assert_array_equal(again[name].values, whole, err_msg=name)
    assert len(repo.dependencies()) == 3
