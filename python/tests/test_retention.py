"""Versions that expire or are withdrawn, and what versions take up."""

from __future__ import annotations

import logging
import pickle
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import firnline as fl
from conftest import read, write


@pytest.fixture
def old(repo: fl.Repository) -> fl.Repository:
    """Five versions after the empty one, each with a chunk of its own and one that all share."""
    for n in range(5):
        write(repo, {"shared": b"s" * 3000, "own": bytes([n]) * 4000}, message=f"v{n}")
    return repo


def messages(rows: fl.Rows) -> list[str]:
    return [row["message"] for row in rows]


def garbage(repo: fl.Repository) -> dict[str, tuple[int, int]]:
    """What `gc` would remove, by kind."""
    kinds = repo.gc(dry_run=True, grace=0)["kinds"]
    return {row["kind"]: (row["garbage"], row["garbage_bytes"]) for row in kinds if row["garbage"]}


def test_a_plan_is_shown_and_then_carried_out(old: fl.Repository) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    plan = old.plan_expire(keep_last=2)
    assert messages(plan.expire) == ["v2", "v1", "v0", "an empty repository"] and plan.rules == "last 2; moves 30d"
    assert [(row["message"], row["why"]) for row in plan.keep] == [("v4", "branch main"), ("v3", "last")] and plan.already == 0
    assert "native" not in repr(plan)
    assert read(old.at("main~3"), "own") == b"\1" * 4000, "a plan changes nothing"
    freed = {row["kind"]: (row["objects"], row["bytes"]) for row in old.freed_by(plan)}
    assert freed["chunks"] == (3, 12_000) and garbage(old) == {}

    # What has been pointed at meanwhile stays.
    old.create_tag("keep", "main~3")
    v0, v1, v2 = (old.at(f"main~{n}").snapshot_id for n in (4, 3, 2))
    done = old.expire(plan, reason="only the latest are of use", author="me")
    assert done.act == 1 and done.shown_again == [v1] and set(done.versions) >= {v0, v2} and len(done.versions) == 3

    with pytest.raises(fl.ExpiredError) as refused:
        old.at("main~4")
    error = refused.value
    assert (error.kind, error.snapshot, error.author, error.reason) == ("expired", v0, "me", "only the latest are of use")
    assert error.committed == old.lookup_snapshot(v0).time and error.expired is not None and error.expired > before
    assert error.nearest == v1 and error.nearest_time == old.lookup_snapshot(v1).time
    assert v1 in str(error) and "by me" in str(error) and "only the latest are of use" in str(error)
    assert pickle.loads(pickle.dumps(error)).reason == error.reason

    # The log, ids and dates remain.
    log = old.log()
    assert messages(log) == ["v4", "v3", "v2", "v1", "v0", "an empty repository"]
    assert [row["expired"] for row in log] == [None, None, error.expired, None, error.expired, error.expired]
    assert [info.expired is None for info in old.ancestry("main")] == [True, True, False, True, False, False]
    act = old.lookup_snapshot(v0).expired
    assert act == fl.Expiration(1, error.expired, "me", "only the latest are of use", "last 2; moves 30d", 3)
    assert old.is_behind(v0, "main") and old.common_ancestors(v0, "main") == [v0]
    branch, reset = partial(old.create_branch, "b"), partial(old.reset_branch, "main")
    for refused_call in (old.stats, old.merge, old.stored_usage, branch, reset):
        with pytest.raises(fl.ExpiredError):
            refused_call(v0)

    removed = {row["kind"]: row["removed"] for row in old.gc(grace=0)["kinds"]}
    assert removed["chunks"] == 2, "that of the tag stays"
    assert old.verify()["ok"] and read(old.at("keep"), "own") == b"\1" * 4000
    again = old.plan_expire(keep_last=2)
    assert (len(again.expire), again.already) == (0, 3) and old.expire(again, reason="x") == fl.ExpiredVersions(0, [], [])


def test_a_session_of_before_is_told_why_its_version_is_gone(old: fl.Repository) -> None:
    session = old.at("main~4")
    old.expire(old.plan_expire(keep_last=1), reason="old")
    old.gc(grace=0)
    fresh = fl.Repository.open(old.url)
    with pytest.raises(fl.ExpiredError, match="old"):
        pickle.loads(pickle.dumps(session))
    with pytest.raises(fl.ExpiredError) as told:
        read(session, "own")
    assert told.value.snapshot == session.snapshot_id and told.value.reason == "old"
    assert not isinstance(told.value, KeyError | FileNotFoundError), "Zarr must not take the value for one that was never set"
    assert [row["known"] for row in fresh.versions_of("own")] == [False]


def test_rules_of_expiry(old: fl.Repository) -> None:
    def kept(**rules: Any) -> list[str]:
        return messages(old.plan_expire(**rules).keep)

    everything = messages(old.log())
    assert kept(keep_within=timedelta(hours=1)) == kept(keep_within=3600.0) == everything
    assert kept(keep_yearly="all") == kept(keep_daily=30)[:1] == kept(keep_last=1) == ["v4"]
    assert set(kept(keep_hourly=timedelta(hours=2))) <= {"v4", "v3", "v2", "v1", "v0", "an empty repository"}
    assert old.plan_expire(keep_daily=30, keep_weekly=timedelta(days=7), keep_monthly="all").rules == (
        "daily 30, weekly 7d, monthly all; moves 30d"
    )
    old.create_branch("side", "main~2")
    assert kept(keep_last=1, branches="main") == ["v4", "v2", "v1", "v0", "an empty repository"]
    assert kept(keep_last=1, branches=["main", "side"]) == ["v4", "v2"]
    old.reset_branch("main", "main~2")
    assert "v4" in kept(keep_last=1) and "v4" not in kept(keep_last=1, keep_moves=0)


def test_wrong_rules_are_refused(old: fl.Repository) -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"keep_last": -1},
        {"keep_last": 0},
        {"keep_daily": 0, "keep_within": 0},
        {"keep_daily": -1},
        {"keep_daily": "ever"},
        {"keep_daily": 1.5},
        {"keep_daily": timedelta(days=-1)},
        {"keep_within": -1},
        {"keep_within": float("nan")},
        {"keep_last": 1, "branches": []},
        {"keep_last": 1, "keep_moves": -1.0},
    ]
    for rules in wrong:
        with pytest.raises(fl.InvalidError):
            old.plan_expire(**rules)
    with pytest.raises(fl.NotFoundError):
        old.plan_expire(keep_last=1, branches=["none"])
    with pytest.raises(fl.InvalidError, match="at most 4,096 bytes"):
        old.expire(old.plan_expire(keep_last=1), reason="x" * 5000)
    with pytest.raises(fl.InvalidError, match="opened for reading"):
        old.reopen(read_only=True).expire(old.plan_expire(keep_last=1), reason="x")
    other = fl.Repository.create("memory:")
    for refused_call in (other.freed_by, partial(other.expire, reason="x")):
        with pytest.raises(fl.InvalidError, match="was made for"):
            refused_call(old.plan_expire(keep_last=1))
    assert messages(old.plan_expire(keep_last=1).keep) == ["v4"] and old.retention().expirations == []


def test_a_withdrawal_is_told_at_every_opening(old: fl.Repository, caplog: pytest.LogCaptureFixture) -> None:
    bad = old.at("main~1").snapshot_id
    made = old.withdraw("main~1", reason="wrong units", author="me")
    assert (made.id, made.author, made.reason) == (bad, "me", "wrong units")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="firnline"):
            session = old.at(bad)
        [record] = caplog.records
        assert record.levelno == logging.WARNING and record.name == "firnline"
        assert "withdrawn" in record.getMessage() and "wrong units" in record.getMessage() and bad in record.getMessage()
    assert session.info.withdrawn == made == old.lookup_snapshot(bad).withdrawn and read(session, "own") == b"\3" * 4000
    assert old.at("main").info.withdrawn is None
    assert [row["withdrawn"] for row in old.log(limit=3)] == [None, made.time, None]
    again = old.withdraw(bad, reason="wrong units in 2024")
    retention = old.retention()
    assert retention.withdrawn(bad) == again and retention.withdrawn(old.lookup_branch("main")) is None
    assert retention.withdrawals == [{"id": bad, "time": again.time, "author": None, "reason": "wrong units in 2024"}]
    with pytest.raises(fl.InvalidError):
        retention.withdrawn("main")
    assert repr(retention) == "<firnline.Retention: 0 expired, 1 withdrawn>"

    assert old.reinstate(bad) is True and old.reinstate(bad) is False
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="firnline"):
        old.at(bad)
    assert caplog.records == [] and old.retention().withdrawals == []
    with pytest.raises(fl.NotFoundError):
        old.withdraw("none", reason="x")
    with pytest.raises(fl.InvalidError, match="too long"):
        old.withdraw(bad, reason="x" * 5000)


def test_acts_are_listed_in_their_order(old: fl.Repository) -> None:
    old.expire(old.plan_expire(keep_last=4), reason="first", author="a")
    old.expire(old.plan_expire(keep_last=2), reason="second")
    retention = old.retention()
    acts = retention.expirations
    assert [(act["number"], act["author"], act["reason"], act["versions"]) for act in acts] == [
        (1, "a", "first", 2),
        (2, None, "second", 2),
    ]
    assert [act["rules"].split(";")[0] for act in acts] == ["last 4", "last 2"]
    second = retention.expired(old.log()[2]["id"])
    assert second is not None and (second.number, second.time) == (2, acts[1]["time"])
    assert retention.expired(old.lookup_branch("main")) is None and "4 expired" in repr(retention)


def test_expired_versions_are_copied_as_expired(old: fl.Repository, tmp_path: Path) -> None:
    old.expire(old.plan_expire(keep_last=2), reason="old", author="me")
    old.gc(grace=0)
    copy, done = old.clone_to(tmp_path / "copy")
    assert done.versions == 6 and messages(copy.log()) == messages(old.log()) and copy.verify()["ok"]
    with pytest.raises(fl.ExpiredError) as refused:
        copy.at("main~2")
    assert (refused.value.reason, refused.value.author) == ("old", "me")


def test_usage_adds_up(old: fl.Repository) -> None:
    tip, whole = old.stored_usage("main"), old.stored_usage(branch="main")
    for usage in (tip, whole):
        for name in ("stored", "stored_bytes", "unique", "unique_bytes"):
            assert getattr(usage, name) == sum(row[name] for row in usage.kinds)
    chunks = {row["kind"]: row for row in tip.kinds}["chunks"]
    assert chunks == {"kind": "chunks", "stored": 2, "stored_bytes": 7000, "unique": 1, "unique_bytes": 4000}
    # One branch leads to everything that there is.
    stored = old.gc(dry_run=True, grace=0)["kinds"]
    assert whole.stored == sum(row["stored"] for row in stored) > 0
    assert whole.stored_bytes == sum(row["stored_bytes"] for row in stored)
    assert (whole.unique, whole.unique_bytes) == (whole.stored, whole.stored_bytes)

    # What is unique to a version is what would be garbage without it, and what a plan frees is garbage after it.
    old.create_tag("t", "main~1")
    unique = old.stored_usage(old.at("main~3").snapshot_id)
    plan = old.plan_expire(keep_last=1)
    freed = {row["kind"]: (row["objects"], row["bytes"]) for row in old.freed_by(plan)}
    assert unique.unique < sum(objects for objects, _ in freed.values())
    old.expire(plan, reason="old")
    assert garbage(old) == freed
    tag = old.stored_usage(tag="t")
    assert tag.stored > 0 and tag.unique == 0, tag
    for wrong in ({}, {"revision": "main", "branch": "main"}, {"branch": "main", "tag": "t"}):
        with pytest.raises(fl.InvalidError):
            old.stored_usage(**wrong)  # type: ignore[arg-type]
    with pytest.raises(fl.NotFoundError):
        old.stored_usage(branch="none")
