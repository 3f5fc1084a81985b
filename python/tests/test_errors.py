"""Exceptions: their classes, what they carry, and which built-in exceptions they are."""

from __future__ import annotations

import pickle
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import firnline as fl
from firnline import errors

ROOT = Path(__file__).parents[2]


def test_there_is_one_class_for_each_kind() -> None:
    classes = {getattr(errors, name) for name in errors.__all__} - {fl.FirnlineError}
    assert {cls.kind: cls for cls in classes} == errors._Kinds.classes
    assert all(issubclass(cls, fl.FirnlineError) for cls in classes)


def test_every_kind_of_the_engine_has_a_class() -> None:
    """The engine's own table, which its compiler holds to be complete."""
    words = re.findall(r'Self::\w+ => "([a-z ]+)",', (ROOT / "src" / "error.rs").read_text())
    # A key whose bytes are gone is told apart from an absent one by this package.
    assert len(words) > 10 and {*words, "missing data"} == set(errors._Kinds.classes)


def test_what_is_not_found_is_a_missing_key_and_a_missing_file() -> None:
    error = fl.NotFoundError("no such thing", key="a")
    assert isinstance(error, KeyError) and isinstance(error, FileNotFoundError)
    assert str(error) == "no such thing"
    assert not issubclass(fl.MissingDataError, (KeyError, FileNotFoundError, OSError))


@pytest.mark.parametrize("cls", sorted(errors._Kinds.classes.values(), key=lambda cls: cls.__name__))
def test_errors_can_be_pickled(cls: type[fl.FirnlineError]) -> None:
    error = errors._from_native(
        cls.kind,
        "a message",
        ["a cause"],
        {"key": "k", "snapshot": "s", "hint": "do", "conflicts": [("key", "k", None)], "pending": ("main", "s")},
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) is cls
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)
    assert "a cause" in str(error) and (again.key, again.snapshot, again.kind) == ("k", "s", cls.kind)


def test_what_expired_says_who_when_and_why() -> None:
    told = {"key": None, "snapshot": "s", "hint": None, "conflicts": [], "pending": None}
    error = errors._from_native("expired", "m", [], {**told, "expired": (0, 1_000_000, "me", "old", None, None)})
    assert isinstance(error, fl.ExpiredError) and (error.author, error.reason, error.nearest) == ("me", "old", None)
    assert (error.committed, error.nearest_time) == (datetime(1970, 1, 1, tzinfo=UTC), None)
    again = pickle.loads(pickle.dumps(error))
    assert again.__dict__ == error.__dict__ and again.expired == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    # An error of this kind that is not about one version.
    assert isinstance(errors._from_native("expired", "m", [], told), fl.ExpiredError)


def test_an_unknown_outcome_can_be_settled(tmp_path: Path) -> None:
    repo = fl.Repository.create(tmp_path)
    error = fl.OutcomeUnknownError("sent")
    with pytest.raises(fl.InvalidError):
        error.settle(repo)
    error.branch, error.snapshot = "main", repo.lookup_branch("main")
    assert error.settle(repo) is True


def test_invalid_keys_are_refused_when_set_and_absent_when_read(tmp_path: Path) -> None:
    store = fl.Repository.create(tmp_path).writable_session("main").store
    with pytest.raises(ValueError, match="a//b"):
        store.set_sync("a//b", fl.buffer(b""))
    assert store.get_sync("a//b") is None
    store.delete_sync("a//b")
    with pytest.raises(TypeError, match="Buffer"):
        store.set_sync("a", b"bytes")  # type: ignore[arg-type]
