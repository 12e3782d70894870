"""Draws docs/quiz.svg, the card in the README, with the code that draws it in the terminal."""

import io
import sys
import tempfile
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.text import Text

from llmprep import content
from llmprep.bank.index import open_bank
from llmprep.cli import words
from llmprep.cli.render import card
from llmprep.cli.render.text import wrap
from llmprep.lab.evidence import Evidence
from llmprep.store.log import ReviewLog
from llmprep.study.session import Session
from llmprep.study.today import queue

WIDTH = 84
TODAY = date(2026, 11, 21)


def picture(question_id: str, ticked: set[str], suggested: int, ui: str = "en") -> str:
    """A card with all its layers open, as SVG."""
    with tempfile.TemporaryDirectory() as folder:
        bank = open_bank(content.questions_dir(), Path(folder))
        log = ReviewLog.open(Path(folder) / "reviews.db", create=False)
        session = Session(bank, log, TODAY, queue(bank, log, TODAY, only=[question_id]))
        turn = session.turn()
        assert turn is not None
        evidence = Evidence([content.data_dir() / "evidence"])
        question = turn.question
        rows = [card.header(turn, ui), Text(""), *card.prompt(question, ui, WIDTH), Text(""), card.rule(WIDTH)]
        for name in card.layers(question):
            rows += [*card.layer(question, name, ui, ui, WIDTH), Text("")]
        rows += card.evidence(question, evidence, ui, ui, WIDTH, with_key=True)[1:]
        rows += card.checklist(question.key_points, ticked, ui, ui, WIDTH)
        rows += [Text(""), *card.grades(session.outcomes(turn), suggested, TODAY, ui, WIDTH), Text("")]
        keys = words.say(ui, "keys_back", last="abcdef"[len(question.key_points) - 1])
        rows += card.indent(wrap(Text(keys, "dim"), WIDTH - 4))
        log.close()
        bank.close()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for row in rows:
        console.print(row)
    return console.export_svg(title="llmprep quiz", unique_id="llmprep")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("quiz.svg")
    target.write_text(picture("scaled-dot-product", {"variance", "saturation"}, 3), encoding="utf-8")
