"""What several test modules use."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import firnline as fl

# A shell that runs the tests in the background lets them, and their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def repo(tmp_path: Path) -> fl.Repository:
    """A repository on local disk."""
    return fl.Repository.create(tmp_path / "repo")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of the machine that runs the tests have no effect."""
    for name in ("FIRN_ALLOW", "FIRN_CREDENTIALS", "FIRN_REBIND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIRN_CONFIG", "")
    yield


def write(repo: fl.Repository, values: dict[str, bytes], *, branch: str = "main", message: str = "write") -> str:
    """Commit some values, and return the id of the version."""
    session = repo.writable_session(branch)
    for key, value in values.items():
        session.store.set_sync(key, fl.buffer(value))
    return session.commit(message)


def read(session: fl.Session, key: str) -> bytes | None:
    """The bytes of a value."""
    value = session.store.get_sync(key)
    return None if value is None else value.to_bytes()
