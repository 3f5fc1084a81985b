"""External files: which a version needs, who needs a file, whether files are as recorded, and what becomes of them."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

import firnline as fl
from conftest import read
from firnline.rows import RowStream

NAMES = ("1979.bin", "1980.bin", "1981.bin")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three files of 100 bytes, not modified just now."""
    directory = tmp_path / "data"
    directory.mkdir()
    for number, name in enumerate(NAMES):
        (directory / name).write_bytes(bytes([65 + number]) * 100)
        os.utime(directory / name, (1_700_000_000, 1_700_000_000))
    return directory


@pytest.fixture
def repo(tmp_path: Path, data: Path) -> fl.Repository:
    """Two versions: an array of two chunks in two files, and a second array in the third."""
    repo = fl.Repository.create(tmp_path / "repo", allow=[f"file://{tmp_path}/"])
    repo.add_container("era5", f"{data.as_uri()}/{{}}.bin")
    point(repo, "t2m", (data / NAMES[0], data / NAMES[1]))
    point(repo, "wind", (data / NAMES[1], data / NAMES[2]))
    return repo


def point(repo: fl.Repository, array: str, files: tuple[Path, ...], *, message: str | None = None) -> str:
    """Commit an array with a chunk of 10 bytes in each file."""
    session = repo.writable_session("main")
    document = b'{"zarr_format": 3, "node_type": "array", "shape": [2]}'
    session.store.set_sync(f"{array}/zarr.json", fl.buffer(document))
    for number, file in enumerate(files):
        session.store.set_virtual_ref(f"{array}/c/{number}", file.as_uri(), offset=10, length=10)
    return session.commit(message or array)


def test_files_containers_and_arrays(repo: fl.Repository, data: Path) -> None:
    files = repo.dependencies()
    assert [(Path(row["url"]).name, row["args"], row["refs"], row["bytes"]) for row in files] == [
        ("1979.bin", ["1979"], 1, 10),
        ("1980.bin", ["1980"], 2, 20),
        ("1981.bin", ["1981"], 1, 10),
    ]
    assert all(row["is_pinned"] and not row["is_racy"] and row["container"] == "era5" for row in files)
    [container] = repo.dependencies(by="container")
    counts = {"files": 3, "refs": 4, "bytes": 40}
    assert container == {
        "container": "era5",
        "template": f"{data.as_uri()}/{{}}.bin",
        "defaults": {},
        "options": {},
        **counts,
    }
    two = {"files": 2, "refs": 2, "bytes": 20}
    assert repo.dependencies(by="array") == [
        {"array": name, "kind": "array", **two, "containers": [{"container": "era5", **two}]} for name in ("t2m", "wind")
    ]
    for wrong in ({"by": "chunk"}, {"by": "array", "all_history": True}):
        with pytest.raises(fl.InvalidError, match=r"by|all_history"):
            repo.dependencies(**wrong)  # type: ignore[arg-type]


def test_an_etag_is_given_as_text(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    session.store.set_virtual_ref("x", "http://127.0.0.1/x", offset=0, length=1, checksum='"a\\b’c"', validate_container=False)
    session.commit("an ETag with a backslash, and no letter of ASCII alone")
    assert "a\\b’c" in [row["etag"] for row in repo.dependencies()]


def test_rows_come_one_after_the_other(repo: fl.Repository) -> None:
    stream = repo.iter_dependencies()
    assert isinstance(stream, RowStream) and stream.columns[0] == "url" and "url" in repr(stream)
    assert list(stream) == list(repo.dependencies())
    assert list(stream) == []
    assert [row["state"] for row in repo.iter_check_dependencies()] == ["ok"] * 3


def test_threads_may_share_a_stream_of_rows_if_they_take_turns(repo: fl.Repository) -> None:
    stream, seen = repo.iter_dependencies(), []
    for _ in NAMES:
        thread = threading.Thread(target=lambda: seen.append(next(stream)["url"]))
        thread.start()
        thread.join()
    assert len(seen) == 3 and next(stream, None) is None


def test_data_frames(repo: fl.Repository) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = repo.dependencies()
    frame = pd.DataFrame(rows)
    assert frame.refs.sum() == 4 and list(frame.columns) == list(rows.columns)
    assert rows.to_pandas().modified.dt.year.unique().tolist() == [2023]
    assert pd.DataFrame(repo.iter_check_dependencies()).state.tolist() == ["ok"] * 3


def test_arrow_tables(repo: fl.Repository, data: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    used = repo.who_uses((data / NAMES[1]).as_uri(), all_history=True, keys=True)
    assert used.keys is not None
    kinds: tuple[Literal["file", "container", "array"], ...] = ("file", "container", "array")
    tables = [*(repo.dependencies(by=by) for by in kinds), used.refs, used.versions, used.keys, repo.check_dependencies()]
    tables += [repo.dependencies(all_history=True), repo.diff_dependencies("main~1"), repo.suggest_containers()]
    for rows in tables:
        assert rows.to_arrow().num_rows == len(rows)


def test_history(repo: fl.Repository, data: Path) -> None:
    session = repo.writable_session("main")
    session.store._native.delete_dir("wind", False)
    last = session.commit("no wind")
    assert len(repo.dependencies()) == 2
    ever = repo.dependencies(all_history=True)
    assert [(Path(row["url"]).name, row["versions"]) for row in ever] == [("1979.bin", 3), ("1980.bin", 3), ("1981.bin", 1)]
    assert ever[0]["last_id"] == last and ever[0]["first_time"] < ever[0]["last_time"]
    assert list(repo.iter_dependencies(all_history=True)) == list(ever)
    assert repo.places() == [f"{data.as_uri()}/{{}}.bin"]


def test_differences(repo: fl.Repository) -> None:
    changes = repo.diff_dependencies("main~1", "main")
    assert [(Path(row["name"]).name, row["change"], row["old_refs"], row["new_refs"]) for row in changes] == [
        ("1980.bin", "counted", 1, 2),
        ("1981.bin", "added", None, 1),
    ]
    assert "refs 1 → 2" in changes[0]["differences"]
    assert repo.diff_dependencies("main~2", "main~1")[0]["change"] == "added"
    assert repo.diff_dependencies("main") == []


def test_who_uses_a_file(repo: fl.Repository, data: Path) -> None:
    url = (data / NAMES[2]).as_uri()
    repo.create_tag("v1", "main")
    used = repo.who_uses(url, keys=True)
    assert used.is_used and [(row["what"], row["name"], row["refs"]) for row in used.refs] == [
        ("branch", "main", 1),
        ("tag", "v1", 1),
    ]
    assert used.keys == [{"key": "wind/c/1", "url": url, "offset": 10, "length": 10, "refs": ["branch:main", "tag:v1"]}]
    assert next(repo.iter_keys_using(data.as_uri()))["key"] == "t2m/c/0"
    below = repo.who_uses(data.as_uri() + "/", all_history=True)
    assert [row["files"] for row in below.versions] == [3, 2] and below.asked_versions == 4
    unused = repo.who_uses("s3://nowhere/x", all_history=True)
    assert not unused.is_used and not unused.is_in_a_container and unused.keys is None
    with pytest.raises(fl.InvalidError):
        repo.who_uses("no url")


def test_versions_that_are_not_in_the_repository_are_told(
    repo: fl.Repository, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repo.export_car("main", tmp_path / "latest.car")
    shallow = fl.Repository.create(tmp_path / "shallow")
    shallow.import_car(tmp_path / "latest.car", branch="latest")
    since = shallow.lookup_snapshot("latest").time
    url = (data / NAMES[0]).as_uri()
    assert shallow.who_uses(url, all_history=True).since == since
    assert shallow.who_uses(url).since is None and repo.who_uses(url, all_history=True).since is None
    repo.dependencies(all_history=True)
    assert caplog.messages == []
    assert len(shallow.dependencies("latest", all_history=True)) == 3
    assert [f"before {since}" in message for message in caplog.messages] == [True]


def test_checks(repo: fl.Repository, data: Path) -> None:
    (data / NAMES[0]).unlink()
    (data / NAMES[1]).write_bytes(b"x" * 101)
    rows = repo.check_dependencies()
    assert [row["state"] for row in rows] == ["missing", "changed", "ok"]
    assert "repin" in rows[1]["hint"] and rows[2]["problem"] is None
    assert [row["state"] for row in repo.reopen(allow=[]).check_dependencies()] == ["forbidden"] * 3
    drawn = repo.check_dependencies(sample=1e-6, seed=3)
    assert len(drawn) == 1 and drawn == repo.check_dependencies(sample=1e-6, seed=3)
    assert len(repo.check_dependencies(sample=100)) == 3
    for wrong in (0, 101, float("nan")):
        with pytest.raises(fl.InvalidError, match="sample"):
            repo.check_dependencies(sample=wrong)


def test_locked_files_are_compared_by_their_digest(repo: fl.Repository, data: Path, tmp_path: Path) -> None:
    # No places were all places.
    assert repo.lock_dependencies([]).files == [] and repo.lock_dependencies([]).snapshot_id == repo.lookup_branch("main")
    locked = repo.lock_dependencies((data / NAMES[0]).as_uri())
    [row] = locked.files
    assert row["digest"] == "1220" + hashlib.sha256(b"A" * 100).hexdigest() and locked.snapshot_id == repo.lookup_branch("main")
    published = tmp_path / "SHA256SUMS"
    lines = [f"{hashlib.sha256(bytes([66]) * 100).hexdigest()}  data/1980.bin", f"{'0' * 64}  other.bin"]
    published.write_text("\n".join(lines) + "\n")
    listed = repo.lock_dependencies(from_=published)
    assert [Path(row["url"]).name for row in listed.files] == ["1980.bin"] and listed.unmatched == ["other.bin"]
    sums = repo.checksums(relative_to=tmp_path)
    sums.write(tmp_path / "sums")
    done = subprocess.run(["sha256sum", "-c", "sums"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["data/1979.bin: OK", "data/1980.bin: OK"]
    assert [(Path(row["url"]).name, row["why"]) for row in sums.left_out] == [("1981.bin", "no digest of it is locked")]
    # A change that keeps size and date is noticed by the digest alone.
    (data / NAMES[0]).write_bytes(b"Z" * 100)
    os.utime(data / NAMES[0], (1_700_000_000, 1_700_000_000))
    assert repo.check_dependencies()[0]["state"] == "ok"
    assert repo.check_dependencies(digest=True)[0]["state"] == "corrupt"
    with pytest.raises(fl.CorruptError):
        repo.reopen().at("main").store.get_sync("t2m/c/0")


def test_a_list_that_contradicts_a_lock_is_refused(repo: fl.Repository, data: Path, tmp_path: Path) -> None:
    repo.lock_dependencies()
    (tmp_path / "sums").write_text(f"{'0' * 64}  1979.bin\n")
    with pytest.raises(fl.InvalidError, match="line 1 of the list"):
        repo.lock_dependencies(from_=tmp_path / "sums")
    with pytest.raises(fl.NotFoundError):
        repo.lock_dependencies(from_=tmp_path / "absent")


def test_changed_files_are_accepted_as_a_new_version(repo: fl.Repository, data: Path) -> None:
    (data / NAMES[1]).write_bytes(b"x" * 120)
    before = repo.lookup_branch("main")
    [row] = repo.repin(message="as they are")
    assert row["after_size"] == 120 and "size 100 → 120" in row["differences"]
    assert repo.log()[0]["message"] == "as they are" and read(repo.at("main"), "t2m/c/1") == b"x" * 10
    assert repo.at(before).snapshot_id == before
    (data / NAMES[1]).write_bytes(b"x" * 15)
    with pytest.raises(fl.InvalidError, match=r"t2m/c/1|1980"):
        repo.repin(data.as_uri())


def test_an_archive_that_moved(repo: fl.Repository, data: Path, tmp_path: Path) -> None:
    old = repo.lookup_branch("main")
    mirror = tmp_path / "mirror"
    data.rename(mirror)
    (mirror / NAMES[2]).write_bytes(b"short")
    with pytest.raises(fl.FirnlineError) as refused:
        repo.move_dependencies(data.as_uri(), mirror.as_uri())
    assert [line for line in refused.value.files if NAMES[2] in line] == refused.value.files != []
    (mirror / NAMES[2]).write_bytes(b"C" * 100)
    moved = repo.move_dependencies(data.as_uri(), mirror.as_uri())
    assert (len(moved.files), moved.refs, moved.leaves) == (3, 0, 0)
    assert moved.containers[0]["template"] == f"{mirror.as_uri()}/{{}}.bin" and moved.snapshot_id == repo.lookup_branch("main")
    assert read(repo.at("main"), "wind/c/1") == b"C" * 10
    # Versions of before are read in the new place by naming it.
    with pytest.raises(fl.MissingDataError):
        repo.at(old).store.get_sync("t2m/c/0")
    elsewhere = {"era5": (mirror.as_uri() + "/", True)}
    assert read(repo.reopen(rebind=elsewhere).at(old), "t2m/c/0") == b"A" * 10
    with pytest.raises(fl.UnsupportedError) as unproven:
        repo.reopen(rebind={"era5": mirror.as_uri() + "/"}).at(old).store.get_sync("t2m/c/0")
    assert "rebind" in (unproven.value.hint or "")
    with pytest.raises(fl.InvalidError):
        repo.reopen(rebind={"era5": "nowhere"})


def test_the_server_of_the_new_place_is_told_with_the_move(repo: fl.Repository, data: Path, tmp_path: Path) -> None:
    session = repo.writable_session("main")
    session.set_container("era5", f"{data.as_uri()}/{{}}.bin", options={"account": "old"})
    session.commit("options")
    mirrors = [tmp_path / "first", tmp_path / "second"]
    data.rename(mirrors[0])
    kept = repo.move_dependencies(data.as_uri(), mirrors[0].as_uri())
    assert kept.containers[0]["options"] == {"account": "old"}
    mirrors[0].rename(mirrors[1])
    moved = repo.move_dependencies(mirrors[0].as_uri(), mirrors[1].as_uri(), container_options={"region": "eu-west-1"})
    assert moved.containers[0]["options"] == repo.containers()[0]["options"] == {"region": "eu-west-1"}


def test_calls_tell_how_far_they_have_come(repo: fl.Repository, data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, int, int]] = []

    def report(*counts: int) -> None:
        told.append(counts)  # type: ignore[arg-type]

    def last() -> tuple[int, int, int, int]:
        counts = told[-1]
        told.clear()
        return counts

    repo.check_dependencies(progress=report)
    assert last() == (3, 3, 0, 0)
    repo.check_dependencies(sample=100, progress=report)
    assert last() == (3, 0, 0, 0), "how many are drawn is not known before"
    repo.lock_dependencies(progress=report)
    assert last() == (3, 3, 300, 300)
    data.rename(tmp_path / "mirror")
    # One session reports to the call alone that asked for it.
    session = repo.writable_session("main")
    session.move_dependencies(data.as_uri(), (tmp_path / "mirror").as_uri(), progress=report)
    assert last()[0] == 3
    session.discard_changes()
    repo.move_dependencies(data.as_uri(), (tmp_path / "mirror").as_uri(), progress=True)
    assert told == []

    def stop(*_: int) -> None:
        raise RuntimeError("stopped by the callback")

    with pytest.raises(RuntimeError, match="stopped by"):
        repo.check_dependencies(progress=stop)


def test_parameters_that_a_commit_does_not_have_are_refused_before_any_work(repo: fl.Repository, data: Path) -> None:
    for name in NAMES:
        (data / name).unlink()
    before = repo.lookup_branch("main")
    for call in (
        repo.lock_dependencies,
        repo.repin,
        repo.apply_suggested_containers,
        lambda **wrong: repo.move_dependencies(data.as_uri(), "file:///nowhere", **wrong),
        lambda **wrong: repo.import_kerchunk("absent.json", **wrong),
        lambda **wrong: fl.virtualize("absent.nc", repo, **wrong),
    ):
        with pytest.raises(TypeError, match="mesage"):
            call(mesage="a typing error")
    assert repo.lookup_branch("main") == before


@pytest.mark.parametrize("url", ["https://user:{}@127.0.0.1:1/x.nc", "https://127.0.0.1:1/x.nc?X-Amz-Signature={}"])
def test_a_url_that_holds_a_secret_is_refused_and_not_shown(
    repo: fl.Repository, data: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    hush = secrets.token_hex(16)
    url, store = url.format(hush), repo.writable_session("main").store
    good = (data / NAMES[0]).as_uri()
    for call in (
        lambda: repo.lock_dependencies(url),
        lambda: repo.repin(url),
        lambda: repo.move_dependencies(url, "https://example.org/"),
        lambda: repo.add_container("other", url),
        lambda: repo.import_kerchunk({"a": [url, 0, 1]}),
        lambda: fl.virtualize(url, repo),
        lambda: store.set_virtual_ref("v", url, offset=0, length=1),
        lambda: store.set_virtual_refs_arr("v", (1,), [url], [0], [1]),
        # References of which some can be located were left out with a warning that showed the URL.
        lambda: store.set_virtual_refs_arr("v", (2,), [good, url], [0, 0], [1, 1]),
    ):
        with pytest.raises(fl.FirnlineError, match=r"127\.0\.0\.1") as refused:
            call()
        assert hush not in f"{refused.value!r} {refused.value}"
    assert hush not in caplog.text


def test_a_message_may_be_empty(repo: fl.Repository, data: Path) -> None:
    repo.lock_dependencies(message="")
    (data / NAMES[0]).write_bytes(b"x" * 120)
    repo.repin(message="")
    repo.vendor(message="", prefix="wind")
    assert [row["message"] for row in repo.log(limit=3)] == [""] * 3


READ_A_LIST = """
import os, sys, threading
import firnline as fl

repo, pipe, line = fl.Repository.open(sys.argv[1]), sys.argv[2], sys.argv[3]
os.mkfifo(pipe)

def write():
    with open(pipe, "w") as file:
        file.write(line)

threading.Thread(target=write).start()
print(len(repo.lock_dependencies(from_=pipe).files))
"""


def test_other_threads_run_while_a_list_is_read(repo: fl.Repository, tmp_path: Path) -> None:
    line = f"{hashlib.sha256(b'A' * 100).hexdigest()}  1979.bin\n"
    arguments = [sys.executable, "-c", READ_A_LIST, repo.url, str(tmp_path / "pipe"), line]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_values_are_copied_in(repo: fl.Repository, data: Path) -> None:
    seen: list[int] = []
    done = repo.vendor(prefix="t2m", progress=lambda items, *_: seen.append(items))
    assert (done.keys, done.bytes, done.bytes_read, done.reused) == (2, 20, 20, 0)
    assert done.snapshot_id == repo.lookup_branch("main") and seen
    assert {Path(row["url"]).name for row in repo.dependencies()} == {"1980.bin", "1981.bin"}
    with pytest.raises(fl.NotFoundError):
        repo.vendor(container="other")
    repo.vendor(container="era5", message="all of it", author="me")
    for name in NAMES:
        (data / name).unlink()
    assert repo.dependencies() == [] and read(repo.at("main"), "wind/c/1") == b"C" * 10
    assert repo.lookup_snapshot("main").author == "me"


def test_containers(repo: fl.Repository, data: Path) -> None:
    assert [(row["name"], row["files"], row["refs"]) for row in repo.containers()] == [("era5", 3, 4)]
    with pytest.raises(fl.InvalidError, match="exists"):
        repo.add_container("era5", "s3://era5/{}")
    with pytest.raises(fl.InvalidError, match="in use"):
        repo.remove_container("era5")
    with pytest.raises(fl.InvalidError, match="in use"):
        repo.set_container("era5", "s3://era5/{}")
    repo.set_container("noaa", "s3://noaa/", options={"region": "us-east-1"})
    repo.set_container("noaa", "s3://noaa/sets/")
    assert [row["template"] for row in repo.containers()] == [f"{data.as_uri()}/{{}}.bin", "s3://noaa/sets/{}"]
    repo.remove_container("noaa", message="not needed")
    assert repo.log()[0]["message"] == "not needed" and len(repo.containers()) == 1
    with pytest.raises(fl.NotFoundError):
        repo.remove_container("noaa")


def test_suggested_containers_keep_every_url(tmp_path: Path) -> None:
    repo = fl.Repository.create(tmp_path / "repo")
    session = repo.writable_session("main")
    urls = [f"s3://bucket/cmip6/tas/tas_{year}.nc" for year in range(1950, 1990)]
    session.store.set_virtual_refs_arr("tas", (40,), urls, [0] * 40, [8] * 40, validate_containers=False)
    session.commit("forty years")
    [suggestion] = [row for row in repo.suggest_containers() if row["is_new"]]
    assert suggestion["files"] == 40 and suggestion["bytes_saved"] > 0
    renamed = repo.apply_suggested_containers(message="short names")
    assert (renamed.files, renamed.refs) == (40, 40) and renamed.snapshot_id == repo.lookup_branch("main")
    assert Counter(row["url"] for row in repo.dependencies()) == Counter(urls)
    assert {row["container"] for row in repo.dependencies()} == {suggestion["name"]}
    assert repo.suggest_containers() == []
