"""Copies between repositories: clone, push, pull."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import firnline as fl
from conftest import read, write

LARGE = b"x" * 5000


def outcomes(done: fl.Synced) -> dict[str, str]:
    return {row["name"]: row["outcome"] for row in done.refs}


@pytest.fixture
def full(repo: fl.Repository) -> fl.Repository:
    """Three commits on one branch, a branch, a tag."""
    write(repo, {"a": LARGE}, message="first")
    repo.create_tag("v1", message="the first")
    write(repo, {"b": LARGE + b"b"}, message="second")
    repo.create_branch("side")
    write(repo, {"c": b"small"}, branch="side", message="on side")
    return repo


@pytest.fixture
def copy(full: fl.Repository, tmp_path: Path) -> fl.Repository:
    return full.clone_to(tmp_path / "copy")[0]


def test_a_clone_has_everything_and_gives_it_back(full: fl.Repository, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int, int]] = []
    copy, done = full.clone_to(tmp_path / "copy", progress=lambda *counts: seen.append(counts))
    assert outcomes(done) == {"main": "moved", "side": "created", "v1": "created"}
    assert [row["kind"] for row in done.refs] == ["branch", "branch", "tag"]
    assert (done.versions, done.chunks, done.chunk_bytes, done.reused, done.dry_run) == (4, 2, 10_001, 0, False)
    assert done.nodes > 0 and seen[-1][0] == 2 and seen[-1][2] == 10_001
    assert copy.url == str(tmp_path / "copy") and copy.hash == full.hash and not copy.read_only
    assert [row["id"] for row in copy.log("side")] == [row["id"] for row in full.log("side")]
    assert read(copy.at("v1"), "a") == LARGE and copy.tags()[0]["message"] == "the first"
    assert copy.verify()["ok"] and copy == fl.Repository.open(tmp_path / "copy")

    new = write(copy, {"d": b"1"}, branch="side", message="in the copy")
    back = copy.push(full.url, "side")
    before = full.at("side~1").snapshot_id
    assert back.refs == [
        {"kind": "branch", "name": "side", "source": "side", "outcome": "moved", "from": before, "to": new}
    ]
    assert full.lookup_branch("side") == new and full.moves("side")[-1]["op"] == "push"
    assert set(outcomes(full.clone_to(tmp_path / "copy")[1]).values()) == {"unchanged"}
    write(copy, {"e": b"1"}, branch="side", message="only in the copy")
    with pytest.raises(fl.ConflictError):
        full.clone_to(tmp_path / "copy")


def test_a_push_sends_what_one_commit_changed(full: fl.Repository, copy: fl.Repository) -> None:
    tip = full.lookup_branch("main")
    assert outcomes(full.push(copy)) == {"main": "unchanged"}
    new = write(full, {"e": LARGE + b"e"}, message="one commit")
    told = full.push(copy, dry_run=True)
    assert (outcomes(told), told.versions, told.chunks, told.dry_run) == ({"main": "moved"}, 1, 0, True)
    assert copy.lookup_branch("main") == tip, "nothing has changed"
    with pytest.raises(fl.InvalidError, match="chunks"):
        full.push(copy, no_chunks=True)
    done = full.push(copy)
    assert (done.versions, done.chunks, done.chunk_bytes) == (1, 1, 5001)
    assert copy.lookup_branch("main") == new and read(copy.at("main"), "e") == LARGE + b"e"
    write(copy, {"f": b"1"})
    assert outcomes(full.push(copy, ["main", "tag:v1"])) == {"main": "ahead", "v1": "unchanged"}


def test_a_pull_that_does_not_move_forward_is_refused_unless_forced(full: fl.Repository, copy: fl.Repository) -> None:
    ours = write(copy, {"mine": b"1"}, message="ours")
    theirs = write(full, {"theirs": b"1"}, message="theirs")
    for dry_run in (True, False):
        with pytest.raises(fl.ConflictError, match="has commits that are not behind"):
            copy.pull(full, dry_run=dry_run)
    assert copy.lookup_branch("main") == ours
    # Under another name it can be looked at, and merged.
    assert outcomes(copy.pull(Path(full.url), {"main": "theirs"})) == {"theirs": "created"}
    merged = copy.merge("theirs").commit()
    assert outcomes(full.pull(copy)) == {"main": "moved"} and full.lookup_branch("main") == merged
    assert copy.reset_branch("main", ours) is None
    forced = copy.pull(full, force=True)
    assert forced.refs[0]["from"] == ours and copy.lookup_branch("main") == merged
    assert copy.is_behind(theirs, "main") and copy.moves("main")[-1]["op"] == "pull"
    assert read(copy.at(ours), "mine") == b"1", "what was moved away stays readable"


def test_a_tag_never_moves_unless_forced(full: fl.Repository, copy: fl.Repository) -> None:
    full.delete_tag("v1")
    full.create_tag("v1", "side", message="another")
    with pytest.raises(fl.ConflictError, match="shows another version"):
        full.push(copy, "tag:v1")
    assert outcomes(full.push(copy, "tag:v1", force=True)) == {"v1": "moved"}
    assert copy.lookup_tag("v1") == full.lookup_branch("side")
    assert outcomes(full.push(copy, {"tag:v1": "v2", "side": "other"})) == {"v2": "created", "other": "created"}


def test_a_shallow_clone_has_what_branches_show(full: fl.Repository, tmp_path: Path) -> None:
    shallow, done = full.clone_to(tmp_path / "shallow", refs="main", shallow=True)
    assert done.versions == 1 and shallow.list_branches() == ["main"] and shallow.list_tags() == []
    assert read(shallow.at("main"), "b") == LARGE + b"b"
    told = shallow.verify()
    assert told["ok"] and told["shallow"] == [full.lookup_branch("main")]
    with pytest.raises(fl.NotFoundError):
        shallow.log()
    before, new = full.lookup_branch("main"), write(shallow, {"g": b"1"})
    assert outcomes(shallow.push(full)) == {"main": "moved"} and full.lookup_branch("main") == new
    assert full.lookup_snapshot(new).parents == [before] and full.verify()["ok"] and not full.verify()["shallow"]


def test_wrong_calls_change_nothing(full: fl.Repository, tmp_path: Path) -> None:
    other = fl.Repository.create(tmp_path / "other")
    with pytest.raises(fl.InvalidError, match="no branch and no tag is named"):
        full.push(other, [])
    with pytest.raises(fl.NotFoundError):
        full.push(other, "nothing")
    with pytest.raises(fl.InvalidError):
        full.push(other, "a..b")
    with pytest.raises(fl.NotFoundError):
        full.push(tmp_path / "nowhere")
    with pytest.raises(fl.InvalidError, match="opened for reading"):
        full.push(other.reopen(read_only=True))
    with pytest.raises(fl.UnsupportedError, match="hash"):
        full.push(fl.Repository.create("memory:", hash="blake3"))
    with pytest.raises(TypeError):
        full.clone_to(tmp_path / "clone", shallow_=True)
    assert len(other.log()) == 1 and not (tmp_path / "clone").exists()
    # Nothing is changed at the source.
    reader = full.reopen(read_only=True)
    assert outcomes(reader.push(other, None)) == {"main": "moved", "side": "created", "v1": "created"}


def test_options_of_a_clone_are_those_of_its_source_unless_given(full: fl.Repository, tmp_path: Path) -> None:
    source = full.reopen(read_only=True, allow={"file:///data/": ""}, cache_bytes=1 << 20)
    copy, _ = source.clone_to(tmp_path / "copy", cache_bytes=2 << 20)
    assert not copy.read_only and copy._options["allow"] == source._options["allow"]
    assert copy._options["cache_bytes"] == 2 << 20
    memory, done = full.clone_to("memory:", refs=["side"])
    assert outcomes(done) == {"side": "created"} and read(memory.at("side"), "c") == b"small"


def test_remotes_are_named_in_the_configuration_file(
    full: fl.Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fl.configured_remotes() == {}
    backup = fl.Repository.create(tmp_path / "backup")
    file = tmp_path / "config.toml"
    file.write_text(f'[remotes]\nbackup = "{backup.url}"\n')
    monkeypatch.setenv("FIRN_CONFIG", str(file))
    assert fl.configured_remotes() == {"backup": backup.url}
    assert outcomes(full.push("backup")) == {"main": "moved"} and len(backup.log()) == 3
    assert outcomes(full.pull("backup")) == {"main": "unchanged"}
    # A path is never a name.
    with pytest.raises(fl.NotFoundError):
        full.push(Path("backup"))
    file.write_text("[remotes\n")
    with pytest.raises(fl.InvalidError):
        fl.configured_remotes()


def test_an_interrupted_push_is_ended_by_the_same_call(full: fl.Repository, copy: fl.Repository) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, *_: int) -> None:
        if done > 0:
            raise StopError

    def stop_at_once(*_: int) -> None:
        raise StopError

    tip = copy.lookup_branch("main")
    write(full, {f"n/{n}": os.urandom(1_000_000) for n in range(64)}, message="many")
    with pytest.raises(StopError) as stopped:
        full.push(copy, progress=stop)
    assert "the same call ends the copy" in stopped.value.__notes__[0] and copy.lookup_branch("main") == tip
    with pytest.raises(StopError) as looked:
        full.push(copy, dry_run=True, progress=stop_at_once)
    assert not hasattr(looked.value, "__notes__"), "nothing was begun"
    assert outcomes(full.push(copy)) == {"main": "moved"} and copy.verify()["ok"]


def test_other_threads_run_while_versions_are_copied(full: fl.Repository, copy: fl.Repository) -> None:
    write(full, {f"n/{n}": os.urandom(100_000) for n in range(40)})
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(full.push(copy)))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        thread.join(0.001)
    assert turns > 1 and done[0].chunks == 40
