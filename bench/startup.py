"""How soon the program is there: the bare call and the first card of a quiz, each beside its three main imports."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from measure import (
    BASELINE,
    LLMPREP,
    NOW,
    Row,
    Spent,
    environment,
    first_card,
    folder,
    main,
    medians,
    over,
    rounds,
    whole,
)
from synthetic import write_bank, write_history

from llmprep import content
from llmprep.bank.index import open_bank

HEAVY = ("torch", "numpy", "pydantic")


def startup(quick: bool) -> Iterator[Row]:
    """The built-in bank, then one of 20,000 questions, 2,000 of them seen."""
    count, seen = (3_000, 300) if quick else (20_000, 2_000)
    runs = 9 if quick else 21
    with folder() as work:
        yield from _bank("built-in bank", content.questions_dir(), work / "home", 10, runs)
        yield _heavy(work / "home")
        write_bank(work / "large", count)
        yield from _bank(f"{count:,} questions", work / "large", work / "large-home", seen, runs)


def _bank(name: str, bank_dir: Path, home: Path, seen: int, runs: int) -> Iterator[Row]:
    wall, cpu = time.perf_counter(), time.process_time()
    bank = open_bank(bank_dir, home / "cache")
    yield Row(f"indexing for the first time, {name}", Spent(time.perf_counter() - wall, time.process_time() - cpu), "s")
    keys = [bank.key(i) for i in bank.ids()[:seen]]
    bank.close()
    write_history(home / "reviews.db", keys, date.fromisoformat(NOW[:10]))
    env = environment(home, LLMPREP_BANK=str(bank_dir))
    imports, bare, card = medians(
        rounds(
            runs,
            lambda: whole(BASELINE, env),
            lambda: whole(LLMPREP, env),
            lambda: first_card([*LLMPREP, "quiz"], env),
        )
    )
    yield Row(f"llmprep, {name}", over(bare, imports), target=1.5)
    yield Row(f"first card of the quiz, {name}", over(card, imports), target=1.5)


def _heavy(home: Path) -> Row:
    """Which of the large libraries a quiz has loaded."""
    command = [sys.executable, "-X", "importtime", "-m", "llmprep", "quiz"]
    done = subprocess.run(
        command, env=environment(home), stdin=subprocess.DEVNULL, capture_output=True, check=True, encoding="utf-8"
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    heavy = [name for name in HEAVY if name in loaded]
    return Row("torch, numpy, pydantic in a quiz", text=", ".join(heavy) or "none", ok=not heavy)


if __name__ == "__main__":
    main(startup, __doc__ or "")
