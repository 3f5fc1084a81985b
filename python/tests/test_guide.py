"""Runs the code of the guide and of the README, block by block, in order."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "python.md"
README = ROOT / "README.md"
NEEDED = ("xarray", "dask", "virtualizarr", "obstore", "h5netcdf", "icechunk", "fsspec", "kerchunk")


@dataclass
class Block:
    """Code, the line of the page it begins at, and what it prints, where the page says so."""

    line: int
    code: str
    printed: str | None


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        kind, body = match.groups()
        if kind == "python":
            found.append(Block(text.count("\n", 0, match.start(2)) + 1, body, None))
        elif kind == "text" and found:
            found[-1].printed = body
    return found


def run(page: Path, found: list[Block]) -> None:
    """Run blocks as one program, and compare what they print."""
    names: dict[str, object] = {"__name__": "page"}
    for block in found:
        # Line numbers of errors are those of the page.
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        if block.printed is not None:
            assert printed.getvalue() == block.printed, f"line {block.line}"


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xarray", reason="xarray is not installed")
    monkeypatch.chdir(tmp_path)
    found = blocks(README.read_text())
    assert found, "the README has lost its code"
    run(README, found)


def test_the_code_of_the_guide_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDED:
        pytest.importorskip(module, reason=f"{module} is not installed")
    monkeypatch.chdir(tmp_path)
    found = blocks(GUIDE.read_text())
    assert len(found) > 10, "the guide has lost its code"
    run(GUIDE, found)
