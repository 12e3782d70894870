"""`llmprep verify`: judge the claims."""

import json
import os
import sys
from typing import Annotated, Self

import typer

from llmprep.cli.commands.common import complete_id
from llmprep.cli.context import Context
from llmprep.errors import Exit

HELP = """Judge every claim: proved, cited, refuted or error.

Stored evidence is used where the demo and its libraries are unchanged; --fresh runs all demos.
Exit code 1 if any claim is refuted or in error.

Example: llmprep verify --question kv-cache --fresh
"""


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(help=HELP)(verify)


def verify(
    context: typer.Context,
    question: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this question's claims.", autocompletion=complete_id)
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every demo, whatever is stored.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Store what was measured.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Judge the claims of the bank."""
    from llmprep.lab import verify as lab
    from llmprep.lab.workers import Job

    world: Context = context.obj
    bank = world.bank()
    chosen = [bank.question(i) for i in question] if question else list(bank.questions())
    asked = [lab.Asked(q.id, i, claim) for q in chosen for i, claim in enumerate(q.claims)]
    extra = [Job(d.demo, s) for q in chosen for d in q.drills if d.demo for s in lab.variations(d.set, dict(d.vary))]
    extra += [Job(demo, {}) for demo in dict.fromkeys(d for q in chosen for d in q.demos)]
    with _progress(quiet=as_json) as progress:
        report = lab.verify(
            asked,
            world.evidence(),
            fresh=fresh,
            jobs=jobs,
            progress=progress,
            record_in=world.evidence_dir if record else None,
            also_record=extra,
            prune=not question,
        )
    if as_json:
        print(json.dumps(report.plain(), ensure_ascii=False, indent=1))
    else:
        from llmprep.cli.render.proof import show_report

        show_report(report, full=bool(question))
    if not report.ok or bank.problems():
        raise typer.Exit(Exit.CHECK_FAILED)


class _progress:  # noqa: N801  (a context manager that reads as a function)
    """A line on stderr that says how far the runs are; silent for JSON, a pipe, and where nothing runs."""

    def __init__(self, *, quiet: bool) -> None:
        self.on = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int, job: object) -> None:
        if self.on:
            print(f"\r\x1b[K{done}/{total} {getattr(job, 'demo', '')}", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
