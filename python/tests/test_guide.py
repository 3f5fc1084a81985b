"""Runs the code of the guide, block by block, in order."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "python.md"
NEEDED = ("xarray", "dask", "virtualizarr", "obstore", "h5netcdf", "icechunk", "fsspec")


@dataclass
class Block:
    """Code, the line of the guide it begins at, and what it prints, where the guide says so."""

    line: int
    code: str
    printed: str | None


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        kind, body = match.groups()
        if kind == "python":
            found.append(Block(text.count("\n", 0, match.start(2)) + 1, body, None))
        elif kind == "text":
            found[-1].printed = body
    return found


def test_the_code_of_the_guide_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDED:
        pytest.importorskip(module, reason=f"{module} is not installed")
    monkeypatch.chdir(tmp_path)
    found = blocks(GUIDE.read_text())
    assert len(found) > 10, "the guide has lost its code"
    names: dict[str, object] = {"__name__": "guide"}
    for block in found:
        # Line numbers of errors are those of the guide.
        code = compile("\n" * (block.line - 1) + block.code, str(GUIDE), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        if block.printed is not None:
            assert printed.getvalue() == block.printed, f"line {block.line}"
