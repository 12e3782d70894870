"""A table for spreadsheets: CSV in UTF-8 with a byte-order mark, and no cell that starts a formula."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime

from llmprep.bank.prose import blocks, plain, spans
from llmprep.bank.types import LAYERS, Question
from llmprep.export.content import languages, proofs
from llmprep.lab.evidence import Evidence

# Columns that hold one value whatever the language …
COLUMNS = ("key", "cluster", "level", "roles", "tags", "asked", "needs", "follow_ups", "demos", "sources")
# … and those that come once for each language, as question_en, question_zh.
TEXT_COLUMNS = ("question", *LAYERS, "key_points", "evidence", "pitfalls")

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def table(questions: Sequence[Question], evidence: Evidence, *, lang: str, bank: str, now: datetime) -> bytes:
    """The bytes of a .csv with a header line. List cells are separated by `; `, points and claims by line breaks."""
    del now  # a table bears no date
    codes = languages(lang)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(f"{name}_{code}" for code in codes for name in TEXT_COLUMNS)])
    for question in questions:
        row = _facts(question, bank) + [cell for code in codes for cell in _texts(question, evidence, code)]
        writer.writerow([guard(cell) for cell in row])
    return b"\xef\xbb\xbf" + out.getvalue().encode("utf-8")


def guard(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: `guard("=1+1") == "'=1+1"` (OWASP, CSV injection)."""
    return "'" + cell if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else cell


def _facts(question: Question, bank: str) -> list[str]:
    return [
        f"{bank}/{question.id}" if bank else question.id,
        question.cluster,
        question.level,
        "; ".join(question.roles),
        "; ".join(question.tags),
        str(question.asked),
        "; ".join(question.needs),
        "; ".join(question.follow_ups),
        "; ".join(question.demos),
        "; ".join(f"{s.source} ({s.where})" if s.where else s.source for s in question.sources),
    ]


def _texts(question: Question, evidence: Evidence, lang: str) -> list[str]:
    return [
        plain(question.prompt.pick(lang)),
        *(_lines(getattr(question.answer, layer).pick(lang)) for layer in LAYERS),
        "\n".join(f"{'*' if p.must else '·'} {plain(p.say.pick(lang))}" for p in question.key_points),
        "\n".join(f"{plain(p.sentence)} [{p.note}]" for p in proofs(question, evidence, lang)),
        "\n".join(f"✗ {plain(p.wrong.pick(lang))} ✓ {plain(p.right.pick(lang))}" for p in question.pitfalls),
    ]


def _lines(text: str) -> str:
    """A text with a line for each block, without markup."""
    marks = {"": "", "-": "· "}
    return "\n".join(marks.get(b.marker, f"{b.marker} ") + "".join(s.text for s in spans(b.text)) for b in blocks(text))
