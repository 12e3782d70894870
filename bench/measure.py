"""What the benchmarks share: starting a process, timing it beside a baseline, and the table of results."""

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

NOW = "2026-08-03T12:00"
BASELINE = [sys.executable, "-c", "import typer, rich.console, sqlite3"]
_SCRIPT = Path(sys.executable).with_name("llmprep")
LLMPREP = [str(_SCRIPT)] if _SCRIPT.is_file() else [sys.executable, "-m", "llmprep"]


class Spent(NamedTuple):
    """Seconds on the clock and seconds of processor time, user and system."""

    wall: float
    cpu: float


class Row(NamedTuple):
    """One line of the table: a ratio or seconds (`unit` "×" or "s"), or a `text`; no `target` is for information."""

    name: str
    spent: Spent | None = None
    unit: str = "×"
    target: float | None = None
    by: str = "cpu"
    text: str = ""
    ok: bool = True


def environment(home: Path, **more: str) -> dict[str, str]:
    """For a child: its own data folder, a fixed day, and byte code, without which each start compiles everything."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LLMPREP_")) or k == "PYTHONPATH"}
    return {**kept, "LLMPREP_HOME": str(home), "LLMPREP_NOW": NOW, "LLMPREP_LANG": "en", **more}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that goes away afterwards; not in /tmp where that may be memory, since durable writes are measured."""
    where = "/var/tmp" if Path("/var/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="llmprep-bench-", dir=where) as path:
        yield Path(path)


def whole(command: Sequence[str], env: Mapping[str, str]) -> Spent:
    """What a process takes from start to end."""
    before, started = _children(), time.perf_counter()
    subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return Spent(time.perf_counter() - started, _children() - before)


def first_card(command: Sequence[str], env: Mapping[str, str]) -> Spent:
    """What a quiz takes until its first question shows: the second line that is not empty, below the header."""
    before, started = _children(), time.perf_counter()
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        shown = 0
        while shown < 2:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{' '.join(command)}: no card was shown")
            shown += bool(line.strip())
        wall, cpu = time.perf_counter() - started, _cpu_of(process.pid)
        process.communicate()
    return Spent(wall, cpu or _children() - before)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cpu_of(pid: int) -> float | None:
    """The processor time of a process that still runs; only Linux tells."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except OSError:
        return None


def rounds(runs: int, *works: Callable[[], Spent]) -> list[list[Spent]]:
    """What each piece of work takes, all by turns; a first round, not counted, warms up."""
    return [[work() for work in works] for _ in range(runs + 1)][1:]


def medians(found: Sequence[Sequence[Spent]]) -> list[Spent]:
    """The median of each piece of work over the rounds."""
    return [Spent(*map(statistics.median, zip(*spent, strict=True))) for spent in zip(*found, strict=True)]


def over(spent: Spent, baseline: Spent) -> Spent:
    """As a multiple of the baseline."""
    return Spent(spent.wall / baseline.wall, spent.cpu / baseline.cpu)


def show(rows: Iterator[Row]) -> bool:
    """Print each row as it comes; the result is whether all targets were met."""
    print(f"{'':54}{'cpu':>9}{'wall':>9}   target", flush=True)
    good = True
    for row in rows:
        numbers = f"{row.text:>18}"
        ok = row.ok
        if row.spent:
            cpu, wall = (f"{value:.2f} {row.unit}" if value else "" for value in (row.spent.cpu, row.spent.wall))
            numbers = f"{cpu:>9}{wall:>9}"
            ok = row.target is None or getattr(row.spent, row.by) <= row.target
        target = f"≤ {row.target:g} {row.unit} ({row.by})  {'✓' if ok else '✗'}" if row.target else "" if ok else "✗"
        print(f"{row.name:54}{numbers}   {target}".rstrip(), flush=True)
        good &= ok
    return good


def main(benchmark: Callable[[bool], Iterator[Row]], title: str) -> None:
    """Run one benchmark from the command line; exit code 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a smaller bank, fewer runs, no fresh proof")
    sys.exit(0 if show(benchmark(parser.parse_args().quick)) else 1)
