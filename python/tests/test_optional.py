"""What works without the optional libraries."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

WITHOUT = """
import sys

ABSENT = "xarray dask distributed virtualizarr fsspec obstore icechunk pandas pyarrow tqdm upath".split()
for name in ABSENT:
    # An import of such a name fails as that of a module which is not installed.
    sys.modules[name] = None

import zarr
import firnline as fl

repo = fl.Repository.create(sys.argv[1])
source = zarr.storage.MemoryStore()
zarr.create_array(source, name="a", shape=(4,), chunks=(2,), dtype="i4")[:] = 7
repo.import_zarr(source, progress=True)
assert zarr.open_array(repo.readonly_session("main").store, path="a", mode="r")[:].tolist() == [7] * 4
for module in ("xarray", "dask", "virtualizarr", "fsspec"):
    try:
        __import__(f"firnline.{module}")
    except ModuleNotFoundError as error:
        assert (error.name or '').partition('.')[0] in ABSENT, error
    else:
        raise AssertionError(f"firnline.{module} was imported without its library")
try:
    repo.import_icechunk("/nowhere")
except ModuleNotFoundError as error:
    assert error.name == "icechunk", error
"""


def test_the_package_works_without_optional_libraries(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, str(tmp_path / "repo")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_fsspec_finds_the_filesystem() -> None:
    found = {entry.name: entry.value for entry in entry_points(group="fsspec.specs")}
    assert found.get("firn") == "firnline.fsspec:FirnFileSystem"
