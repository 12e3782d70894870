"""`llmprep stats` and `llmprep doctor`."""

import json
import sys
from datetime import date
from typing import Annotated, Any

import typer

from llmprep import __version__
from llmprep.cli.commands.common import count
from llmprep.cli.context import Context


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(help="Due and forecast, retention, calendar, clusters, hardest cards.\n\nExample: llmprep stats")(stats)
    app.command(help="Versions, folders, and what is missing.\n\nExample: llmprep doctor")(doctor)


def stats(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show progress."""
    from llmprep.study.stats import compute

    world: Context = context.obj
    bank = world.bank()
    with world.log() as log:
        result = compute(bank, log.states(), log.events(), world.today)
    if as_json:
        from dataclasses import asdict

        print(json.dumps(_plain(asdict(result)), ensure_ascii=False, indent=1))
        return
    from llmprep.cli.render.stats import show_stats
    from llmprep.cli.render.text import console

    show_stats(console(), result, world.ui)


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {k.isoformat() if isinstance(k, date) else k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def doctor(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what is here and what is missing."""
    from llmprep.errors import Exit, MissingExtraError, UserError

    world: Context = context.obj
    ok = True
    rows: dict[str, str] = {
        "llmprep": __version__,
        "Python": f"{sys.version.split()[0]} ({sys.executable})",
        "questions": str(world.bank_dir),
        "review log": f"{world.log_path}" + ("" if world.log_path.exists() else " (none yet)"),
        "cache": str(world.cache_dir),
        "today": f"{world.today} (ends at 04:00), language {world.lang}",
    }
    for module, purpose in (("torch", "most demos"), ("numpy", "some demos"), ("matplotlib", "--plot FILE")):
        version = _version(module)
        rows[module] = version or f"missing, needed for {purpose}; run: {MissingExtraError(module).command}"
    try:
        with world.log() as log:
            rows["cards"] = f"{len(log.states())} seen, {len(log.events()):,} events"
        bank = world.bank()
        rows["bank"] = f"{count(len(bank), 'question')}, {count(len(bank.problems()), 'file')} with problems"
    except UserError as error:
        ok = False
        rows["problem"] = str(error)
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        for name, text in rows.items():
            print(f"{name:<12} {text}")
    if not ok:
        raise typer.Exit(Exit.CHECK_FAILED)


def _version(module: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return None
