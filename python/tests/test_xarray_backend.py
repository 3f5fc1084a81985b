"""xarray's own tests of Zarr stores, with a store of a writable session in place of a dictionary.

Every test that is skipped is named with its reason.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("xarray", reason="xarray is not installed")
pytest.importorskip("dask", reason="dask is not installed")
backends = pytest.importorskip("xarray.tests.test_backends", reason="xarray's tests are not installed")

from xarray.tests.conftest import time_unit, use_dask  # noqa: E402, F401

import firnline as fl  # noqa: E402

#: The fixture that runs each test with Zarr formats 2 and 3.
default_zarr_format = backends.default_zarr_format

WRITABLE = "pickles the store of a writable session, which refuses; test_pickle_of_a_version covers what can be pickled"

#: Tests of xarray that cannot hold here, and why.
SKIPPED = {
    "test_pickle": WRITABLE,
    "test_pickle_dataarray": WRITABLE,
}

pytestmark = pytest.mark.filterwarnings("ignore")


class TestFirnlineStore(backends.ZarrBase):  # type: ignore[misc]
    """Reads and writes through one writable session, as xarray's tests do with a dictionary."""

    @contextlib.contextmanager
    def create_zarr_target(self) -> Iterator[Any]:
        with tempfile.TemporaryDirectory() as directory:
            yield fl.Repository.create(directory).writable_session("main").store


@pytest.fixture(autouse=True)
def skip_by_name(request: pytest.FixtureRequest) -> None:
    """Skips what is named above, and what xarray itself marks as unsupported with one of the formats."""
    reason = SKIPPED.get(request.node.originalname)
    if reason is not None:
        pytest.skip(reason)
    for mark in request.node.iter_markers("skip_if_param"):
        parameters = {name: value for name, value in mark.kwargs.items() if name not in ("reason", "condition")}
        given = request.node.callspec.params if hasattr(request.node, "callspec") else {}
        if mark.kwargs.get("condition", True) and all(given.get(name) == value for name, value in parameters.items()):
            pytest.skip(mark.kwargs["reason"])


def test_pickle_of_a_version(tmp_path: Any) -> None:
    """What `test_pickle` shows for other stores, with a version that was committed."""
    import pickle

    import xarray as xr

    expected = backends.create_test_data()
    repo = fl.Repository.create(str(tmp_path))
    with repo.transaction("main", message="data") as store:
        expected.to_zarr(store, consolidated=False)
    with xr.open_zarr(repo.readonly_session("main").store, consolidated=False, chunks=None) as opened:
        xr.testing.assert_identical(pickle.loads(pickle.dumps(opened)).load(), opened.load())
