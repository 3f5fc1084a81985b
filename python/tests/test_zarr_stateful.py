"""Zarr's stateful tests, and the same machine with commits, branches and travels in time."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Settings, precondition, rule, run_state_machine_as_test
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.testing.stateful import SyncStoreWrapper, ZarrHierarchyStateMachine, ZarrStoreStateMachine

import firnline as fl

# As many cases as a release is tested with, or a few.
WHOLE = os.environ.get("FIRN_TEST_SIZE") == "whole"

SETTINGS: Settings = hypothesis.settings(
    max_examples=100 if WHOLE else 10,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def new_store() -> fl.FirnlineStore:
    return fl.Repository.create(tempfile.mkdtemp()).writable_session("main").store


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repositories of the examples go away with the directory of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_store_machine() -> None:
    run_state_machine_as_test(lambda: ZarrStoreStateMachine(new_store()), settings=SETTINGS)  # type: ignore[no-untyped-call]


def test_hierarchy_machine() -> None:
    run_state_machine_as_test(lambda: ZarrHierarchyStateMachine(new_store()), settings=SETTINGS)  # type: ignore[no-untyped-call]


class VersionedStoreMachine(ZarrStoreStateMachine):
    """Zarr's machine over a session that is committed now and then, with a model of every version."""

    def __init__(self) -> None:
        self.repo = fl.Repository.create(tempfile.mkdtemp())
        self.branch = "main"
        super().__init__(self.repo.writable_session("main").store)
        self.versions: dict[str, dict[str, bytes]] = {self.repo.lookup_branch("main"): {}}
        self.tips: dict[str, str] = {"main": self.repo.lookup_branch("main")}
        self.seen: list[tuple[str, Any, str]] = []

    @property
    def session(self) -> fl.Session:
        return self.store.store.session  # type: ignore[no-any-return]

    def use(self, session: fl.Session) -> None:
        self.store = SyncStoreWrapper(session.store)

    def present(self) -> dict[str, bytes]:
        return {key: value.to_bytes() for key, value in self.model.items()}

    @rule(allow_empty=st.booleans())
    def commit(self, allow_empty: bool) -> None:
        before = self.tips[self.branch]
        snapshot = self.session.commit("step", allow_empty=allow_empty)
        assert self.session.read_only
        if self.present() != self.versions[before] or allow_empty:
            assert snapshot != before
        else:
            # The same content may also be a new version, when something was set and deleted again.
            assert self.repo.lookup_branch(self.branch) == snapshot
        self.versions[snapshot] = self.present()
        self.tips[self.branch] = snapshot
        if snapshot != before:
            # A version that was there before may be older than its branch, which then showed nothing at that time.
            self.seen.append((self.branch, self.repo.lookup_snapshot(snapshot).time, snapshot))
        self.use(self.repo.writable_session(self.branch))

    @rule()
    def discard(self) -> None:
        self.session.discard_changes()
        self.model.clear()
        for key, value in self.versions[self.tips[self.branch]].items():
            self.model[key] = cpu.Buffer.from_bytes(value)

    @precondition(lambda self: len(self.tips) < 4)
    @rule()
    def branch_off(self) -> None:
        name = f"b{len(self.tips)}"
        self.repo.create_branch(name, self.branch)
        self.tips[name] = self.tips[self.branch]

    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        self.branch = data.draw(st.sampled_from(sorted(self.tips)))
        self.use(self.repo.writable_session(self.branch))
        self.model.clear()
        for key, value in self.versions[self.tips[self.branch]].items():
            self.model[key] = cpu.Buffer.from_bytes(value)

    @rule(values=st.dictionaries(st.sampled_from(["f/a", "f/b", "f/c"]), st.binary(max_size=3000), min_size=1))
    def fork_and_merge(self, values: dict[str, bytes]) -> None:
        """A copy of a fork that went through a pickle sees what is staged, and its changes come back."""
        copy = pickle.loads(pickle.dumps(self.session.fork()))
        self.check(copy, self.present())
        for key, value in values.items():
            copy.store.set_sync(key, fl.buffer(value))
        back = pickle.loads(pickle.dumps(copy))
        self.session.merge(back)
        for key, value in values.items():
            self.model[key] = cpu.Buffer.from_bytes(value)

    @rule(data=st.data())
    def travel(self, data: st.DataObject) -> None:
        """Every version stays as it was, by its id and by its time."""
        snapshot = data.draw(st.sampled_from(sorted(self.versions)))
        self.check(self.repo.readonly_session(snapshot_id=snapshot), self.versions[snapshot])
        if self.seen:
            branch, time, shown = data.draw(st.sampled_from(self.seen))
            session = self.repo.readonly_session(branch, as_of=time)
            assert session.snapshot_id == shown
            self.check(session, self.versions[shown])

    def check(self, session: fl.Session, model: dict[str, bytes]) -> None:
        store = SyncStoreWrapper(session.store)
        assert store.list() == sorted(model)
        for key, value in model.items():
            assert store.get(key, default_buffer_prototype()).to_bytes() == value


def test_versioned_store_machine() -> None:
    run_state_machine_as_test(VersionedStoreMachine, settings=SETTINGS)  # type: ignore[no-untyped-call]
