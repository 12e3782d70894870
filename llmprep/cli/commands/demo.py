"""`llmprep demo list|show|run`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmprep.cli.commands.common import complete_demo
from llmprep.cli.context import Context, interactive
from llmprep.errors import Exit, MissingExtraError, UserError

if TYPE_CHECKING:
    from llmprep.cli.render.keys import Keys
    from llmprep.lab.catalog import DemoInfo
    from llmprep.lab.claim import Settings
    from llmprep.lab.evidence import Run

demo_app = typer.Typer(
    help="Run the demos that measure the answers.\n\nExample: llmprep demo run kv_cache --set seq_len=4096",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(demo_app, name="demo")
    demo_app.command("list", help="All demos with the question each settles.\n\nExample: llmprep demo list")(list_demos)
    demo_app.command("show", help="A demo's lesson, parameters and claims.\n\nExample: llmprep demo show kv_cache")(
        show
    )
    demo_app.command("run", help=RUN_HELP)(run)


RUN_HELP = """Run a demo, here and now.

Example: llmprep demo run kv_cache --set model=llama-2-7b --set seq_len=4096 --plot kv.svg
"""


DemoArgument = Annotated[
    str, typer.Argument(metavar="DEMO", help="cluster/name, or just the name.", autocompletion=complete_demo)
]


def list_demos(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """List all demos."""
    from llmprep.lab import catalog

    found = list(catalog.demos().values())
    if as_json:
        print(json.dumps([{"id": d.id, "question": d.question, "path": str(d.path)} for d in found], indent=1))
        return
    from llmprep.cli.render.demo import show_list

    show_list(found)


def show(context: typer.Context, demo: DemoArgument) -> None:
    """Explain a demo without running it."""
    from llmprep.cli.render.demo import show_lesson
    from llmprep.lab import catalog

    world: Context = context.obj
    show_lesson(catalog.find(demo), world.bank().questions(), world)


def run(
    context: typer.Context,
    demo: DemoArgument,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the plot: .svg, .png or .pdf.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Facts, table and plot as JSON.")] = False,
) -> None:
    """Run a demo."""
    from llmprep.cli import words
    from llmprep.lab import catalog, evidence, overrides, workers

    world: Context = context.obj
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: one thread is quicker, and sums keep their order
    info = catalog.find(demo)
    pairs = overrides.parse_pairs(settings or [])
    if plot:
        from llmprep.lab.plot import check_target

        check_target(plot, force=force)
    bank = None if as_json else world.bank()
    if not as_json and sys.stderr.isatty():
        print(words.say(world.ui, "running", demo=info.id), file=sys.stderr)
    try:
        result = workers.execute(str(info.path) if info.id not in catalog.demos() else info.id, pairs)
    except MissingExtraError as error:
        from llmprep.cli.render.keys import Keys

        if as_json or not interactive():
            raise
        if not offer_install(error, world.ui, Keys()):
            raise typer.Exit(Exit.USAGE) from None
        result = workers.execute(info.id, pairs)
    if plot:
        from llmprep.lab.plot import draw

        draw(result.result.plot, plot)
    if bank is None:
        print(json.dumps({"demo": info.id, **evidence.run_to_plain(result)}, ensure_ascii=False))
    else:
        from llmprep.cli.render.demo import settled, show_result
        from llmprep.cli.render.text import console

        out = console()
        show_result(out, info, result, world.ui, claims=settled(info, bank.questions(), world, out.width))
        if plot:
            print(f"  {plot}")
    disagreeing = [f.name for f in result.result.facts if not f.agrees]
    if disagreeing:
        print(f"llmprep: measured and predicted differ: {', '.join(disagreeing)}", file=sys.stderr)
        raise typer.Exit(Exit.CHECK_FAILED)


def run_in_worker(info: "DemoInfo", settings: "Settings") -> "Run":
    """Run a demo in a process of its own, so that the quiz neither imports torch nor hangs with it."""
    from llmprep.lab import workers

    outcome = next(workers.run_all([workers.Job(info.id, settings)], processes=1))
    if outcome.run is None:
        if outcome.missing:
            raise MissingExtraError(outcome.missing)
        raise UserError(outcome.error)
    return outcome.run


def offer_install(error: MissingExtraError, ui: str, keys: "Keys") -> bool:
    """Say which command is missing and run it on `y`. True if it worked."""
    from llmprep.cli import words

    print("  " + error.command + "\n  " + words.say(ui, "install_it", module=error.module), end="", flush=True)
    if not keys.terminal or keys.key().lower() != "y":
        print()
        return False
    print("y")
    return subprocess.run(error.arguments, check=False).returncode == 0  # noqa: S603  (our own pip line)
