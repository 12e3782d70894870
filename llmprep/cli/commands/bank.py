"""`llmprep list`, `show`, `search` and `bank check`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmprep.cli.commands.common import complete_cluster, complete_id, count
from llmprep.cli.context import Context
from llmprep.errors import Exit

bank_app = typer.Typer(
    help="Check a bank of questions.\n\nExample: llmprep bank check my-questions",
    no_args_is_help=True,
    rich_markup_mode=None,
)

CHECK_HELP = """Report every problem of a bank, with file, line, field and a suggestion.

The built-in bank is held to everything; a bank of your own may hold drafts (one language, no demo).

Example: llmprep bank check ~/my-questions
"""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("list", help="All questions.\n\nExample: llmprep list --cluster inference")(list_questions)
    app.command(help="One question in full, with its evidence.\n\nExample: llmprep show kv-cache")(show)
    app.command(help="Find questions, in English or Chinese.\n\nExample: llmprep search paged attention")(search)
    app.add_typer(bank_app, name="bank")
    bank_app.callback()(lambda: None)
    bank_app.command("check", help=CHECK_HELP)(check)


def list_questions(
    context: typer.Context,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.", autocompletion=complete_cluster)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List questions."""
    from llmprep.cli.commands.practise import known_cluster
    from llmprep.cli.render.lists import show_entries

    world: Context = context.obj
    bank = world.bank()
    entries = bank.entries(known_cluster(cluster))
    if as_json:
        print(_json(entries))
        return
    with world.log() as log:
        show_entries(entries, {bank.id_of(k): s for k, s in log.states().items()}, world)


def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="All of them must occur.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Search questions."""
    from llmprep.cli import words as phrases
    from llmprep.cli.render.lists import show_found

    world: Context = context.obj
    text = " ".join(words)
    found = world.bank().search(text, limit)
    if as_json:
        print(_json(found))
    elif found:
        show_found(found, world)
    else:
        print(phrases.say(world.ui, "nothing_found", words=text))


def show(
    context: typer.Context,
    question_id: Annotated[str, typer.Argument(metavar="ID", autocompletion=complete_id)],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    lang: Annotated[str | None, typer.Option(metavar="en|zh|both", help="Language.")] = None,
) -> None:
    """Show one question."""
    from llmprep.cli.context import make_context
    from llmprep.cli.render.lists import show_question

    world: Context = context.obj
    if lang:
        world = make_context(world.bank_dir, lang)
    bank = world.bank()
    question = bank.question(question_id)
    if as_json:
        print(_json(question))
    else:
        show_question(question, world, world.evidence())


def check(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="A folder of questions, or one file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check a bank."""
    from dataclasses import asdict

    from llmprep import content
    from llmprep.bank.lint import check_bank
    from llmprep.errors import UserError

    world: Context = context.obj
    target = path or world.bank_dir
    if not target.exists():
        raise UserError(f"{target}: no such file or folder")
    folder = target if target.is_dir() else target.parent
    strict = folder.resolve().is_relative_to(content.questions_dir())
    whole = content.questions_dir() if strict else folder
    questions, problems = check_bank(whole, world.evidence(), strict=strict)
    if target.resolve() != whole.resolve():
        inside = target.resolve()
        problems = [p for p in problems if Path(p.file).resolve().is_relative_to(inside)]
        questions = [q for q in questions if target.is_dir() or q.id == target.stem]
    if as_json:
        print(json.dumps({"questions": len(questions), "problems": [asdict(p) for p in problems]}, indent=1))
    else:
        for problem in problems:
            print(problem, file=sys.stderr)
        claims = sum(len(q.claims) for q in questions)
        counts = {"question": len(questions), "claim": claims, "problem": len(problems)}
        print(", ".join(count(n, noun) for noun, n in counts.items()))
    if problems:
        raise typer.Exit(Exit.USAGE)


def _json(value: object) -> str:
    from dataclasses import asdict, is_dataclass

    def plain(item: object) -> object:
        if isinstance(item, tuple) and hasattr(item, "_asdict"):
            return plain(item._asdict())
        if isinstance(item, dict):
            return {k: plain(v) for k, v in item.items()}
        if isinstance(item, list | tuple):
            return [plain(v) for v in item]
        if is_dataclass(item) and not isinstance(item, type):
            return plain(asdict(item))
        return item

    return json.dumps(plain(value), ensure_ascii=False, indent=1)
