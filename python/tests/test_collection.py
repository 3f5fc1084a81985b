"""Garbage collection: what it tells, what it keeps, interruptions."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import firnline as fl
from conftest import read, write

LARGE = 5000


def leave(repo: fl.Repository, count: int = 1, *, first: int = 0) -> None:
    """Leave chunks behind, as a writer does that is interrupted."""
    session = repo.writable_session("main")
    for n in range(first, first + count):
        session.store.set_sync(f"left/{n}", fl.buffer(n.to_bytes(4, "big") * (LARGE // 4)))
    session.flush()


def kind(told: dict[str, Any], name: str) -> dict[str, Any]:
    [row] = [row for row in told["kinds"] if row["kind"] == name]
    return row


def test_garbage_is_shown_and_then_removed(repo: fl.Repository) -> None:
    write(repo, {"k": b"x" * LARGE})
    leave(repo)
    told = repo.gc()
    assert told["young"] == {"objects": 1, "bytes": LARGE} and told["epoch"] == 0 and told["dry_run"] is False

    plan = repo.gc(dry_run=True, grace=timedelta(0))
    assert kind(plan, "chunks") == {
        "kind": "chunks",
        "stored": 2,
        "stored_bytes": 2 * LARGE,
        "garbage": 1,
        "garbage_bytes": LARGE,
        "removed": 0,
        "removed_bytes": 0,
    }
    assert plan["dry_run"] is True and plan["versions"] == 2 and plan["refs"] == 1
    assert repo.gc_status() == {"activity": "idle", "epoch": 0}

    seen: list[tuple[int, int, int, int]] = []
    done = repo.gc(grace=0, wait=0.0, progress=lambda *counts: seen.append(counts))
    assert kind(done, "chunks")["removed"] == 1 and kind(done, "chunks")["removed_bytes"] == LARGE
    assert (done["epoch"], done["failed"], done["problem"], done["saved"], done["resumed"]) == (1, 0, None, 0, False)
    assert done["foreign"] == {"objects": 0, "bytes": 0} and done["seconds"] > 0 and done["calls"] == 1
    assert seen and seen[-1][:2] == (1, 1)
    assert repo.gc_status() == {"activity": "idle", "epoch": 1}
    assert repo.gc(grace=0)["epoch"] == 0, "nothing is left"
    assert repo.verify()["ok"] and read(repo.at("main"), "k") == b"x" * LARGE
    for wrong in ({"grace": -1}, {"grace": float("nan")}, {"wait": timedelta(seconds=-1)}):
        with pytest.raises(fl.InvalidError):
            repo.gc(**wrong)  # type: ignore[arg-type]


def test_a_session_that_is_older_than_a_collection_keeps_what_is_staged(repo: fl.Repository) -> None:
    write(repo, {"k": b"0"})
    session = repo.writable_session("main")
    session.store.set_sync("big", fl.buffer(b"y" * LARGE))
    session.flush()
    assert kind(repo.gc(grace=0), "chunks")["removed"] == 1
    # What it had uploaded is gone, and it does not hold the bytes. Everything staged is still named.
    with pytest.raises(fl.ConflictError, match="older than a garbage collection"):
        session.commit("after a collection")
    assert session.has_uncommitted_changes
    session.store.set_sync("big", fl.buffer(b"y" * LARGE))
    session.commit("once more")
    assert read(repo.at("main"), "big") == b"y" * LARGE and repo.verify()["ok"]


def test_writers_go_on_while_garbage_is_removed(repo: fl.Repository) -> None:
    leave(repo, 50)
    ids: list[str] = []

    def writer(number: int) -> None:
        for n in range(10):
            while True:
                try:
                    ids.append(write(repo, {f"w{number}/{n}": bytes([number, n]) * LARGE}))
                    break
                except fl.ConflictError as error:
                    # Without any grace, what was uploaded and not committed is garbage.
                    assert "older than a garbage collection" in str(error)

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        repo.gc(grace=0)
    for thread in threads:
        thread.join()
    assert len(ids) == 30 and {row["id"] for row in repo.log()} >= set(ids)
    assert repo.verify()["ok"] and len(list(repo.blame_keys())) == 30


INTERRUPTED = """
import signal, sys
import firnline as fl
repo = fl.Repository.open(sys.argv[1])
stopped = []
def stop(done, total, *_):
    if total and done == total and not stopped:
        # Everything is removed, and the collection waits for removals that may be late.
        stopped.append(done)
        signal.raise_signal(signal.SIGINT)
try:
    repo.gc(grace=0, wait=600, progress=stop)
except KeyboardInterrupt as interrupt:
    print(getattr(interrupt, "__notes__", []))
    sys.exit(3)
"""


def test_an_interrupted_collection_says_that_the_next_goes_on(repo: fl.Repository) -> None:
    write(repo, {"k": b"x" * LARGE})
    leave(repo)
    arguments = [sys.executable, "-c", INTERRUPTED, repo.url]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 3, ran.stderr
    assert "the garbage collection is unfinished" in ran.stdout and "the next one ends it" in ran.stdout
    assert repo.gc_status() == {"activity": "left", "epoch": 1}
    write(repo, {"meanwhile": b"1"})
    leave(repo, first=1)
    done = repo.gc(grace=0)
    assert done["resumed"] is True and done["epoch"] == 2 and repo.gc_status()["activity"] == "idle"
    assert repo.verify()["ok"] and kind(repo.gc(dry_run=True, grace=0), "chunks")["garbage"] == 0


def test_a_plan_that_is_interrupted_has_nothing_to_go_on_with(repo: fl.Repository) -> None:
    told: list[int] = []

    def stop(*_: int) -> None:
        if not told:
            told.append(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        repo.gc(dry_run=True, progress=stop)
    assert not hasattr(stopped.value, "__notes__")


def test_a_damaged_register_is_made_anew(repo: fl.Repository) -> None:
    write(repo, {"k": b"x" * LARGE})
    leave(repo)
    assert repo.gc(grace=0)["epoch"] == 1 and repo.repair_gc() == {"wrong": None, "epoch": 1}
    Path(repo.url, "gc/state.json").write_text("damaged")
    with pytest.raises(fl.CorruptError):
        write(repo, {"k": b"1"})
    done = repo.repair_gc(wait=timedelta(0))
    assert "gc/state.json" in done["wrong"] and done["epoch"] > 1
    assert repo.gc_status() == {"activity": "idle", "epoch": done["epoch"]}
    write(repo, {"k": b"1"})
    assert repo.verify()["ok"] and repo.repair_gc()["wrong"] is None
    with pytest.raises(fl.InvalidError):
        repo.repair_gc(wait=-1)


def test_nothing_is_removed_while_a_branch_cannot_be_read(repo: fl.Repository) -> None:
    write(repo, {"k": b"1"})
    repo.create_branch("other")
    leave(repo)
    Path(repo.url, "refs/branches/other.json").write_text("damaged")
    with pytest.raises(fl.CorruptError, match="no garbage is collected"):
        repo.gc(grace=0)
    repo.delete_branch("other")
    assert kind(repo.gc(grace=0), "chunks")["removed"] == 1


def test_two_collections_at_once(repo: fl.Repository) -> None:
    """One of them may be told that the other is at it; nothing else goes wrong."""
    leave(repo, 200)
    told: list[str] = []

    def collect() -> None:
        try:
            told.append(str(fl.Repository.open(repo.url).gc(grace=0)["failed"]))
        except fl.LockedError as error:
            told.append(str(error))

    threads = [threading.Thread(target=collect) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "0" in told and all(one == "0" or "collect" in one for one in told), told
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    left = repo.gc(dry_run=True, grace=0)["kinds"]
    assert [row["garbage"] for row in left] == [0] * len(left)
