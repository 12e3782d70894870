"""What several commands share: shell completion, and counts in words."""

from pathlib import Path

import typer

from llmprep.content import CLUSTERS
from llmprep.errors import UserError


def complete_id(context: typer.Context, incomplete: str) -> list[str]:
    """Question ids of the bank that the command line names."""
    from llmprep.bank.index import open_bank
    from llmprep.cli.context import make_context

    folder = context.find_root().params.get("bank_dir")
    try:
        world = make_context(Path(folder) if folder else None, None)
        ids = open_bank(world.bank_dir, world.cache_dir).ids()  # without a word on files that cannot be used
    except UserError:  # not the place to complain
        return []
    return [i for i in ids if i.startswith(incomplete)]


def complete_cluster(incomplete: str) -> list[str]:
    """Clusters."""
    return [name for name in CLUSTERS if name.startswith(incomplete)]


def complete_demo(incomplete: str) -> list[str]:
    """Demos by id, and by name once one is begun."""
    from llmprep.lab import catalog

    ids = list(catalog.demos())
    names = [i.split("/")[1] for i in ids] if incomplete else []
    return [word for word in [*ids, *names] if word.startswith(incomplete)]


def count(n: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
