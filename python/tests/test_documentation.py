"""Docstrings: their examples run, and everything public has one."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

import firnline as fl

MODULES = [
    "firnline",
    "firnline.branches",
    "firnline.dependencies",
    "firnline.history",
    "firnline.kerchunk",
    "firnline.repository",
    "firnline.retention",
    "firnline.rows",
    "firnline.session",
    "firnline.store",
    "firnline.sync",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_examples_are_found() -> None:
    """So that the test above cannot pass for lack of examples."""
    finder = doctest.DocTestFinder()
    found = [test.name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    expected = {"firnline", "firnline.repository.Repository.transaction", "firnline.rows.Rows"}
    methods = {"firnline.kerchunk.KerchunkMethods.import_kerchunk", "firnline.branches.BranchMethods.bisect"}
    methods |= {"firnline.retention.RetentionMethods.plan_expire", "firnline.sync.SyncMethods.push"}
    assert expected | methods <= set(found)


def test_everything_public_has_a_docstring() -> None:
    bare = []
    for name in fl.__all__:
        thing = getattr(fl, name)
        if not callable(thing):
            continue
        if not inspect.getdoc(thing):
            bare.append(name)
        if inspect.isclass(thing):
            for part, value in vars(thing).items():
                is_public = not part.startswith("_") and (
                    callable(value) or isinstance(value, property | classmethod | staticmethod)
                )
                if is_public and not inspect.getdoc(value):
                    bare.append(f"{name}.{part}")
    assert bare == []
