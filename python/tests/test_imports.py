"""Imports of Zarr stores and Icechunk repositories."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr

import firnline as fl


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    return fl.Repository.create(str(tmp_path / "repository"))


def fill(store: object, zarr_format: int = 3) -> dict[str, bytes]:
    """A group with three arrays; gives every key and value."""
    group = zarr.create_group(store, zarr_format=zarr_format)
    for name, chunks in (("a", (4, 4)), ("b", (2, 8))):
        group.create_array(name, shape=(8, 8), chunks=chunks, dtype="f8")[:] = np.random.default_rng(1).random((8, 8))
    group.create_array("deep/scalar", shape=(), dtype="i4")[...] = 5
    return contents(store)


def contents(store: zarr.abc.store.Store, prefix: str = "") -> dict[str, bytes]:
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    async def read() -> dict[str, bytes]:
        found = {}
        async for key in store.list_prefix(prefix):
            value = await store.get(key, default_buffer_prototype())
            assert value is not None
            found[key.removeprefix(prefix)] = value.to_bytes()
        return found

    return sync(read())


def old_files(directory: Path) -> None:
    """Dates the files back, so that their dates can be trusted."""
    for path in directory.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_key_and_byte_is_kept(repo: fl.Repository, zarr_format: int) -> None:
    source = zarr.storage.MemoryStore()
    expected = fill(source, zarr_format)
    steps: list[tuple[int, ...]] = []
    done = repo.import_zarr(source, prefix="there", message="all of it", progress=lambda *step: steps.append(step))
    assert contents(repo.readonly_session("main").store, "there/") == expected
    assert done.read == len(expected) and done.read_bytes == sum(map(len, expected.values())) and done.skipped == 0
    assert steps[-1][0] == len(expected)
    assert done.snapshot_id == repo.lookup_branch("main") and repo.log("main")[0]["message"] == "all of it"


def test_directories_and_urls(repo: fl.Repository, tmp_path: Path) -> None:
    expected = fill(zarr.storage.LocalStore(tmp_path / "source.zarr"))
    repo.import_zarr(tmp_path / "source.zarr", prefix="one")
    store = repo.readonly_session("main").store
    assert contents(store, "one/") == expected
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    repo.import_zarr(f"file://{tmp_path}/source.zarr", prefix="two")
    assert contents(repo.readonly_session("main").store, "two/") == expected
    assert repo.content_id("main", "one") == repo.content_id("main", "two")


def test_an_import_of_what_is_there_commits_nothing(repo: fl.Repository) -> None:
    source = zarr.storage.MemoryStore()
    fill(source)
    first = repo.import_zarr(source)
    again = repo.import_zarr(source)
    assert again.snapshot_id == first.snapshot_id and again.read == first.read


@pytest.mark.parametrize("kind", ["directory", "fsspec", "obstore"])
def test_the_cache_saves_reading(repo: fl.Repository, tmp_path: Path, kind: str) -> None:
    expected = fill(zarr.storage.LocalStore(tmp_path / "source.zarr"))
    old_files(tmp_path / "source.zarr")
    if kind == "directory":
        source: object = zarr.storage.LocalStore(tmp_path / "source.zarr", read_only=True)
    elif kind == "fsspec":
        pytest.importorskip("fsspec", reason="fsspec is not installed")
        source = zarr.storage.FsspecStore.from_url(f"file://{tmp_path}/source.zarr", read_only=True)
    else:
        obstore = pytest.importorskip("obstore", reason="obstore is not installed")
        source = zarr.storage.ObjectStore(obstore.store.LocalStore(tmp_path / "source.zarr"), read_only=True)
    cache = tmp_path / "cache"
    first = repo.import_zarr(source, cache=cache)
    assert (first.read, first.skipped) == (len(expected), 0)
    second = repo.import_zarr(source, cache=cache)
    assert (second.read, second.skipped) == (0, len(expected)) and second.snapshot_id == first.snapshot_id

    changed = tmp_path / "source.zarr" / "a" / "c" / "0" / "0"
    changed.write_bytes(changed.read_bytes()[::-1])
    os.utime(changed, (1_700_000_100, 1_700_000_100))
    third = repo.import_zarr(source, cache=cache)
    assert (third.read, third.skipped) == (1, len(expected) - 1)
    assert contents(repo.readonly_session("main").store)["a/c/0/0"] == changed.read_bytes()


def test_the_cache_does_not_hide_what_the_branch_lost(repo: fl.Repository, tmp_path: Path) -> None:
    """The cache says that a value was stored; the branch tells whether it still is."""
    expected = fill(zarr.storage.LocalStore(tmp_path / "source.zarr"))
    old_files(tmp_path / "source.zarr")
    repo.import_zarr(tmp_path / "source.zarr", cache=tmp_path / "cache")
    with repo.transaction("main", message="a mistake") as store:
        zarr.core.sync.sync(store.delete("a/c/0/0"))
        zarr.core.sync.sync(store.set("b/c/0/0", zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(b"wrong")))
    again = repo.import_zarr(tmp_path / "source.zarr", cache=tmp_path / "cache")
    assert again.read == 2
    assert contents(repo.readonly_session("main").store) == expected


def test_young_dates_are_not_trusted(repo: fl.Repository, tmp_path: Path) -> None:
    expected = fill(zarr.storage.LocalStore(tmp_path / "source.zarr"))
    repo.import_zarr(tmp_path / "source.zarr", cache=tmp_path / "cache")
    again = repo.import_zarr(tmp_path / "source.zarr", cache=tmp_path / "cache")
    assert again.read == len(expected), "a file written a moment ago may change again without another date"


class Breaking(zarr.storage.WrapperStore):
    """Fails after so many reads of chunks."""

    left = 3

    async def get(self, key, prototype, byte_range=None):
        if "/c/" in key:
            self.left -= 1
            if self.left < 0:
                raise ConnectionError("the source went away")
        return await super().get(key, prototype, byte_range)


def test_an_interrupted_import_leaves_the_branch_and_goes_on(repo: fl.Repository, tmp_path: Path) -> None:
    memory = zarr.storage.MemoryStore()
    expected = fill(memory)
    tip = repo.lookup_branch("main")
    with pytest.raises(ConnectionError, match="went away"):
        repo.import_zarr(Breaking(memory), concurrency=1)
    assert repo.lookup_branch("main") == tip
    with pytest.raises(ConnectionError, match="went away"):
        repo.import_zarr(Breaking(memory), concurrency=1, commit_every=1)
    partly = contents(repo.readonly_session("main").store)
    assert partly and not any(key.endswith("zarr.json") for key in partly), "documents come last"
    repo.import_zarr(memory)
    assert contents(repo.readonly_session("main").store) == expected


def test_bad_sources(repo: fl.Repository, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no key"):
        repo.import_zarr(zarr.storage.MemoryStore())
    with pytest.raises(ValueError, match="concurrency"):
        repo.import_zarr(zarr.storage.MemoryStore(), concurrency=0)
    with pytest.raises((FileNotFoundError, ValueError)):
        repo.import_zarr(tmp_path / "nothing.zarr")


# --- Icechunk ---------------------------------------------------------------------------------------------------------------

try:
    import icechunk
except ImportError:
    icechunk = None
needs_icechunk = pytest.mark.skipif(icechunk is None, reason="icechunk is not installed")
tells_references = pytest.mark.skipif(
    icechunk is None or not hasattr(icechunk.IcechunkStore, "array_chunk_iterator"),
    reason="this icechunk does not tell where virtual chunks lie",
)


def ice(tmp_path: Path, allowed: bool = False):
    config = icechunk.RepositoryConfig.default()
    url = tmp_path.as_uri() + "/"
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(url, icechunk.local_filesystem_store(str(tmp_path))))
    access = icechunk.containers_credentials({url: None}) if allowed else None
    storage = icechunk.local_filesystem_storage(str(tmp_path / "ice"))
    return icechunk.Repository.open_or_create(storage, config=config, authorize_virtual_chunk_access=access)


def history(tmp_path: Path):
    """Five versions: created, a chunk changed, shrunk, an array deleted and another created, nothing but an attribute."""
    source = ice(tmp_path)

    def version(message: str, change, **metadata) -> None:
        session = source.writable_session("main")
        change(zarr.open_group(session.store, mode="a"))
        session.commit(message, metadata=metadata or None)

    def create(group: zarr.Group) -> None:
        group.create_array("g/a", shape=(8, 8), chunks=(4, 4), dtype="i4")[:] = np.arange(64).reshape(8, 8)
        group.create_array("b", shape=(1000,), chunks=(500,), dtype="f8")[:] = np.random.default_rng(0).random(1000)

    version("one", create, by="me", level=3)
    version("two", lambda group: group["g/a"].__setitem__((slice(0, 4), slice(0, 4)), -1))
    version("three", lambda group: group["g/a"].resize((4, 8)))

    def swap(group: zarr.Group) -> None:
        del group["b"]
        group.create_array("c", shape=(), dtype="i4")[...] = 9

    version("four", swap)
    version("five", lambda group: group.attrs.update(done=True))
    source.create_tag("second", list(source.ancestry(branch="main"))[3].id)
    return source


@needs_icechunk
def test_every_icechunk_version_becomes_a_commit(repo: fl.Repository, tmp_path: Path) -> None:
    source = history(tmp_path)
    result = repo.import_icechunk(source, tags=True)
    line = [snapshot for snapshot in reversed(list(source.ancestry(branch="main"))) if snapshot.parent_id is not None]
    assert list(result.snapshots) == [snapshot.id for snapshot in line]
    for snapshot in line:
        ours = repo.readonly_session(snapshot_id=result.snapshots[snapshot.id]).store
        assert contents(ours) == contents(source.readonly_session(snapshot_id=snapshot.id).store), snapshot.message
    commits = list(repo.ancestry(branch="main"))
    assert [commit.message for commit in commits[:5]] == ["five", "four", "three", "two", "one"]
    assert commits[4].metadata["icechunk.written_at"] == line[0].written_at.isoformat()
    assert commits[4].metadata["icechunk.metadata"] == '{"by": "me", "level": 3}'
    assert result.tags == ["second"] and repo.lookup_tag("second") == result.snapshots[line[1].id]


@needs_icechunk
def test_an_icechunk_import_goes_on_where_it_stopped(repo: fl.Repository, tmp_path: Path) -> None:
    source = history(tmp_path)
    assert len(repo.import_icechunk(tmp_path / "ice", prefix="in").snapshots) == 5
    assert repo.import_icechunk(tmp_path / "ice", prefix="in").snapshots == {}
    session = source.writable_session("main")
    zarr.open_group(session.store, mode="a")["c"][...] = 10
    added = session.commit("six")
    with repo.transaction("main", message="ours, in between") as store:
        zarr.create_group(store, path="in/extra")
    assert list(repo.import_icechunk(tmp_path / "ice", prefix="in").snapshots) == [added]
    assert contents(repo.readonly_session("main").store, "in/") == contents(source.readonly_session("main").store)


@needs_icechunk
def test_only_the_latest_icechunk_version(repo: fl.Repository, tmp_path: Path) -> None:
    source = history(tmp_path)
    assert len(repo.import_icechunk(source, history=False, prefix="latest").snapshots) == 1
    assert len(repo.import_icechunk(source.readonly_session("main"), prefix="session").snapshots) == 1
    expected = contents(source.readonly_session("main").store)
    store = repo.readonly_session("main").store
    assert contents(store, "latest/") == expected and contents(store, "session/") == expected


def virtual_icechunk(tmp_path: Path, allowed: bool = False):
    """An array of which some chunks are references, dense and far apart, and one is stored."""
    (tmp_path / "data.bin").write_bytes(np.arange(1001, dtype="<i4").tobytes())
    url = (tmp_path / "data.bin").as_uri()
    source = ice(tmp_path, allowed)
    session = source.writable_session("main")
    array = zarr.create_array(
        session.store, name="v", shape=(1000, 2), chunks=(1, 2), dtype="i4", compressors=None, filters=None, fill_value=-1
    )
    for cell in (0, 1, 2, 999):
        session.store.set_virtual_ref(f"v/c/{cell}/0", url, offset=cell * 4, length=8)
    array[1, :] = [70, 71]
    session.commit("references")
    session = source.writable_session("main")
    session.store.set_virtual_ref("v/c/2/0", url, offset=400, length=8)
    session.commit("one moved")
    return source


@tells_references
def test_virtual_chunks_stay_references(tmp_path: Path) -> None:
    repo = fl.Repository.create(str(tmp_path / "repository"), allow={tmp_path.as_uri() + "/": ""})
    result = repo.import_icechunk(virtual_icechunk(tmp_path))
    assert result.references == 3 + 1 and result.copied == 1
    (file,) = repo.dependencies("main")
    assert file["url"] == (tmp_path / "data.bin").as_uri() and file["refs"] == 3
    read = zarr.open_array(repo.readonly_session("main").store, path="v", mode="r")
    assert read[:4].tolist() == [[0, 1], [70, 71], [100, 101], [-1, -1]]
    assert read[999].tolist() == [999, 1000]
    first = repo.readonly_session(snapshot_id=next(iter(result.snapshots.values()))).store
    assert zarr.open_array(first, path="v", mode="r")[2].tolist() == [2, 3]


@pytest.mark.skipif(
    icechunk is None or hasattr(icechunk.IcechunkStore, "array_chunk_iterator"),
    reason="this icechunk tells where virtual chunks lie",
)
def test_an_icechunk_that_does_not_tell_references_is_refused(repo: fl.Repository, tmp_path: Path) -> None:
    tip = repo.lookup_branch("main")
    with pytest.raises(NotImplementedError, match=r"v/c/.*2\.0\.5"):
        repo.import_icechunk(virtual_icechunk(tmp_path))
    assert repo.lookup_branch("main") == tip


@needs_icechunk
def test_virtual_chunks_can_be_copied(tmp_path: Path) -> None:
    repo = fl.Repository.create(str(tmp_path / "repository"))
    virtual_icechunk(tmp_path)
    result = repo.import_icechunk(ice(tmp_path, allowed=True), virtual="copy")
    assert result.references == 0 and not repo.dependencies("main")
    read = zarr.open_array(repo.readonly_session("main").store, path="v", mode="r")
    assert read[:3].tolist() == [[0, 1], [70, 71], [100, 101]]


@needs_icechunk
def test_an_icechunk_import_removes_nothing_unasked(repo: fl.Repository, tmp_path: Path) -> None:
    source = history(tmp_path)
    with repo.transaction("main", message="ours") as store:
        zarr.create_group(store, path="ours")
    tip = repo.lookup_branch("main")
    with pytest.raises(ValueError, match="would remove"):
        repo.import_icechunk(source)
    assert repo.lookup_branch("main") == tip
    repo.import_icechunk(source, prefix="theirs")
    assert contents(repo.readonly_session("main").store, "ours/")
    repo.import_icechunk(source, replace=True)
    assert contents(repo.readonly_session("main").store) == contents(source.readonly_session("main").store)


@needs_icechunk
def test_bad_icechunk_arguments(repo: fl.Repository, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'keep' or 'copy'"):
        repo.import_icechunk(tmp_path, virtual="maybe")
    with pytest.raises(ValueError, match="open the Icechunk repository yourself"):
        repo.import_icechunk("az://bucket/x")
