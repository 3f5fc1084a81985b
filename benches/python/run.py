"""Compares Firnline with Icechunk and with zarr's LocalStore from Python: `python run.py [WORK…] [--rounds N] [--quick]`.

Needs zarr, xarray, dask, distributed, virtualizarr and icechunk beside firnline. Prints one table. Every figure is the
median of rounds; a round measures each side once, each in a process of its own, in turn, so that all sides meet the same
other load of the machine. Compare the columns of one run only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sides import installed

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One figure: of which work with which options, and what is aimed at.

    `aim` compares Firnline's figure with that of another side (`"icechunk*0.6"`: at most 0.6 of it) or with a number.
    """

    title: str
    work: str
    options: str
    figure: str
    unit: str
    scale: float
    sides: tuple[str, ...]
    aim: str = ""


ALL = ("firnline", "icechunk", "local")
BOTH = ("firnline", "icechunk")
SMALL, MIDDLE = "chunk=1024 chunks=4096", "chunk=65536 chunks=2048"
ROWS = [
    Row("get_sync of 1 KiB, in a loop", "get_one", "", "get_sync_us", "µs", 1, ALL, "5"),
    Row("    CPU", "get_one", "", "get_sync_cpu_us", "µs", 1, ALL),
    Row("get of 1 KiB, 100 in one gather", "get_one", "", "gather_us", "µs", 1, ALL, "40"),
    Row("    CPU", "get_one", "", "gather_cpu_us", "µs", 1, ALL),
    Row("a[:], 1 KiB chunks, per chunk", "read_array", SMALL, "chunk_us", "µs", 1, ALL, "icechunk*0.6"),
    Row("    CPU", "read_array", SMALL, "chunk_cpu_us", "µs", 1, ALL),
    Row("a[:], 64 KiB chunks, per chunk", "read_array", MIDDLE, "chunk_us", "µs", 1, ALL, "icechunk*0.6"),
    Row("    beside LocalStore", "read_array", MIDDLE, "chunk_us", "µs", 1, ALL, "local*1.25"),
    Row("    CPU", "read_array", MIDDLE, "chunk_cpu_us", "µs", 1, ALL),
    Row("to_zarr of 1 GiB in 1 MiB chunks, durable", "write_dataset", "gigabytes=1.0", "seconds", "s", 1, ALL, "local*1.25"),
    Row("    CPU", "write_dataset", "gigabytes=1.0", "cpu", "s", 1, ALL),
    Row("1e6 virtual references, one commit", "write_virtual", "refs=1000000", "seconds", "s", 1, BOTH, "icechunk*0.5"),
    Row("    CPU", "write_virtual", "refs=1000000", "cpu", "s", 1, BOTH),
    Row("    peak memory above the dataset", "write_virtual", "refs=1000000", "memory", "MB", 1e-6, BOTH, "icechunk*0.2"),
    Row("dask, 8 regions of 32 MiB, 1 process", "write_dask", "workers=1", "seconds", "s", 1, ALL),
    Row("dask, 8 regions of 32 MiB, 8 processes", "write_dask", "workers=8", "seconds", "s", 1, ALL),
]
QUICK = {
    "chunks=4096": "chunks=256",
    "chunks=2048": "chunks=128",
    "gigabytes=1.0": "gigabytes=0.1",
    "refs=1000000": "refs=100000",
}


def options_of(row: Row, quick: bool) -> str:
    return " ".join(QUICK.get(part, part) if quick else part for part in row.options.split())


def measure(work: str, side: str, options: str, scratch: str) -> dict[str, float]:
    directory = tempfile.mkdtemp(dir=scratch)
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "work.py"), work, side, directory, *options.split()],
            capture_output=True,
            text=True,
            env=environment,
            timeout=1800,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{work} on {side} failed:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def verdict(row: Row, values: dict[str, float]) -> str:
    """The aim and whether Firnline's figure meets it."""
    if not row.aim or "firnline" not in values:
        return ""
    side, _, factor = row.aim.partition("*")
    if factor and side not in values:
        return ""
    limit = values[side] * float(factor) if factor else float(row.aim)
    against = f" ({factor} × {side})" if factor else ""
    return f"{limit:.3g} {row.unit}{against}{'' if values['firnline'] <= limit else ', not met'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", help="only these works (get_one, read_array, …)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small amounts, to see that everything runs")
    parser.add_argument("--scratch", default=None, help="directory on the disk to measure")
    arguments = parser.parse_args()
    present = installed()
    rows = [row for row in ROWS if not arguments.work or row.work in arguments.work]
    figures: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        for work, options in dict.fromkeys((row.work, options_of(row, arguments.quick)) for row in rows):
            sides = next(row.sides for row in rows if row.work == work)
            for side in (side for side in sides if side in present):
                figures.setdefault((work, options, side), []).append(measure(work, side, options, arguments.scratch))
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, median of {arguments.rounds} rounds")
    print(f"{'':44}" + "".join(f"{side:>14}" for side in ALL) + "   aim")
    for row in rows:
        values = {}
        for side in row.sides:
            taken = [
                one[row.figure]
                for one in figures.get((row.work, options_of(row, arguments.quick), side), [])
                if row.figure in one
            ]
            if taken:
                values[side] = statistics.median(taken) * row.scale
        cells = "".join(f"{f'{values[side]:.3g} {row.unit}':>14}" if side in values else f"{'—':>14}" for side in ALL)
        print(f"{row.title:44}{cells}   {verdict(row, values)}".rstrip())


if __name__ == "__main__":
    main()
