"""Judges many claims at once: from stored evidence where it still stands, by running demos where it does not."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from llmprep.errors import UserError
from llmprep.lab import catalog, workers
from llmprep.lab.claim import Claim, Setting, Settings
from llmprep.lab.contract import Fact
from llmprep.lab.evidence import (
    Book,
    Evidence,
    Run,
    is_current,
    read_book,
    same_result,
    source_hash,
    versions,
    write_book,
)
from llmprep.lab.judge import MeasurementError, Verdict, judge
from llmprep.lab.workers import Job

Progress = Callable[[int, int, Job], None]


@dataclass(frozen=True)
class Asked:
    """A claim and where it stands."""

    question: str
    index: int
    claim: Claim


@dataclass(frozen=True)
class Judged:
    """A claim and its verdict."""

    asked: Asked
    verdict: Verdict

    def plain(self) -> dict[str, Any]:
        """As `verify --json` prints it."""
        claim, verdict = self.asked.claim, self.verdict
        return {
            "question": self.asked.question,
            "claim": self.asked.index,
            "status": verdict.status,
            "demo": claim.demo or None,
            "settings": dict(claim.set),
            "expected": [str(e) for e in claim.expect],
            "measured": verdict.measured,
            "refuted_by": {"settings": dict(claim.refuted_by), "measured": verdict.refuting},
            "reason": verdict.reason,
        }


@dataclass(frozen=True)
class Report:
    """What became of the claims."""

    judged: Sequence[Judged]
    seconds: float
    runs: int
    written: Sequence[Path] = field(default_factory=tuple)

    def count(self, status: str) -> int:
        """How many claims have a status."""
        return sum(j.verdict.status == status for j in self.judged)

    @property
    def ok(self) -> bool:
        """Whether nothing is refuted or in error."""
        return self.count("refuted") + self.count("error") == 0

    def plain(self) -> dict[str, Any]:
        """As `verify --json` prints it."""
        counts = {status: self.count(status) for status in ("proved", "cited", "refuted", "error")}
        return {**counts, "seconds": round(self.seconds, 2), "claims": [j.plain() for j in self.judged]}


def variations(settings: Settings, vary: dict[str, Sequence[Setting]]) -> list[dict[str, Setting]]:
    """Every setting of a drill: the product of the values in `vary`, laid over `settings`."""
    return [{**settings, **dict(zip(vary, values, strict=True))} for values in product(*vary.values())]


def verify(
    asked: Sequence[Asked],
    evidence: Evidence,
    *,
    fresh: bool = False,
    jobs: int = 1,
    progress: Progress = lambda *_: None,
    record_in: Path | None = None,
    also_record: Iterable[Job] = (),
    prune: bool = False,
) -> Report:
    """Judge each claim. With `record_in`, write the evidence of every demo involved into that folder.

    `also_record` are settings without a claim (drills, defaults) that the evidence is to cover as well; `prune` drops
    stored runs that none of these asks for.
    """
    started = time.perf_counter()
    claims = [a for a in asked if a.claim.demo]
    wanted = [Job(a.claim.demo, s) for a in claims for s in (a.claim.set, a.claim.wrong_setting)]
    if record_in:
        wanted += list(also_record)
    runs: dict[tuple[str, str], Run] = {}
    errors: dict[tuple[str, str], str] = {}
    missing: dict[tuple[str, str], Job] = {}
    for job in wanted:
        try:
            key = _key(job)
            stored = None if fresh else evidence.find_current(catalog.find(job.demo), job.settings)
        except UserError as error:
            errors[job.demo, ""] = str(error)
            continue
        if stored:
            runs[key] = stored
        else:
            missing.setdefault(key, job)

    ordered = sorted(missing.values(), key=lambda job: job.demo)
    for done, outcome in enumerate(workers.run_all(ordered, jobs), start=1):
        progress(done, len(ordered), outcome.job)
        if outcome.run:
            runs[_key(outcome.job)] = outcome.run
        else:
            errors[_key(outcome.job)] = outcome.error

    def measure(demo: str, settings: Settings) -> dict[str, Fact]:
        if (demo, "") in errors and (demo, "") not in runs:
            raise MeasurementError(errors[demo, ""])
        key = _key(Job(demo, settings))
        if key not in runs:
            raise MeasurementError(f"{demo} {key[1] or '(defaults)'}: {errors[key]}")
        return runs[key].facts

    judged = [Judged(a, judge(a.claim, measure)) for a in asked]
    written = _record(record_in, runs, prune=prune) if record_in else []
    if record_in and (failed := [e for key, e in errors.items() if key in {_safe_key(j) for j in also_record}]):
        raise UserError("could not measure a drill or default: " + "; ".join(failed))
    return Report(judged, time.perf_counter() - started, len(ordered), written)


def _key(job: Job) -> tuple[str, str]:
    info = catalog.find(job.demo)
    return info.id, catalog.canonical(info, job.settings)


def _safe_key(job: Job) -> tuple[str, str]:
    try:
        return _key(job)
    except UserError:
        return job.demo, ""


def _record(folder: Path, runs: dict[tuple[str, str], Run], *, prune: bool) -> list[Path]:
    """Write what was measured; a run whose result is the same as before keeps its line, timing included."""
    written = []
    for demo in sorted({demo for demo, _ in runs}):
        info, path = catalog.find(demo), folder / f"{demo}.json"
        old = read_book(path) if path.is_file() else None
        before = old.runs if old else {}
        kept = dict(before) if old and not prune and is_current(old, info) else {}
        for (of, key), run in runs.items():
            if of == demo:
                kept[key] = before[key] if key in before and same_result(before[key], run) else run
        book = Book(source_hash(info), versions(info), kept)
        if old != book:
            write_book(path, book)
            written.append(path)
    return written
