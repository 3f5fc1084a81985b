"""`firnline.xarray.to_firnline` and `firnline.dask.store_dask`, with every scheduler."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

xr = pytest.importorskip("xarray", reason="xarray is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

import zarr  # noqa: E402

import firnline as fl  # noqa: E402
from firnline.dask import store_dask  # noqa: E402
from firnline.xarray import to_firnline  # noqa: E402


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    """Two workers, each a process of its own, for all tests of this module."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["threads", "processes", "cluster"])
def scheduler(request: pytest.FixtureRequest) -> dict[str, object]:
    """What `dask.compute` has to be told."""
    return {"scheduler": request.getfixturevalue("client") if request.param == "cluster" else request.param}


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    return fl.Repository.create(str(tmp_path / "repository"))


def dataset() -> xr.Dataset:
    """Eager and lazy variables, a scalar, and two lazy variables that share a source."""
    source = da.random.default_rng(1).random((64, 48), chunks=(8, 16))
    return xr.Dataset(
        {
            "a": (("x", "y"), source),
            "double": (("x", "y"), source * 2),
            "eager": ("x", np.arange(64)),
            "one": ((), da.from_array(np.array(5.0))),
        },
        coords={"x": np.arange(64) * 2.0},
        attrs={"title": "test"},
    )


def stored(repo: fl.Repository, **revision: str) -> xr.Dataset:
    return xr.open_zarr(repo.readonly_session(**(revision or {"branch": "main"})).store, consolidated=False).load()


def test_what_workers_write_is_one_commit(repo: fl.Repository, scheduler: dict[str, object]) -> None:
    ds = dataset()
    before = len(repo.log("main"))
    session = repo.writable_session("main")
    to_firnline(ds, session, chunkmanager_store_kwargs=scheduler)
    session.commit("all at once")
    xr.testing.assert_identical(stored(repo), ds.load())
    assert len(repo.log("main")) == before + 1


def test_append_and_region(repo: fl.Repository, scheduler: dict[str, object]) -> None:
    ds = dataset().drop_vars("one")
    session = repo.writable_session("main")
    to_firnline(ds, session, chunkmanager_store_kwargs=scheduler)
    session.commit("first")
    session = repo.writable_session("main")
    to_firnline(ds.assign_coords(x=ds.x + 128), session, append_dim="x", chunkmanager_store_kwargs=scheduler)
    session.commit("second")
    session = repo.writable_session("main")
    part = (ds[["a"]] * 0).isel(x=slice(8, 24)).drop_vars("x")
    to_firnline(part, session, region={"x": slice(8, 24)}, chunkmanager_store_kwargs=scheduler)
    session.commit("third")
    both = stored(repo)
    assert both.sizes == {"x": 128, "y": 48}
    expected = ds.a.load().values.copy()
    np.testing.assert_array_equal(both.a[64:], expected)
    expected[8:24] = 0
    np.testing.assert_array_equal(both.a[:64], expected)


def test_region_auto_finds_its_place(repo: fl.Repository) -> None:
    ds = dataset().drop_vars("one")
    session = repo.writable_session("main")
    to_firnline(ds, session)
    to_firnline((ds[["a"]] + 1).isel(x=slice(16, 32)), session, region="auto")
    session.commit("both")
    expected = ds.a.load().values.copy()
    expected[16:32] += 1
    np.testing.assert_array_equal(stored(repo).a, expected)


def test_workers_see_what_the_session_has_staged(repo: fl.Repository) -> None:
    """The arrays that the tasks open exist only in the uncommitted session."""
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(32,), chunks=(4,), dtype="i8")
    array[:4] = 7
    store_dask(
        session,
        sources=da.arange(28, chunks=4),
        targets=array,
        regions=(slice(4, 32),),
        compute_kwargs={"scheduler": "processes"},
    )
    session.commit("one")
    read = zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")
    np.testing.assert_array_equal(read[:], [7] * 4 + list(range(28)))


def test_many_small_changes_merge_in_a_tree(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(20, 20), chunks=(1, 2), dtype="i8")
    source = da.arange(400, chunks=2).reshape((20, 20)).rechunk((1, 2))
    store_dask(
        session, sources=source, targets=array, split_every=3, compute_kwargs={"scheduler": "processes", "num_workers": 2}
    )
    session.commit("two hundred tasks")
    read = zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")
    np.testing.assert_array_equal(read[:], np.arange(400).reshape(20, 20))


def kill_once(block: np.ndarray, marker: str) -> np.ndarray:
    """Ends the process of the worker the first time; Dask runs the task again elsewhere."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return block
    os._exit(9)


def test_a_killed_worker_loses_nothing(repo: fl.Repository, client: distributed.Client, tmp_path: Path) -> None:
    marker = str(tmp_path / "killed")
    source = da.arange(4000, chunks=100)
    deadly = source.map_blocks(lambda b: kill_once(b, marker) if b[0] == 2000 else b, dtype=source.dtype)
    session = repo.writable_session("main")
    to_firnline(xr.Dataset({"a": ("x", deadly)}), session, chunkmanager_store_kwargs={"scheduler": client})
    session.commit("in spite of it")
    assert os.path.exists(marker), "no worker was killed"
    np.testing.assert_array_equal(stored(repo).a, np.arange(4000))


def test_a_failing_task_raises_and_nothing_is_committed(repo: fl.Repository) -> None:
    def fails(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("no data here")

    tip = repo.lookup_branch("main")
    broken = da.arange(10, chunks=5).map_blocks(fails, dtype="i8")
    session = repo.writable_session("main")
    with pytest.raises(RuntimeError, match="no data here"):
        to_firnline(xr.Dataset({"a": ("x", broken)}), session, chunkmanager_store_kwargs={"scheduler": "processes"})
    assert repo.lookup_branch("main") == tip


def test_unaligned_blocks_are_refused(repo: fl.Repository) -> None:
    ds = xr.Dataset({"a": ("x", da.arange(30, chunks=5))})
    with pytest.raises(ValueError, match="chunk"):
        to_firnline(ds, repo.writable_session("main"), encoding={"a": {"chunks": (10,)}})


def test_blocks_that_share_a_chunk_conflict_between_processes(repo: fl.Repository) -> None:
    """Two tasks write different halves of one chunk; neither may win silently."""
    session = repo.writable_session("main")
    array = zarr.create_array(session.store, name="a", shape=(8,), chunks=(8,), dtype="i8")
    with pytest.raises(fl.ConflictError):
        store_dask(session, sources=da.arange(1, 9, chunks=4), targets=array, compute_kwargs={"scheduler": "processes"})


def test_sharded_arrays(repo: fl.Repository) -> None:
    ds = xr.Dataset({"a": (("x", "y"), da.random.default_rng(2).random((32, 32), chunks=(16, 16)))})
    session = repo.writable_session("main")
    encoding = {"a": {"chunks": (4, 4), "shards": (16, 16)}}
    to_firnline(ds, session, encoding=encoding, chunkmanager_store_kwargs={"scheduler": "processes"})
    session.commit("shards")
    xr.testing.assert_equal(stored(repo), ds.load())


def test_data_arrays_keep_their_names(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    to_firnline(xr.DataArray(np.arange(3), dims="x", name="x2"), session, group="named")
    to_firnline(xr.DataArray(np.arange(3), dims="x"), session, group="bare")
    to_firnline(xr.DataArray(np.arange(3), dims="x", name="x"), session, group="same")
    store = session.store
    assert xr.open_dataarray(store, group="named", engine="zarr", consolidated=False).name == "x2"
    assert xr.open_dataarray(store, group="bare", engine="zarr", consolidated=False).name is None
    assert xr.open_dataarray(store, group="same", engine="zarr", consolidated=False).name == "x"


@pytest.mark.parametrize(
    "options", [{"mode": "r"}, {"mode": "a-"}, {"append_dim": "x", "mode": "w"}, {"region": {"x": slice(1)}, "mode": "w"}]
)
def test_contradicting_options_are_refused(repo: fl.Repository, options: dict) -> None:
    session = repo.writable_session("main")
    with pytest.raises(ValueError, match=r"mode|append_dim|region"):
        to_firnline(xr.Dataset({"a": ("x", [1, 2])}), session, **options)
    assert not session.has_uncommitted_changes


def test_an_array_of_another_store_is_refused(repo: fl.Repository) -> None:
    other = zarr.create_array({}, shape=(4,), chunks=(4,), dtype="i8")
    with pytest.raises(ValueError, match="does not belong"):
        store_dask(repo.writable_session("main"), sources=da.arange(4), targets=other)


def test_the_mode_says_what_happens_to_an_existing_group(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    to_firnline(xr.Dataset({"a": ("x", [1, 2])}), session)
    with pytest.raises(Exception, match=r"exists|contains"):
        to_firnline(xr.Dataset({"b": ("x", [3])}), session)
    to_firnline(xr.Dataset({"b": ("x", [3])}), session, mode="w")
    assert set(xr.open_zarr(session.store, consolidated=False)) == {"b"}
