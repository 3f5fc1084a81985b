"""`firn://`: which URLs name which value, and what the filesystem answers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

import firnline as fl  # noqa: E402
from firnline.fsspec import FirnFileSystem, _split  # noqa: E402

GROUP = b'{"zarr_format":3,"node_type":"group"}'


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Two commits: `first` is a tag of the earlier one."""
    place = str(tmp_path / "data")
    repo = fl.Repository.create(place)
    for number, text in enumerate((b"one", b"two and more")):
        with repo.transaction("main", message=str(number)) as store:
            store.set_sync("zarr.json", fl.buffer(GROUP))
            store.set_sync("air/notes.txt", fl.buffer(text))
            store.set_sync("air/large", fl.buffer(bytes(range(256)) * (40_000 if number else 1)))
        if number == 0:
            repo.create_tag("first", repo.lookup_branch("main"))
    return place


def read(url: str, **options) -> bytes:
    with fsspec.open(url, "rb", **options) as file:
        return file.read()


def test_the_revision_is_part_of_the_url(place: str) -> None:
    assert read(f"firn://{place}@main/air/notes.txt") == b"two and more"
    assert read(f"firn://{place}@first/air/notes.txt") == b"one"
    now = fl.Repository.open(place).log("main")[0]["time"].isoformat()
    assert read(f"firn://{place}@main@{now}/air/notes.txt") == b"two and more"
    snapshot = fl.Repository.open(place).lookup_tag("first")
    assert read(f"firn://{place}@{snapshot}/air/notes.txt") == b"one"


def test_chained_urls(place: str) -> None:
    assert read(f"firn://air/notes.txt::file://{place}") == b"two and more"
    assert read(f"firn://@first/air/notes.txt::file://{place}") == b"one"
    assert read(f"firn://air/notes.txt::file://{place}", revision="first") == b"one"
    assert read(f"firn://air/notes.txt::file://{place}", firn={"revision": "first"}) == b"one"


def test_a_chain_on_top_of_firn(place: str) -> None:
    """Another filesystem may read through this one."""
    assert read(f"simplecache::firn://{place}@first/air/notes.txt") == b"one"


def test_options(place: str) -> None:
    fs = fsspec.filesystem("firn", repository=place, revision="first")
    assert fs.cat("air/notes.txt") == b"one"
    assert read("firn://air/notes.txt", repository=place) == b"two and more"
    fs, key = fsspec.url_to_fs(f"firn://{place}@first/air/notes.txt")
    assert isinstance(fs, FirnFileSystem) and key == "air/notes.txt"


def test_names_with_slash_and_at(tmp_path: Path) -> None:
    place = str(tmp_path / "me@home")
    repo = fl.Repository.create(place)
    with repo.transaction("main", message="x") as store:
        store.set_sync("a@b/c", fl.buffer(b"value"))
    repo.create_branch("topic/x", repo.lookup_branch("main"))
    quoted = place.replace("@", "%40")
    assert read(f"firn://{quoted}@topic%2Fx/a@b/c") == b"value"
    assert fsspec.filesystem("firn", repository=place).cat("a@b/c") == b"value"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("firn:///data/era5@main/air/zarr.json", ("/data/era5", "main", "air/zarr.json")),
        ("firn://s3://bucket/era5@main@2025-03-01/zarr.json", ("s3://bucket/era5", "main@2025-03-01", "zarr.json")),
        ("firn://@v1/a", (None, "v1", "a")),
        ("firn://a@b/c", (None, None, "a@b/c")),
        ("a@b/c", (None, None, "a@b/c")),
        ("firn:///data/era5@main", ("/data/era5", "main", "")),
    ],
)
def test_parts_of_a_url(url: str, parts: tuple) -> None:
    assert _split(url) == parts


def test_listing(place: str) -> None:
    fs = fsspec.filesystem("firn", repository=place)
    assert sorted(fs.ls("", detail=False)) == ["air", "zarr.json"]
    assert sorted(fs.ls("air", detail=False)) == ["air/large", "air/notes.txt"]
    assert fs.find("") == ["air/large", "air/notes.txt", "zarr.json"]
    assert fs.find("air", detail=True)["air/notes.txt"]["size"] == 12
    assert fs.glob("air/*.txt") == ["air/notes.txt"]
    assert fs.isdir("air") and fs.isfile("air/notes.txt") and not fs.exists("air/none")
    assert fs.du("air") == 12 + 256 * 40_000
    with pytest.raises(FileNotFoundError):
        fs.ls("nothing")
    with pytest.raises(FileNotFoundError):
        fs.cat_file("air")


def test_parts_of_values(place: str) -> None:
    fs = fsspec.filesystem("firn", repository=place)
    assert fs.cat_file("air/notes.txt", 4, 7) == b"and"
    assert fs.cat_file("air/notes.txt", -4, None) == b"more"
    assert fs.cat_file("air/notes.txt", 50, 60) == b""
    with fs.open("air/large") as file:
        file.seek(256 * 20_000 + 7)
        assert file.read(3) == bytes([7, 8, 9])
        file.seek(-2, 2)
        assert file.read() == bytes([254, 255])


def test_read_only(place: str) -> None:
    fs = fsspec.filesystem("firn", repository=place)
    with pytest.raises(OSError, match="read-only"):
        fs.open("air/notes.txt", "wb")


def test_a_copy_in_another_process_reads_the_same_snapshot(place: str) -> None:
    """The branch moves between pickling and unpickling."""
    fs = fsspec.filesystem("firn", repository=place)
    pickled = pickle.dumps(fs)
    with fl.Repository.open(place).transaction("main", message="later") as store:
        store.set_sync("air/notes.txt", fl.buffer(b"three"))
    assert pickle.loads(pickled).cat("air/notes.txt") == b"two and more"
    assert fsspec.filesystem("firn", repository=place).cat("air/notes.txt") == b"three", "a cached filesystem was returned"


def test_pandas_reads_documents(place: str) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    with fl.Repository.open(place).transaction("main", message="table") as store:
        store.set_sync("table.csv", fl.buffer(b"a,b\n1,2\n3,4\n"))
    table = pandas.read_csv(f"firn://{place}@main/table.csv")
    assert table.b.tolist() == [2, 4]
    assert json.loads(read(f"firn://{place}@main/zarr.json"))["node_type"] == "group"


def test_a_whole_url_means_what_it_says(place: str, tmp_path: Path) -> None:
    """fsspec's reference filesystem reads all URLs of a protocol through one object, which must not read another revision."""
    other = fl.Repository.create(str(tmp_path / "other"))
    with other.transaction("main", message="x") as store:
        store.set_sync("air/notes.txt", fl.buffer(b"elsewhere"))
    fs = fsspec.filesystem("firn", repository=place)
    first = fl.Repository.open(place).lookup_tag("first")
    assert fs.cat_file(f"firn://{place}@{first}/air/notes.txt") == b"one"
    assert fs.cat_file(f"firn://{tmp_path}/other@main/air/notes.txt") == b"elsewhere"
    assert fs.cat_file("air/notes.txt") == b"two and more"
    references = {
        "version": 1,
        "refs": {"a": [f"firn://{place}@{first}/air/notes.txt"], "b": [f"firn://{place}@main/air/notes.txt", 4, 3]},
    }
    through = fsspec.filesystem("reference", fo=references, remote_protocol="firn")
    assert through.cat_file("a") == b"one" and through.cat_file("b") == b"and"


def test_xarray_opens_a_url(place: str) -> None:
    xr = pytest.importorskip("xarray", reason="xarray is not installed")
    ds = xr.Dataset({"a": (("x", "y"), [[1.0, 2.0], [3.0, 4.0]])})
    with fl.Repository.open(place).transaction("main", message="array") as store:
        ds.to_zarr(store, group="data", consolidated=False)
    xr.testing.assert_identical(xr.open_zarr(f"firn://{place}@main/data", consolidated=False).load(), ds)


def test_errors_name_what_is_missing(place: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a repository"):
        read("firn://air/notes.txt")
    with pytest.raises(fl.NotFoundError, match="nothing"):
        read(f"firn://{place}@nothing/air/notes.txt")
    with pytest.raises(fl.NotFoundError):
        read(f"firn://{tmp_path}/none@main/zarr.json")
    with pytest.raises(FileNotFoundError, match="absent"):
        read(f"firn://{place}@main/absent")


def test_damage_is_not_absence(place: str) -> None:
    """`exists` and `isfile` said that nothing was there when the manifest could not be read."""
    fs = fsspec.filesystem("firn", repository=place)
    assert fs.exists("air") and fs.exists("air/notes.txt") and fs.exists("") and not fs.exists("none")
    assert not fs.isfile("air") and not fs.isdir("air/notes.txt") and not fs.isfile("none") and not fs.isdir("none")
    with fl.Repository.open(place).transaction("main", message="more than goes along with a snapshot") as store:
        for number in range(5000):
            store.set_sync(f"more/{number}", fl.buffer(number.to_bytes(500, "big")))
    nodes = [node for node in (Path(place) / "manifests").rglob("*") if node.is_file()]
    for node in nodes:
        node.chmod(0o600)
        node.write_bytes(b"damaged")
    damaged = fsspec.filesystem("firn", repository=place)
    for ask in (damaged.exists, damaged.isfile, damaged.isdir, damaged.info):
        with pytest.raises(fl.CorruptError):
            ask("more/4321")


def test_a_relative_place_is_found_from_another_directory(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle held the place as it was given."""
    monkeypatch.chdir(Path(place).parent)
    fs = fsspec.filesystem("firn", repository="data")
    pickled = pickle.dumps(fs)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert pickle.loads(pickled).cat("air/notes.txt") == b"two and more"
    assert fs.unstrip_protocol("air").startswith(f"firn://{place}@")
