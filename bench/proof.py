"""How long judging every claim of the built-in bank takes on two cores: all demos run anew, and nothing changed."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from measure import LLMPREP, Row, Spent, environment, folder, main

CORES = 2


def proof(quick: bool) -> Iterator[Row]:
    """Plain `verify` twice, the first to warm up; then `verify --fresh`."""
    _two_cores()
    with folder() as work:
        _verify(work)
        spent, last = _verify(work)
        note = "" if "from stored evidence" in last else " (evidence is stale: see verify --record)"
        yield Row(f"verify{note}", spent, "s", 3, by="wall")
        if not quick:
            spent, last = _verify(work, "--fresh", "--jobs", str(CORES))
            yield Row("verify --fresh", spent, "s", 120, by="wall")
        yield Row("", text=last)


def _verify(home: Path, *options: str) -> tuple[Spent, str]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*LLMPREP, "verify", *options], env=environment(home), stdout=subprocess.PIPE, check=False, encoding="utf-8"
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, cpu), (done.stdout.strip().splitlines() or ["no output"])[-1]


def _two_cores() -> None:
    """Where the system allows it, keep this process and its children to two cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


if __name__ == "__main__":
    main(proof, __doc__ or "")
