"""Work on branches: merging, applying and reverting, squashing, undo and redo, blame, bisect."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import zarr

import firnline as fl
from conftest import read, write

ARRAY = b'{"zarr_format":3,"node_type":"array"}'


def messages(repo: fl.Repository, branch: str = "main") -> list[str]:
    return [row["message"] for row in repo.log(branch)]


@pytest.fixture
def forked(repo: fl.Repository) -> fl.Repository:
    """Two branches that changed different keys, and one key in different ways."""
    write(repo, {"both": b"0", "a": b"0", "b": b"0"}, message="start")
    repo.create_branch("side")
    write(repo, {"both": b"main", "a": b"main"}, message="on main")
    write(repo, {"both": b"side", "b": b"side"}, branch="side", message="on side")
    return repo


def test_a_merge_is_staged_in_a_session_and_then_committed(repo: fl.Repository) -> None:
    write(repo, {"a": b"0", "b": b"0"}, message="start")
    repo.create_branch("side")
    write(repo, {"a": b"main"}, message="on main")
    theirs = write(repo, {"b": b"side"}, branch="side", message="on side")

    staged = repo.merge("side", author="me", metadata={"why": "because"})
    tip = repo.lookup_branch("main")
    assert staged.session.branch == "main" and not staged.session.read_only and staged.session.snapshot_id == tip
    assert [read(staged.session, key) for key in "ab"] == [b"main", b"side"]
    assert staged.session.changes() == {"set": 1, "pointed": 0, "deleted": 0, "unchanged": 0}
    assert staged.session.has_uncommitted_changes
    assert (staged.message, staged.author, staged.metadata) == ("Merge side into main", "me", {"why": "because"})
    assert staged.base == repo.lookup_snapshot("main~1").id and staged.settled_conflicts == []
    assert repo.lookup_branch("main") == tip, "nothing is committed yet"
    staged.session.store.set_sync("c", fl.buffer(b"too"))

    merged = staged.commit()
    assert staged.session.read_only and staged.session.snapshot_id == merged == repo.lookup_branch("main")
    info = repo.lookup_snapshot("main")
    assert info.parents == [tip, theirs] and info.author == "me" and info.metadata == {"why": "because"}
    assert [read(repo.at("main"), key) for key in "abc"] == [b"main", b"side", b"too"]
    assert repo.is_behind("side", "main") and not repo.is_behind("main", "side")

    again = repo.merge("side")
    assert again.commit() == merged and again.session.committed_new_snapshot is False


def test_conflicts_of_a_merge_are_named_and_settled_by_policies(forked: fl.Repository) -> None:
    before = forked.lookup_branch("main")
    with pytest.raises(fl.ConflictError) as refused:
        forked.merge("side")
    assert refused.value.conflicts == [fl.Conflict("key", "both")]
    assert forked.lookup_branch("main") == before

    ours = forked.merge("side", on_conflict="ours")
    assert [read(ours.session, key) for key in ("both", "a", "b")] == [b"main", b"main", b"side"]
    assert [conflict.name for conflict in ours.settled_conflicts] == ["both"]
    theirs = forked.merge("side", on_conflict_below={"/both/": "theirs"}, message="their both")
    assert read(theirs.session, "both") == b"side"
    theirs.commit()
    assert messages(forked)[0] == "their both" and read(forked.at("main"), "both") == b"side"
    for wrong in ({"on_conflict": "mine"}, {"on_conflict_below": {"both": "mine"}}):
        with pytest.raises(fl.InvalidError):
            forked.merge("side", **wrong)  # type: ignore[arg-type]


def test_a_merge_follows_a_branch_that_moves_meanwhile_by_the_same_policies(forked: fl.Repository) -> None:
    staged = forked.merge("side", on_conflict="ours")
    write(forked, {"b": b"later", "new": b"later"}, message="later")
    staged.commit()
    now = forked.at("main")
    assert [read(now, key) for key in ("both", "a", "b", "new")] == [b"main", b"main", b"later", b"later"]
    assert {conflict.name for conflict in staged.settled_conflicts} == {"both", "b"}


def test_policies_by_path_hold_for_commits_and_transactions(repo: fl.Repository) -> None:
    write(repo, {"x/k": b"0", "y/k": b"0"})
    session = repo.writable_session("main")
    for key in ("x/k", "y/k"):
        session.store.set_sync(key, fl.buffer(b"mine"))
    write(repo, {"x/k": b"theirs", "y/k": b"theirs"})
    session.commit("mine", on_conflict="theirs", on_conflict_below={"x": "ours"})
    assert [read(repo.at("main"), key) for key in ("x/k", "y/k")] == [b"mine", b"theirs"]
    assert sorted(conflict.name for conflict in session.settled_conflicts) == ["x/k", "y/k"]

    with repo.transaction("main", message="t", on_conflict_below={"y": "ours"}) as store:
        store.set_sync("y/k", fl.buffer(b"mine"))
        write(repo, {"y/k": b"theirs again"})
    assert read(repo.at("main"), "y/k") == b"mine"
    with pytest.raises(fl.InvalidError), repo.transaction("main", message="t", on_conflict_below={"y": "no"}):  # type: ignore[dict-item]
        pytest.fail("it is refused before the block")


def test_commits_are_applied_elsewhere_and_reverted(repo: fl.Repository) -> None:
    write(repo, {"a": b"0"}, message="start")
    repo.create_branch("side")
    session = repo.writable_session("side")
    session.store.set_sync("b", fl.buffer(b"1"))
    picked = session.commit("the fix", author="somebody")
    write(repo, {"c": b"2"}, branch="side", message="not this")

    staged = repo.cherry_pick(picked)
    assert staged.message == "the fix" and staged.metadata == {"cherry-picked-from": picked}
    new = staged.commit()
    info = repo.lookup_snapshot(new)
    assert (info.message, info.author, len(info.parents)) == ("the fix", "somebody", 1)
    assert read(repo.at("main"), "b") == b"1" and read(repo.at("main"), "c") is None

    undone = repo.revert(new, message="no").commit()
    assert read(repo.at("main"), "b") is None and repo.lookup_snapshot(undone).metadata == {"reverts": new}
    write(repo, {"a": b"1"}, message="one")
    changed = repo.lookup_branch("main")
    write(repo, {"a": b"2"}, message="two")
    with pytest.raises(fl.ConflictError):
        repo.revert(changed)
    with pytest.raises(fl.InvalidError, match="no parent"):
        repo.revert(repo.log()[-1]["id"])


def test_a_merge_is_reverted_against_a_parent(forked: fl.Repository) -> None:
    merged = forked.merge("side", on_conflict="theirs").commit()
    with pytest.raises(fl.InvalidError, match="is a merge"):
        forked.revert("main")
    parents = forked.lookup_snapshot(merged).parents
    forked.revert(merged, parent=parents[0]).commit()
    assert [read(forked.at("main"), key) for key in ("both", "b")] == [b"main", b"0"]


def test_what_is_discarded_leaves_a_plain_session(forked: fl.Repository) -> None:
    staged = forked.merge("side", on_conflict="theirs")
    staged.session.discard_changes()
    assert not staged.session.has_uncommitted_changes and read(staged.session, "both") == b"main"


def test_a_merge_can_be_worked_on_by_forks(forked: fl.Repository) -> None:
    staged = forked.merge("side", on_conflict="theirs")
    fork = staged.session.fork()
    assert read(fork, "b") == b"side"
    fork.store.set_sync("of/fork", fl.buffer(b"1"))
    staged.session.merge(fork)
    staged.commit()
    assert read(forked.at("main"), "of/fork") == b"1" and len(forked.lookup_snapshot("main").parents) == 2


def test_a_failed_merge_commit_can_be_tried_again(forked: fl.Repository) -> None:
    staged = forked.merge("side", on_conflict_below={"both": "theirs"})
    write(forked, {"b": b"in the way"}, message="later")
    for _ in range(2):
        with pytest.raises(fl.ConflictError) as refused:
            staged.commit()
        assert [conflict.name for conflict in refused.value.conflicts] == ["b"]
    staged.session.commit("all mine", on_conflict="ours")
    assert [read(forked.at("main"), key) for key in ("both", "b")] == [b"side", b"side"]


def test_what_is_staged_may_change_nothing(forked: fl.Repository) -> None:
    session = forked.writable_session("main")
    assert session.changes_nothing()
    session.store.set_sync("a", fl.buffer(b"main"))
    assert session.changes_nothing() and session.has_uncommitted_changes
    session.store.set_sync("a", fl.buffer(b"other"))
    assert not session.changes_nothing()
    # A merge makes a version for its parents alone; what is applied without them does not.
    assert not forked.merge("side", on_conflict="ours").session.changes_nothing()
    picked = forked.cherry_pick("main", on_conflict="ours")
    assert picked.session.changes_nothing() and picked.commit() == forked.lookup_branch("main")
    with pytest.raises(fl.InvalidError, match="read-only"):
        forked.at("main").changes_nothing()


def test_branches_move_forward_without_a_merge_commit(forked: fl.Repository) -> None:
    forked.create_branch("behind", "main~1")
    assert forked.fast_forward("main", branch="behind", dry_run=True) is True
    assert forked.lookup_branch("behind") == forked.lookup_snapshot("main~1").id
    assert forked.fast_forward("main", branch="behind") is True
    for dry_run in (True, False):
        assert forked.fast_forward("main", branch="behind", dry_run=dry_run) is False
    assert forked.lookup_branch("behind") == forked.lookup_branch("main")
    assert forked.moves("behind")[-1]["op"] == "fast-forward"
    for dry_run in (True, False):
        with pytest.raises(fl.ConflictError, match="merge it"):
            forked.fast_forward("side", branch="behind", dry_run=dry_run)
    [start] = forked.common_ancestors("main", "side")
    assert start == forked.lookup_snapshot("main~1").id


def test_commits_become_one_and_are_undone_and_redone(repo: fl.Repository) -> None:
    for n in range(4):
        write(repo, {"k": b"%d" % n, f"k{n}": b""}, message=f"commit {n}")
    tip = repo.lookup_branch("main")
    squashed = repo.squash("main~3", message="all of it", author="me", metadata={"m": "1"})
    info = repo.lookup_snapshot("main")
    assert info.id == squashed and info.metadata == {"m": "1", "squashed-from": tip} and info.author == "me"
    assert messages(repo) == ["all of it", "commit 0", "an empty repository"]
    assert info.manifest == repo.lookup_snapshot(tip).manifest

    would = repo.undo(dry_run=True)
    assert (would.op, would.event, would.commit, would.old, would.new) == ("undo", "squash", None, squashed, tip)
    assert would.time is not None and abs((datetime.now(UTC) - would.time).total_seconds()) < 3600
    assert repo.lookup_branch("main") == squashed
    assert repo.undo() == would and repo.lookup_branch("main") == tip
    step = repo.undo()
    assert (step.event, step.commit, step.time) == ("commit", tip, None) and read(repo.at("main"), "k") == b"2"
    assert repo.redo("main", dry_run=True).new == tip
    assert repo.redo().op == "redo" and repo.redo().event == "undo" and repo.lookup_branch("main") == squashed
    with pytest.raises(fl.NotFoundError, match="redo"):
        repo.redo()
    repo.create_branch("gone")
    with pytest.raises(fl.InvalidError, match="began"):
        repo.undo("gone")
    repo.delete_branch("gone")
    back = repo.undo("gone")
    assert (back.event, back.old, back.new) == ("delete", None, squashed) and repo.lookup_branch("gone") == squashed
    with pytest.raises(fl.InvalidError, match="before the tip"):
        repo.squash("main", message="nothing")


def test_blame_tells_the_commit_that_changed_each_array(repo: fl.Repository) -> None:
    write(repo, {"g/a/zarr.json": ARRAY, "g/b/zarr.json": ARRAY, "alone": b"1"}, message="start")
    write(repo, {"g/a/c/0": b"1"}, message="a chunk of a")
    found = {row["name"]: row for row in repo.blame()}
    assert {name: (row["message"], row["known"]) for name, row in found.items()} == {
        "alone": ("start", True),
        "g/a/": ("a chunk of a", True),
        "g/b/": ("start", True),
    }
    assert found["g/a/"]["id"] == repo.lookup_branch("main") and found["g/a/"]["time"].tzinfo is not None
    assert [row["name"] for row in repo.blame("/g/a")] == ["g/a/"]
    keys = repo.blame_keys("g/a")
    assert keys.columns == ("name", "id", "time", "message", "known")
    assert [(row["name"], row["message"]) for row in keys] == [("g/a/c/0", "a chunk of a"), ("g/a/zarr.json", "start")]
    assert repo.blame(revision="main~1")[0]["message"] == "start"
    with pytest.raises(fl.NotFoundError):
        repo.blame("none")
    assert list(repo.blame_keys("none")) == []


def test_the_first_bad_version_is_found_through_zarr(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    zarr.create_array(session.store, name="x", shape=(2,), chunks=(2,), dtype="i8")[:] = 1
    good = session.commit("good")
    for n in range(20):
        session = repo.writable_session("main")
        array = zarr.open_array(session.store, path="x", mode="r+")
        array[0] = n
        if n == 13:
            array[1] = -1
        session.commit(f"version {n}")

    def check(session: fl.Session) -> np.bool_:
        assert session.read_only
        return zarr.open_array(session.store, path="x", mode="r")[1] > 0  # type: ignore[return-value, operator, index]

    found = repo.bisect(check, good)  # type: ignore[arg-type]
    assert found.first_bad is not None and repo.lookup_snapshot(found.first_bad).message == "version 13"
    assert [row["id"] for row in found.suspects] == [found.first_bad]
    assert 3 <= len(found.tried) <= 5 and set(found.tried.values()) == {True, False}

    unclear = repo.bisect(lambda _: None, good)
    assert unclear.first_bad is None and len(unclear.suspects) == 20 and set(unclear.tried.values()) == {None}


def test_what_a_search_cannot_be_done_with(repo: fl.Repository) -> None:
    for n in range(3):
        write(repo, {"k": b"%d" % n})

    def fails(session: fl.Session) -> bool:
        raise ZeroDivisionError

    async def later(session: fl.Session) -> bool:
        return True

    with pytest.raises(ZeroDivisionError):
        repo.bisect(fails, "main~3")
    with pytest.raises(fl.InvalidError, match="coroutine"):
        repo.bisect(later, "main~3")  # type: ignore[arg-type]
    with pytest.raises(fl.InvalidError, match="not before"):
        repo.bisect(lambda _: True, "main", "main~1")


def test_a_repository_that_is_only_read_is_not_merged_into(forked: fl.Repository) -> None:
    reader = fl.Repository.open(forked.url, read_only=True)
    for call in (
        lambda: reader.merge("side"),
        lambda: reader.revert("main"),
        lambda: reader.squash("main~1", message="x"),
        lambda: reader.undo(),
        lambda: reader.fast_forward("side"),
        lambda: reader.gc(),
    ):
        with pytest.raises(fl.FirnlineError) as refused:
            call()
        assert isinstance(refused.value, fl.InvalidError | fl.DeniedError | fl.UnsupportedError), refused.value
    assert len(reader.blame()) == 3 and reader.gc(dry_run=True)["epoch"] == 0


def test_files_beside_are_left_alone(forked: fl.Repository, tmp_path: Path) -> None:
    """A merge reads and writes nothing outside of the repository."""
    before = sorted(path.name for path in tmp_path.iterdir())
    forked.merge("side", on_conflict="ours").commit()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
