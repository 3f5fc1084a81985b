"""Repositories, sessions, branches, tags, history, health."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype

import firnline as fl
from conftest import read, write
from firnline.history import time_text


def test_a_repository_is_created_once_and_opened(tmp_path: Path) -> None:
    place = tmp_path / "repo"
    assert not fl.Repository.exists(place)
    with pytest.raises(fl.NotFoundError) as absent:
        fl.Repository.open(place)
    assert absent.value.kind == "not found"
    made = fl.Repository.create(place, hash="blake3")
    assert fl.Repository.exists(place)
    assert made.hash == "blake3"
    with pytest.raises(fl.ConflictError):
        fl.Repository.create(place)
    opened = fl.Repository.open(place)
    assert opened == made and opened.hash == "blake3" and opened.url == str(place)
    assert fl.Repository.open_or_create(place).list_branches() == ["main"]
    assert fl.Repository.open_or_create(tmp_path / "other").hash == "sha2-256"


def test_options_are_checked(tmp_path: Path) -> None:
    repo = fl.Repository.create(tmp_path / "repo", cache_bytes=0, staged_bytes=1000, upload_bytes=1 << 20, scratch=tmp_path)
    write(repo, {"a": b"1"})
    reader = fl.Repository.open(repo.url, read_only=True)
    assert reader.read_only
    with pytest.raises(fl.FirnlineError):
        reader.writable_session("main").commit("no")
    with pytest.raises(fl.InvalidError, match="storage_credentials"):
        fl.Repository.open(repo.url, storage_credentials="other")  # type: ignore[arg-type]
    with pytest.raises(fl.InvalidError, match="not a url"):
        fl.Repository.open(repo.url, allow=["/data"])
    with pytest.raises(TypeError):
        fl.Repository.create(tmp_path / "x", unknown=1)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repo = fl.Repository.create("repo")
    assert repo.url == str(tmp_path / "repo")
    monkeypatch.chdir("/")
    assert repo.list_branches() == ["main"]


def test_a_transaction_commits_at_its_end(repo: fl.Repository) -> None:
    with repo.transaction("main", message="January", author="me", metadata={"run": "7"}) as store:
        store.set_sync("a/c/0", fl.buffer(b"one"))
        assert repo.readonly_session("main").store.get_sync("a/c/0") is None
    snapshot = store.session.snapshot_id
    assert snapshot == repo.lookup_branch("main")
    info = repo.lookup_snapshot("main")
    assert (info.id, info.message, info.author, info.metadata) == (snapshot, "January", "me", {"run": "7"})
    assert abs(info.time - datetime.now(UTC)) < timedelta(minutes=5)
    assert read(repo.readonly_session("main"), "a/c/0") == b"one"


def test_a_transaction_that_raises_commits_nothing(repo: fl.Repository) -> None:
    before = repo.lookup_branch("main")
    with pytest.raises(ZeroDivisionError), repo.transaction("main", message="no") as store:
        store.set_sync("a", fl.buffer(b"1"))
        raise ZeroDivisionError
    assert repo.lookup_branch("main") == before
    with pytest.raises(fl.InvalidError), repo.transaction("main", message="x" * (64 << 20)):
        pytest.fail("what the commit will be refused for is refused before the block")


def test_sessions_show_their_changes_and_become_read_only(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    assert (session.branch, session.read_only, session.has_uncommitted_changes) == ("main", False, False)
    base = session.snapshot_id
    session.store.set_sync("a", fl.buffer(b"1"))
    assert read(session, "a") == b"1"
    assert session.has_uncommitted_changes
    assert session.changes() == {"set": 1, "pointed": 0, "deleted": 0, "unchanged": 0}
    session.discard_changes()
    assert read(session, "a") is None and not session.has_uncommitted_changes
    session.store.set_sync("a", fl.buffer(b"2"))
    snapshot = session.commit("two")
    assert session.read_only and session.snapshot_id == snapshot != base and session.committed_new_snapshot
    assert read(session, "a") == b"2"
    with pytest.raises(fl.InvalidError, match="read-only"):
        session.commit("again")
    with pytest.raises(ValueError, match="read-only"):
        session.store.set_sync("a", fl.buffer(b"3"))
    with pytest.raises(ValueError, match="read-only"):
        session.store.with_read_only(False)
    assert session.info.parents == [base]


def test_nothing_staged_makes_no_version_unless_asked(repo: fl.Repository) -> None:
    tip = repo.lookup_branch("main")
    session = repo.writable_session("main")
    assert session.commit("nothing") == tip
    assert session.committed_new_snapshot is False
    assert repo.writable_session("main").commit("marker", allow_empty=True) != tip


def test_moves_and_copies(repo: fl.Repository) -> None:
    first = write(repo, {"a/c/0": b"0", "a/c/1": b"1"})
    session = repo.writable_session("main")
    assert session.move("/a", "b") == {"keys": 2, "bytes": 2}
    assert session.copy("a", "/c", revision=first) == {"keys": 2, "bytes": 2}
    with pytest.raises(fl.InvalidError):
        session.copy("a", "c", revision=first)
    assert session.copy("a", "c", revision=first, replace=True)["keys"] == 2
    second = session.commit("moved")
    assert repo.content_id(first, "a") == repo.content_id(second, "b") == repo.content_id(second, "/c")
    assert read(repo.at("main"), "a/c/0") is None


def test_time_travel(repo: fl.Repository) -> None:
    first = write(repo, {"a": b"1"}, message="first")
    second = write(repo, {"a": b"2"}, message="second")
    then = repo.lookup_snapshot(first).time
    session = repo.readonly_session("main", as_of=then)
    assert session.snapshot_id == first and session.is_final is True
    assert read(session, "a") == b"1"
    assert repo.readonly_session("main").is_final is None
    assert repo.at(f"main@{then.isoformat()}").snapshot_id == first
    assert repo.at("main~1").snapshot_id == first
    assert repo.at("main").snapshot_id == second
    assert repo.readonly_session(snapshot_id=first).snapshot_id == first
    assert repo.as_of("main", then) == (first, True)
    soon = (datetime.now(UTC) + timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%MZ")
    assert repo.readonly_session("main", as_of=soon).snapshot_id == second
    assert repo.readonly_session("main", as_of=soon).is_final is False
    assert repo.as_of("main", datetime.now(UTC) + timedelta(hours=1)) == (second, False)
    with pytest.raises(fl.NotFoundError, match="was created at"):
        repo.readonly_session("main", as_of="2000-01-01T00:00Z")
    with pytest.raises(fl.InvalidError, match="offset"):
        repo.readonly_session("main", as_of="2025-03-01T12:00:00")
    with pytest.raises(fl.InvalidError, match="time zone"):
        repo.readonly_session("main", as_of=datetime(2025, 3, 1))
    for wrong in ({}, {"branch": "main", "tag": "v1"}):
        with pytest.raises(fl.InvalidError, match="name one of"):
            repo.readonly_session(**wrong)


def test_branches_and_tags(repo: fl.Repository) -> None:
    first = write(repo, {"a": b"1"})
    repo.create_branch("dev", first)
    repo.create_tag("v1.0", "main", message="released", author="me", metadata={"doi": "10.5/x"})
    second = write(repo, {"a": b"2"}, branch="dev")
    assert repo.list_branches() == ["dev", "main"]
    assert repo.list_tags() == ["v1.0"]
    assert repo.lookup_branch("dev") == second and repo.lookup_tag("v1.0") == first
    assert repo.branches()[0]["snapshot_id"] == second
    tag = repo.tags()[0]
    assert (tag["message"], tag["author"], tag["metadata"], tag["damage"]) == (
        "released",
        "me",
        {"doi": "10.5/x"},
        None,
    )
    assert read(repo.readonly_session(tag="v1.0"), "a") == b"1"
    with pytest.raises(fl.ConflictError):
        repo.create_tag("v1.0", second)
    repo.reset_branch("dev", first)
    assert repo.lookup_branch("dev") == first
    moves = repo.moves("dev")
    assert [move["op"] for move in moves] == ["create", "reset"]
    assert (moves[1]["from"], moves[1]["to"]) == (second, first)
    repo.delete_branch("dev")
    repo.delete_tag("v1.0")
    assert repo.list_branches() == ["main"] and repo.list_tags() == []
    for lookup in (repo.lookup_branch, repo.lookup_tag):
        with pytest.raises(KeyError):
            lookup("dev")
    assert repo.moves(tag="v1.0")[-1]["op"] == "delete"
    with pytest.raises(fl.InvalidError):
        repo.moves()
    assert {row["id"] for row in repo.readable_snapshots("main")} >= {first}


def test_history(repo: fl.Repository) -> None:
    first = write(repo, {"a/c/0": b"1"}, message="first\n\nmore")
    second = write(repo, {"a/c/0": b"22", "b": b"x" * 2000}, message="second")
    log = repo.log("main")
    assert [row["message"] for row in log] == ["second", "first", "an empty repository"]
    assert log[0]["id"] == second and log[0]["time"].tzinfo is UTC
    assert len(repo.log(limit=1)) == 1
    infos = list(repo.ancestry("main"))
    assert [info.id for info in infos] == [row["id"] for row in log]
    assert infos[1].message == "first\n\nmore"
    diff = repo.diff(first, "main")
    assert [(row["name"], row["change"], row["old_size"], row["new_size"]) for row in diff] == [
        ("a/c/0", "changed", 1, 2),
        ("b", "added", None, 2000),
    ]
    assert diff[1]["new_kind"] == "chunk" and diff[1]["new_content_id"] == repo.content_id("main", "b")
    assert len(repo.diff(first, second, prefix="a")) == 1
    versions = repo.versions_of("a/c/0")
    assert [(row["id"], row["event"], row["size"]) for row in versions] == [(second, "set", 2), (first, "set", 1)]
    assert repo.totals() == {"keys": 2, "bytes": 2002, "files": 0, "ancestors": 2}
    assert repo.origin("b") == {"kind": "chunk", "size": 2000, "content_id": repo.content_id("main", "b")}
    assert repo.origin("none") is None
    with pytest.raises(fl.NotFoundError):
        repo.content_id("main", "none")


def test_rows_become_frames(repo: fl.Repository) -> None:
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    write(repo, {"a": b"1"})
    log = repo.log()
    frame = log.to_pandas()
    assert list(frame.columns) == ["id", "time", "message", "expired", "withdrawn"] and len(frame) == 2
    assert frame["expired"].isna().all() and log.to_arrow()["withdrawn"].null_count == 2
    assert frame["time"][0] == log[0]["time"]
    table = log.to_arrow()
    assert table.schema.field("time").type == pyarrow.timestamp("us", tz="UTC")
    assert table.to_pylist()[1]["message"] == "an empty repository"
    dependencies = repo.dependencies()
    assert len(dependencies.to_pandas()) == 0 and dependencies.to_arrow().num_rows == 0
    assert pandas.isna(fl.Rows(("t",), [(None,)], ("t",)).to_pandas()["t"][0])
    assert log[:1] == [log[0]] and log[-1] in log and log == repo.log()


def test_conflicts_name_what_both_sides_changed(repo: fl.Repository) -> None:
    ours, theirs = repo.writable_session("main"), repo.writable_session("main")
    for session, value in ((ours, b"ours"), (theirs, b"theirs")):
        session.store.set_sync("a", fl.buffer(value))
    theirs.store.set_sync("b", fl.buffer(b"b"))
    theirs.commit("theirs")
    with pytest.raises(fl.ConflictError) as failed:
        ours.commit("ours")
    assert failed.value.conflicts == [fl.Conflict("key", "a")]
    assert not ours.read_only and read(ours, "a") == b"ours"
    ours.commit("ours", on_conflict="ours")
    assert ours.settled_conflicts == [fl.Conflict("key", "a")]
    assert read(repo.at("main"), "a") == b"ours" and read(repo.at("main"), "b") == b"b"


def test_a_rebase_can_be_refused(repo: fl.Repository) -> None:
    ours = repo.writable_session("main")
    ours.store.set_sync("a", fl.buffer(b"a"))
    write(repo, {"b": b"b"})
    with pytest.raises(fl.ConflictError, match="has moved"):
        ours.commit("ours", rebase=False)
    ours.commit("ours")
    assert read(repo.at("main"), "b") == b"b"


def test_verify_stats_and_settle(repo: fl.Repository) -> None:
    snapshot = write(repo, {"a": b"x" * 5000, "b": b"1"})
    told: list[tuple[int, int, int, int]] = []
    verified = repo.verify(progress=lambda *counts: told.append(counts))
    assert verified["ok"] and len(verified["findings"]) == 0
    assert verified["chunks"] == 1 and verified["bytes"] == 5000 and verified["snapshots"] == 2
    assert told[-1][0] > 0
    assert repo.verify("main")["ok"]
    stats = repo.stats()
    assert stats["kinds"] == {"inline": {"keys": 1, "bytes": 1}, "chunk": {"keys": 1, "bytes": 5000}}
    assert stats["manifest"]["entries"] == 2
    assert repo.settle("main", snapshot) is True


def test_damage_is_found_and_raises(repo: fl.Repository) -> None:
    write(repo, {"a": b"x" * 5000})
    [chunk] = [path for path in Path(repo.url, "chunks").rglob("*") if path.is_file()]
    chunk.chmod(0o644)
    chunk.write_bytes(b"y" * chunk.stat().st_size)
    session = fl.Repository.open(repo.url).at("main")
    with pytest.raises(fl.CorruptError) as failed:
        session.store.get_sync("a")
    assert failed.value.key == "a" and failed.value.snapshot == session.snapshot_id
    verified = repo.verify()
    assert not verified["ok"] and verified["findings"][0]["kind"] == "corrupt"
    assert verified["findings"][0]["keys"] == ["a"]
    chunk.unlink()
    with pytest.raises(fl.FirnlineError) as lost:
        session.store.get_sync("a")
    assert not isinstance(lost.value, (KeyError, FileNotFoundError))


def test_car_files(repo: fl.Repository, tmp_path: Path) -> None:
    snapshot = write(repo, {"a": b"x" * 5000})
    car = tmp_path / "v.car"
    told: list[tuple[int, int, int, int]] = []
    written = repo.export_car("main", car, progress=lambda *counts: told.append(counts))
    assert written["root"] == snapshot and written["bytes"] == car.stat().st_size
    assert told[-1][0] == told[-1][1] == written["blocks"] and told[-1][2] == told[-1][3] > 5000
    with pytest.raises(fl.ConflictError):
        repo.export_car("main", car)
    other = fl.Repository.create(tmp_path / "other")
    done = other.import_car(car, tag="v1.0", progress=True)
    assert done["id"] == snapshot == other.lookup_tag("v1.0") and done["is_shallow"]
    assert read(other.readonly_session(tag="v1.0"), "a") == b"x" * 5000
    car.write_bytes(car.read_bytes()[:-1])
    with pytest.raises(fl.CorruptError):
        other.import_car(car, branch="cut")
    assert other.list_branches() == ["main"]
    with pytest.raises(fl.InvalidError, match="branch or a tag"):
        other.import_car(car)
    with pytest.raises(fl.NotFoundError):
        other.import_car(tmp_path / "none.car", tag="x")


def test_what_a_callback_raises_at_the_end_undoes_nothing(
    repo: fl.Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = write(repo, {"a": b"x" * 5000})
    repo.export_car("main", tmp_path / "v.car")
    aside: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: aside.append(told.exc_value))

    # A slow machine also calls it in the middle, where what it raises stops the import.
    tag = tmp_path / "other" / "refs" / "tags" / "v1.0.json"

    def stop(done: int, *counts: int) -> None:
        if tag.exists():
            raise RuntimeError("stopped by the callback")

    other = fl.Repository.create(tmp_path / "other")
    assert other.import_car(tmp_path / "v.car", tag="v1.0", progress=stop)["id"] == snapshot == other.lookup_tag("v1.0")
    assert [str(error) for error in aside] == ["stopped by the callback"]


def test_what_a_log_handler_raises_undoes_no_commit(repo: fl.Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    aside: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: aside.append(told.exc_value))

    def refuse(record: logging.LogRecord) -> bool:
        raise RuntimeError("no record is wanted")

    logger = logging.getLogger("firnline")
    logger.setLevel(logging.DEBUG)
    logger.addFilter(refuse)
    fl.set_log_level("DEBUG")
    try:
        ours = repo.writable_session("main")
        ours.store.set_sync("a", fl.buffer(b"a"))
        write(repo, {"b": b"b"})
        assert ours.commit("ours") == repo.lookup_branch("main")
    finally:
        fl.set_log_level(logging.INFO)
        logger.removeFilter(refuse)
        logger.setLevel(logging.NOTSET)
    assert "no record is wanted" in [str(error) for error in aside]


def test_a_failed_export_leaves_no_file(repo: fl.Repository, tmp_path: Path) -> None:
    def stop(*counts: int) -> None:
        raise RuntimeError("stopped by the callback")

    write(repo, {"a": b"x" * 5000})
    with pytest.raises(RuntimeError, match="stopped by the callback"):
        repo.export_car("main", tmp_path / "v.car", progress=stop)
    with pytest.raises(fl.NotFoundError):
        repo.export_car("none", tmp_path / "v.car")
    assert not (tmp_path / "v.car").exists()


def test_checkout(repo: fl.Repository, tmp_path: Path) -> None:
    write(repo, {"a/b": b"1", "c": b"22"})
    assert repo.checkout("main", tmp_path / "out", prefix="a") == {"files": 1, "bytes": 1}
    assert (tmp_path / "out" / "b").read_bytes() == b"1"


def test_containers(repo: fl.Repository) -> None:
    session = repo.writable_session("main")
    session.set_container("noaa", "s3://noaa/", options={"region": "us-east-1"})
    with pytest.raises(fl.InvalidError):
        session.set_container("bad", "s3://noaa/{}{}")
    session.commit("container")
    assert repo.at("main").containers == [
        {"name": "noaa", "template": "s3://noaa/{}", "defaults": {}, "options": {"region": "us-east-1"}}
    ]


def test_repositories_in_memory() -> None:
    repo = fl.Repository.create("memory:")
    write(repo, {"a": b"1"})
    assert read(repo.at("main"), "a") == b"1"
    assert repo != fl.Repository.create("memory:")


def test_events_reach_logging(repo: fl.Repository, caplog: pytest.LogCaptureFixture) -> None:
    fl.set_log_level("DEBUG")
    try:
        with caplog.at_level(logging.DEBUG, logger="firnline"):
            ours = repo.writable_session("main")
            ours.store.set_sync("a", fl.buffer(b"a"))
            write(repo, {"b": b"b"})
            ours.commit("ours")
    finally:
        fl.set_log_level(logging.INFO)
    assert any("the branch moved; rebasing" in record.getMessage() for record in caplog.records)


def test_times_of_every_form(repo: fl.Repository) -> None:
    write(repo, {"a": b"1"})
    for later in (date(2100, 1, 1), np.datetime64("2100-01-01"), np.datetime64("2100-01-01T00:00:00", "ns")):
        if isinstance(later, date):
            assert time_text(later) == "2100-01-01T00:00:00.000000+00:00"
        assert time_text(later) == time_text(datetime(2100, 1, 1, tzinfo=UTC))
    now = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us")
    assert repo.readonly_session("main", as_of=now).snapshot_id == repo.lookup_branch("main")
    for early in (date(2000, 1, 1), np.datetime64("2000-01-01")):
        with pytest.raises(fl.NotFoundError):
            repo.readonly_session("main", as_of=early)
    for wrong in (datetime(2025, 1, 1), np.datetime64("NaT", "us"), 7):
        with pytest.raises(fl.InvalidError, match="time"):
            repo.readonly_session("main", as_of=wrong)  # type: ignore[arg-type]


def test_a_name_is_no_snapshot_id(repo: fl.Repository) -> None:
    """``snapshot_id="main"`` opened the branch."""
    tip = write(repo, {"a": b"1"})
    repo.create_tag("backgroundmodel7", tip)
    for name in ("main", "branch:main", "backgroundmodel7", f"{tip}~1", ""):
        with pytest.raises(fl.InvalidError, match="snapshot_id"):
            repo.readonly_session(snapshot_id=name)
    for given in (tip, tip[:20], tip.upper()[:20]):
        assert repo.readonly_session(snapshot_id=given).snapshot_id == tip


def test_the_root_is_deleted_by_its_names(repo: fl.Repository) -> None:
    for name in ("", "/"):
        session = repo.writable_session("main")
        session.store.set_sync("a/b", fl.buffer(b"1"))
        asyncio.run(session.store.delete_dir(name))
        assert read(session, "a/b") is None


def test_ranges_are_never_not_found_unless_the_key_is_absent(repo: fl.Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zarr takes a `FileNotFoundError` in the group for a shard that was never written, and gives out fill values."""
    write(repo, {"a": b"123"})
    store = repo.at("main").store

    async def ranges() -> None:
        async for _ in store.get_ranges("a", [RangeByteRequest(0, 1)], prototype=default_buffer_prototype()):
            pass

    asyncio.run(ranges())

    class Gone:
        """The native session of a repository that was deleted meanwhile."""

        def get_parts(self, parts: object, is_async: bool) -> None:
            raise fl.NotFoundError("there is no repository", hint="look elsewhere")

    monkeypatch.setattr(store._session, "_native", Gone())
    with pytest.raises(BaseExceptionGroup) as failed:
        asyncio.run(ranges())
    (error,) = failed.value.exceptions
    assert type(error) is fl.MissingDataError and error.hint == "look elsewhere"
    with pytest.raises(fl.MissingDataError):
        store.get_ranges_sync("a", [RangeByteRequest(0, 1)], prototype=default_buffer_prototype())
