"""Several processes: pickling, forks of sessions, and the three ways in which multiprocessing starts a process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zarr

import firnline as fl
from conftest import read, write

METHODS = ["fork", "forkserver", "spawn"]


def read_in_child(store: fl.FirnlineStore, key: str) -> tuple[bytes | None, bytes | None, int]:
    """Read in every way, in another process."""
    value = store.get_sync(key)
    again = asyncio.run(store.get(key))
    return (
        None if value is None else value.to_bytes(),
        None if again is None else again.to_bytes(),
        os.getpid(),
    )


def write_in_child(fork: fl.ForkSession, number: int) -> fl.ForkSession:
    fork.store.set_sync(f"c/{number}", fl.buffer(bytes([number]) * 5000))
    return fork


@pytest.mark.parametrize("method", METHODS)
def test_read_only_sessions_go_to_other_processes(repo: fl.Repository, method: str) -> None:
    write(repo, {"small": b"1", "large": b"2" * 100_000})
    session = repo.at("main")
    write(repo, {"small": b"later"})
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for key, expected in (("small", b"1"), ("large", b"2" * 100_000), ("none", None)):
            first, second, process = pool.submit(read_in_child, session.store, key).result(60)
            assert first == second == expected
            assert process != os.getpid()
        assert pool.submit(_snapshot, session).result(60) == session.snapshot_id
        assert pool.submit(_log, repo).result(60) == len(repo.log())


def _snapshot(session: fl.Session) -> str:
    return session.snapshot_id


def _log(repo: fl.Repository) -> int:
    return len(repo.log("main"))


@pytest.mark.parametrize("method", METHODS)
def test_forks_write_in_other_processes(repo: fl.Repository, method: str) -> None:
    write(repo, {"base": b"base"})
    session = repo.writable_session("main")
    session.store.set_sync("staged", fl.buffer(b"staged" * 1000))
    fork = session.fork()
    assert read(fork, "staged") == b"staged" * 1000
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        forks = list(pool.map(write_in_child, [fork] * 6, range(6)))
    with pytest.raises(fl.InvalidError, match="merge it"):
        forks[0].store.get_sync("c/0")
    session.merge(*forks)
    session.commit("by 6 processes")
    after = repo.at("main")
    assert [read(after, f"c/{n}") for n in range(6)] == [bytes([n]) * 5000 for n in range(6)]
    assert read(after, "staged") == b"staged" * 1000 and read(after, "base") == b"base"
    assert len(repo.log()) == 3


def test_forks_that_disagree_conflict(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    one, two = session.fork(), session.fork()
    for fork, value in ((one, b"1"), (two, b"2")):
        fork.store.set_sync("same", fl.buffer(value))
        fork.store.set_sync(f"own/{value.decode()}", fl.buffer(value))
    session.merge(one)
    with pytest.raises(fl.ConflictError) as failed:
        session.merge(two)
    assert failed.value.conflicts == [fl.Conflict("key", "same")]
    assert read(session, "same") == b"1" and read(session, "own/2") is None
    session.merge(one)
    session.commit("one")
    with pytest.raises(fl.InvalidError):
        session.merge(two)


def test_forks_are_not_committed_and_are_pickled_with_their_changes(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    fork = session.fork()
    with pytest.raises(fl.InvalidError, match="merge"):
        fork.commit("no")
    untouched = pickle.loads(pickle.dumps(fork))
    assert untouched == fork and not untouched.read_only
    sent = pickle.loads(pickle.dumps(fork))
    sent.store.set_sync("a", fl.buffer(b"1"))
    back = pickle.loads(pickle.dumps(sent))
    nested = fork.fork()
    nested.store.set_sync("b", fl.buffer(b"2"))
    fork.merge(nested)
    session.merge(back, fork, untouched)
    assert read(session, "a") == b"1" and read(session, "b") == b"2"
    with pytest.raises(fl.InvalidError, match=r"session\.fork\(\)"):
        pickle.dumps(session)
    assert fork.has_uncommitted_changes and not untouched.has_uncommitted_changes
    fork.discard_changes()
    assert read(fork, "b") is None


def test_threads_that_use_a_fork_first_share_one_session(repo: fl.Repository) -> None:
    """The fork was opened by each of the threads, and what the others had set was lost."""
    for _ in range(3):
        session = repo.writable_session("main")
        fork = pickle.loads(pickle.dumps(session.fork()))
        together = threading.Barrier(8)

        def set_one(number: int, fork: fl.ForkSession = fork, together: threading.Barrier = together) -> None:
            together.wait()
            fork.store.set_sync(f"c/{number}", fl.buffer(b"x"))

        threads = [threading.Thread(target=set_one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        session.merge(pickle.loads(pickle.dumps(fork)))
        assert [read(session, f"c/{number}") for number in range(8)] == [b"x"] * 8


def test_a_store_that_was_pickled_without_its_fork_is_read_only(repo: fl.Repository) -> None:
    """What was set through it went into a copy of the fork that nobody merged."""
    session = repo.writable_session("main")
    session.store.set_sync("a", fl.buffer(b"1"))
    fork = session.fork()
    store = pickle.loads(pickle.dumps(fork.store))
    again = pickle.loads(pickle.dumps(store))
    for one in (store, again, store.with_read_only(True)):
        assert one.read_only and not one.supports_writes and not one.supports_deletes
        value = one.get_sync("a")
        assert value is not None and value.to_bytes() == b"1"
        for refused in (
            lambda one=one: one.set_sync("b", fl.buffer(b"2")),
            lambda one=one: asyncio.run(one.set("b", fl.buffer(b"2"))),
            lambda one=one: one.delete_sync("a"),
            lambda one=one: one.with_read_only(False),
            lambda one=one: one.set_virtual_ref("b", "file:///b", offset=0, length=1),
        ):
            with pytest.raises(fl.InvalidError, match="send the fork, not its store, and merge it"):
                refused()
    with pytest.raises(ValueError, match="read-only"):
        zarr.open_group(store, mode="r+")


def test_an_array_of_a_fork_cannot_lose_what_processes_write(repo: fl.Repository) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="a", shape=(8,), chunks=(2,), dtype="i8")
    fork = session.fork()
    target = zarr.open_array(fork.store, path="a", mode="r+")
    with pytest.raises(fl.InvalidError, match="send the fork"):
        da.store(da.ones(8, chunks=2, dtype="i8"), target, scheduler="processes", lock=False)


def test_stores_follow_a_fork_that_discards_its_changes(repo: fl.Repository) -> None:
    """A store that was taken before went on writing into the session that was given up."""
    session = repo.writable_session("main")
    fork = session.fork()
    store = fork.store
    store.set_sync("a", fl.buffer(b"1"))
    fork.discard_changes()
    assert store.get_sync("a") is None
    store.set_sync("b", fl.buffer(b"2"))
    assert fork.has_uncommitted_changes and read(fork, "b") == b"2"
    session.merge(fork)
    assert read(session, "a") is None and read(session, "b") == b"2"


def test_a_store_is_read_only_once_its_session_is_committed(repo: fl.Repository) -> None:
    """It could not be unpickled, because it said that it was writable and its session did not."""
    session = repo.writable_session("main")
    store = session.store
    store.set_sync("a", fl.buffer(b"1"))
    assert not store.read_only
    session.commit("a")
    assert store.read_only and not store.supports_writes
    with pytest.raises(fl.InvalidError, match="open a writable one"):
        store.set_sync("a", fl.buffer(b"2"))
    again = pickle.loads(pickle.dumps(store))
    assert again == store and again.get_sync("a") is not None
    assert store == repo.at("main").store


def test_sessions_and_forks_are_compared_without_opening_the_fork(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    fork = session.fork()
    assert session != fork and fork != session and fork._opened is None
    fork.store.set_sync("a", fl.buffer(b"1"))
    back = pickle.loads(pickle.dumps(fork))
    assert session != back and back != session


def test_open_repositories_and_sessions_work_after_a_fork(repo: fl.Repository) -> None:
    write(repo, {"small": b"1", "large": b"2" * 100_000})
    reader, writer = repo.at("main"), repo.writable_session("main")
    assert read(reader, "large") == b"2" * 100_000
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            reader.store.get_sync("large")
            asyncio.run(reader.store.get("large"))

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert _in_forked_child(lambda: _check_child(repo, reader, writer)) == b"fine"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert read(reader, "small") == b"1"
    writer.store.set_sync("b", fl.buffer(b"b"))
    writer.commit("the parent goes on")


def _check_child(repo: fl.Repository, reader: fl.Session, writer: fl.Session) -> None:
    assert read(reader, "large") == b"2" * 100_000
    assert asyncio.run(reader.store.get("large")) is not None
    assert len(repo.log()) >= 2
    try:
        writer.store.get_sync("small")
    except fl.InvalidError as error:
        assert "session.fork()" in str(error)
    else:
        raise AssertionError("the session of the parent must not be used")
    own = repo.writable_session("main")
    own.store.set_sync(f"child/{os.getpid()}", fl.buffer(b"x" * 2000))
    own.commit("from a child")


def _in_forked_child(check: Any) -> bytes:
    """Run something after `os.fork`, and return what it says: ``fine``, or the exception."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            check()
            os.write(writing, b"fine")
        except BaseException as error:
            os.write(writing, repr(error).encode()[:4000])
        os._exit(0)
    os.close(writing)
    said = b""
    deadline = time.monotonic() + 60
    os.set_blocking(reading, False)
    while time.monotonic() < deadline:
        try:
            piece = os.read(reading, 4096)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        if not piece:
            break
        said += piece
    else:
        os.kill(child, signal.SIGKILL)
        said = b"the child hangs"
    os.close(reading)
    os.waitpid(child, 0)
    return said


def test_a_repository_that_is_gone_after_a_fork_is_no_absent_key(repo: fl.Repository) -> None:
    """Zarr takes "not found" for an array without a value there."""
    write(repo, {"a": b"1"})
    reader = repo.at("main")
    os.rename(repo.url, f"{repo.url}-elsewhere")

    def check() -> None:
        for call in (lambda: reader.store.get_sync("a"), lambda: asyncio.run(reader.store.exists("a"))):
            with pytest.raises(fl.MissingDataError):
                call()

    assert _in_forked_child(check) == b"fine"


def test_a_version_that_is_gone_after_a_fork_is_no_absent_key(repo: fl.Repository) -> None:
    write(repo, {"a": b"1"})
    reader = repo.at("main")
    [file] = [path for path in Path(repo.url, "snapshots").rglob("*") if path.name.startswith(reader.snapshot_id)]
    file.unlink()

    def check() -> None:
        with pytest.raises(fl.MissingDataError) as gone:
            reader.store.get_sync("a")
        assert gone.value.snapshot == reader.snapshot_id

    assert _in_forked_child(check) == b"fine"


def test_pickles_hold_no_secrets_unless_asked(tmp_path: Path) -> None:
    variables = {"AWS_SECRET_ACCESS_KEY": "hush"}
    repo = fl.Repository.create(tmp_path / "r", variables=variables, allow={"file:///data/": ""})
    write(repo, {"a": b"1"})
    session = repo.at("main")
    pickled = pickle.dumps(session)
    assert b"hush" not in pickled
    again = pickle.loads(pickled)
    assert again == session and read(again, "a") == b"1"
    assert again.repository._options["allow"] == ["file:///data/"]
    shared = fl.Repository.open(repo.url, variables=variables, share_secrets=True)
    assert b"hush" in pickle.dumps(shared)
    assert pickle.loads(pickle.dumps(shared))._options["variables"] == variables


def test_repositories_in_memory_are_not_pickled() -> None:
    repo = fl.Repository.create("memory:")
    for thing in (repo, repo.at("main"), repo.at("main").store):
        with pytest.raises(fl.InvalidError, match="in memory"):
            pickle.dumps(thing)
    write(repo, {"a": b"1"})
    fork_of = repo.writable_session("main")
    fork = fork_of.fork()
    fork.store.set_sync("b", fl.buffer(b"2"))
    fork_of.merge(fork)
    fork_of.commit("in one process")


def test_ctrl_c_ends_a_long_call(tmp_path: Path) -> None:
    """A call that waits for a lock of another process ends within the time that signals are looked for."""
    fifo = tmp_path / "car"
    os.mkfifo(fifo)
    repo = fl.Repository.create(tmp_path / "r")
    keep = os.open(fifo, os.O_RDWR)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            repo.import_car(fifo, tag="never")
    finally:
        timer.join()
        os.close(keep)
    assert repo.list_tags() == []
