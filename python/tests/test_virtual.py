"""References into external files."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import firnline as fl
from conftest import read


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files of 100 bytes, not modified just now."""
    directory = tmp_path / "data"
    directory.mkdir()
    for name, byte in (("a.bin", b"a"), ("b.bin", b"b")):
        (directory / name).write_bytes(byte * 100)
        os.utime(directory / name, (1_700_000_000, 1_700_000_000))
    return directory


@pytest.fixture
def repo(tmp_path: Path, data: Path) -> fl.Repository:
    repo = fl.Repository.create(tmp_path / "repo", allow=[f"file://{data}/"])
    repo.set_container("data", f"file://{data}/")
    return repo


def test_a_reference_is_read_checked_and_listed(repo: fl.Repository, data: Path) -> None:
    url = f"file://{data}/a.bin"
    session = repo.writable_session("main")
    session.store.set_virtual_ref("v/c/0", url, offset=10, length=5)
    assert read(session, "v/c/0") == b"aaaaa"
    session.commit("virtual")
    [row] = repo.dependencies()
    assert (row["url"], row["container"], row["size"], row["refs"], row["bytes"]) == (url, "data", 100, 1, 5)
    assert row["modified"] == datetime.fromtimestamp(1_700_000_000, UTC)
    assert [r["state"] for r in repo.check_dependencies()] == ["ok"]
    origin = repo.origin("v/c/0")
    assert origin is not None and (origin["kind"], origin["url"], origin["offset"]) == ("virtual", url, 10)
    assert repo.versions_of("v/c/0")[0]["url"] == url
    with pytest.raises(fl.UnsupportedError):
        repo.content_id("main", "v/c/0")

    (data / "a.bin").write_bytes(b"c" * 101)
    store = repo.at("main").store
    with pytest.raises(fl.SourceChangedError) as changed:
        store.get_sync("v/c/0")
    assert changed.value.key == "v/c/0" and changed.value.hint is not None and "repin" in changed.value.hint
    assert repo.check_dependencies()[0]["state"] == "changed"
    session = repo.writable_session("main")
    repinned = session.repin([url])
    assert (repinned[0]["before_size"], repinned[0]["after_size"]) == (100, 101)
    session.commit("pinned anew")
    assert read(repo.at("main"), "v/c/0") == b"ccccc"

    (data / "a.bin").unlink()
    with pytest.raises(fl.MissingDataError):
        repo.at("main").store.get_sync("v/c/0")


def test_what_is_not_allowed_is_denied(repo: fl.Repository, data: Path) -> None:
    url = f"file://{data}/a.bin"
    with repo.transaction("main", message="virtual") as store:
        store.set_virtual_ref("v", url, offset=0, length=5)
    closed = repo.reopen(allow=[])
    with pytest.raises(fl.DeniedError) as denied:
        closed.at("main").store.get_sync("v")
    assert denied.value.hint is not None and "allow=" in denied.value.hint
    assert read(closed.reopen(allow=f"file://{data}/").at("main"), "v") == b"aaaaa"
    moved = data.parent / "moved"
    data.rename(moved)
    elsewhere = repo.reopen(allow={f"file://{moved}/": ""}, rebind={"data": (f"file://{moved}/", True)})
    assert read(elsewhere.at("main"), "v") == b"aaaaa"


def test_zarr_never_fills_what_cannot_be_read(repo: fl.Repository, data: Path) -> None:
    with repo.transaction("main", message="array") as store:
        zarr.create_array(store, name="v", shape=(20,), chunks=(10,), dtype="u1", compressors=None, fill_value=7)
        assert store.set_virtual_refs_arr("v", (2,), [f"file://{data}/a.bin", ""], np.array([0, 0]), np.array([10, 0])) is None
    array = zarr.open_array(repo.at("main").store, path="v", mode="r")
    assert np.asarray(array[:]).tolist() == [ord("a")] * 10 + [7] * 10
    (data / "a.bin").unlink()
    array = zarr.open_array(repo.at("main").store, path="v", mode="r")
    with pytest.raises(fl.MissingDataError):
        array[:]
    assert np.asarray(array[10:]).tolist() == [7] * 10


def test_containers_are_asked_for_unless_told_otherwise(repo: fl.Repository, tmp_path: Path) -> None:
    session = repo.writable_session("main")
    with pytest.raises(fl.InvalidError, match="set_container"):
        session.store.set_virtual_ref("v", "s3://other/a", offset=0, length=1)
    session.store.set_virtual_ref("v", "s3://other/a", offset=0, length=1, validate_container=False)
    [unpinned] = session.unpinned()
    assert unpinned["url"] == "s3://other/a" and unpinned["why"] == "its place is not allowed"
    assert unpinned["hint"] is not None and "s3://other" in unpinned["hint"]
    for name in ("b", "c"):
        session.store.set_virtual_ref(f"w/{name}", f"s3://third/d/{name}", offset=0, length=1, validate_container=False)
    places = session.unpinned_places()
    assert [(row["place"], row["files"]) for row in places] == [("s3://other/", 1), ("s3://third/d/", 2)]
    assert {name: places[0][name] for name in unpinned} == unpinned and places[1]["url"] == "s3://third/d/b"


def test_checksums(repo: fl.Repository, data: Path) -> None:
    url = f"file://{data}/a.bin"
    session = repo.writable_session("main")
    before = datetime.fromtimestamp(1_600_000_000, UTC)
    with pytest.raises(fl.SourceChangedError):
        session.store.set_virtual_ref("v", url, offset=0, length=1, checksum=before)
    session.store.set_virtual_ref("v", url, offset=0, length=1, checksum=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(fl.InvalidError, match="time zone"):
        session.store.set_virtual_ref("v", url, offset=0, length=1, checksum=datetime(2025, 1, 1))
    session.store.set_virtual_ref("w", "s3://x/y", offset=0, length=1, checksum='"abc"', validate_container=False)
    session.commit("etag")
    etags = {row["url"]: row["etag"] for row in repo.dependencies()}
    assert etags == {url: None, "s3://x/y": "abc"}


@pytest.mark.parametrize("form", ["list", "object", "U", "swapped", "StringDType"])
def test_columns(repo: fl.Repository, data: Path, form: str) -> None:
    urls = [f"file://{data}/a.bin", f"file://{data}/b.bin", "", "s3://no/container"]
    names: list[str] = [urls[n % 4] for n in range(12)]
    dtype = {"list": None, "object": object, "U": "U", "swapped": "U"}.get(form)
    locations: Any = (
        names if form == "list" else np.array(names, dtype=np.dtypes.StringDType() if form == "StringDType" else dtype)
    )
    if form == "swapped":
        locations = locations.astype(locations.dtype.newbyteorder("S"))
    session = repo.writable_session("main")
    failed = session.store.set_virtual_refs_arr(
        "/v/", (3, 4), locations, np.arange(12), np.full(12, 2, dtype="i4"), arr_offset=(10, 0)
    )
    assert failed == [(10, 3), (11, 3), (12, 3)]
    assert read(session, "v/c/10/0") == b"aa" and read(session, "v/c/12/1") == b"bb"
    assert read(session, "v/c/10/2") is None and read(session, "v/c/10/3") is None
    session.commit("columns")
    assert [(row["url"], row["refs"]) for row in repo.dependencies()] == [(urls[0], 3), (urls[1], 3)]


def test_wrong_columns_are_refused(repo: fl.Repository, data: Path) -> None:
    store = repo.writable_session("main").store
    url = f"file://{data}/a.bin"
    for shape, offsets, lengths, arr_offset in (
        ((2,), [0], [1], None),
        ((1,), [0, 1], [1], None),
        ((1,), [0], [1, 1], None),
        ((1,), [-1], [1], None),
        ((1,), [0.5], [1], None),
        ((1,), [0], [1], (0, 0)),
        ((1,), [99], [2], None),
        ((1,), np.array([2**63], dtype="u8"), [2], None),
    ):
        with pytest.raises(ValueError):
            store.set_virtual_refs_arr("v", shape, [url], np.array(offsets), np.array(lengths), arr_offset=arr_offset)
    assert store.get_sync("v/c/0") is None
    assert store.set_virtual_refs_arr("v", (0,), [], [], []) is None


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        ((2,), {"locations": "file:///a"}, "locations of array 'v' is the text"),
        ((2,), {"locations": ["a.bin", "b.bin"]}, "'a.bin' is not a URL"),
        ((2,), {"locations": np.array(["a.bin", "b.bin"])}, "'a.bin' is not a URL"),
        ((2,), {"locations": ["file:///a", None]}, "array 'v': location 1 is None"),
        ((2,), {"locations": np.array(["file:///a", None], dtype=object)}, "array 'v': location 1 is None"),
        ((1,), {"locations": [7]}, "array 'v': location 0 is 7"),
        ((2,), {"offsets": [0, -4]}, "array 'v': offsets has the negative number -4 at index 1"),
        ((2,), {"lengths": [0.5, 1]}, "array 'v': lengths are float64"),
        ((2.0,), {}, "chunk_grid_shape"),
        ((2,), {"arr_offset": (0.5,)}, "arr_offset"),
        ((2,), {"arr_offset": (-1,)}, "arr_offset"),
        ((2, 3), {"locations": np.full((3, 2), "file:///a")}, r"locations has the shape \(3, 2\)"),
        ((2, 3), {"offsets": np.zeros((3, 2), int)}, r"offsets has the shape \(3, 2\)"),
        ((2, 3), {"lengths": np.zeros((1, 6), int)}, r"lengths has the shape \(1, 6\)"),
    ],
)
@pytest.mark.parametrize("validate", [True, False])
def test_an_error_in_a_column_names_the_array_and_the_place(
    repo: fl.Repository, shape: tuple, change: dict[str, Any], message: str, validate: bool
) -> None:
    """Columns of another shape were staged in another order, and texts that are no URLs were left out without a word."""
    session = repo.writable_session("main")
    count = int(np.prod(shape))
    columns: dict[str, Any] = {"locations": ["file:///a"] * count, "offsets": [0] * count, "lengths": [1] * count} | change
    with pytest.raises(fl.InvalidError, match=message):
        session.store.set_virtual_refs_arr("v", shape, validate_containers=validate, **columns)
    assert not session.has_uncommitted_changes


def test_a_column_may_have_the_shape_of_the_grid(repo: fl.Repository, data: Path) -> None:
    session = repo.writable_session("main")
    offsets = np.arange(6).reshape(2, 3)
    locations = np.full((2, 3), f"file://{data}/a.bin")
    assert session.store.set_virtual_refs_arr("v", (2, 3), locations, offsets, np.full((2, 3), 2)) is None
    session.commit("columns")
    origin = repo.origin("v/c/1/0")
    assert origin is not None and origin["offset"] == 3


def test_a_negative_range_is_invalid(repo: fl.Repository, data: Path) -> None:
    store = repo.writable_session("main").store
    for offset, length in ((-1, 1), (0, -1), (0, 1 << 64), (0.5, 1)):
        with pytest.raises(fl.InvalidError, match="v/c/0: offset"):
            store.set_virtual_ref("v/c/0", f"file://{data}/a.bin", offset=offset, length=length)  # type: ignore[arg-type]


async def test_references_that_are_left_out_are_told(repo: fl.Repository, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = repo.writable_session("main").store
    for locations in (["s3://no/a", "", "s3://no/b"], np.array(["s3://no/a", "", "s3://no/b"])):
        with pytest.raises(fl.InvalidError, match=r"all references of array 'v' lie in no container.*s3://no/a"):
            store.set_virtual_refs_arr("v", (3,), locations, [0] * 3, [1] * 3)
        with pytest.raises(fl.InvalidError, match="all references"):
            await store.set_virtual_refs_arr_async("v", (3,), locations, [0] * 3, [1] * 3)
    assert not caplog.records
    assert store.set_virtual_refs_arr("v", (2,), ["s3://no/a", f"file://{data}/a.bin"], [0, 0], [1, 1]) == [(0,)]
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.name == "firnline" and "1 references of array 'v'" in record.getMessage()


def test_a_weak_etag_is_no_checksum(repo: fl.Repository) -> None:
    """It stays the same while the bytes change, and was recorded as a strong one that no answer of the server matched."""
    session = repo.writable_session("main")
    session.store.set_virtual_ref("v", "s3://x/y", offset=0, length=1, checksum='W/"abc"', validate_container=False)
    session.commit("weak")
    assert repo.dependencies()[0]["etag"] is None


@pytest.mark.parametrize("before", [np.datetime64("2020-09-13T12:26:40"), date(2020, 9, 13), np.datetime64("2020-09-13", "ns")])
def test_checksums_are_times_in_any_form(repo: fl.Repository, data: Path, before: Any) -> None:
    session = repo.writable_session("main")
    with pytest.raises(fl.SourceChangedError):
        session.store.set_virtual_ref("v", f"file://{data}/a.bin", offset=0, length=1, checksum=before)
    later = before + np.timedelta64(4000, "D") if isinstance(before, np.datetime64) else before.replace(year=2025)
    session.store.set_virtual_ref("v", f"file://{data}/a.bin", offset=0, length=1, checksum=later)
    for wrong in (np.datetime64("NaT", "us"), np.datetime64("20000-01-01"), 7):
        with pytest.raises(fl.InvalidError, match="checksum"):
            session.store.set_virtual_ref("v", f"file://{data}/a.bin", offset=0, length=1, checksum=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("document", "grid", "expected"),
    [
        (None, (1, 1), "v/c/0/0"),
        (None, (), "v/c"),
        (
            ("zarr.json", '{"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}}'),
            (1, 1),
            "v/c.0.0",
        ),
        (("zarr.json", '{"chunk_key_encoding": {"name": "v2"}}'), (1, 1), "v/0.0"),
        (("zarr.json", '{"chunk_key_encoding": "v2"}'), (), "v/0"),
        ((".zarray", '{"dimension_separator": "/"}'), (1, 1), "v/0/0"),
        ((".zarray", "{}"), (1, 1), "v/0.0"),
    ],
)
def test_chunk_keys_follow_the_metadata(
    repo: fl.Repository, data: Path, document: tuple[str, str] | None, grid: tuple[int, ...], expected: str
) -> None:
    store = repo.writable_session("main").store
    if document is not None:
        store.set_sync(f"v/{document[0]}", fl.buffer(document[1].encode()))
    store.set_virtual_refs_arr("v", grid, [f"file://{data}/a.bin"], np.array([0]), np.array([3]))
    value = store.get_sync(expected)
    assert value is not None and value.to_bytes() == b"aaa"


async def test_references_from_coroutines(repo: fl.Repository, data: Path) -> None:
    session = repo.writable_session("main")
    url = f"file://{data}/b.bin"
    await session.store.set_virtual_ref_async("v/c/0", url, offset=0, length=3)
    assert await session.store.set_virtual_refs_arr_async("w", (2,), [url] * 2, [0, 3], [3, 3]) is None
    assert read(session, "v/c/0") == read(session, "w/c/1") == b"bbb"
