"""Reference sets of kerchunk, imported and exported."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firnline as fl
from conftest import read


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    return fl.Repository.create(tmp_path / "repo", allow={tmp_path.as_uri() + "/": ""})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(100)))
    return path


def small(file: Path | str) -> dict[str, Any]:
    """References of version 0, as a dictionary."""
    array = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "|u1", "compressor": None, "filters": None, "order": "C"}
    return {
        ".zgroup": '{"zarr_format":2}',
        "a/.zarray": json.dumps({**array, "fill_value": 0}),
        "a/0": [str(file), 10, 2],
        "a/1": [str(file), 20, 2],
    }


def test_a_dictionary_a_file_and_a_session(
    repo: fl.Repository, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = repo.import_kerchunk(small(file), prefix="zero", message="a dictionary", author="me")
    assert (done.references, done.values, done.missing) == (2, 2, 0) and done.snapshot_id == repo.lookup_branch("main")
    assert read(repo.at("main"), "zero/a/1") == bytes([20, 21])
    (tmp_path / "set.json").write_text(json.dumps({"version": 1, "refs": small("a.bin")}))
    repo.import_kerchunk(tmp_path / "set.json", prefix="one")
    assert repo.content_id("main", "zero") == repo.content_id("main", "one")
    # Relative paths in a dictionary are relative to the working directory.
    monkeypatch.chdir(tmp_path)
    session = repo.writable_session("main")
    whole = {"version": 1, "templates": {"u": "a.bin"}, "refs": small("{{u}}"), "gen": []}
    assert session.import_kerchunk(whole, prefix="two").snapshot_id is None
    assert session.import_kerchunk({"x": ["a.bin"], "y": b"\xff\x00", "z": {"n": np.int64(3)}}).references == 1
    session.commit("two")
    assert repo.content_id("main", "zero") == repo.content_id("main", "two")
    assert read(repo.at("main"), "x") == file.read_bytes() and read(repo.at("main"), "y") == b"\xff\x00"
    assert json.loads(read(repo.at("main"), "z") or b"") == {"n": 3}


def test_templates_of_a_dictionary_stay_as_they_are(
    repo: fl.Repository, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were taken for paths: the end of a directory was lost, and a part of a name became one."""
    monkeypatch.chdir(tmp_path)
    file.rename(tmp_path / "wrf_12:00:00.bin")
    whole = {"version": 1, "templates": {"d": "./", "hour": "12:00:00"}, "refs": {"a": ["{{d}}wrf_{{hour}}.bin", 10, 2]}}
    repo.import_kerchunk(whole)
    repo.import_kerchunk({"b": ["wrf_12:00:00.bin", 20, 2]})
    assert [read(repo.at("main"), key) for key in ("a", "b")] == [bytes([10, 11]), bytes([20, 21])]
    assert len(repo.dependencies()) == 1


def test_errors_name_the_key_and_commit_nothing(repo: fl.Repository, file: Path, tmp_path: Path) -> None:
    before = repo.lookup_branch("main")
    for wrong, message, kind in (
        ({"a/0": [str(file), 90, 20]}, "a/0", fl.InvalidError),
        ({"a/0": [str(tmp_path / "absent"), 0, 1]}, "a/0", fl.FirnlineError),
        ({"version": 1, "templates": {"f": "{{c}}"}, "refs": {"a/0": ["{{f(}}", 0, 1]}}, "f\\(", fl.InvalidError),
        ({"version": 3, "refs": {}}, "version", fl.FirnlineError),
    ):
        with pytest.raises(kind, match=message):
            repo.import_kerchunk(wrong)
    with pytest.raises(fl.NotFoundError):
        repo.import_kerchunk(tmp_path / "absent.json")
    assert repo.lookup_branch("main") == before
    assert repo.import_kerchunk({"a/0": [str(tmp_path / "absent"), 0, 1]}, allow_missing=True).missing == 1


def test_references_are_counted_while_they_are_read(repo: fl.Repository, file: Path) -> None:
    told: list[tuple[int, ...]] = []
    done = repo.import_kerchunk(small(file), progress=lambda *counts: told.append(counts))
    assert told[-1] == (done.references + done.values, 0, 0, 0)


def test_exports_appear_where_there_are_no_links(
    repo: fl.Repository, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    repo.import_kerchunk(small(file))
    out = tmp_path / "out.json"
    repo.export_kerchunk("main", out)
    assert json.loads(out.read_text())["refs"] == small(file) and not out.stat().st_mode & 0o111
    with pytest.raises(fl.InvalidError, match="overwrite"):
        repo.export_kerchunk("main", out)


def test_exports_appear_whole_or_not_at_all(repo: fl.Repository, file: Path, tmp_path: Path) -> None:
    repo.import_kerchunk(small(file))
    out = tmp_path / "out.json"
    written = repo.export_kerchunk("main", out)
    assert (written.references, written.values, written.stored_chunks) == (2, 2, 0)
    assert json.loads(out.read_text()) == {"version": 1, "refs": small(file)} == repo.at("main").to_kerchunk()
    with pytest.raises(fl.InvalidError, match="overwrite"):
        repo.export_kerchunk("main", out)
    session = repo.writable_session("main")
    session.store.set_sync("a/1", fl.buffer(b"x" * 5000))
    with pytest.raises(fl.InvalidError, match="commit it"):
        session.to_kerchunk()
    session.commit("a chunk of the repository itself")
    before = out.read_bytes()
    with pytest.raises(fl.InvalidError, match="a/1"):
        repo.export_kerchunk("main", out, inline_limit=4000, overwrite=True)
    assert out.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "out.json", "repo"]
    assert repo.export_kerchunk("main", out, overwrite=True).stored_chunks == 1
    with pytest.raises(fl.InvalidError, match="format"):
        repo.export_kerchunk("main", tmp_path / "x", format="yaml")  # type: ignore[arg-type]
    with pytest.raises(fl.InvalidError, match="record_size"):
        repo.export_kerchunk("main", tmp_path / "x", format="parquet", record_size=0)


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, Any]:
    """A NetCDF4 file, compressed and packed, and what it holds."""
    xr = pytest.importorskip("xarray", reason="xarray is not installed")
    pytest.importorskip("h5netcdf", reason="h5netcdf is not installed")
    pytest.importorskip("kerchunk", reason="kerchunk is not installed")
    values = np.random.default_rng(0).integers(0, 100, (4, 6)).astype("f8")
    ds = xr.Dataset({"t2m": (("time", "x"), values, {"units": "K"})}, coords={"time": np.arange(4), "x": np.arange(6.0)})
    packed = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1, "chunksizes": (2, 3), "zlib": True}
    path = tmp_path / "t2m.nc"
    ds.to_netcdf(path, engine="h5netcdf", encoding={"t2m": packed})
    return path, ds


def test_what_kerchunk_makes_is_read_and_given_back(repo: fl.Repository, dataset: tuple[Path, Any], tmp_path: Path) -> None:
    import xarray as xr
    from kerchunk.hdf import SingleHdf5ToZarr

    path, ds = dataset
    references = SingleHdf5ToZarr(str(path), inline_threshold=0).translate()
    done = repo.import_kerchunk(references)
    assert done.references >= 4
    xr.testing.assert_equal(xr.open_zarr(repo.at("main").store, consolidated=False).load(), ds)
    repo.export_kerchunk("main", tmp_path / "out.json")
    repo.export_kerchunk("main", tmp_path / "out.parq", format="parquet", record_size=3)
    for made in (str(tmp_path / "out.json"), str(tmp_path / "out.parq"), repo.at("main").to_kerchunk()):
        xr.testing.assert_equal(xr.open_dataset(made, engine="kerchunk").load(), ds)
    # Back again, in one spelling, both are the same version.
    for number, name in enumerate(("out.json", "out.parq")):
        repo.import_kerchunk(tmp_path / name, prefix=f"again{number}", compact_metadata=True)
    assert repo.content_id("main", "again0") == repo.content_id("main", "again1")


def test_zarr_v3_is_exported_as_v2(repo: fl.Repository, dataset: tuple[Path, Any], tmp_path: Path) -> None:
    import xarray as xr

    path, ds = dataset
    fl.virtualize(path, repo, inline_limit=0)
    repo.export_kerchunk("main", tmp_path / "out.json")
    xr.testing.assert_equal(xr.open_dataset(str(tmp_path / "out.json"), engine="kerchunk").load(), ds)
    kept = repo.at("main").to_kerchunk(keep_v3=True)
    assert "t2m/zarr.json" in kept["refs"] and "t2m/c/0/0" in kept["refs"]
