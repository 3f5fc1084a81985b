"""Measures virtual data: `python virtual.py [WORK…] [--firn PATH] [--rounds N] [--quick] [--json FILE]`.

Compares the command `firn` with kerchunk (fsspec's reference file system) and with VirtualiZarr and Icechunk, on datasets that
it makes once, in the directory that `--scratch` names. Needs kerchunk, fastparquet, pandas, ujson, h5py, virtualizarr and
icechunk; a side that is not installed is left out. `firn` is measured as a whole process; of the Python sides `seconds` and CPU
leave out the start of Python and imports, and peak memory is that of the process. Every figure is the median of rounds in which
the sides take turns, so that all meet the same other load of the machine. Compare the columns of one row only.
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
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from virtual_data import KINDS, Dataset, make, make_hdf5

HERE = Path(__file__).parent
Figures = dict[str, float]
MEGABYTE = 1e6


class Firn:
    """The command, and repositories that it makes for one measurement each."""

    def __init__(self, program: str, scratch: Path) -> None:
        self.program, self.scratch = program, scratch

    def repository(self) -> Path:
        place = Path(tempfile.mkdtemp(dir=self.scratch, prefix="repository-"))
        subprocess.run([self.program, "-R", str(place), "init"], check=True, capture_output=True)
        return place

    def run(self, place: Path, *arguments: str, stdin: Path | None = None) -> Figures:
        """What one run of the command takes: the whole process, as the kernel counts it."""
        command = [self.program, "-R", str(place), *arguments]
        with open(stdin or os.devnull, "rb") as given, tempfile.TemporaryFile() as errors:
            begun = time.perf_counter()
            child = subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL, stderr=errors)
            _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - begun
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                errors.seek(0)
                raise SystemExit(f"{' '.join(command[:8])} failed: {errors.read().decode()}")
        return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024.0}


def peer(work: str, *arguments: str) -> Figures:
    """What another library takes for a piece of work, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [sys.executable, str(HERE / "virtual_peers.py"), work, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{work} failed: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def stored(place: Path) -> int:
    """The bytes of all files below a directory."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


class Bench:
    """The works, each a method that gives the figures of one round by side."""

    def __init__(self, firn: Firn, scratch: Path, quick: bool) -> None:
        self.firn, self.scratch = firn, scratch
        self.refs = 20_000 if quick else 1_000_000
        self.hdf5_files = 20 if quick else 1000

    def dataset(self, kind: str) -> Dataset:
        return make(self.scratch, kind, self.refs)

    def imported(self, kind: str, form: str, side: Callable[[], dict[str, Figures]]) -> dict[str, Figures]:
        dataset, place = self.dataset(kind), self.firn.repository()
        source = dataset.parquet if form == "parquet" else dataset.json
        figures = self.firn.run(place, "--allow", dataset.allow, "kerchunk", "import", str(source), "-m", form)
        shutil.rmtree(place)
        return {"firn": figures, **side()}

    def import_parquet(self) -> dict[str, Figures]:
        path = str(self.dataset("random").parquet)
        sides = {"kerchunk": "kerchunk_parquet", "tables": "kerchunk_tables"}
        return self.imported("random", "parquet", lambda: {name: peer(work, path) for name, work in sides.items()})

    def import_json(self) -> dict[str, Figures]:
        path = str(self.dataset("random").json)
        return self.imported("random", "json", lambda: {"kerchunk": peer("kerchunk_json", path)})

    def apply(self) -> dict[str, Figures]:
        dataset, place = self.dataset("random"), self.firn.repository()
        figures = self.firn.run(place, "--allow", dataset.allow, "apply", "-m", "apply", stdin=dataset.lines)
        shutil.rmtree(place)
        return {"firn": figures}

    def check(self) -> dict[str, Figures]:
        dataset, place = self.dataset("random"), self.firn.repository()
        self.firn.run(place, "--allow", dataset.allow, "apply", "-m", "apply", stdin=dataset.lines)
        figures = self.firn.run(place, "--allow", dataset.allow, "deps", "check", "main")
        shutil.rmtree(place)
        return {"firn": figures}

    def virtualize(self) -> dict[str, Figures]:
        files, place = make_hdf5(self.scratch, self.hdf5_files, 1000), self.firn.repository()
        names = [str(path) for path in files]
        figures = self.firn.run(place, "virtualize", *names, "--prefix", "air", "--concat", "time", "-m", "bench")
        shutil.rmtree(place)
        theirs = Path(tempfile.mkdtemp(dir=self.scratch, prefix="icechunk-"))
        try:
            return {"firn": figures, "icechunk": peer("icechunk_virtualize", str(files[0].parent), str(theirs))}
        finally:
            shutil.rmtree(theirs)

    def size(self, kind: str) -> dict[str, Figures]:
        """Bytes at rest for each reference. Sizes are exact, so one round is enough."""
        dataset, place = self.dataset(kind), self.firn.repository()
        empty = stored(place)
        self.firn.run(place, "--allow", dataset.allow, "apply", "-m", "apply", stdin=dataset.lines)
        ours = {"bytes": (stored(place) - empty) / self.refs}
        for name in ("manifests", "files"):
            ours[name] = stored(place / name) / self.refs
        shutil.rmtree(place)
        return {"firn": ours, "kerchunk": {"bytes": stored(dataset.parquet) / self.refs}}


WORKS: dict[str, tuple[str, Callable[[Bench], dict[str, Figures]], str]] = {
    "import_parquet": ("import of references from Parquet", Bench.import_parquet, "kerchunk*1"),
    "import_json": ("import of references from JSON", Bench.import_json, ""),
    "apply": ("apply of references as lines", Bench.apply, "cpu 1.5"),
    "check": ("deps check of 1,000 local files", Bench.check, "seconds 1"),
    "virtualize": ("virtualize of HDF5 files of 1,000 chunks", Bench.virtualize, "icechunk*0.5"),
}
SIZES = {f"size_{kind}": kind for kind in KINDS}
SIDES = {"firn": "firn", "kerchunk": "kerchunk", "tables": "tables only", "icechunk": "VirtualiZarr, Icechunk"}
UNITS = {"seconds": (1.0, "s"), "cpu": (1.0, "s"), "peak": (1 / MEGABYTE, "MB"), "bytes": (1.0, "B")}


def verdict(aim: str, figure: str, medians: dict[str, Figures]) -> str:
    """The aim for one figure, and whether it is met."""
    side, is_ratio, factor = aim.partition("*")
    if is_ratio and figure == "seconds" and side in medians:
        limit, said = medians[side]["seconds"] * float(factor), f"{factor} × {SIDES[side]}"
    elif aim.startswith(figure + " "):
        limit, said = float(aim.split()[1]), f"{aim.split()[1]} {UNITS[figure][1]}"
    else:
        return ""
    return said if medians["firn"][figure] <= limit else f"{said}, not met"


def cell(value: float | None, figure: str) -> str:
    scale, unit = UNITS[figure]
    return "—" if value is None else f"{value * scale:.3g} {unit}"


def print_rows(title: str, medians: dict[str, Figures], figures: tuple[str, ...], aim: str) -> None:
    for figure in figures:
        name = title if figure == figures[0] else {"cpu": "    CPU", "peak": "    peak memory"}.get(figure, figure)
        cells = "".join(f"{cell(medians.get(side, {}).get(figure), figure):>24}" for side in SIDES)
        print(f"{name:44}{cells}   {verdict(aim, figure, medians)}".rstrip())


def median_of(rounds: list[dict[str, Figures]]) -> dict[str, Figures]:
    sides = {side for one in rounds for side in one}
    return {
        side: {figure: statistics.median(one[side][figure] for one in rounds) for figure in rounds[0][side]} for side in sides
    }


def versions() -> str:
    found = []
    for package in ("kerchunk", "fsspec", "fastparquet", "virtualizarr", "icechunk", "zarr", "h5py"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", help=f"only these works ({', '.join([*WORKS, *SIZES])})")
    parser.add_argument("--firn", default=shutil.which("firn") or "firn", help="the command, built for release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small amounts, to see that everything runs")
    parser.add_argument("--scratch", default=None, help="directory on the disk to measure; datasets in it are used again")
    parser.add_argument("--json", default=None, metavar="FILE", help="write every figure of every round")
    arguments = parser.parse_args()
    scratch = Path(arguments.scratch or tempfile.mkdtemp(prefix="firn-virtual-"))
    scratch.mkdir(parents=True, exist_ok=True)
    bench = Bench(Firn(arguments.firn, scratch), scratch, arguments.quick)
    begun = os.getloadavg()[0]
    rounds: dict[str, list[dict[str, Figures]]] = {}
    chosen = arguments.work or [*WORKS, *SIZES]
    for number in range(arguments.rounds):
        for work in chosen:
            if work in WORKS:
                rounds.setdefault(work, []).append(WORKS[work][1](bench))
            elif number == 0:
                rounds[work] = [bench.size(SIZES[work])]
    load = f"load {begun:.1f} before and {os.getloadavg()[0]:.1f} after"
    print(f"{os.cpu_count()} cores, {load}, median of {arguments.rounds} rounds")
    print(f"{bench.refs} references; Python {sys.version.split()[0]}, {versions()}")
    print(f"{'':44}" + "".join(f"{title:>24}" for title in SIDES.values()) + "   aim")
    for work in chosen:
        medians = median_of(rounds[work])
        if work in WORKS:
            title, _, aim = WORKS[work]
            print_rows(title, medians, ("seconds", "cpu", "peak"), aim)
        else:
            print_rows(f"bytes a reference: {KINDS[SIZES[work]]}"[:44], medians, ("bytes",), "bytes 2.5")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"refs": bench.refs, "rounds": rounds}, indent=1))
    if not arguments.scratch:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
