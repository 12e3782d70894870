"""Runs demos in spawned processes, so that a crash, an endless loop or a leak of one harms nothing else."""

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from llmprep.errors import MissingExtraError, UserError
from llmprep.lab import catalog, overrides
from llmprep.lab.claim import Settings
from llmprep.lab.evidence import Run

TIME_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Job:
    """A demo to run with some settings."""

    demo: str
    settings: Settings


@dataclass(frozen=True)
class Outcome:
    """What came of a job: a run, or the error in one line, and the library that was missing if that was it."""

    job: Job
    run: Run | None
    error: str = ""
    missing: str = ""


def execute(demo: str, settings: Settings) -> Run:
    """Run a demo in this process. Raises UserError for wrong settings or a missing library."""
    info = catalog.find(demo)
    overrides.check_names(catalog.parameters(info), settings, demo)  # before torch is imported for nothing
    loaded = catalog.load(info)
    params = overrides.make_params(loaded.Params, settings, demo)
    started = time.perf_counter()
    try:
        result = loaded.run(params)
    except ModuleNotFoundError as error:  # a demo about one library imports it where it uses it
        raise MissingExtraError((error.name or "").partition(".")[0]) from None
    return Run(asdict(params), result, time.perf_counter() - started)


def run_all(
    jobs: Sequence[Job], processes: int, time_limit: float = TIME_LIMIT_SECONDS, work: Callable[..., Run] = execute
) -> Iterator[Outcome]:
    """Outcomes in the order in which they finish. A worker that exceeds the time limit is killed and replaced."""
    queue = list(reversed(jobs))
    workers: list[_Worker] = []
    try:
        while queue or any(w.job for w in workers):
            while queue and len(workers) < min(processes, len(jobs)):
                workers.append(_Worker(work))
            for worker in workers:
                if worker.job is None and queue:
                    worker.give(queue.pop())
            busy = [w for w in workers if w.job]
            wait([w.pipe for w in busy], timeout=0.2)
            for worker in busy:
                outcome = worker.poll(time_limit)
                if outcome:
                    yield outcome
                if outcome and not worker.process.is_alive():
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process and the job that it is on."""

    def __init__(self, work: Callable[..., Run]) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        os.environ.update(dict.fromkeys(threads, "1"))  # one core a worker; sums come out in one order
        try:
            self.process.start()
        finally:
            for name, value in threads.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        self.job: Job | None = None
        self.started = 0.0

    def give(self, job: Job) -> None:
        self.job, self.started = job, time.monotonic()
        self.pipe.send((job.demo, dict(job.settings)))

    def poll(self, time_limit: float) -> Outcome | None:
        job = self.job
        if job is None:
            return None
        if self.pipe.poll():
            try:
                run, error, missing = self.pipe.recv()
            except (EOFError, ConnectionError):
                self.process.join()
                run, error, missing = None, f"the process died (exit code {self.process.exitcode})", ""
        elif time.monotonic() - self.started > time_limit:
            self.stop()
            run, error, missing = None, f"stopped after {time_limit:.0f} s", ""
        else:
            return None
        self.job = None
        return Outcome(job, run, error, missing)

    def stop(self) -> None:
        """End the process: by the closed pipe if it is idle, by force if it is not."""
        self.pipe.close()
        if self.job is None:
            self.process.join(timeout=5)
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, work: Callable[..., Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which stops its workers
    while True:
        try:
            demo, settings = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((work(demo, settings), "", ""))
        except MissingExtraError as error:
            pipe.send((None, str(error), error.module))
        except UserError as error:
            pipe.send((None, str(error), ""))
        except Exception as error:  # noqa: BLE001  (whatever a demo does wrong is its outcome)
            pipe.send((None, f"{type(error).__name__}: {' '.join(str(error).split())}", ""))
