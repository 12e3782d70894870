"""`llmprep export anki|csv`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llmprep.cli.commands.common import complete_cluster, count
from llmprep.cli.context import Context
from llmprep.errors import UserError

export_app = typer.Typer(
    help="Write the bank as files for other programs.\n\nExample: llmprep export anki llmprep.apkg",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(export_app, name="export")
    export_app.command(help="An Anki package.\n\nExample: llmprep export anki llmprep.apkg --lang zh")(anki)
    export_app.command(help="A table for spreadsheets.\n\nExample: llmprep export csv llmprep.csv")(csv)


Out = Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")]
Cluster = Annotated[str | None, typer.Option(help="Only this cluster.", autocompletion=complete_cluster)]
Lang = Annotated[str | None, typer.Option(metavar="en|zh|both", help="Language of the cards.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")]


def anki(context: typer.Context, out: Out, cluster: Cluster = None, lang: Lang = None, force: Force = False) -> None:
    """Export to Anki."""
    from llmprep.export.anki import package

    _write(context, out, ".apkg", cluster, lang, force, package)


def csv(context: typer.Context, out: Out, cluster: Cluster = None, lang: Lang = None, force: Force = False) -> None:
    """Export to CSV."""
    from llmprep.export.table import table

    _write(context, out, ".csv", cluster, lang, force, table)


def _write(
    context: typer.Context,
    out: Path,
    suffix: str,
    cluster: str | None,
    lang: str | None,
    force: bool,
    make: Callable[..., bytes],
) -> None:
    from llmprep.cli.commands.practise import known_cluster
    from llmprep.cli.context import make_context

    world: Context = context.obj
    if lang:
        world = make_context(world.bank_dir, lang)
    check_target(out, suffix, force=force)
    questions = list(world.bank().questions(known_cluster(cluster)))
    if not questions:
        raise UserError("no questions to export")
    data = make(questions, world.evidence(), lang=world.lang, bank=world.bank().name, now=world.now())
    write_whole(out, data)
    print(f"wrote {out}: {count(len(questions), 'question')}, {len(data):,} bytes")


def check_target(out: Path, suffix: str, *, force: bool) -> None:
    """Raises UserError if the file should not or could not be written."""
    if out.suffix != suffix:
        raise UserError(f"{out}: expected a file that ends in {suffix}")
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file")
    if out.exists() and not force:
        raise UserError(f"{out}: exists already; --force replaces it")
    if not out.absolute().parent.is_dir():
        raise UserError(f"{out}: no folder {out.absolute().parent}")


def write_whole(out: Path, data: bytes) -> None:
    """Write a file so that a failure leaves what was there before. Raises UserError."""
    part = out.with_name(out.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
