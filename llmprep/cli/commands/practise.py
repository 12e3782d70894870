"""`llmprep quiz` and `llmprep undo`."""

from typing import Annotated

import typer

from llmprep.cli.commands.common import complete_cluster, complete_id
from llmprep.cli.context import Context
from llmprep.content import CLUSTERS
from llmprep.errors import UserError, did_you_mean

QUIZ_HELP = """The daily quiz: due cards first, then new ones, most asked first.

Example: llmprep quiz --cluster inference --new 5 --minutes 30
"""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(help=QUIZ_HELP)(quiz)
    app.command(help="Take back the last answer.\n\nExample: llmprep undo")(undo)


def known_cluster(name: str | None) -> str | None:
    """Check a cluster's id. Raises UserError with a suggestion."""
    if name is not None and name not in CLUSTERS:
        hint = did_you_mean(name, CLUSTERS) or f" (known: {', '.join(CLUSTERS)})"
        raise UserError(f"--cluster {name}: no such cluster{hint}")
    return name


def quiz(
    context: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ask just these, due or not.", autocompletion=complete_id),
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.", autocompletion=complete_cluster)] = None,
    new: Annotated[int, typer.Option(min=0, help="New cards a day, at most.")] = 10,
    limit: Annotated[int | None, typer.Option(min=1, help="Cards in this session, at most.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop asking after this time.")] = None,
    lang: Annotated[str | None, typer.Option(metavar="en|zh|both", help="Language of the cards.")] = None,
    at_once: Annotated[bool, typer.Option("--at-once", help="Show all layers of an answer at once.")] = False,
) -> None:
    """Ask what is due."""
    from llmprep.cli.context import make_context
    from llmprep.cli.render.quiz import Quiz
    from llmprep.study.session import Session
    from llmprep.study.today import pace, queue

    world: Context = context.obj
    if lang:
        world = make_context(world.bank_dir, lang)
    known_cluster(cluster)
    bank = world.bank(quick=True)
    with world.log(create=True) as log:
        log.probe(world.now())
        cards = queue(bank, log, world.today, cluster=cluster, new_limit=new, limit=limit, only=ids or ())
        session = Session(bank, log, world.today, cards, pace(log))
        Quiz(world, bank, log, session, minutes=minutes, at_once=at_once).run()
    bank.refresh()


def undo(context: typer.Context) -> None:
    """Take back the last answer."""
    from llmprep.cli import words

    world: Context = context.obj
    with world.log() as log:
        answer = log.undo_last(world.now(), world.today) if world.log_path.exists() else None
        if answer is None:
            raise UserError("no answer to take back")
        state = log.state(answer.card)
        due = f"; due {words.day(state.due, world.today, 'en')}" if state else "; new again"
        print(f"took back the {answer.grade} for {answer.card} of {answer.day}{due}")
